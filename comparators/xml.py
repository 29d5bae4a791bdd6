"""XML as a tree of elements, read without anything that a document could have fetched or grown.

Prefixes do not matter, namespaces do: an element of a namespace is `{uri}name`, and so is what an
attribute `xsi:type` names. Where the whole
document has only one namespace, it stands once under `#namespace` beside the root element, and
elements have their names alone. An entity that only a DTD elsewhere declares is an empty element
`&name;`. Comments and processing instructions do not count.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from xml.parsers import expat

from comparators.elements import Elements

SEPARATOR: Final = "\x1f"  # no XML name holds it

_SPACE: Final = f"http://www.w3.org/XML/1998/namespace{SEPARATOR}space"
_TYPE: Final = f"http://www.w3.org/2001/XMLSchema-instance{SEPARATOR}type"
_XHTML: Final = f"http://www.w3.org/1999/xhtml{SEPARATOR}"
_VERBATIM: Final = frozenset(_XHTML + name for name in ("pre", "textarea", "script", "style"))
_ELSEWHERE: Final = "an attribute refers to an entity that is declared elsewhere"
_TAG = re.compile(rb"""<(?:[^"'>]++|"[^"]*+"|'[^']*+')*+>""")
_REFERENCE = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);|#)")


@dataclass(frozen=True, slots=True)
class Xml:
    """A parsed document. `cut`: there is more in it than is looked at."""

    tree: dict[str, Any]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class NotXml:
    """Why a body is not XML, or is none that is read here."""

    reason: str


class _RefusedError(Exception):
    """Entities are declared, which can grow without bound or fetch, or cannot be told apart."""


def load_xml(text: str) -> Xml | NotXml:
    """The tree of a document. Never raises."""
    # What it declares of its encoding is done: this is text already.
    data = text.encode("utf-8", "surrogatepass")
    elements = Elements()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=SEPARATOR)
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    namespaces: set[str] = set()
    prefixes: dict[str | None, list[str]] = {}  # what each stands for, the innermost last
    has_doctype = False

    def end_doctype() -> None:
        nonlocal has_doctype
        has_doctype = True
        # It may say what attributes are where they are left out.
        if _REFERENCE.search(data, data.find(b"<!DOCTYPE"), parser.CurrentByteIndex):
            raise _RefusedError(_ELSEWHERE)

    def declare_prefix(prefix: str | None, uri: str | None) -> None:
        prefixes.setdefault(prefix, []).append(uri or "")

    def start(name: str, attributes: dict[str, str]) -> None:
        if has_doctype and _refers_in_a_tag(data, parser.CurrentByteIndex):
            raise _RefusedError(_ELSEWHERE)
        if _TYPE in attributes:
            attributes[_TYPE] = _qualified(attributes[_TYPE], prefixes)
        namespaces.add(name.rpartition(SEPARATOR)[0])
        space = attributes.get(_SPACE)
        verbatim = True if space == "preserve" or name in _VERBATIM else None
        elements.start(name, attributes, verbatim=False if space == "default" else verbatim)
        if elements.cut:
            # What follows is not looked at; the parser keeps each name that it tells.
            parser.StartElementHandler = parser.EndElementHandler = None

    def skip(name: str, is_of_the_dtd: bool) -> None:
        if not is_of_the_dtd:
            elements.start(f"&{name};", {}, is_void=True)

    def refuse(*_: object) -> int:
        raise _RefusedError("it declares entities, which are not expanded")

    parser.EndDoctypeDeclHandler = end_doctype
    parser.StartNamespaceDeclHandler = declare_prefix
    parser.EndNamespaceDeclHandler = lambda prefix: prefixes[prefix].pop()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: elements.end()
    parser.CharacterDataHandler = elements.text
    parser.SkippedEntityHandler = skip
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except _RefusedError as refused:
        return NotXml(str(refused))
    except (expat.ExpatError, ValueError, UnicodeError) as error:
        return NotXml(str(error))
    tree = _named(elements.finish(), len(namespaces) == 1)
    if len(namespaces) == 1 and namespaces != {""}:
        tree["#namespace"] = namespaces.pop()
    return Xml(tree, elements.cut)


def _qualified(name: str, prefixes: dict[str | None, list[str]]) -> str:
    """A name with its namespace, as it stands in the tree."""
    prefix, colon, local = name.strip().rpartition(":")
    uris = prefixes.get(prefix if colon else None)
    return f"{{{uris[-1]}}}{local}" if uris and uris[-1] else name


def _refers_in_a_tag(data: bytes, at: int) -> bool:
    """Whether an attribute of the tag there refers to what is not declared in the document.

    The parser leaves such a reference out, and tells of none.
    """
    tag = _TAG.match(data, at)
    return tag is not None and _REFERENCE.search(tag[0]) is not None


def _named(tree: dict[str, Any], one_namespace: bool) -> dict[str, Any]:
    """The tree with names as they stand in paths; without recursion, documents may be deep."""

    @cache  # a long namespace stands in many names
    def name_of(name: str) -> str:
        mark = "@" if name.startswith("@") else ""
        uri, separator, local = name.removeprefix(mark).rpartition(SEPARATOR)
        if not separator or (one_namespace and not mark):
            return mark + local
        return f"{mark}{{{uri}}}{local}"

    done: dict[str, Any] = {}
    stack: list[tuple[dict[str, Any], dict[str, Any]]] = [(tree, done)]
    while stack:
        source, target = stack.pop()
        for name, value in source.items():
            if name == "#order":
                target[name] = [name_of(each) for each in value]
            elif isinstance(value, list) and name != "#text":
                children: list[dict[str, Any]] = [{} for _ in value]
                target[name_of(name)] = children
                stack += zip(value, children, strict=True)
            else:
                target[name_of(name)] = value
    return done
