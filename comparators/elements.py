"""Markup as the trees that JSONPaths speak of.

An element is an object: its attributes under `@name`, the elements inside it under their names as
arrays, its text under `#text` (an array where it is broken up by elements), and under `#order` the
names of what it holds in their order, where that is more than one thing. So
`$.order[0].item[2].@id` and `$.order[0].note[0].#text` are paths, and nothing of the document is
lost but what never matters: the order of attributes, and how much white space there is.
"""

import re
from typing import Any, Final

MAX_ELEMENTS: Final = 100_000
MAX_DEPTH: Final = 500
# A DTD gives attributes to elements that have none, and a namespace its length to every name: a
# few kilobytes come to gigabytes.
MAX_ATTRIBUTES: Final = 400_000
MAX_NAME_CHARACTERS: Final = 16 << 20  # in all names and attributes, with their namespaces

# What markup calls white space. A no-break space and those of other scripts are characters.
_SPACES: Final = " \t\n\f\r"
_MANY_SPACES: Final = re.compile(f"[{_SPACES}]+")


class Elements:
    """Builds such a tree from the events of a parser.

    `verbatim`: white space is kept as it comes, but in elements that say otherwise.
    """

    def __init__(self, *, verbatim: bool = False) -> None:
        self.root: dict[str, Any] = {}
        self.cut = False  # there is more, or it nests deeper, than is looked at
        # What is open: each with whether its white space is kept as it is.
        self._open: list[tuple[dict[str, Any], bool]] = [(self.root, verbatim)]
        self._pending: list[str] = []
        self._count = 0
        self._attributes = 0
        self._characters = 0

    def start(
        self,
        name: str,
        attributes: dict[str, str],
        *,
        is_void: bool = False,
        verbatim: bool | None = None,
    ) -> None:
        """An element begins. `verbatim`: whether its white space counts; None as around it."""
        self._end_text()
        self._count += 1
        self._attributes += len(attributes)
        self._characters += len(name)
        for key, value in attributes.items():
            self._characters += len(key) + len(value)
        if (
            self._count > MAX_ELEMENTS
            or len(self._open) > MAX_DEPTH
            or self._attributes > MAX_ATTRIBUTES
            or self._characters > MAX_NAME_CHARACTERS
        ):
            self.cut = True
        if self.cut:
            return
        element: dict[str, Any] = {f"@{key}": value for key, value in attributes.items()}
        self._add(name, element)
        if not is_void:
            self._open.append((element, self._open[-1][1] if verbatim is None else verbatim))

    def end(self) -> None:
        """The innermost element ends."""
        self._end_text()
        if not self.cut:
            _finish(self._open.pop()[0])

    def text(self, data: str) -> None:
        """A piece of text."""
        if not self.cut:
            self._pending.append(data)

    def note(self, name: str, value: Any) -> None:
        """Something else of the innermost element that counts."""
        self._open[-1][0][name] = value

    def finish(self) -> dict[str, Any]:
        """The whole tree."""
        self._end_text()
        while self._open:
            _finish(self._open.pop()[0])
        return self.root

    def _end_text(self) -> None:
        if not self._pending:
            return
        text, self._pending = "".join(self._pending), []
        if not self._open[-1][1]:
            text = _MANY_SPACES.sub(" ", text).strip(" ")
        if text:
            self._add("#text", text)

    def _add(self, name: str, value: Any) -> None:
        inside = self._open[-1][0]
        inside.setdefault(name, []).append(value)
        inside.setdefault("#order", []).append(name)


def _finish(element: dict[str, Any]) -> None:
    """What has only one thing in it, or one text, needs no order."""
    order = element.get("#order", [])
    if len(order) <= 1:
        element.pop("#order", None)
    texts = element.get("#text")
    if texts is not None and len(texts) == 1:
        element["#text"] = texts[0]
