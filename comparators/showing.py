"""What differs between two answers, as it may be shown: with what only the whole bodies can tell.

A line of a text says nothing of the array it is in, of the element around it or of the column it
belongs to, nor does the value of `{"name": "password", "value": ...}`; the body it stands in does.
The contents of two parts with different names are secret where those of either would be.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from comparators import content
from comparators.compare import Content, content_of
from comparators.form import load_ndjson
from comparators.html import load_html
from comparators.json import Json, load_json
from comparators.model import Answer, Difference, Kind, ShownDifference
from comparators.paths import JsonPath, parse_path, render_step
from comparators.redaction import ANY_LENGTH, Redactor
from comparators.xml import Xml, load_xml

_LINE_PATH = re.compile(r"(?:^|\.)line\[\d+\]$")
_PART_NAME = re.compile(r"\$\.part\[(\d+)\]\.name")
_NAMED_PLACE = re.compile(r"(?:\.value|\['(?:@value|@content|#text)'\])(?:\[\d+\])?$")
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
    trees = Trees(legacy, new)
    return [
        redactor.show(
            each,
            lines,
            hidden=_is_in_secret_part(each.path, names, redactor)
            or _is_named_beside(each.path, trees, redactor),
        )
        for each in listed
    ]


class Trees:
    """Both bodies as values, read when they are first asked for."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers
        self._read: list[Any] | None = None

    def around(self, path: JsonPath) -> Iterator[Any]:
        """What stands around a place in each of the bodies, if there is one."""
        if self._read is None:
            self._read = [_tree(content_of(answer)) for answer in self._answers]
        for value in self._read:
            for step in path[:-1]:
                if isinstance(value, dict):
                    value = value.get(step)
                elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                    value = value[step]
                else:
                    value = None
            yield value


def _tree(body: Content) -> Any:
    if body.text is None:
        return None
    match body.kind:
        case content.JSON:
            loaded = load_json(body.data)
            return loaded.value if isinstance(loaded, Json) else None
        case content.NDJSON:
            lines = load_ndjson(body.data)
            return lines if isinstance(lines, list) else None
        case content.XML:
            read = load_xml(body.text)
            return read.tree if isinstance(read, Xml) else None
        case content.HTML:
            return load_html(body.text)[0]
    return None


def _is_named_beside(path: str, trees: Trees, redactor: Redactor) -> bool:
    if _NAMED_PLACE.search(path) is None:
        return False
    try:
        steps = parse_path(path, ANY_LENGTH)
    except ValueError:
        return True
    key = next((step for step in reversed(steps) if isinstance(step, str)), "")
    place = steps[: len(steps) - steps[::-1].index(key)]
    return any(redactor.is_named_inside(around, key) for around in trees.around(place))


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
