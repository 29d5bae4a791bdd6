"""How the elements of HTML nest where their tags do not say it, after the HTML standard (13.2.6).

End tags may be left out (`<li>a<li>b`), and some end nothing. Where tags overlap, browsers mend the
tree in ways that are not followed here: such places carry a mark, so that they are the same only as
others that overlap in the same way.

White space is what a page shows of it: one space between words and what stands in a line with them,
whichever elements it is in, and none at the edges of blocks.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final

from comparators.elements import Elements


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


UNCLOSED: Final = "#unclosed"  # the end tag is missing where that changes what follows

_VOID: Final = _set(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source "
    "track wbr"
)
_VERBATIM: Final = _set("iframe listing noembed noframes plaintext pre script style textarea xmp")
_FORMATTING: Final = _set("a b big code em font i nobr s small strike strong tt u")
_SPECIAL: Final = _set(
    "address applet article aside blockquote body button caption center colgroup dd details dir "
    "div dl dt fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header "
    "hgroup html iframe li listing main marquee menu nav noembed noframes noscript object ol p "
    "plaintext pre script search section select style summary table tbody td template textarea "
    "tfoot th thead title tr ul xmp foreignobject"
)
_CLOSE_A_PARAGRAPH: Final = _set(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr listing main menu nav ol p plaintext pre "
    "search section summary table ul xmp li dd dt"
)
_FOREIGN: Final = frozenset(("svg", "math"))

# What stands in a line like a word, and what is not shown. All other special ones are blocks.
_LIKE_A_WORD: Final = _FOREIGN | _set(
    "applet audio button canvas embed iframe img input marquee meter object progress select "
    "textarea video"
)
_NOT_SHOWN: Final = _set(
    "area base basefont bgsound link meta noembed noframes noscript param script source style "
    "template track wbr"
)
_BLOCKS: Final = (_SPECIAL - _LIKE_A_WORD - _NOT_SHOWN) | _set(
    "br col dialog frame hr legend optgroup option rp rt"
)
_MANY_SPACES: Final = re.compile("[ \t\n\f]+")

# The groups of which the innermost open element is known at any time, by their numbers.
_ANY_SPECIAL, _AROUND_ITEMS, _SCOPE, _BUTTON, _LIST, _TABLE, _SELECT, _OUTER, _INNER, _KEPT = range(
    10
)
_IN_SCOPE: Final = _set(
    "applet caption html table td th marquee object template svg math foreignobject"
)
_GROUPS: Final = (
    _SPECIAL,
    _SPECIAL - {"address", "div", "p", "li", "dd", "dt"},
    _IN_SCOPE,
    _IN_SCOPE | {"button"},
    _IN_SCOPE | {"ol", "ul", "menu", "dir"},
    frozenset(("table", "template", "html")),
    _IN_SCOPE | {"select", "datalist", "ruby"},
    _FOREIGN,
    frozenset(("foreignobject", "desc", "title", "annotation-xml")),  # in which it is HTML again
    _VERBATIM,
)
# Of which of them a name is; most are of none.
_GROUPS_OF: Final = {
    name: tuple(name in group for group in _GROUPS) for name in frozenset().union(*_GROUPS)
}

# What a start tag ends: the outermost of these inside the innermost of a group.
_CELLS: Final = ("td", "th")
_ROWS: Final = ("tr", *_CELLS, "caption", "colgroup")
_ROW_GROUPS: Final = ("tbody", "thead", "tfoot", *_ROWS)
_ENDS: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "li": (("li",), _AROUND_ITEMS),
    **dict.fromkeys(("dd", "dt"), (("dd", "dt"), _AROUND_ITEMS)),
    "option": (("option",), _SELECT),
    "optgroup": (("option", "optgroup"), _SELECT),
    **dict.fromkeys(("rt", "rp"), (("rt", "rp"), _SELECT)),
    **dict.fromkeys(_CELLS, (_CELLS, _TABLE)),
    "tr": (_ROWS, _TABLE),
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption", "colgroup"), (_ROW_GROUPS, _TABLE)),
    **dict.fromkeys(("body", "frameset"), (("head",), _TABLE)),
}
# Inside of which group an end tag looks for what it ends, where that is not _SCOPE.
_REACH: Final = {
    "p": _BUTTON,
    "li": _LIST,
    **dict.fromkeys((*_ROW_GROUPS, "option", "optgroup"), _TABLE),
}
_OUT_OF_ANY: Final = frozenset((*_IN_SCOPE, "body", "head")) - set(_REACH)


class HtmlTree:
    """Builds the tree from tags as they are written."""

    def __init__(self) -> None:
        self.elements = Elements(verbatim=True)
        # What is between the last word and the next one: a space or nothing; None before the first.
        self._gap: str | None = None
        self._names = [""]  # of what is open, the root's first
        self._places: dict[str, list[int]] = {}  # where they are in it, by name
        self._innermost: list[tuple[int, ...]] = [(0,) * len(_GROUPS)]  # of each group, by depth

    @property
    def in_foreign(self) -> bool:
        """Whether SVG or MathML stands here, which is written like XML."""
        innermost = self._innermost[-1]
        return innermost[_OUTER] > innermost[_INNER]

    def start(self, name: str, attributes: dict[str, Any], is_closed: bool) -> bool:
        """A start tag; whether what it begins is open now. `is_closed`: it ends with `/>`."""
        if not self.in_foreign:
            is_closed = False
            self._end_what_it_ends(name)
        is_void = is_closed or name in _VOID
        if name in _LIKE_A_WORD and not self.in_foreign:
            if self._gap:
                self.elements.text(self._gap)
            self._gap = "" if is_void else None
        elif name in _BLOCKS or self.in_foreign:
            self._gap = None
        self.elements.start(name, attributes, is_void=is_void)
        if is_void or self.elements.cut:
            return False
        at = len(self._names)
        self._names.append(name)
        self._places.setdefault(name, []).append(at)
        innermost = self._innermost[-1]
        if (groups := _GROUPS_OF.get(name)) is not None:
            innermost = tuple(
                at if is_of_it else of for is_of_it, of in zip(groups, innermost, strict=True)
            )
        self._innermost.append(innermost)
        return True

    def text(self, data: str) -> None:
        """A piece of text, its references undone."""
        if self._innermost[-1][_KEPT]:
            self.elements.text(data)
            return
        shown = _MANY_SPACES.sub(" ", data)
        if shown.startswith(" ") and self._gap == "":
            self._gap = " "
        words = shown.strip(" ")
        if words:
            self.elements.text((self._gap or "") + words)
            self._gap = " " if shown.endswith(" ") else ""

    def end(self, name: str) -> None:
        """An end tag."""
        innermost = self._innermost[-1]
        places = self._places.get(name)
        at = places[-1] if places else 0
        if at and name not in _OUT_OF_ANY and at < innermost[_REACH.get(name, _SCOPE)]:
            at = 0
        if not at:
            # Browsers take `</p>` and `</br>` for both tags.
            if name in ("p", "br") and self.start(name, {}, False):
                self._close(len(self._names) - 1)
        elif name in _SPECIAL or name in _FOREIGN or at > innermost[_ANY_SPECIAL]:
            self._close(at)
        elif name in _FORMATTING:
            self.elements.start(f"</{name}>", {}, is_void=True)

    def _end_what_it_ends(self, name: str) -> None:
        if name in _ENDS:
            names, group = _ENDS[name]
            self._close_outermost(names, self._innermost[-1][group])
        if name in _CLOSE_A_PARAGRAPH and self._places.get("p"):
            self._close_outermost(("p",), self._innermost[-1][_BUTTON])

    def _close_outermost(self, names: Iterable[str], inside: int) -> None:
        found = []
        for name in names:
            places = self._places.get(name, ())
            index = bisect_right(places, inside)
            if index < len(places):
                found.append(places[index])
        if found:
            self._close(min(found))

    def _close(self, at: int) -> None:
        """End the element at that depth, with all that is open inside it."""
        while len(self._names) > at:
            name = self._names.pop()
            self._places[name].pop()
            self._innermost.pop()
            if name in _FORMATTING and len(self._names) > at:
                self.elements.note(UNCLOSED, True)
            self.elements.end()
            if name in _LIKE_A_WORD and not self.in_foreign:
                self._gap = ""
            elif name in _BLOCKS or self.in_foreign:
                self._gap = None
