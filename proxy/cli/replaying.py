"""Recorded pairs of answers, read one after the other: what `banyan compare --replay` replays.

(1) An export of the store: JSON lines. (2) Two HAR files (http://www.softwareishard.com/blog/
har-12-spec/), legacy's and new's: the n-th answer to a request in one belongs to the n-th in the
other. (3) Two folders of bodies: files of the same name belong together. Only one pair is held at a
time; a HAR file, which cannot be read in pieces, is limited in size.
"""

import base64
import binascii
import mimetypes
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from comparators.model import Answer
from comparators.redaction import NESTED_DEEPER
from proxy.admin.divergences import WholeDivergence
from proxy.core.divergences import Divergence, RecordedAnswer

MAX_LINE_BYTES: Final = 64 << 20
MAX_HAR_BYTES: Final = 256 << 20
MAX_FILE_BYTES: Final = 64 << 20

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)


class ReplayError(Exception):
    """What is to be replayed cannot be read; the text says where and why, in one paragraph."""


class Pair(msgspec.Struct, frozen=True):
    """Two answers, or why there are not two; and what was found when they were recorded."""

    name: str  # the id of the divergence, the request, or the file
    method: str
    target: str
    host: str = ""
    route: str | None = None  # None: as it is routed
    legacy: Answer | None = None
    new: Answer | None = None
    missing: str = ""  # why an answer is not there
    recorded: Divergence | None = None


def read_pairs(first: Path, second: Path | None) -> Iterator[Pair]:
    """The pairs in a file or a folder, or in two of them. Raises ReplayError."""
    try:
        if first.is_dir() or (second is not None and second.is_dir()):
            if second is None or not (first.is_dir() and second.is_dir()):
                raise ReplayError(
                    f"{first} is a folder: a second one with the answers of new belongs to it."
                )
            yield from _folders(first, second)
        elif second is not None:
            yield from _har_files(first, second)
        elif first.suffix.lower() == ".har":
            raise ReplayError(
                f"{first} holds the answers of one side: a second HAR file with those of new "
                "belongs to it."
            )
        else:
            yield from _export(first)
    except OSError as error:
        where = error.filename or first
        raise ReplayError(f"{where} cannot be read: {error.strerror}.") from None


