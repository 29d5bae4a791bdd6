"""HTML as a tree of elements, as forgiving as the documents are.

It is taken apart after the HTML standard (13.2.5), in linear time and without an error for any
text. Comments, and what browsers take for comments (`<?php`), do not count.
"""

import hashlib
import re
from html import unescape
from html.entities import html5
from typing import Any, Final

from comparators.nesting import UNCLOSED, HtmlTree

_MARKUP = re.compile(r"<(?:(?P<slash>/?)(?P<name>[A-Za-z][^ \t\n\f/>]*+)(?P<end>>?)|(?=[/!?]))")
# What is quoted and never closed goes on to the end.
_ATTRIBUTE = re.compile(
    r"""[ \t\n\f/]*+(?P<name>[^ \t\n\f/>][^ \t\n\f/>=]*+)
        (?:[ \t\n\f]*+=[ \t\n\f]*+
           (?:"(?P<double>[^"]*+)"?|'(?P<single>[^']*+)'?|(?P<bare>[^ \t\n\f>]*+)))?""",
    re.VERBOSE,
)
_TAG_END = re.compile(r"[ \t\n\f/]*+>")
_COMMENT_END = re.compile(r"--!?>")
_DOCTYPE = re.compile(r"<!doctype", re.IGNORECASE)
# References in a text are undone by `unescape`, whose numbers have to be bounded first.
_LEADING_ZEROS = re.compile(r"&#0++(?=[0-9])")
_BEYOND_UNICODE = re.compile(r"&#[0-9]{8,}+;?")
# In an attribute, `&copy=1` and `&copyleft` are of a query.
_REFERENCE = re.compile(
    r"&(?:#[0-9]++;?|#[xX][0-9a-fA-F]++;?|([A-Za-z][A-Za-z0-9]*+(?:;|(?![=A-Za-z0-9]))))"
)
_CLASSES = re.compile(r"[^ \t\n\f]+")

_RAW: Final = frozenset(("iframe", "noembed", "noframes", "script", "style", "xmp"))
_RAW_WITH_REFERENCES: Final = frozenset(("textarea", "title"))
_RAW_ENDS: Final = {
    name: re.compile(rf"</{name}(?=[ \t\n\f/>])", re.IGNORECASE)
    for name in (*_RAW, *_RAW_WITH_REFERENCES)
}
_DROP_A_LINE_END: Final = frozenset(("listing", "pre", "textarea"))


def load_html(text: str) -> tuple[dict[str, Any], bool]:
    """The tree of a document, and whether more is in it than is looked at. Never raises."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    reader = _Reader(text)
    reader.read()
    return reader.tree.elements.finish(), reader.tree.elements.cut


class _Reader:
    def __init__(self, text: str) -> None:
        self.tree = HtmlTree()
        self._text = text
        self._at = 0

    def read(self) -> None:
        text, elements = self._text, self.tree.elements
        while not elements.cut:
            found = _MARKUP.search(text, self._at)
            begin = len(text) if found is None else found.start()
            if begin > self._at:
                self.tree.text(unescaped(text[self._at : begin]))
            if found is None:
                return
            self._at = begin
            if found["name"] is None:
                self._no_tag()
            else:
                self._tag(found)

    def _no_tag(self) -> None:
        """A comment, a declaration, or what browsers take for a comment."""
        text, at = self._text, self._at
        if text.startswith("<!--", at):
            self._comment()
        elif text.startswith("<![CDATA[", at) and self.tree.in_foreign:
            end = text.find("]]>", at)
            self.tree.text(text[at + 9 : end if end >= 0 else len(text)])
            self._go_on(end, 3)
        else:
            end = text.find(">", at)
            if _DOCTYPE.match(text, at) and end >= 0:
                declared = " ".join(text[at + 2 : end].lower().split())
                self.tree.elements.root.setdefault("!", declared)
            self._go_on(end, 1)

    def _comment(self) -> None:
        for empty in ("<!-->", "<!--->"):
            if self._text.startswith(empty, self._at):
                self._at += len(empty)
                return
        found = _COMMENT_END.search(self._text, self._at + 4)
        self._go_on(-1 if found is None else found.end(), 0)

    def _go_on(self, end: int, length: int) -> None:
        """Go on behind what was found at `end`; -1: it never ends.

        Browsers drop such a rest, but of a document that is cut off it is what tells where. It is
        told by its hash: of half a tag nobody could say what in it is a secret.
        """
        if end < 0:
            rest = self._text[self._at :].encode("utf-8", "surrogatepass")
            digest = hashlib.sha256(rest).hexdigest()[:16]
            self.tree.elements.root["#rest"] = f"{len(rest)} bytes, sha256 {digest}"
            end = len(self._text)
        self._at = end + length

    def _tag(self, found: re.Match[str]) -> None:
        name = found["name"].lower()
        attributes: dict[str, Any] = {}
        is_closed = False  # it ends with `/>`
        if found["end"]:
            self._at = found.end()
        else:
            at = self._attributes(found.end(), attributes)
            end = _TAG_END.match(self._text, at)
            self._go_on(-1 if end is None else end.end(), 0)
            if end is None:
                return
            is_closed = end[0].endswith("/>")
        if found["slash"]:
            self.tree.end(name)
            return
        in_foreign = self.tree.in_foreign
        if self.tree.start(name, attributes, is_closed) and not in_foreign:
            self._raw(name)

    def _raw(self, name: str) -> None:
        """What is no markup though it looks like it: the content of some elements."""
        text = self._text
        if name in _DROP_A_LINE_END and text.startswith("\n", self._at):
            self._at += 1
        if name == "plaintext":
            self.tree.text(text[self._at :])
            self._at = len(text)
        elif name in _RAW_ENDS:
            found = _RAW_ENDS[name].search(text, self._at)
            end = len(text) if found is None else found.start()
            inside = text[self._at : end]
            self.tree.text(inside if name in _RAW else unescaped(inside))
            self._at = end
            if found is None:
                self.tree.elements.note(UNCLOSED, True)

    def _attributes(self, at: int, attributes: dict[str, Any]) -> int:
        """Add the attributes that stand there; the place behind them."""
        text = self._text
        while (found := _ATTRIBUTE.match(text, at)) is not None:
            at = found.end()
            name, *values = found.groups()
            value = next((each for each in values if each is not None), "")
            if "&" in value:
                value = _REFERENCE.sub(_meant, value)
            name = name.lower()
            if name == "class":  # a set
                value = " ".join(sorted(set(_CLASSES.findall(value))))
            attributes.setdefault(name, value)  # the first one of a name counts
        return at


def unescaped(text: str) -> str:
    """A text with its references undone."""
    if "&" not in text:
        return text
    if "&#" in text:
        text = _BEYOND_UNICODE.sub("\ufffd", _LEADING_ZEROS.sub("&#", text))
    return unescape(text)


def _meant(reference: re.Match[str]) -> str:
    name = reference[1]
    return unescaped(reference[0]) if name is None else html5.get(name, reference[0])
