"""What an object, an element or a list says of its own values: that they are secrets.

`{"name": "password", "value": ...}`, however it is spelled; an element with the name of a secret
(`<select name="pin"><option>...`), of which all inside is one; `[["password", ...]]`,
`["--password", ...]`; and of rows, a column: `{"columns": ["id", "pin"], "rows": [[1, ...]]}`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, Literal

from comparators.hiding import folded
from comparators.numbers import is_number, is_piece
from comparators.secrets import is_secret_name

# Attributes and keys that name what is beside them.
NAMING: Final = frozenset(("name", "id", "key", "type", "property", "autocomplete", "http-equiv"))
_MARKED: Final = tuple(f"@{name}" for name in sorted(NAMING))
# Of JSON, folded: those that name nothing else, and so whatever is beside them under such a key.
_SURE: Final = frozenset(
    ("name", "key", "field", "label", "k", "header", "parameter", "param", "variable", "property")
)
_VALUES: Final = frozenset(("value", "values", "val"))
_SURE_VALUES: Final = _VALUES | frozenset(
    ("v", "data", "content", "default", "defaultvalue", "stringvalue", "currentvalue", "newvalue")
)
# Keys that name a field of something else, and those of what it was, is or should be.
_OF_FIELDS: Final = frozenset(
    ("field", "attribute", "property", "column", "path", "pointer", "loc", "parameter", "param")
)
_FIELD_VALUES: Final = _VALUES | frozenset(
    (
        *("old", "new", "before", "after", "from", "to", "previous", "current", "input", "given"),
        *("received", "actual", "expected", "oldvalue", "newvalue", "rejectedvalue", "default"),
    )
)
# Keys of the names of columns, where the rows are lists.
_COLUMNS: Final = ("columns", "fields", "headers", "header", "cols", "names", "schema")
NO_COLUMNS: Final[frozenset[int]] = frozenset()
_BEFORE_ANY: Final = frozenset(("key", "th", "dt", "label", "term"))  # elements
# Elements that hold what was, or is to be, typed.
_TYPED: Final = frozenset(("input", "textarea", "select", "output", "code", "kbd", "samp", "tt"))
# Elements that part no word, and so no number.
INLINE: Final = frozenset(
    (
        *("a", "abbr", "b", "big", "bdi", "bdo", "code", "em", "font", "i", "input", "kbd", "mark"),
        *("s", "samp", "small", "span", "strong", "sub", "sup", "tt", "u", "var", "wbr"),
    )
)
_DEEPEST_PIECE: Final = 4
_TEXT: Final = "#text"
NOTHING: Final = ("", "")  # that precedes a value
# What says that a value follows.
_SAYS_NEXT = re.compile(r"(?::|=|\b(?:is|are|ist|lautet|est|es):?)\s*\Z")
# Attributes that say of an element what its own text, or value, is; and those of `data-`.
_HINTING: Final = frozenset(("class", "itemprop", "headers", "aria-label", "placeholder", "data"))
_MOST_WORDS: Final = 3  # that such an element has for a name: of a sentence it is none
_OWN: Final = frozenset(("@value", "@content", _TEXT))
_MOST_KEYS: Final = 64  # of an object that is looked at key by key, however they are spelled
_EXACT: Final = tuple(sorted(NAMING | _SURE | _SURE_VALUES | _OF_FIELDS | _FIELD_VALUES))
_LONGEST: Final = 40  # characters of such a key
_LONGEST_HINT: Final = 200


def names_a_secret(attributes: Mapping[str, object], mark: Literal["", "@"] = "") -> bool:
    """Whether an element's own attributes say that what is in it is a secret."""
    names = _MARKED if mark else NAMING
    return any(name in attributes and _is_secret(attributes[name]) for name in names)