def _export(path: Path) -> Iterator[Pair]:
    decode = msgspec.json.Decoder(WholeDivergence).decode
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if not line.strip():
                continue
            if len(line) >= MAX_LINE_BYTES:
                raise ReplayError(f"{path}:{number}: the line is longer than 64 MiB.")
            try:
                yield _recorded_pair(decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise ReplayError(
                    f"{path}:{number}: this line is no divergence as banyan divergences --export "
                    f"writes it: {error}."
                ) from None


def _recorded_pair(found: WholeDivergence) -> Pair:
    fields = msgspec.structs.asdict(found)
    recorded = Divergence(**{**fields, "at": found.at.timestamp()})
    missing = ""
    if not found.legacy.status or not found.new.status:
        missing = "a side gave no answer"
    elif found.legacy_answer is None or found.new_answer is None:
        missing = "the answers were not recorded"
    elif found.legacy_answer.body is None or found.new_answer.body is None:
        missing = "a body was not recorded"
    elif NESTED_DEEPER in found.legacy_answer.body or NESTED_DEEPER in found.new_answer.body:
        missing = "a body is nested too deep to be recorded whole"
    return Pair(
        name=found.id,
        method=found.method,
        target=found.target,
        route=found.route,
        legacy=None if missing else _answer(found.legacy_answer),
        new=None if missing else _answer(found.new_answer),
        missing=missing,
        recorded=recorded,
    )


def _answer(recorded: RecordedAnswer | None) -> Answer | None:
    if recorded is None:
        return None
    body = _in_its_charset(recorded.headers, recorded.body or "")
    return Answer(recorded.status, _decoded(recorded.headers), body)


def _decoded(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers of an answer whose content coding has been undone."""
    return tuple(each for each in headers if each[0].lower() != "content-encoding")


def _in_its_charset(headers: tuple[tuple[str, str], ...], text: str) -> bytes:
    """The text as bytes that say again what it says, by the headers."""
    types = [value for name, value in headers if name.lower() == "content-type"]
    charset = _CHARSET.search(types[0]) if types else None
    try:
        return text.encode(charset[1] if charset else "utf-8")
    except (LookupError, UnicodeError):
        return text.encode("utf-8", "replace")


class _Named(msgspec.Struct, frozen=True):
    name: str
    value: str


class _HarContent(msgspec.Struct, frozen=True):
    text: str | None = None
    encoding: str | None = None


class _HarResponse(msgspec.Struct, frozen=True):
    status: int
    headers: list[_Named] = []
    content: _HarContent = _HarContent()


class _HarRequest(msgspec.Struct, frozen=True):
    method: str
    url: str


class _HarEntry(msgspec.Struct, frozen=True):
    request: _HarRequest
    response: _HarResponse


class _HarLog(msgspec.Struct, frozen=True):
    entries: list[_HarEntry]


class _Har(msgspec.Struct, frozen=True):
    log: _HarLog


def _har_files(first: Path, second: Path) -> Iterator[Pair]:
    waiting: dict[tuple[str, str], deque[_HarEntry]] = defaultdict(deque)
    for entry in _har(second):
        waiting[_asked(entry)].append(entry)
    for entry in _har(first):
        asked = _asked(entry)
        others = waiting.get(asked)
        yield _har_pair(first, entry, others.popleft() if others else None)
    for asked, others in waiting.items():
        for _ in others:
            yield Pair(" ".join(asked), *asked, missing=f"{first.name} has no answer to it")


def _har(path: Path) -> list[_HarEntry]:
    if path.stat().st_size > MAX_HAR_BYTES:
        raise ReplayError(f"{path} is larger than 256 MiB; several smaller ones can be replayed.")
    text = path.read_bytes()
    try:
        return msgspec.json.decode(text, type=_Har).log.entries
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path}{_line_of(text, error)} is no HAR file: {error}.") from None


def _line_of(text: bytes, error: Exception) -> str:
    """`:LINE`, where the error says at which byte it is."""
    found = re.search(r"byte (\d+)", str(error))
    if found is None:
        return ""
    lines_before = text.count(b"\n", 0, int(found[1]))
    return f":{lines_before + 1}"


def _asked(entry: _HarEntry) -> tuple[str, str]:
    """Method and target: the two sides have different hosts."""
    try:
        parts = urlsplit(entry.request.url)
    except ValueError:
        return entry.request.method, entry.request.url
    return entry.request.method, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _har_pair(path: Path, legacy: _HarEntry, new: _HarEntry | None) -> Pair:
    method, target = _asked(legacy)
    try:
        host = urlsplit(legacy.request.url).netloc
    except ValueError:
        host = ""
    pair = Pair(f"{method} {target}", method, target, host)
    if new is None:
        return msgspec.structs.replace(pair, missing="the other file has no answer to it")
    if not legacy.response.status or not new.response.status:
        return msgspec.structs.replace(pair, missing="a side gave no answer")
    return msgspec.structs.replace(
        pair, legacy=_har_answer(path, pair.name, legacy), new=_har_answer(path, pair.name, new)
    )


def _har_answer(path: Path, name: str, entry: _HarEntry) -> Answer:
    response = entry.response
    headers = tuple((each.name, each.value) for each in response.headers)
    text = response.content.text or ""
    if (response.content.encoding or "").lower() == "base64":
        try:
            body = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ReplayError(f"{path}: the body of {name} is no base64.") from None
    else:
        body = _in_its_charset(headers, text)
    return Answer(response.status, _decoded(headers), body)


def _folders(first: Path, second: Path) -> Iterator[Pair]:
    names = sorted({*_files(first), *_files(second)})
    for name in names:
        paths = first / name, second / name
        pair = Pair(name, "GET", f"/{name}")
        absent = [str(path) for path in paths if not path.is_file()]
        large = [str(path) for path in paths if not absent and path.stat().st_size > MAX_FILE_BYTES]
        if absent or large:
            why = "one side lacks the file" if absent else "a file is larger than 64 MiB"
            yield msgspec.structs.replace(pair, missing=why)
            continue
        kind = mimetypes.guess_type(name)[0]
        headers = (("content-type", kind),) if kind else ()
        legacy, new = (Answer(200, headers, path.read_bytes()) for path in paths)
        yield msgspec.structs.replace(pair, legacy=legacy, new=new)


def _files(folder: Path) -> Iterator[str]:
    return (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
