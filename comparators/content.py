"""Which comparator a content is for: by its type, or as the rules say."""

import re
from typing import Final

JSON: Final = "json"
NDJSON: Final = "ndjson"
XML: Final = "xml"
HTML: Final = "html"
TEXT: Final = "text"
FORM: Final = "form"
MULTIPART: Final = "multipart"
BINARY: Final = "binary"

_TYPES: Final = {
    "application/json": JSON,
    "text/json": JSON,
    "application/x-ndjson": NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
    "application/x-jsonlines": NDJSON,
    "application/json-seq": NDJSON,
    "application/xml": XML,
    "text/xml": XML,
    "text/html": HTML,
    "application/x-www-form-urlencoded": FORM,
    "application/javascript": TEXT,
    "application/graphql": TEXT,
    "application/yaml": TEXT,
    "application/toml": TEXT,
    "application/sql": TEXT,
}
_LOOKS_LIKE_JSON = re.compile(rb'\s*(?:[\[{"]|-?[0-9]+\s*$|true\s*$|false\s*$|null\s*$)')


def comparator_for(content_type: str, data: bytes) -> str:
    """The name of the comparator that fits. Without a type, what the content looks like."""
    kind = content_type.partition(";")[0].strip().lower()
    if not kind:
        return JSON if _LOOKS_LIKE_JSON.match(data[:256]) else _text_or_binary(data)
    known = _TYPES.get(kind)
    if known is not None:
        return known
    if kind.endswith("+json"):
        return JSON
    if kind.endswith("+xml"):
        return XML
    if kind.startswith("multipart/"):
        return MULTIPART
    return TEXT if kind.startswith("text/") else BINARY


def _text_or_binary(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return BINARY
    return BINARY if b"\0" in data else TEXT
