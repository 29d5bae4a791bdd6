"""What differs between two answers, as it may be shown: with what only the whole bodies can tell.

A line of a text says nothing of the array it is in, of the element around it or of the column it
belongs to; the body it stands in does. The contents of two parts with different names are secret
where those of either would be.
"""

import re
from collections.abc import Iterable
from typing import Final

from comparators import content
from comparators.compare import content_of
from comparators.model import Answer, Difference, Kind, ShownDifference
from comparators.paths import render_step
from comparators.redaction import Redactor

_LINE_PATH = re.compile(r"(?:^|\.)line\[\d+\]$")
_PART_NAME = re.compile(r"\$\.part\[(\d+)\]\.name")
_IN_PART: Final = re.compile(r"\$\.part(?:\.(\d+)|\['(\d+)'\])(?=[.\[])")


def show_all(
    differences: Iterable[Difference], legacy: Answer, new: Answer, redactor: Redactor
) -> list[ShownDifference]:
    """The differences of these answers, in their order."""
    listed = list(differences)
    wanted = {
        value
        for each in listed
        if _LINE_PATH.search(each.path)
        for value in (each.legacy, each.new)
        if isinstance(value, str)
    }
    lines: dict[str, str] = {}
    for answer in (legacy, new) if wanted else ():
        lines |= redactor.lines(content_of(answer, content.TEXT).text or "", wanted)
    names = _names_of_parts(listed)
    return [
        redactor.show(each, lines, hidden=_is_in_secret_part(each.path, names, redactor))
        for each in listed
    ]


def _names_of_parts(differences: list[Difference]) -> dict[str, tuple[str, str]]:
    """Both names of the parts that have two, by their number."""
    return {
        found[1]: (str(each.legacy), str(each.new))
        for each in differences
        if each.kind is Kind.VALUE and (found := _PART_NAME.fullmatch(each.path)) is not None
    }


def _is_in_secret_part(path: str, names: dict[str, tuple[str, str]], redactor: Redactor) -> bool:
    if not names or (found := _IN_PART.match(path)) is None:
        return False
    rest = path[found.end() :]
    both = names.get(found[1] or found[2], ())
    return any(redactor.is_secret(f"$.part{render_step(name)}{rest}") for name in both)