def hints_at_a_secret(attributes: Mapping[str, object], mark: str = "") -> bool:
    """Whether an element's own attributes say that its text is a secret, if not what is in it.

    `class="cookie-banner"` is often around half a page.
    """
    for name, value in attributes.items():
        if not isinstance(name, str) or not isinstance(value, str):
            continue
        if name.startswith(mark) and len(value) <= _LONGEST_HINT:
            kind = name[len(mark) :].partition("-")[0] if name.startswith(f"{mark}data") else None
            if (kind or name[len(mark) :]) in _HINTING and _is_hint(name, value):
                return True
    return False


def _is_hint(name: str, value: str) -> bool:
    words = value.split()
    if name.endswith("class"):
        # `class="token string"` is of code whose syntax is coloured.
        return any(is_secret_name(word) for word in words if word != "token" or len(words) == 1)
    return len(words) <= _MOST_WORDS and is_secret_name(value)


def is_naming(name: str) -> bool:
    """Whether a name, folded, is one of those that name a value, or that of such a value."""
    return any(name in names for names in (NAMING, _SURE, _SURE_VALUES, _OF_FIELDS, _FIELD_VALUES))


def named_keys(
    each: Mapping[Any, Any], spelled_as: Mapping[str, str] = MappingProxyType({})
) -> Collection[str]:
    """The keys of an object under which it has what it calls a secret.

    `spelled_as`: other names, folded, that stand for the usual ones.
    """
    if names_a_secret(each, "@"):
        return frozenset(key for key, value in each.items() if _is_inside(key, value))
    hinted: Collection[str] = ()
    if str(next(iter(each), ""))[:1] == "@" and hints_at_a_secret(each, "@"):
        hinted = [key for key in _OWN if key in each]
    if "#order" in each:
        if is_number(_pieces_in(each, 0)):
            return frozenset(key for key, value in each.items() if _is_inside(key, value))
        return frozenset((*hinted, *_named_elements(each)))
    if hinted:
        return hinted
    listed = each if len(each) <= _MOST_KEYS else [key for key in _EXACT if key in each]
    spelled = {
        key: spelled_as.get(name := folded(key), name)
        for key in listed
        if isinstance(key, str) and len(key) <= _LONGEST
    }
    values: frozenset[str] = frozenset()
    for key, name in spelled.items():
        if name in NAMING or name in _SURE or name in _OF_FIELDS:
            if not _is_secret(each[key]):
                continue
            values |= _SURE_VALUES if name in _SURE else _VALUES
            values |= _FIELD_VALUES if name in _OF_FIELDS else _VALUES
    return [key for key, name in spelled.items() if name in values] if values else ()


def _pieces_in(element: Mapping[Any, Any], depth: int) -> list[str]:
    """The texts in an element that are pieces of one number; empty where others are among them."""
    pieces: list[str] = []
    passed: dict[str, int] = {}
    order = element.get("#order", [key for key in element if str(key)[:1] != "@"])
    if not isinstance(order, list) or len(order) > _MOST_KEYS or depth > _DEEPEST_PIECE:
        return []
    for key in order:
        if not isinstance(key, str):
            return []
        index = passed[key] = passed.get(key, -1) + 1
        items = element.get(key)
        item = items[index] if isinstance(items, list) and index < len(items) else items
        if isinstance(item, dict) and key in INLINE:
            value = item.get("@value")
            inner = [value] if isinstance(value, str) else _pieces_in(item, depth + 1)
        else:
            inner = [item.strip()] if isinstance(item, str) else []
        if not inner or not all(map(is_piece, inner)):
            return []
        pieces += inner
    return pieces


def names_next(element: str, text: str, following: str, next_text: str = "") -> bool:
    """Whether an element with this text says of what follows that it is a secret.

    `<name>pin</name><value>`, `<key>pin</key><string>`, `<dt>PIN</dt><dd>`, `PIN: <b>`; names in
    lower case, `#text` of a text that stands alone, `next_text` where that is what follows.
    """
    text = text[-_LONGEST_HINT:]
    said = _SAYS_NEXT.search(text)
    words = (text[: said.start()] if said is not None else text).split()
    if said is not None:
        is_next = True
        words = words[-2:] if element == _TEXT else words
    elif following == _TEXT:
        is_next = next_text.lstrip()[:1] in (":", "=")
    else:
        is_next = (
            element in _BEFORE_ANY
            or (element in _SURE and following in _SURE_VALUES)
            or element == following == "td"
            or following in _TYPED
        )
    name = " ".join(words) if is_next and len(words) <= _MOST_WORDS else ""
    return 0 < len(name) <= _LONGEST and is_secret_name(name)


