"""From the bytes of a body to its content: content coding and charset undone, bounded.

A coding that cannot be undone, and a body that grows past its bound, are told and not guessed at.
Nothing here raises.
"""

import codecs
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped]  # it has no types
import zstandard

from comparators import content

MAX_BYTES: Final = 16 << 20
MAX_CODINGS: Final = 4
MAX_MEMBERS: Final = 1000  # of a gzip stream, and frames of a zstd one
_PIECE: Final = 64 << 10
_ZSTD_WINDOW: Final = 8 << 20  # RFC 9659 §3: what a decoder of HTTP has to take, and no more

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([A-Za-z0-9._:+-]{1,40})""", re.IGNORECASE)
_XML_DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})""")
_HTML_META = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([A-Za-z0-9._:-]{1,40})""", re.I)
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# By Python's names. Not every codec that there is: some take quadratic time (punycode), some are
# none of a charset (unicode_escape).
_CHARSETS: Final = frozenset(
    (
        *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"),
        *("utf-32", "utf-32-le", "utf-32-be"),
        *("ascii", *(f"iso8859-{number}" for number in range(1, 17)), "tis-620"),
        *(f"cp{number}" for number in (*range(1250, 1259), 437, 850, 852, 855, 858, 866, 874)),
        *("koi8-r", "koi8-u", "mac-roman", "mac-cyrillic"),
        *("shift_jis", "cp932", "euc_jp", "iso2022_jp"),
        *("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "cp950", "euc_kr", "cp949"),
        *("cp037", "cp500", "cp1047", "cp1140"),  # of mainframes
    )
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The content. `problem` says why it is not whole; then `data` is as it was sent."""

    data: bytes
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a content, and how it was read."""

    text: str
    charset: str
    problem: str = ""  # why it could not be read as it says it is


def decode_content(coding: str, body: bytes, most: int = MAX_BYTES) -> Decoded:
    """Undo a Content-Encoding, which may name several codings."""
    names = [name.strip().lower() for name in coding.split(",") if name.strip()]
    if len(names) > MAX_CODINGS:
        return Decoded(body, f"more than {MAX_CODINGS} content codings")
    if not body:
        return Decoded(b"")  # of a HEAD, say
    data = body
    for name in reversed(names):
        if name == "identity":
            continue
        undo = _CODINGS.get(name)
        if undo is None:
            return Decoded(body, _not_known("content coding", name, name in _OTHER_CODINGS))
        try:
            data = undo(data, most)
        except _TooLargeError:
            return Decoded(body, f"larger than {most} bytes once {name} is undone")
        except (zlib.error, brotli.error, zstandard.ZstdError, EOFError, ValueError) as error:
            return Decoded(body, f"not valid {name}: {error}"[:200])
        except MemoryError:
            return Decoded(body, f"{name} asks for more memory than there is")
    return Decoded(data)


def decode_text(content_type: str, data: bytes, kind: str) -> Text:
    """The text of a content: by BOM, charset parameter, its own declaration, else UTF-8.

    Only markup declares one: in a string of JSON the same characters say nothing. `kind` is one
    of `comparators.content`.
    """
    for bom, charset in _BOMS:
        if data.startswith(bom):
            return _as(data[len(bom) :] if charset == "utf-8" else data, charset)
    named = _CHARSET.search(content_type)
    return _as(data, named[1] if named else _declared(data[:1024], kind) or "utf-8")


def _declared(head: bytes, kind: str) -> str:
    """The charset that a document names itself; empty where it is no markup, or names none."""
    found = _XML_DECLARATION.match(head) if kind in (content.XML, content.HTML) else None
    if found is None and kind == content.HTML:
        found = _HTML_META.search(head)
    return found[1].decode("ascii") if found else ""


def _as(data: bytes, charset: str) -> Text:
    try:
        info = codecs.lookup(charset)
        if info.name not in _CHARSETS:
            return _as_bytes(data, _not_known("charset", info.name, True))
        return Text(data.decode(info.name), info.name)
    except LookupError:
        problem = _not_known("charset", charset, False)
    except (UnicodeError, ValueError) as error:
        where = getattr(error, "start", None)
        problem = f"not valid {charset}" + (f" at byte {where}" if where is not None else "")
    return _as_bytes(data, problem)


def _as_bytes(data: bytes, problem: str) -> Text:
    return Text(data.decode("latin-1"), "latin-1", problem)


def _not_known(what: str, name: str, is_a_name: bool) -> str:
    """Why it cannot be decoded. What is no name of one may be anything that a header can hold."""
    return f"the {what} {name} is not known" if is_a_name else f"a {what} that is not known"


class _TooLargeError(Exception):
    """The content is larger than its bound."""


class _Inflating(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def _joined(pieces: Iterable[bytes], most: int) -> bytes:
    out = bytearray()
    for piece in pieces:
        out += piece
        if len(out) > most:
            raise _TooLargeError
    return bytes(out)


def _inflated(make: Callable[[], _Inflating], data: bytes) -> Iterable[bytes]:
    """Every member of a zlib stream, a piece at a time."""
    for _ in range(MAX_MEMBERS):
        stream = make()
        left = data
        while not stream.eof:
            piece = stream.decompress(left, _PIECE)
            left = stream.unconsumed_tail
            if not piece and not left and not stream.eof:
                raise EOFError("it ends in the middle")
            yield piece
        data = stream.unused_data
        if not data.strip(b"\0"):
            return  # padding, which every reader skips
        if not data.startswith(b"\x1f\x8b"):
            raise ValueError("there is more behind its end")
    raise ValueError(f"more than {MAX_MEMBERS} members")


def _gzip(data: bytes, most: int) -> bytes:
    return _joined(_inflated(lambda: zlib.decompressobj(31), data), most)


def _deflate(data: bytes, most: int) -> bytes:
    try:
        return _joined(_inflated(lambda: zlib.decompressobj(15), data), most)
    except zlib.error:
        # Some servers have always sent it without the zlib frame.
        return _joined(_inflated(lambda: zlib.decompressobj(-15), data), most)


def _brotli(data: bytes, most: int) -> bytes:
    stream = brotli.Decompressor()

    def pieces() -> Iterable[bytes]:
        yield stream.process(data, output_buffer_limit=_PIECE)
        while not stream.can_accept_more_data():
            yield stream.process(b"", output_buffer_limit=_PIECE)
        if not stream.is_finished():
            raise EOFError("it ends in the middle")

    return _joined(pieces(), most)


def _zstd(data: bytes, most: int) -> bytes:
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        data, read_across_frames=True
    )
    whole = _joined(iter(lambda: reader.read(_PIECE), b""), most)
    # The reader takes the end of what there is for the end of the frame; this one says.
    left = data
    for _ in range(MAX_MEMBERS):
        if not left:
            return whole
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        frame.decompress(left)  # no more than `whole`
        if not frame.eof:
            raise EOFError("it ends in the middle")
        left = frame.unused_data
    raise ValueError(f"more than {MAX_MEMBERS} frames")


# Registered, or in use, and not undone here.
_OTHER_CODINGS: Final = frozenset(
    (
        *("compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi", "pack200-gzip"),
        *("lz4", "lzma", "xz", "snappy", "bzip2"),
    )
)
_CODINGS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
