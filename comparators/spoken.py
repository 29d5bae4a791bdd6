"""Values that stand behind the name of a secret with no sign that says so: in what people write.

`your password is hunter2`, `--password hunter2`, `Password -> hunter2`, `/sessions/f81d4fae7dec`,
`machine x login y password z`, the section `[secrets]` of settings. Words follow such names all the
time (`password is required`), so what follows is only taken for a value where it is quoted, or no
word: where it has a digit in it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from comparators.secrets import HASHED, Span

IsNamed: TypeAlias = Callable[[str], bool]

_QUOTES: Final = "\"'`\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
_BETWEEN: Final = r"[^\w\r\n,;.{}$]"
_OF_VALUE: Final = rf"[^\s{_QUOTES}<>,;(){{}}\[\]|/&?#=]"
_VERBS: Final = (
    r"(?:for \S{1,60} (?:is|was)|(?:is|was|has been) (?:set|changed|reset) (?:to|from)|changed to"
    r"|is now|is|was|are|were|set to|ist|lautet|war|est|es|eq|equals|[0578])"
)
_BEHIND = re.compile(
    rf"(?<![\w$])(?P<name>[^\W\d_][\w-]{{1,60}}+)(?P<gap>{_BETWEEN}{{1,16}}+)"
    rf"(?P<verb>{_VERBS}{_BETWEEN}{{1,6}}+)?"
    rf"(?P<value>(?<=[{_QUOTES}])[^{_QUOTES}\r\n]{{1,200}}+"
    rf"|(?={_OF_VALUE}{{0,60}}[0-9!@$%^*~+]){_OF_VALUE}{{4,200}}+)"
)
_BEFORE = re.compile(
    r"(?<![\w-])(?P<value>(?=[\w-]{0,30}[0-9])[\w-]{4,40}) (?:is|as) your "
    r"(?P<name>\w{2,20}(?: \w{2,20}){0,3})"
)
_OPTION = re.compile(r"(?<!\S)--?(?P<name>[A-Za-z][\w-]{1,60}+)[ \t]+(?P<value>[^\s-]\S*+)")
# https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html
_NETRC = re.compile(
    r"\b(?:machine\s+\S{1,200}|default)\s+(?:(?:login|user|account)\s+\S{1,200}\s+){0,3}"
    r"password\s+(?P<value>\S+)"
)
_IDENTIFIED = re.compile(
    r"(?i:\bidentified\s+(?:with\s+\S{1,60}\s+)?(?:by|as)\s+)'(?P<value>[^'\r\n]+)"
)
_SECTION = re.compile(r"^[ \t]*\[+(?P<name>[^\]\r\n]{1,80})\]+[ \t]*\r?$", re.MULTILINE)
_SETTING = re.compile(r"^[^=:\r\n]{1,80}[=:][ \t]*(?P<value>\S[^\r\n]*)", re.MULTILINE)

_WORD_BEFORE = re.compile(r"[A-Za-z]{2,20} \Z")
# The last words of names of two.
_SECOND_WORDS: Final = frozenset(
    (
        *("key", "keys", "code", "codes", "id", "number", "no", "card", "string", "answer"),
        *("license", "phrase", "word", "passe", "fiscale", "url", "link"),
    )
)
# What goes under these may be digits alone.
_OF_DIGITS: Final = frozenset(("pin", "otp", "totp", "cvv", "cvc", "passcode", "code", "codes"))
_LETTER = re.compile(r"[^\W\d_]")
_SHORTEST: Final = 6
_SHORTEST_OF_PATH: Final = 8


def is_named_at(text: str, begin: int, name: str, is_named: IsNamed) -> bool:
    """Whether a name there is that of a secret, alone or with the word before it."""
    if is_named(name):
        return True
    if name.lower() in _SECOND_WORDS and text[begin - 1 : begin] == " ":
        before = _WORD_BEFORE.search(text, max(begin - 22, 0), begin)
        return before is not None and is_named(before[0] + name)
    return False


def spoken_spans(text: str, is_named: IsNamed) -> Iterator[Span]:
    """Where such values stand in a text, in no order; some may overlap."""
    yield from _behind(text, is_named)
    if "-" in text:
        for found in _OPTION.finditer(text):
            if is_named(found["name"]):
                yield found.span("value")
    if " your " in text:
        for found in _BEFORE.finditer(text):
            if is_named(found["name"]):
                yield found.span("value")
    if "password" in text:
        yield from (found.span("value") for found in _NETRC.finditer(text))
    if "'" in text:
        yield from (found.span("value") for found in _IDENTIFIED.finditer(text))
    if "[" in text and "\n" in text:
        yield from _sections(text, is_named)


def _behind(text: str, is_named: IsNamed) -> Iterator[Span]:
    at = 0
    while (found := _BEHIND.search(text, at)) is not None:
        at = found.end("name")
        if _is_value(text, found) and is_named_at(text, found.start(), found["name"], is_named):
            begin, end = found.span("value")
            while end > begin + 1 and text[end - 1] in ".:!*~_":
                end -= 1
            yield begin, end
            at = end


def _is_value(text: str, found: re.Match[str]) -> bool:
    value, gap, verb = found["value"], found["gap"], found["verb"]
    if HASHED.match(value) or gap in ('">', "'>"):
        return False  # of attributes and what stands behind them others know more
    opened = text[found.start("value") - 1]
    if opened in _QUOTES:
        # One right behind the name closes it; `Unexpected token '}'` is what parsers say.
        opens = verb is not None or (len(gap) > 1 and gap[-2] != opened)
        return opens and text[found.start() - 11 : found.start() - 1].lower() != "unexpected"
    if not _LETTER.search(value):
        return verb is not None or (found["name"].lower() in _OF_DIGITS and gap.isspace())
    if verb is None and not any(map(str.isdigit, value)):
        return False
    return verb is not None or len(value) >= (_SHORTEST_OF_PATH if gap == "/" else _SHORTEST)


def _sections(text: str, is_named: IsNamed) -> Iterator[Span]:
    """The values of settings below a heading with the name of a secret."""
    headings = [*_SECTION.finditer(text)]
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    for heading, end in zip(headings, ends, strict=False):
        if is_named(heading["name"]):
            for found in _SETTING.finditer(text, heading.end(), end):
                yield found.span("value")
