"""Redaction: what of a difference, a header or a body may be shown, logged and stored.

A secret becomes `redacted:` and twelve digits of a keyed hash of it. So equality stays visible,
between the sides and between requests, and without the key nobody can try values out. A place is
secret by its name or that of anything around it, by the rules (`redact`), or by its shape in any
text, keys and paths included. What is nowhere named a secret, and looks like none, is none: of
`{"name": "password", "value": ...}` the value is hidden in a whole object (`naming`), but where
it alone differs only the whole body can tell (`showing`). Texts are cut after that, never before:
half of a card number would be none any more.

The two sides need not be alike. So a name that a rule ends with is secret wherever it stands,
however it is spelled (`full_name`, `fullName`); what stands where a rule leads through, but cannot
be followed (a text in place of an object), is hidden; and so is each line of a text that rules for
other places than lines apply to: none of them can be found in it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from comparators import content
from comparators.form import MAX_FIELDS, Unreadable, load_form, load_ndjson
from comparators.hiding import LONGEST_PATH, Hider, showable
from comparators.json import NotJson, load_json
from comparators.markup import redact_markup
from comparators.model import ABSENT, SHOWN_CHARACTERS, Difference, Kind, ShownDifference
from comparators.naming import NO_COLUMNS, columns_below, columns_in, named_items, named_keys
from comparators.paths import Automaton, JsonPath, State, parse_path
from comparators.places import (
    begins_in,
    is_secret_place,
    last_name,
    leads_to_lines,
    renamed_names,
    renamed_places,
)
from comparators.secrets import is_secret_name
from comparators.text import LINE_END

ANY_LENGTH: Final = 1 << 31  # of a path
MAX_DEPTH: Final = 200  # of what is shown or kept; deeper values are named only
NESTED_DEEPER: Final = "(nested deeper)"

_COOKIE_PAIR = re.compile(r"([^=;\s]+)=([^;]*)")
_SECRET_HEADERS: Final = frozenset(
    ("authorization", "proxy-authorization", "www-authenticate", "cookie", "set-cookie")
)
# The name of a cookie may hold a dot; so only what an attribute can hold is taken for one's value.
_COOKIE_ATTRIBUTES: Final = {
    "path": re.compile(r"/.*", re.DOTALL),
    "domain": re.compile(r"[\w.-]*"),
    "expires": re.compile(r"(?i:\w{3,9}, ?\d\d[ -]\w{3}[ -]\d{2,4} [\d:]{5,8} \w{3})"),
    "max-age": re.compile(r"-?\d{1,12}"),
    "samesite": re.compile(r"(?i:strict|lax|none)"),
    "priority": re.compile(r"(?i:low|medium|high)"),
    **dict.fromkeys(("secure", "httponly", "partitioned"), re.compile("")),
}
_MOST_LOOKED_AT: Final = 64 << 10  # characters of a text that is shown
BYTES_AS_THEY_ARE: Final = "surrogateescape"  # what is no UTF-8 in a form, as `load_form` reads it
_DIGEST = re.compile(r"sha256 [0-9a-f]{16}")
# Of an attribute whose element may be named a secret: what is none even then.
_PLAIN_VALUE = re.compile(r"-?[0-9]{1,8}(?:\.[0-9]{1,4})?|true|false|")
_OPAQUE = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])[\w+/=.~-]{16,}")
# A line of base64 that stands alone: of a key in PEM, most likely.
_LINE_OF_KEY = re.compile(r"\s*(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?=[^\d+/=]*[\d+/=])[\w+/=]{24,}\s*")
_SMALLEST_NUMBER: Final = 10**11  # of a card or person
_LARGEST_NUMBER: Final = 10**20

# Of these the values are words of ours, not of a body.
_OF_OUR_WORDS: Final = frozenset(
    (Kind.STATUS, Kind.FAILURE, Kind.CODING, Kind.BYTES, Kind.TRUNCATED, Kind.HEADER, Kind.COOKIE)
)

Where = State[bool] | None


class Redactor(Hider):
    """Redacts with the key of an installation, and the `redact` and `rename` of some rules.

    Raises ValueError on a path that is none. No method raises on any value.
    """

    def __init__(
        self, key: bytes, redact: Iterable[str] = (), rename: Mapping[str, str] | None = None
    ) -> None:
        listed = tuple(redact)
        self._headers = _after(listed, "header:", str.lower)
        self._cookies = _after(listed, "cookie:", str)
        paths = [parse_path(each) for each in listed if each.startswith("$")]
        names: dict[str, str] = {}
        for legacy, new in (rename or {}).items():
            places = parse_path(legacy), parse_path(new)
            paths += renamed_places(paths, *places)
            if is_secret_place(places[0]) and not is_secret_place(places[1]):
                paths.append(places[1])
            names |= renamed_names(*places)
        super().__init__(key, [name for path in paths if (name := last_name(path))])
        self._places = Automaton[bool](((path, True) for path in paths), is_loose=True)
        self._spelled = names
        self._paths = [path for path in paths if not leads_to_lines(path)]
        self._hides_lines = bool(self._paths)

    # What is shown

    def show(
        self,
        difference: Difference,
        lines: Mapping[str, str] = MappingProxyType({}),
        *,
        hidden: bool = False,
    ) -> ShownDifference:
        """The difference as text.

        `lines` are lines of the bodies in which only the whole body shows the secrets, as they may
        be shown (`lines`). `hidden`: its values are secret, whatever its place is.
        """
        path = difference.path
        steps = _steps(path)
        secret, state = self._place(path, steps)
        # Where a key stands more than once, what is around it is not known.
        secret = secret or hidden or difference.kind is Kind.DUPLICATE_KEY
        is_line = steps is not None and leads_to_lines(steps)
        # Where in it a place of the rules is, is not known. One's own comparator has own paths.
        is_lost = self._hides_lines and (is_line or (steps is None and ":" not in path))
        if difference.kind in _OF_OUR_WORDS:
            state = None
        shown = []
        for value in (difference.legacy, difference.new):
            is_text = isinstance(value, str)
            odd = is_text and (is_lost or self._is_odd(path, steps, value))
            if is_line and is_text:
                value = lines.get(value, value)
            elif is_text and difference.kind is Kind.BYTES:
                # Without the key values could be tried out, if there are only a few.
                value = _DIGEST.sub(lambda found: self.hashed(found[0]), value)
            shown.append(self._shown(value, secret or odd, state))
        return ShownDifference(self._path(path, steps), difference.kind.value, *shown)

    def leads_into(self, tree: Any, parts: int, *, is_html: bool) -> bool:
        """Whether each rule for more than lines can be followed into a tree of markup.

        `parts`: how many multipart bodies the tree stands in.
        """
        return not self._hides_lines or (
            isinstance(tree, dict)
            and all(begins_in(path, tree, parts, is_html=is_html) for path in self._paths)
        )

    def is_secret(self, path: str) -> bool:
        """Whether what stands in a place is secret as a whole."""
        return self._place(path, _steps(path))[0]

    def path(self, path: str) -> str:
        """A path, its keys redacted where they are secrets themselves."""
        return self._path(path, _steps(path))

    def target(self, target: str) -> str:
        """The path of a request."""
        return showable(self.text(target.partition("?")[0]))

    # What is kept

    def document(self, value: Any) -> Any:
        """A copy of a tree of values without its secrets."""
        return self._copy(value, self._places.start)

    def headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """The headers of a message without their secrets."""
        return tuple((self.text(name), self._header(name, value)) for name, value in headers)

    def body(self, text: str, kind: str) -> str | None:
        """The text of a body without its secrets, by its kind.

        None for a binary one, and where there are rules for places that cannot be found in it.
        """
        has_rules = self._places.start is not None
        match kind:
            case content.JSON:
                loaded = load_json(text.encode("utf-8", "replace"))
                if not isinstance(loaded, NotJson):
                    return _dumped(self.document(loaded.value))
            case content.NDJSON:
                lines = load_ndjson(text.encode("utf-8", "replace"))
                if not isinstance(lines, Unreadable):
                    return "\n".join(map(_dumped, self.document(lines)))
            case content.FORM:
                return self._form(text)
            case content.XML | content.HTML if not has_rules:
                return redact_markup(text, self.hashed, self.markup, self.text)
            case content.TEXT if has_rules and not self._hides_lines:
                # The paths of lines count from 1.
                lines = self.document({"line": ["", *LINE_END.split(self.text(text))]})
                return "\n".join(lines["line"][1:]) if isinstance(lines, dict) else None
            case content.BINARY | content.MULTIPART:
                return None
        return None if has_rules else self.text(text)

    # Inside

    def _header(self, name: str, value: str) -> str:
        lower = name.lower()
        if lower in self._headers:
            return self.hashed(value)
        if lower in ("cookie", "set-cookie"):
            pairs = [
                f"{self.text(key)}={self.hashed(each.strip())}"
                for key, each in _COOKIE_PAIR.findall(value)
            ]
            if lower == "cookie" or not pairs:
                return "; ".join(pairs)
            attributes = value.partition(";")[2] if value.partition(";")[0].strip() else ""
            hidden = value.partition("=")[0].strip() in self._cookies
            return (
                f"{pairs[0]};{self._attributes(attributes)}"
                if attributes and not hidden
                else pairs[0]
            )
        if lower in _SECRET_HEADERS or is_secret_name(name):
            return self.hashed(value)
        return self.text(value)

    def _attributes(self, attributes: str) -> str:
        shown = []
        for each in attributes.split(";"):
            name, equals, value = each.partition("=")
            known = _COOKIE_ATTRIBUTES.get(name.strip().lower())
            if known is not None and known.fullmatch(value.strip()):
                shown.append(f"{name}{equals}{self.text(value)}")
            else:
                shown.append(f" {self.hashed(each.strip())}")
        return ";".join(shown)

    def _form(self, text: str) -> str | None:
        tree = load_form(text)
        try:
            pairs = parse_qsl(
                text.strip(),
                keep_blank_values=True,
                max_num_fields=MAX_FIELDS,
                errors=BYTES_AS_THEY_ARE,
            )
        except ValueError:
            pairs = []
        if isinstance(tree, Unreadable) or not isinstance(shown := self.document(tree), dict):
            return None if self._places.start is not None else self.text(text)
        # In the order they were in; the copy has its keys in the order of the tree's.
        given = {
            name: iter(values) if isinstance(values, list) else repeat(values)
            for name, values in zip(tree, shown.values(), strict=True)
        }
        fields = [(self.text(name), next(given[name])) for name, _ in pairs]
        try:
            return urlencode(fields, errors=BYTES_AS_THEY_ARE)
        except UnicodeEncodeError:  # of a surrogate that stands for no byte
            return urlencode(fields, errors="replace")

    def _path(self, path: str, steps: JsonPath | None) -> str:
        if steps is None:
            prefix, colon, name = path.partition(":")
            if colon and prefix in ("header", "cookie"):
                shown = self.text(name)
                cookie, dot, attribute = name.rpartition(".")
                if dot and prefix == "cookie" and attribute not in _COOKIE_ATTRIBUTES:
                    # What stands behind the first `;` may be the rest of a value.
                    shown = f"{self.text(cookie)}.{self.key(attribute, is_below=True)}"
                return self.cut(showable(f"{prefix}:{shown}"), LONGEST_PATH)
            return self.cut(showable(self.text(path)), LONGEST_PATH)
        return self.rendered(steps)

    def _place(self, path: str, steps: JsonPath | None) -> tuple[bool, Where]:
        """Whether a place is secret as a whole, and where the rules stand there."""
        state = self._places.start
        if steps is None:
            return self._is_secret_place(path), None
        if state is not None and state.matches:
            return True, state
        for step in steps:
            if isinstance(step, str):
                if is_secret_name(step):
                    return True, state
                state = state.key(step) if state is not None else None
                if self.is_ruled(step) and not (state is not None and state.is_open):
                    return True, state
            elif isinstance(step, int):
                state = state.item(step) if state is not None else None
            if state is not None and state.matches:
                return True, state
        return False, state

    def _is_secret_place(self, path: str) -> bool:
        """Of a path that does not lead into a body."""
        if path.startswith("header:"):
            name = path.removeprefix("header:").lower()
            return name in _SECRET_HEADERS or name in self._headers or is_secret_name(name)
        if path.startswith("cookie:"):
            # The value is; an attribute of it is not, unless the rules name the cookie.
            name, _, attribute = path.removeprefix("cookie:").rpartition(".")
            return attribute not in _COOKIE_ATTRIBUTES or not name or name in self._cookies
        # A path of a comparator of the user's own; one that cannot be read may lead anywhere.
        return path.startswith("$") or is_secret_name(path)

    def _is_odd(self, path: str, steps: JsonPath | None, value: str) -> bool:
        """Whether a text is secret in its place, though the place is not."""
        if path.startswith("cookie:"):
            known = _COOKIE_ATTRIBUTES.get(path.rpartition(".")[2])
            return known is None or known.fullmatch(value) is None
        if not steps:
            return False
        if steps[-1] == "@value":
            return "input" in steps or _PLAIN_VALUE.fullmatch(value) is None
        if steps[-1] == "@content":
            return _OPAQUE.fullmatch(value) is not None
        return steps[0] == "line" and _LINE_OF_KEY.fullmatch(value) is not None

    def _shown(self, value: Any, secret: bool, state: Where) -> str | None:
        if value is ABSENT:
            return None
        if secret:
            return self.hashed(value)
        is_long = isinstance(value, str) and len(value) > _MOST_LOOKED_AT
        if is_long and not (state and state.is_open):
            # What is behind that is not shown; nor is what it would cut in two.
            if len(shown := self.text(value[:_MOST_LOOKED_AT])) < 2 * SHOWN_CHARACTERS:
                return self.hashed(value)
            value = shown
        text = showable(_dumped(self._copy(value, state), ensure_ascii=False))
        if len(text) > SHOWN_CHARACTERS:
            text = text[: SHOWN_CHARACTERS - 1] + "\u2026"
        return text

    def _copy(self, value: Any, state: Where) -> Any:
        """A redacted copy, made without recursion; what is too deep is named and not copied."""
        root: list[Any] = [None]
        # Of rows of a table, the columns that are secrets; of one row, its items.
        rows: Mapping[str, frozenset[int]]
        stack: list[tuple[Any, Any, Any, bool, Where, int, frozenset[int], frozenset[int]]] = [
            (value, root, 0, bool(state and state.matches), state, 0, NO_COLUMNS, NO_COLUMNS)
        ]
        while stack:
            each, into, at, is_secret, here, depth, columns, items_hidden = stack.pop()
            is_value = each is not None and not isinstance(each, dict | list | tuple)
            if is_secret or (is_value and here is not None and here.is_open):
                into[at] = self.hashed(each)
            elif isinstance(each, str):
                into[at] = self.text(each)
            elif depth >= MAX_DEPTH and isinstance(each, dict | list | tuple):
                into[at] = NESTED_DEEPER
            elif isinstance(each, dict):
                made: dict[str, Any] = {}
                into[at] = made
                named = named_keys(each, self._spelled)
                rows = columns_below(each)
                for given, inner in each.items():
                    key = given if isinstance(given, str) else str(self._scalar(given))
                    below = here.key(key) if here is not None else None
                    name = self.text(key)
                    while name in made:
                        name += "~"
                    made[name] = None  # keeps the order
                    hidden = (
                        key in named
                        or is_secret_name(key)
                        or bool(below and below.matches)
                        or (self.is_ruled(key) and not (below and below.is_open))
                    )
                    of_rows = rows.get(key, NO_COLUMNS)
                    stack.append((inner, made, name, hidden, below, depth + 1, of_rows, NO_COLUMNS))
            elif isinstance(each, list | tuple):
                items = into[at] = [None] * len(each)
                called = items_hidden.union(named_items(each, isinstance(into, list) and depth > 0))
                is_headed = not columns and bool(columns := columns_in(each))
                for index, inner in enumerate(each):
                    below = here.item(index) if here is not None else None
                    hidden = index in called or bool(below and below.matches)
                    of_row = NO_COLUMNS if is_headed and index == 0 else columns
                    stack.append(
                        (inner, items, index, hidden, below, depth + 1, NO_COLUMNS, of_row)
                    )
            else:
                into[at] = self._scalar(each)
        return root[0]

    def _scalar(self, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float | Decimal):
            # Not abs(): that of a Decimal rounds, and overflows.
            size: Any = value.copy_abs() if isinstance(value, Decimal) else abs(value)
            try:
                if not _SMALLEST_NUMBER <= size < _LARGEST_NUMBER:
                    return value
            except InvalidOperation:  # NaN
                return str(value)
            text = str(int(value))
            return value if self.text(text) == text else self.hashed(value)
        try:
            is_bytes = isinstance(value, bytes | bytearray)
            return self.text(value.decode("utf-8", "replace") if is_bytes else str(value))
        except Exception:
            # Its own code, which may do anything.
            return f"({type(value).__name__} that cannot be shown)"


def _dumped(value: Any, *, ensure_ascii: bool = True) -> str:
    try:
        return json.dumps(value, ensure_ascii=ensure_ascii, default=str)
    except (RecursionError, ValueError, TypeError):
        return json.dumps(f"({type(value).__name__} that cannot be shown)")


def _steps(path: str) -> JsonPath | None:
    """The steps of a path into a body; None where it is no such path, or cannot be read."""
    if not path.startswith("$"):
        return None
    try:
        return parse_path(path, ANY_LENGTH)
    except ValueError:
        return None


def _after(listed: Iterable[str], prefix: str, fold: Any) -> frozenset[str]:
    return frozenset(fold(each[len(prefix) :]) for each in listed if each.startswith(prefix))
