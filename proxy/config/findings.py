"""What is wrong or unwise in a configuration file: one Finding a line, and the table of codes.

Rules: a finding says where (file, line, column, key path), what is legal and a way out. An error
refuses the file, a warning does not. A finding is one line of printable text, whatever the file
holds. The severity of a code is decided here and nowhere else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

# Findings of one code beyond this many are counted in a last line, not listed.
LISTED_PER_CODE = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong (error) or unwise (warning). Lines and columns count from 1."""

    file: str
    line: int
    column: int
    severity: Severity
    code: str
    key_path: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity} {self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the file, counted from 1."""

    line: int = 1
    column: int = 1


# code: (severity, what it means and the way out). `docs/configuration.md` lists the same codes.
CODES: dict[str, tuple[Severity, str]] = {}


def finding(code: str, file: str, position: Position, key_path: str, text: str) -> Finding:
    """A finding with the severity of its code, its text made printable and one line."""
    return Finding(
        file=one_line(file),
        line=position.line,
        column=position.column,
        severity=CODES[code][0],
        code=code,
        key_path=one_line(key_path),
        text=one_line(text),
    )


def bounded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of the file, errors and warnings mixed, at most LISTED_PER_CODE of a code."""
    kept: list[Finding] = []
    seen: dict[str, int] = {}
    last: dict[str, Finding] = {}
    for each in sorted(findings, key=lambda f: (f.line, f.column, f.code, f.key_path)):
        count = seen[each.code] = seen.get(each.code, 0) + 1
        if count <= LISTED_PER_CODE:
            kept.append(each)
        last[each.code] = each
    for code, count in seen.items():
        if count > LISTED_PER_CODE:
            rest = count - LISTED_PER_CODE
            at = last[code]
            kept.append(
                finding(code, at.file, Position(at.line, at.column), "", f"and {rest} more like it")
            )
    return tuple(kept)


def one_line(text: str) -> str:
    """The text with every character that could break a line or a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
