"""One divergence in the terminal: legacy on the left, new on the right.

First what is known of the pair and the table of its differences, then the recorded bodies line by
line, JSON laid out so that each line has its path. A mark between the sides says what a line is,
so that nothing is lost without colours; where it is narrow, new stands below legacy.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from proxy.cli.divergences import moment, status
from proxy.observe import figures
from proxy.observe.plain import plain

NARROW: Final = 70
CONTEXT_LINES: Final = 3
MAX_LINES: Final = 3000  # of a body: beyond, aligning them takes too long
INDENT: Final = "  "


class Line(NamedTuple):
    """One line of a body, and the path of the value that it begins or ends (JSON only)."""

    text: str
    path: str | None = None


class Row(NamedTuple):
    """Two lines side by side. `mark` is of MARKS."""

    legacy: Line | None
    new: Line | None
    mark: str


# How a line differs: the mark, and the styles of legacy's and new's line.
MARKS: Final = {
    " ": ("", ""),  # equal
    "|": ("red", "green"),  # differs
    "<": ("red", "green"),  # only legacy has it
    ">": ("red", "green"),  # only new has it
    "~": ("yellow", "yellow"),  # differs, and noise explains it
    ".": ("dim", "dim"),  # differs, and the rules allow it
}


def side_by_side(
    divergence: Mapping[str, Any], width: int, now: datetime
) -> Iterator[RenderableType]:
    """What `GET /api/v1/divergences/{id}` answered, for a terminal of this width."""
    yield _head(divergence, now)
    yield _facts(divergence)
    yield _differences(divergence["differences"])
    yield from _bodies(divergence, width)


def _head(divergence: Mapping[str, Any], now: datetime) -> Text:
    text = Text()
    text.append(f"{plain(divergence['method'])} {plain(divergence['target'])}\n", "bold")
    facts = {
        "id": divergence["id"],
        "when": moment(divergence["at"], now),
        "route": f"{divergence['route']}, {divergence['phase']}",
        "result": divergence["result"]
        + (", explained by noise" if divergence["result"] == "noise" else ""),
        "trace": divergence["trace_id"],
        "with": divergence["comparator"],
        "note": divergence["detail"],
    }
    for name, value in facts.items():
        if value:
            text.append(f"{name:<8}", "dim")
            text.append(f"{plain(value)}\n")
    if divergence["truncated"]:
        text.append("A bound was reached: there may be more differences than these.\n", "yellow")
    return text


def _facts(divergence: Mapping[str, Any]) -> Table:
    legacy, new = divergence["legacy"], divergence["new"]
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("")
    table.add_column("legacy", overflow="fold")
    table.add_column("new", overflow="fold")
    differs = status(legacy) != status(new)
    table.add_row(
        "status",
        Text(status(legacy), "red" if differs else ""),
        Text(status(new), "green" if differs else ""),
    )
    table.add_row("ms", figures.milliseconds(legacy["ms"]), figures.milliseconds(new["ms"]))
    return table


def _differences(differences: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("Differing", overflow="fold", ratio=3)
    table.add_column("legacy", overflow="fold", ratio=3)
    table.add_column("new", overflow="fold", ratio=3)
    for each in differences:
        mark = "~" if each["noise"] else _mark_of(each)
        legacy, new = MARKS[mark]
        note = " (noise)" if each["noise"] else ""
        table.add_row(
            mark,
            Text(f"{plain(each['path'])} {plain(each['kind'])}{note}", "yellow" if note else ""),
            Text(_value(each["legacy"]), legacy),
            Text(_value(each["new"]), new),
        )
    return table


def _mark_of(difference: Mapping[str, Any]) -> str:
    if difference["new"] is None and difference["legacy"] is not None:
        return "<"
    if difference["legacy"] is None and difference["new"] is not None:
        return ">"
    return "|"


def _value(text: str | None) -> str:
    return figures.NONE if text is None else plain(text)


def _bodies(divergence: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    answers = divergence["legacy_answer"], divergence["new_answer"]
    bodies = [None if each is None else each["body"] for each in answers]
    if bodies == [None, None]:
        yield Text("The bodies were not recorded.", "dim")
        return
    for side, body in zip(("legacy", "new"), bodies, strict=True):
        if body is None:
            yield Text(f"The body of {side} was not recorded.", "dim")
    legacy, new = (lines_of(body or "") for body in bodies)
    if max(len(legacy), len(new)) > MAX_LINES:
        yield Text("The bodies are too long to be shown side by side; --json has them.", "dim")
        return
    rows = shortened(aligned(legacy, new, divergence["differences"]))
    if width < NARROW:
        yield from _below_each_other(rows)
    else:
        yield _beside_each_other(rows)


def _beside_each_other(rows: Sequence[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, expand=True)
    table.add_column("legacy", overflow="fold", ratio=1)
    table.add_column("", no_wrap=True)
    table.add_column("new", overflow="fold", ratio=1)
    for row in rows:
        table.add_row(_shown(row.legacy, row.mark, 0), row.mark, _shown(row.new, row.mark, 1))
    return table


def _below_each_other(rows: Sequence[Row]) -> Iterator[Text]:
    yield Text("- legacy, + new", "dim")
    for row in rows:
        if row.mark == " ":
            yield Text.assemble("  ", _shown(row.legacy, row.mark, 0))
            continue
        for sign, line, side in (("-", row.legacy, 0), ("+", row.new, 1)):
            if line is not None:
                note = f" {row.mark}" if row.mark in "~." else ""
                yield Text.assemble(f"{sign} ", _shown(line, row.mark, side), note)


def _shown(line: Line | None, mark: str, side: int) -> Text:
    return Text(plain(line.text), MARKS[mark][side]) if line is not None else Text("")


def aligned(
    legacy: Sequence[Line], new: Sequence[Line], differences: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """The lines of both, equal ones beside each other."""
    counted = [each["path"] for each in differences if not each["noise"]]
    noise = [each["path"] for each in differences if each["noise"]]
    by_path = any(path.startswith("$") for path in counted + noise)
    rows = []
    matcher = SequenceMatcher(None, [_bare(x) for x in legacy], [_bare(x) for x in new], False)
    for tag, from_, to, new_from, new_to in matcher.get_opcodes():
        left, right = legacy[from_:to], new[new_from:new_to]
        for at in range(max(len(left), len(right))):
            one = left[at] if at < len(left) else None
            other = right[at] if at < len(right) else None
            mark = " "
            if tag != "equal":
                mark = "<" if other is None else ">" if one is None else "|"
                paths = {line.path for line in (one, other) if line is not None and line.path}
                if by_path and paths and not _touch(paths, counted):
                    mark = "~" if _touch(paths, noise) else "."
            rows.append(Row(one, other, mark))
    return rows


def _bare(line: Line) -> str:
    # A comma more or less at the end of a line is no difference of that line.
    return line.text.rstrip(",") if line.path else line.text


def _touch(paths: set[str], places: Sequence[str]) -> bool:
    return any(
        path == place
        or path.startswith((place + ".", place + "["))
        or place.startswith((path + ".", path + "["))
        for path in paths
        for place in places
    )


def shortened(rows: Sequence[Row]) -> list[Row]:
    """The rows that differ with some around them; what is left out is counted."""
    near: set[int] = set()
    for at, row in enumerate(rows):
        if row.mark != " ":
            near.update(range(at - CONTEXT_LINES, at + CONTEXT_LINES + 1))
    kept, left_out = [], 0
    for at, row in enumerate(rows):
        if at in near:
            kept += _gap(left_out)
            kept.append(row)
            left_out = 0
        else:
            left_out += 1
    return kept + _gap(left_out)


def _gap(count: int) -> list[Row]:
    if not count:
        return []
    line = Line(f"... {count} equal line{'s' if count > 1 else ''}")
    return [Row(line, line, " ")]


def lines_of(body: str) -> list[Line]:
    """The lines of a body: JSON laid out with the path of each line, else as they are."""
    try:
        return list(_json_lines(json.loads(body, parse_float=_Written, parse_int=_Written)))
    except (ValueError, RecursionError):
        return [Line(text) for text in body.splitlines()]


class _Written(str):
    """A number as it was written: 1.0 stays 1.0, and 2^60 what it was."""

    __slots__ = ()


def _json_lines(value: Any, path: str = "$", lead: str = "", end: str = "") -> Iterator[Line]:
    """`lead` is what stands before the value on its first line, `end` the comma behind it."""
    indent = lead[: len(lead) - len(lead.lstrip())]
    if isinstance(value, dict) and value:
        yield Line(f"{lead}{{", path)
        for number, (name, item) in enumerate(value.items(), start=1):
            comma = "," if number < len(value) else ""
            key = f"{indent}{INDENT}{json.dumps(name, ensure_ascii=False)}: "
            yield from _json_lines(item, path + _step(name), key, comma)
        yield Line(f"{indent}}}{end}", path)
    elif isinstance(value, list) and value:
        yield Line(f"{lead}[", path)
        for number, item in enumerate(value):
            comma = "," if number < len(value) - 1 else ""
            yield from _json_lines(item, f"{path}[{number}]", indent + INDENT, comma)
        yield Line(f"{indent}]{end}", path)
    else:
        plainly = isinstance(value, _Written)
        text = value if plainly else json.dumps(value, ensure_ascii=False)
        yield Line(f"{lead}{text}{end}", path)


def _step(name: str) -> str:
    """A key as it stands in a path."""
    if re.fullmatch(r"\w[\w-]*", name):
        return f".{name}"
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"
