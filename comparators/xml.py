"""XML as a tree of elements, read without anything that a document could have fetched or grown.

Prefixes do not matter, namespaces do: an element of a namespace is `{uri}name`, but where the whole
document has only one namespace the name alone. Comments and processing instructions do not count.
"""

from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat

from comparators.elements import Elements

SEPARATOR: Final = "\x1f"  # no XML name holds it


@dataclass(frozen=True, slots=True)
class Xml:
    """A parsed document. `cut`: it has more elements than are looked at."""

    tree: dict[str, Any]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class NotXml:
    """Why a body is not XML, or is none that is read here."""

    reason: str


class _RefusedError(Exception):
    """The document declares entities: they can grow without bound, or fetch."""


def load_xml(text: str) -> Xml | NotXml:
    """The tree of a document. Never raises."""
    elements = Elements()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=SEPARATOR)
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    namespaces: set[str] = set()

    def start(name: str, attributes: dict[str, str]) -> None:
        uri, _, _ = name.rpartition(SEPARATOR)
        namespaces.add(uri)
        elements.start(name, attributes)

    def refuse(*_: object) -> int:
        raise _RefusedError

    parser.StartElementHandler = start
    parser.EndElementHandler = elements.end
    parser.CharacterDataHandler = elements.text
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        # What it declares of its encoding is done: this is text already.
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except _RefusedError:
        return NotXml("it declares entities, which are not expanded")
    except (expat.ExpatError, ValueError, UnicodeError) as error:
        return NotXml(str(error))
    tree = elements.finish()
    one_namespace = len(namespaces) == 1
    return Xml(_named(tree, one_namespace), elements.cut)


def _named(tree: dict[str, Any], one_namespace: bool) -> dict[str, Any]:
    """The tree with names as they stand in paths; without recursion, documents may be deep."""

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
