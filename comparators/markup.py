"""Secrets in XML and HTML as text: elements and attributes that a secret name stands on.

The text is taken apart leniently, as HTML has to be, and put together again unchanged but for the
secrets. What is nested inside an element of a secret name is secret with it; so is the value of
a field or of a `meta` whose name is (`<input name="csrf_token" value="...">`).
"""

import re
from collections.abc import Callable, Iterable
from html import escape
from typing import Final, TypeAlias

from comparators.html import unescaped
from comparators.naming import (
    INLINE,
    NAMING,
    NOTHING,
    hints_at_a_secret,
    names_a_secret,
    names_next,
)
from comparators.numbers import is_number, is_piece
from comparators.secrets import is_secret_name

Shown: TypeAlias = Callable[[str], str]

# What never closes goes on to the end.
_TOKEN = re.compile(
    r"(?P<comment><!--(?:.*?-->|.*))|(?P<cdata><!\[CDATA\[(?:.*?\]\]>|.*))"
    r"|</(?P<end>[A-Za-z_][^\s>/]*+)[^>]*+>?"
    r"|<(?P<start>[A-Za-z_][^\s>/]*+)(?P<rest>(?:[^\"'>]|\"[^\"]*+\"|'[^']*+'|[\"'])*?)(?P<close>>|\Z)"
    r"|(?P<text>[^<]++|<)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(
    r"""(?<![^\s"'/])(?P<name>[^\s"'=<>/]++)(?P<is>\s*+=\s*+)
        (?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s"'<>]++))""",
    re.VERBOSE,
)
_NAMED: Final = frozenset(("value", "content"))
_VALUE = re.compile(r"(?<![\w-])(?i:value)\s*+=\s*+[\"']?(?P<value>[^\"'\s>]{1,20})")
_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta")
)


def redact_markup(text: str, hashed: Shown, shown: Shown, meant: Shown) -> str:
    """The text with `hashed` for what is secret by a name, and `shown` for all other text.

    `meant` is for what a piece of text, or an attribute, says once its references, CDATA and
    comments are undone: where it finds a secret, what it makes of it stands there instead.
    """
    made: list[str] = []
    inside: list[str] = []  # the elements that are open, from the outermost secret one on
    plain: list[str] = []  # what is not secret by a name is looked at as a whole
    run: list[re.Match[str]] = []  # what stands between two tags
    around = _Around()
    tokens = list(_TOKEN.finditer(text))
    split = _split_numbers(tokens)
    # The element that has just begun; and what precedes, as `names_next` takes it.
    opened, preceding = "", NOTHING

    def flush() -> None:
        if plain:
            made.append(shown("".join(plain)))
            plain.clear()

    def hide(whole: str) -> None:
        begin = len(whole) - len(whole.lstrip())
        plain.append(whole[:begin])
        flush()
        made.append(hashed(whole.strip()))
        plain.append(whole[begin + len(whole.strip()) :])

    def end_run() -> str:
        said = "".join(map(_said, run)).strip()
        is_piece = any(each.start() in split for each in run)
        if said and (
            is_piece or inside or around.is_hinted or names_next(*preceding, "#text", said)
        ):
            hide("".join(each[0] for each in run))
        else:
            plain.append(_run(run, meant))
        run.clear()
        return said

    for found in tokens:
        if not (found["start"] or found["end"]):
            run.append(found)
            continue
        if said := end_run():
            preceding = "#text", said
        elif opened:
            preceding = NOTHING
        name = (found["start"] or found["end"]).lower()
        if found["end"]:
            plain.append(found[0])
            preceding = (_local(name), said) if opened == _local(name) else NOTHING
            opened = ""
            around.end(name)
            if name in inside:
                while inside.pop() != name:
                    pass
            continue
        is_next = names_next(*preceding, _local(name))
        is_hidden = bool(inside) or is_next or found.start() in split
        tag, names_secret, is_hint = _tag(found, is_hidden, hashed, meant)
        plain.append(tag)
        if name in ("br", "wbr"):
            continue
        opened = _local(name)
        if name not in _VOID and not found["rest"].endswith("/") and found["close"] == ">":
            around.begin(name, is_hint)
            if inside or names_secret or is_next:
                inside.append(name)
    end_run()
    flush()
    return "".join(made)


