"""The report: tables for people, JSON for the rest."""

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.figures import Bar, Section


def render(section: Section) -> str:
    """A section as aligned plain text."""
    lines = ["", section.title, "-" * len(section.title)]
    lines += align([section.header, *section.rows])
    lines += [f"  {note}" for note in section.notes]
    lines += [f"  {bar}" for bar in section.bars]
    return "\n".join(lines)


def align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """First column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def render_outcome(bars: Sequence[Bar]) -> str:
    """The last lines: how many bars there were, and which fail."""
    failed = [bar for bar in bars if not bar.passed]
    counted = [bar for bar in bars if bar.bound is not None]
    lines = ["", f"{len(counted) - len(failed)} of {len(counted)} bars pass."]
    lines += [f"  {bar}" for bar in failed]
    return "\n".join(lines)


def as_json(facts: dict[str, str], sections: Sequence[Section]) -> dict[str, object]:
    """Everything that was measured, the single rounds included."""
    return {
        "facts": facts,
        "sections": [
            {
                "title": section.title,
                "header": section.header,
                "rows": section.rows,
                "notes": section.notes,
                "bars": [{**asdict(bar), "passed": bar.passed} for bar in section.bars],
                "rounds": section.raw,
            }
            for section in sections
        ],
        "passed": all(bar.passed for section in sections for bar in section.bars),
    }
