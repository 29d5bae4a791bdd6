"""Forms, line-wise JSON and multipart bodies as values that the rules can speak of."""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from comparators.headers import parameters
from comparators.json import BOM, TOO_MUCH, NotJson, has_too_much, load_json

MAX_FIELDS: Final = 10_000
MAX_PARTS: Final = 1000
_FOLD = re.compile(rb"\r?\n[ \t]+")  # a line that goes on with the one before
_BREAK = re.compile(rb"\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a body is not what its type says."""

    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart body, its content still to be compared by its own type."""

    name: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def load_form(text: str) -> dict[str, Any] | Unreadable:
    """Fields by name: a value, or a list of them in their order."""
    try:
        # What is no UTF-8 is kept apart, not all taken for the same replacement.
        pairs = parse_qsl(
            text.strip(),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="surrogateescape",
        )
    except ValueError as error:
        return Unreadable(str(error))
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: each[0] if len(each) == 1 else each for name, each in fields.items()}


def load_ndjson(data: bytes) -> list[Any] | Unreadable:
    """The values of the lines, empty lines aside. They may begin with one byte order mark."""
    lines = _ndjson_lines(data.removeprefix(BOM))
    return lines if isinstance(lines, Unreadable) else [value for _, value in lines]


def has_too_many_lines(data: bytes) -> bool:
    """Whether there may be more in the lines than is looked at; each counts as a value."""
    return has_too_much(data.replace(b"\n", b","))


def ndjson_as_json(data: bytes) -> bytes | Unreadable:
    """The lines as the items of one JSON array, each of them JSON by itself."""
    lines = _ndjson_lines(data)
    if isinstance(lines, Unreadable):
        return lines
    return b"[" + b",".join(line for line, _ in lines) + b"]"


def _ndjson_lines(data: bytes) -> list[tuple[bytes, Any]] | Unreadable:
    """Each line that is not empty, with its value."""
    if has_too_many_lines(data):
        return Unreadable(TOO_MUCH)
    lines = []
    # A text of a JSON sequence begins with a record separator (RFC 7464), which no text holds.
    for number, line in enumerate(data.replace(b"\x1e", b"\n").split(b"\n"), start=1):
        if not line.strip():
            continue
        if line.startswith(BOM):
            return Unreadable(f"line {number}: a byte order mark inside the text")
        loaded = load_json(line)
        if isinstance(loaded, NotJson):
            return Unreadable(f"line {number}: {loaded.reason}")
        lines.append((line, loaded.value))
    return lines


def load_multipart(content_type: str, data: bytes) -> list[Part] | Unreadable:
    """The parts in their order; what the boundary is does not matter."""
    boundary = _parameter(content_type, "boundary")
    if not boundary:
        return Unreadable("its type names no boundary")
    mark = re.escape(boundary.rstrip().encode("latin-1", "replace"))
    # A line of its own: another boundary may begin with this one.
    delimiter = re.compile(rb"(?:^|\r?\n)--" + mark + rb"(--)?[ \t]*(?=\r?\n|$)")
    parts: list[Part] = []
    begin = -1
    for found in delimiter.finditer(data):
        if begin >= 0:
            head, body = _split(data[begin : found.start()])
            parts.append(_part(head, body, len(parts)))
        if found[1]:
            return parts
        if len(parts) >= MAX_PARTS:
            return Unreadable(f"more than {MAX_PARTS} parts")
        begin = found.end() + (2 if data[found.end() : found.end() + 1] == b"\r" else 1)
    if begin < 0:
        return Unreadable("its boundary does not occur")
    return Unreadable("its last boundary is missing")


def _split(content: bytes) -> tuple[bytes, bytes]:
    if content.startswith((b"\r\n", b"\n")):
        return b"", content.split(b"\n", 1)[1]
    found = _BLANK_LINE.search(content)
    return (content, b"") if found is None else (content[: found.start()], content[found.end() :])


def _part(head: bytes, body: bytes, number: int) -> Part:
    headers = []
    name = None
    for line in _BREAK.split(_FOLD.sub(b" ", head)):
        key, colon, value = line.decode("latin-1").partition(":")
        if colon:
            headers.append((key.strip(), value.strip()))
        if key.strip().lower() == "content-disposition":
            name = _parameter(value, "name")
    return Part(str(number) if name is None else name, tuple(headers), body)


def _parameter(value: str, wanted: str) -> str | None:
    return next((text for name, text in parameters(value) if name == wanted), None)