def _split_numbers(tokens: Iterable[re.Match[str]]) -> set[int]:
    """Where texts, and fields, begin that are one number of a card together."""
    found: set[int] = set()
    pieces: list[tuple[int, str]] = []

    def end() -> None:
        if is_number([piece for _, piece in pieces]):
            found.update(begin for begin, _ in pieces)
        pieces.clear()

    for token in tokens:
        name = (token["start"] or token["end"] or "").lower()
        if not name:
            if is_piece(said := _said(token).strip()):
                pieces.append((token.start(), said))
            elif said:
                end()
        elif name not in INLINE:
            end()
        elif name == "input":
            values = _VALUE.search(token["rest"])
            if values is not None and is_piece(values["value"]):
                pieces.append((token.start(), values["value"]))
            else:
                end()
    end()
    return found


class _Around:
    """The elements that are open, and whether the innermost one hints at its text."""

    def __init__(self) -> None:
        self._open: list[tuple[str, bool]] = []
        self._count: dict[str, int] = {}

    @property
    def is_hinted(self) -> bool:
        return bool(self._open) and self._open[-1][1]

    def begin(self, name: str, is_hint: bool) -> None:
        self._open.append((name, is_hint))
        self._count[name] = self._count.get(name, 0) + 1

    def end(self, name: str) -> None:
        """It ends, with all in it that has not."""
        while self._count.get(name):
            last = self._open.pop()[0]
            self._count[last] -= 1
            if last == name:
                return


def _run(run: list[re.Match[str]], meant: Shown) -> str:
    """What stands between two tags, as it may be shown."""
    text = "".join(each[0] for each in run)
    if "&" not in text and len(run) < 2:
        return text  # it says what it is
    said = "".join(map(_said, run))
    made = meant(said)
    return text if made == said else escape(made, quote=False)


def _said(found: re.Match[str]) -> str:
    if found["comment"]:
        return ""
    if found["cdata"]:
        return found[0].removeprefix("<![CDATA[").removesuffix("]]>")
    return unescaped(found[0])


def _tag(found: re.Match[str], hidden: bool, hashed: Shown, meant: Shown) -> tuple[str, bool, bool]:
    """The tag as it may be shown, whether what is inside it is secret, or its own text may be."""
    attributes: dict[str, object] = {}
    for each in _ATTRIBUTE.finditer(found["rest"]):
        attributes[each["name"].lower()] = unescaped(each[each.lastgroup or 0])
    is_secret = is_secret_name(_local(found["start"]))
    names_secret = names_a_secret(attributes)
    is_hint = hints_at_a_secret(attributes)

    def attribute(each: re.Match[str]) -> str:
        name = each["name"].lower()
        value = each[each.lastgroup or 0]
        if not (
            hidden
            or is_secret
            or (name not in NAMING and is_secret_name(_local(name)))
            or ((names_secret or is_hint) and name in _NAMED)
        ):
            said = unescaped(value)
            if said == value or (made := meant(said)) == said:
                return each[0]
            return f'{each["name"]}{each["is"]}"{escape(made)}"'
        return f'{each["name"]}{each["is"]}"{hashed(value)}"'

    rest = _ATTRIBUTE.sub(attribute, found["rest"]) if attributes else found["rest"]
    is_input = found["start"].lower() == "input"
    tag = f"<{found['start']}{rest}{found['close']}"
    return tag, is_secret or (names_secret and not is_input), is_hint


def _local(name: str) -> str:
    return name.rpartition(":")[2]
