"""Values to which a list of names before them gives the name of a secret: columns of tables.

Comma-separated values, tables drawn with `|` (Markdown, psql, mysql) or aligned by blanks, and
`INSERT INTO t (id, password) VALUES (...)`. A line of names is one of names alone.
"""

import re
from collections.abc import Iterator
from typing import Final

from comparators.secrets import Span
from comparators.spoken import IsNamed

_FIELD = re.compile(r"(?P<field>\"(?:[^\"]|\"\")*+\"|[^,;\t\r\n\"]*+)(?P<ends>[,;\t]|\r?\n|$)")
_SEPARATOR = re.compile(r"[,;\t]")
_NAME = re.compile(r"[\w .$-]+")
_MAX_COLUMNS: Final = 1000
_LINE = re.compile(r"[^\r\n]+")
_RULE = re.compile(r"[-+:|=\s]*")
_CELL_NAME = re.compile(r"[\s*_`]*(?P<name>[\w .$-]{0,60}?)[\s*_`]*")
_WORDS = re.compile(r"\S++(?: \S++)*+")
_ALIGNED_NAME = re.compile(r"[\w./()%-]{1,30}(?: [\w./()%-]{1,30}){0,3}")
_INSERTED = re.compile(r"\((?P<names>[^()]{1,8000})\)\s*(?i:values)\s*(?=\()")
_ITEM = re.compile(
    r"\s*+(?P<item>(?:'(?:[^'\\]|''|\\.)*+(?:'|\Z)|\"(?:[^\"\\]|\"\"|\\.)*+(?:\"|\Z)"
    r"|\((?:[^()'\"]|'[^']*+'|\([^()]*+\))*+\)?|[^,()'\"])*+)(?P<ends>[,)]|\Z)",
    re.DOTALL,
)
_NEXT_ROW = re.compile(r"\s*,\s*(?=\()")


def column_spans(text: str, is_named: IsNamed) -> Iterator[Span]:
    """Where such values stand in a text, in no order; some may overlap or be empty."""
    if "\n" in text:
        yield from _separated(text, is_named)
        yield from _drawn(text, is_named)
        yield from _aligned(text, is_named)
    if "(" in text:
        yield from _inserted(text, is_named)


def _separated(text: str, is_named: IsNamed) -> Iterator[Span]:
    """The fields below a name in the first line that is not empty."""
    begin = len(text) - len(text.lstrip())
    end = text.find("\n", begin)
    names = [each.strip(" \r\"'") for each in _SEPARATOR.split(text[begin:end], _MAX_COLUMNS)]
    hidden = {column for column, name in enumerate(names) if is_named(name)}
    if end < 0 or len(names) < 2 or not hidden or not all(map(_NAME.fullmatch, names)):
        return
    column, at = 0, end + 1
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None:
            # A quote that closes nothing: what the field is, is not known, nor what follows.
            yield at, len(text)
            break
        begin, end = found.span("field")
        if column in hidden and text[begin:end].strip():
            yield begin, end
        column = column + 1 if found["ends"] in (",", ";", "\t") else 0
        at = found.end()


def _drawn(text: str, is_named: IsNamed) -> Iterator[Span]:
    """The cells below a name in the first of some lines that are divided by `|`."""
    hidden: set[int] | None = None  # None: the next line with cells is that of the names
    for line in _LINE.finditer(text) if "|" in text else ():
        if _RULE.fullmatch(line[0]):
            continue
        if "|" not in line[0]:
            hidden = None
            continue
        cells = _cells(text, *line.span())
        if hidden is None:
            names = [_CELL_NAME.fullmatch(text, *cell) for cell in cells]
            hidden = {at for at, name in enumerate(names) if name and is_named(name["name"])}
            if not all(names):
                hidden = set()
            continue
        yield from (_bare(text, *cells[at]) for at in hidden if at < len(cells))


def _cells(text: str, begin: int, end: int) -> list[Span]:
    cells = []
    while begin <= end:
        at = text.find("|", begin, end)
        cells.append((begin, at if at >= 0 else end))
        begin = cells[-1][1] + 1
    return cells


def _aligned(text: str, is_named: IsNamed) -> Iterator[Span]:
    """What stands below a name in lines whose words are kept apart by several blanks."""
    columns: list[Span] | None = None  # None: the next line is that of the names
    end = 0
    for line in _LINE.finditer(text):
        if text.count("\n", end, line.start()) > 1 or not line[0].strip():
            columns = None
        end = line.end()
        if columns is None:
            columns = _columns_of(line[0], is_named)
            continue
        for found in _WORDS.finditer(line[0]) if columns else ():
            if any(begin < found.end() and found.start() < to for begin, to in columns):
                yield line.start() + found.start(), line.start() + found.end()


def _columns_of(line: str, is_named: IsNamed) -> list[Span]:
    """From where to where the columns go that have the name of a secret."""
    if "  " not in line.strip():
        return []
    names = list(_WORDS.finditer(line))
    if len(names) < 2 or not all(_ALIGNED_NAME.fullmatch(name[0]) for name in names):
        return []
    ends = [*(name.start() for name in names[1:]), len(line) + 200]
    return [(name.start(), end) for name, end in zip(names, ends, strict=True) if is_named(name[0])]


def _inserted(text: str, is_named: IsNamed) -> Iterator[Span]:
    at = 0
    while (found := _INSERTED.search(text, at)) is not None:
        at = found.end()
        names = [each.strip(" \t\r\n\"`'[]") for each in found["names"].split(",")]
        hidden = {number for number, name in enumerate(names) if is_named(name)}
        while hidden and text.startswith("(", at):
            column, ends = 0, ","
            while ends == "," and (item := _ITEM.match(text, at + 1)) is not None:
                if column in hidden:
                    yield _bare(text, *item.span("item"))
                column, ends, at = column + 1, item["ends"], item.end("item")
            at += len(ends)
            if following := _NEXT_ROW.match(text, at):
                at = following.end()


def _bare(text: str, begin: int, end: int) -> Span:
    """Without the blanks and the quotes around it."""
    piece = text[begin:end]
    begin, end = begin + len(piece) - len(piece.lstrip()), begin + len(piece.rstrip())
    if end - begin > 1 and text[begin] == text[end - 1] and text[begin] in "\"'":
        return begin + 1, end - 1
    return begin, max(begin, end)
