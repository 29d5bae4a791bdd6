"""Recorded pairs of answers, read one after the other: what `banyan compare --replay` replays.

(1) An export of the store: JSON lines. (2) Two HAR files (http://www.softwareishard.com/blog/
har-12-spec/), legacy's and new's: the n-th answer to a request in one belongs to the n-th in the
other. (3) Two folders of bodies: files of the same name belong together. Only one pair is held at a
time; a HAR file, which cannot be read in pieces, is limited in size.
"""

import base64
import binascii
import codecs
import mimetypes
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from comparators.model import Answer
from proxy.admin.divergences import WholeDivergence
from proxy.core.divergences import Divergence, SideRecord
from proxy.core.paths import canonical_path
from proxy.observe.recording import answer_of, in_its_charset, why_not_again, without_coding

MAX_LINE_BYTES: Final = 64 << 20
MAX_HAR_BYTES: Final = 256 << 20
MAX_FILE_BYTES: Final = 64 << 20

_BOM_BYTES: Final = 4  # the longest byte order mark: it is no part of a text

# Method, host and target of a request to legacy: the target that new gets in its place.
NewTarget = Callable[[str, str, str], str]


class ReplayError(Exception):
    """What is to be replayed cannot be read; the text says where and why, in one paragraph."""


class Pair(msgspec.Struct, frozen=True):
    """Two answers, or why they cannot be compared; and what was found when they were recorded.

    A side that gave no answer has one of status 0. Where a side failed, no body is of use.
    """

    name: str  # the id of the divergence, the request, or the file
    method: str
    target: str
    host: str = ""
    route: str | None = None  # None: as it is routed
    legacy: Answer | None = None
    new: Answer | None = None
    missing: str = ""  # why the answers are not there
    recorded: Divergence | None = None


def failed(answer: Answer) -> bool:
    """Whether a side gave no usable answer: none at all, or a 5xx."""
    return not answer.status or answer.status >= 500


def read_pairs(first: Path, second: Path | None, new_target: NewTarget) -> Iterator[Pair]:
    """The pairs in a file or a folder, or in two of them. Raises ReplayError."""
    try:
        if first.is_dir() or (second is not None and second.is_dir()):
            if second is None or not (first.is_dir() and second.is_dir()):
                raise ReplayError(
                    f"{first} is a folder: a second one with the answers of new belongs to it."
                )
            yield from _folders(first, second)
        elif second is not None:
            yield from _har_files(first, second, new_target)
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
            line = line.removeprefix(codecs.BOM_UTF8)
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
    sides = _outcome(found.legacy), _outcome(found.new)
    if any(map(failed, sides)):
        return _of_export(found, recorded, *sides)
    legacy, new = found.legacy_answer, found.new_answer
    missing = why_not_again(legacy, new)
    if missing or legacy is None or new is None:
        return _of_export(found, recorded, None, None, missing)
    return _of_export(found, recorded, answer_of(legacy), answer_of(new))


def _of_export(
    found: WholeDivergence,
    recorded: Divergence,
    legacy: Answer | None,
    new: Answer | None,
    missing: str = "",
) -> Pair:
    return Pair(
        found.id, found.method, found.target, "", found.route, legacy, new, missing, recorded
    )


def _outcome(side: SideRecord) -> Answer:
    """What came of a side, without headers and body."""
    return Answer(0 if side.failure else side.status)


class _Named(msgspec.Struct, frozen=True):
    name: str
    value: str


class _HarContent(msgspec.Struct, frozen=True):
    text: str | None = None
    encoding: str | None = None
    size: int | float | None = None  # of the body, its codings undone; -1: not known


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


def _har_files(first: Path, second: Path, new_target: NewTarget) -> Iterator[Pair]:
    waiting: dict[tuple[str, str], deque[_HarEntry]] = defaultdict(deque)
    for entry in _har(second):
        waiting[_asked(entry)].append(entry)
    for entry in _har(first):
        method, target = _asked(entry)
        pair = Pair(f"{method} {target}", method, target, _host(entry))
        # What a client recorded before a proxy that rewrites has the same target on both sides.
        rewritten = new_target(method, pair.host, target)
        others = waiting.get((method, rewritten)) or waiting.get((method, target))
        if others:
            yield _har_pair(pair, (first, entry), (second, others.popleft()))
        else:
            yield msgspec.structs.replace(pair, missing="the other file has no answer to it")
    for asked, others in waiting.items():
        for _ in others:
            yield Pair(" ".join(asked), *asked, missing=f"{first.name} has no answer to it")


def _har(path: Path) -> list[_HarEntry]:
    if path.stat().st_size > MAX_HAR_BYTES:
        raise ReplayError(f"{path} is larger than 256 MiB; several smaller ones can be replayed.")
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
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
    """Method and target, in the form that a proxy passes on: the two sides have different hosts."""
    try:
        parts = urlsplit(entry.request.url)
    except ValueError:
        return entry.request.method, entry.request.url
    path = parts.path or "/"
    canonical = canonical_path(path)
    query = f"?{parts.query}" if parts.query else ""
    return entry.request.method, (canonical if isinstance(canonical, str) else path) + query


def _host(entry: _HarEntry) -> str:
    try:
        return urlsplit(entry.request.url).netloc
    except ValueError:
        return ""


def _har_pair(pair: Pair, legacy: tuple[Path, _HarEntry], new: tuple[Path, _HarEntry]) -> Pair:
    sides = [Answer(entry.response.status) for _, entry in (legacy, new)]
    if not any(map(failed, sides)):
        sides = [_har_answer(path, pair.name, entry) for path, entry in (legacy, new)]
        for answer, (_, entry) in zip(sides, (legacy, new), strict=True):
            if missing := _lacks(pair.method, entry.response, answer.body):
                return msgspec.structs.replace(pair, missing=missing)
    return msgspec.structs.replace(pair, legacy=sides[0], new=sides[1])


def _lacks(method: str, response: _HarResponse, body: bytes) -> str:
    """What of the body an answer had, or may have had, is not in the file; empty if nothing."""
    content = response.content
    if method == "HEAD" or response.status in (204, 304) or content.size == 0:
        return ""
    size = content.size or 0
    if content.text is None or (not body and size > 0):
        return "a body was not recorded"
    return "a body was not recorded whole" if len(body) + _BOM_BYTES < size else ""


def _har_answer(path: Path, name: str, entry: _HarEntry) -> Answer:
    response = entry.response
    # Some exporters join the values of one name by line breaks; no value holds one.
    headers = tuple(
        (each.name, value.strip()) for each in response.headers for value in each.value.split("\n")
    )
    text = response.content.text or ""
    if (response.content.encoding or "").lower() == "base64":
        try:
            body = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ReplayError(f"{path}: the body of {name} is no base64.") from None
    else:
        body = in_its_charset(headers, text)
    return Answer(response.status, without_coding(headers), body)


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