def _named_elements(each: Mapping[Any, Any]) -> Iterator[str]:
    """The names of the elements in one, or `#text`, that follow what calls them secrets."""
    order = each.get("#order")
    if not isinstance(order, list):
        return
    passed: dict[str, int] = {}
    name = text = ""
    for key in order:
        if not isinstance(key, str):
            name = ""
            continue
        index = passed[key] = passed.get(key, -1) + 1
        items = each.get(key)
        item = items[index] if isinstance(items, list) and index < len(items) else items
        said = item.get(_TEXT) if isinstance(item, dict) else item
        said = said if isinstance(said, str) else ""
        local = key.rpartition("}")[2].lower()
        if local in ("br", "wbr"):
            continue
        if name and names_next(name, text, local, said):
            yield key
        name, text = (local, said) if said else NOTHING


def named_items(each: list[Any] | tuple[Any, ...], is_inner: bool) -> Iterator[int]:
    """The indices of what a list calls a secret. `is_inner`: it is an item of a list itself."""
    if is_inner and len(each) == 2 and _is_secret(each[0]):
        yield 1
    for index, (option, value) in enumerate(pairwise(each), start=1):
        if isinstance(option, str) and option[:1] == "-" and isinstance(value, str):
            # `--password=hunter2` has its value already.
            is_option = "=" not in option and " " not in option and value[:1] != "-"
            if is_option and _is_secret(option):
                yield index


def named_in(around: Any, is_inner: bool) -> Collection[object]:
    """The keys, or indices, of what an object or list calls a secret."""
    if isinstance(around, dict):
        return named_keys(around)
    return frozenset(named_items(around, is_inner)) if isinstance(around, list) else ()


def columns_below(each: Mapping[Any, Any]) -> Mapping[str, frozenset[int]]:
    """Of an object with names of columns: the keys of its rows, and which columns are secrets."""
    for key in _COLUMNS:
        names = each.get(key)
        if isinstance(names, list) and (hidden := _secret_columns(names)):
            return {
                other: hidden
                for other, rows in each.items()
                if other != key and isinstance(rows, list) and rows and isinstance(rows[0], list)
            }
    return {}


def columns_in(rows: list[Any] | tuple[Any, ...]) -> frozenset[int]:
    """Of a list of lists, the first one of which is names: which columns are secrets."""
    if len(rows) < 2 or not isinstance(rows[0], list) or not isinstance(rows[1], list):
        return frozenset()
    is_named = len(rows[0]) == len(rows[1]) > 1 and all(isinstance(name, str) for name in rows[0])
    # Two texts are more likely a name and its value.
    is_pair = len(rows[0]) == 2 and all(isinstance(value, str) for value in rows[1])
    return _secret_columns(rows[0]) if is_named and not is_pair else frozenset()


def _secret_columns(names: list[Any]) -> frozenset[int]:
    named = [
        next((name[key] for key in ("name", "key", "field", "id", "label") if key in name), None)
        if isinstance(name, dict)
        else name
        for name in names
    ]
    return frozenset(number for number, name in enumerate(named) if _is_secret(name))


def _is_inside(key: object, value: object) -> bool:
    # What is inside an element stands in lists; a key of JSON beside an `@id` need not.
    return key in _OWN or (
        isinstance(key, str) and key[:1] not in ("@", "#") and isinstance(value, list)
    )


def _is_secret(name: object) -> bool:
    if isinstance(name, list) and name:  # a path, step by step
        name = name[-1]
    return isinstance(name, str) and is_secret_name(name)
