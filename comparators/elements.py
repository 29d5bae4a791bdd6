"""Markup as the trees that JSONPaths speak of.

An element is an object: its attributes under `@name`, the elements inside it under their names as
arrays, its text under `#text` (an array where it is broken up by elements), and under `#order` the
names of what it holds in their order, where that is more than one thing. So
`$.order[0].item[2].@id` and `$.order[0].note[0].#text` are paths, and nothing of the document is
lost but what never matters: the order of attributes, and how much white space there is.
"""

from typing import Any, Final

MAX_ELEMENTS: Final = 100_000


class Elements:
    """Builds such a tree from the events of a parser."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self.cut = False  # there are more elements than are looked at
        self._open: list[tuple[str, dict[str, Any]]] = [("", self.root)]
        self._pending: list[str] = []
        self._count = 0

    @property
    def inside(self) -> str:
        """The name of the element that is open."""
        return self._open[-1][0]

    def start(self, name: str, attributes: dict[str, Any], *, is_void: bool = False) -> None:
        """An element begins."""
        self._end_text()
        self._count += 1
        if self._count > MAX_ELEMENTS:
            self.cut = True
            return
        element: dict[str, Any] = {f"@{key}": value for key, value in attributes.items()}
        self._add(name, element)
        if not is_void:
            self._open.append((name, element))

    def end(self, name: str) -> None:
        """The innermost element of that name ends, with all that is open inside it."""
        self._end_text()
        for at in range(len(self._open) - 1, 0, -1):
            if self._open[at][0] == name:
                while len(self._open) > at:
                    _finish(self._open.pop()[1])
                return

    def text(self, data: str) -> None:
        """A piece of text."""
        if not self.cut:
            self._pending.append(data)

    def finish(self) -> dict[str, Any]:
        """The whole tree."""
        self._end_text()
        while self._open:
            _finish(self._open.pop()[1])
        return self.root

    def _end_text(self) -> None:
        if self._pending:
            text, self._pending = "".join(self._pending), []
            if text.strip():
                self._add("#text", text)

    def _add(self, name: str, value: Any) -> None:
        inside = self._open[-1][1]
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
