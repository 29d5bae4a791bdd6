"""HTML as a tree of elements, as forgiving as the documents are."""

from html.parser import HTMLParser
from typing import Any, Final

from comparators.elements import Elements

_VOID: Final = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
        *("track", "wbr"),
    )
)
_VERBATIM: Final = frozenset(("pre", "textarea", "script", "style"))


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements = Elements(_VERBATIM)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes: dict[str, Any] = {}
        for name, value in attrs:
            # The first one of a name counts; classes are a set.
            shown = " ".join(sorted(value.split())) if name == "class" and value else value
            attributes.setdefault(name, shown)
        self.elements.start(tag, attributes, is_void=tag in _VOID)

    def handle_endtag(self, tag: str) -> None:
        self.elements.end(tag)

    def handle_data(self, data: str) -> None:
        self.elements.text(data)

    def handle_decl(self, decl: str) -> None:
        self.elements.root.setdefault("!", decl.lower())


def load_html(text: str) -> tuple[dict[str, Any], bool]:
    """The tree of a document, and whether more is in it than is looked at."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    return parser.elements.finish(), parser.elements.cut
