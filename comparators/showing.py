"""What differs between two answers, as it may be shown: with what only the whole bodies can tell.

A line of a text says nothing of the array it is in, of the element around it or of the column it
belongs to, nor does the value of `{"name": "password", "value": ...}`, nor what is somewhere inside
an element that is named a secret; the body, or the part, it stands in does.
The contents of two parts with different names are secret where those of either would be.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, TypeAlias

from comparators import content
from comparators.compare import MAX_PART_DEPTH, Content, content_of
from comparators.form import load_multipart, load_ndjson
from comparators.headers import first
from comparators.html import load_html
from comparators.json import Json, load_json
from comparators.model import Answer, Difference, Kind, ShownDifference
from comparators.naming import NO_COLUMNS, columns_below, columns_in, named_in
from comparators.paths import JsonPath, parse_path, render_step
from comparators.redaction import ANY_LENGTH, Redactor
from comparators.xml import Xml, load_xml

# The two names that each of the parts around something may have in paths.
Parts: TypeAlias = tuple[tuple[str, str], ...]

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
    bodies = Bodies(legacy, new)
    lines: dict[str, str] = {}
    for text in bodies.texts() if wanted else ():
        for line, shown in redactor.lines(text, wanted).items():
            # Which of the bodies is meant is not known.
            is_one = lines.setdefault(line, shown) == shown
            lines[line] = shown if is_one else redactor.hashed(line)
    names = _names_of_parts(listed)
    return [
        redactor.show(
            each,
            lines,
            hidden=_is_in_secret_part(each.path, names, redactor)
            or _is_hidden_by_body(each.path, bodies, redactor),
        )
        for each in listed
    ]


class Bodies:
    """Bodies as values, read when they are first asked for; of a multipart one, its parts."""

    def __init__(self, *answers: Answer) -> None:
        self._leaves = [leaf for answer in answers for leaf in _leaves(answer, ())]
        self._trees: dict[int, tuple[str, Any]] = {}
        # What they call secrets, by the identity of what says so: many places have it around them.
        # The same list may stand in two of them, in one as an item of another list.
        self._named: dict[tuple[int, bool], Collection[object]] = {}

    def texts(self) -> Iterator[str]:
        """Each of them as a text."""
        for _, answer in self._leaves:
            yield content_of(answer, content.TEXT).text or ""

    def trees(self, path: JsonPath) -> Iterator[tuple[str, Any, JsonPath]]:
        """The kinds and trees of what a place may be in, with its path there."""
        for number, (parts, answer) in enumerate(self._leaves):
            steps = path[: 2 * len(parts)]
            around = zip(steps[::2], steps[1::2], parts, strict=False)
            if len(steps) == 2 * len(parts) and all(
                part == "part" and name in names for part, name, names in around
            ):
                if number not in self._trees:
                    body = content_of(answer)
                    self._trees[number] = body.kind, _tree(body)
                yield *self._trees[number], path[len(steps) :]

    def names(self, tree: Any, steps: JsonPath) -> bool:
        """Whether something around a place in one of the trees says that it is a secret."""
        is_inner = False  # an item of a list
        columns = of_row = NO_COLUMNS  # of rows that the tree is, and of the row that it is
        for step in steps:
            if step in of_row:
                return True
            key = id(tree), is_inner
            if key not in self._named:
                self._named[key] = named_in(tree, is_inner)
            if step in self._named[key]:
                return True
            is_inner = isinstance(tree, list)
            if isinstance(tree, dict):
                of_row = NO_COLUMNS
                columns = columns_below(tree).get(str(step), NO_COLUMNS)
                tree = tree.get(step)
            elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
                of_row = columns or (columns_in(tree) if step else NO_COLUMNS)
                columns = NO_COLUMNS
                tree = tree[step]
            else:
                return False
        return bool(columns or of_row)  # a row as a whole, or all of them


def _leaves(answer: Answer, around: Parts) -> Iterator[tuple[Parts, Answer]]:
    """The answer, or its parts, each with what the parts that lead to it are called in paths."""
    content_type = first(answer.headers, "content-type")
    is_multipart = content_type.lstrip().lower().startswith("multipart/")
    parts = load_multipart(content_type, content_of(answer).data) if is_multipart else None
    if not isinstance(parts, list) or len(around) > MAX_PART_DEPTH:
        yield around, answer
        return
    for number, part in enumerate(parts):
        inside = Answer(answer.status, part.headers, part.body)
        yield from _leaves(inside, (*around, (part.name, str(number))))


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


def _is_hidden_by_body(path: str, bodies: Bodies, redactor: Redactor) -> bool:
    """Whether something around a place in a body says that what is there is a secret.

    Or it is a place in markup into which the rules cannot be followed.
    """
    if not path.startswith("$") or path == "$":
        return False
    try:
        steps = parse_path(path, ANY_LENGTH)
    except ValueError:
        return True
    read = [*bodies.trees(steps)]
    if any(bodies.names(tree, inside) for _, tree, inside in read):
        return True
    markup = [each for each in read if each[0] in (content.HTML, content.XML) and each[1]]
    is_content = len(markup) == len(read) > 0 and steps[-1] != "#order"
    return is_content and not any(
        redactor.leads_into(tree, (len(steps) - len(inside)) // 2, is_html=kind == content.HTML)
        for kind, tree, inside in markup
    )


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
