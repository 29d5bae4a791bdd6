"""The chunked decoder: what it takes and refuses, and that cutting the bytes changes nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.chunked import ChunkedDecoder, ChunkedError, chunk, last_chunk
from tests.harness.probes import BODIES

TAKEN: list[tuple[str, bytes, bytes, bytes]] = [
    ("empty", b"0\r\n\r\n", b"", b""),
    ("several zeros", b"000\r\n\r\n", b"", b""),
    ("one chunk", b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("two chunks", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", b""),
    ("upper-case size", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    ("lower-case size", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    ("leading zeros", b"00005\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("15 digits", b"000000000000005\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("data that looks like the end", b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n", b""),
    ("an extension", b"5;a\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("an extension with a value", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("a quoted extension", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"hello", b""),
    ("white space before the semicolon", b"5 ;a\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("an empty extension", b"5;\r\nhello\r\n0\r\n\r\n", b"hello", b""),
    ("an extension of the last chunk", b"0;a=b\r\n\r\n", b"", b""),
    ("a trailer", b"0\r\nA: b\r\n\r\n", b"", b"A: b\r\n"),
    ("trailers keep case and order", b"0\r\nB: 2\r\nA: 1\r\nb: 3\r\n\r\n", b"",
     b"B: 2\r\nA: 1\r\nb: 3\r\n"),
    ("a trailer without value", b"0\r\nA:\r\n\r\n", b"", b"A:\r\n"),
]  # fmt: skip

SIZES = st.integers(1, 40)
PIECES = st.lists(st.binary(min_size=1, max_size=60), max_size=6)
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b' ;x="y"'])
TRAILERS = st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nX-Sum: 12\r\n"])
RESTS = st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"0\r\n\r\n"])


@st.composite
def encoded(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, bytes]:
    """A valid chunked body with bytes behind it: (all, data, trailers, rest)."""
    pieces = draw(PIECES)
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), draw(EXTENSIONS), piece) for piece in pieces)
    trailers, rest = draw(TRAILERS), draw(RESTS)
    return wire + b"0\r\n" + trailers + b"\r\n" + rest, b"".join(pieces), trailers, rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


def outcome(parts: list[bytes]) -> tuple[object, ...]:
    """All that can be seen of a decoder that is fed these parts."""
    decoder = ChunkedDecoder()
    data = b""
    try:
        for part in parts:
            data += b"".join(decoder.feed(part))
    except ChunkedError:
        return ("refused",)
    return (decoder.done, data, decoder.trailers, decoder.rest)


@pytest.mark.parametrize(
    ("wire", "data", "trailers"), [row[1:] for row in TAKEN], ids=[row[0] for row in TAKEN]
)
def test_a_valid_body_is_decoded(wire: bytes, data: bytes, trailers: bytes) -> None:
    assert outcome([wire + b"rest"]) == (True, data, trailers, b"rest")
    bytewise = [wire[at : at + 1] for at in range(len(wire))]
    assert outcome([*bytewise, b"rest"]) == (True, data, trailers, b"rest")


@pytest.mark.parametrize("body", [probe.body for probe in BODIES], ids=[p.name for p in BODIES])
def test_an_invalid_body_is_refused_however_it_is_cut(body: bytes) -> None:
    assert outcome([body]) == ("refused",)
    assert outcome([body[at : at + 1] for at in range(len(body))]) == ("refused",)


def test_an_extension_of_5_kb_is_refused_also_when_it_arrives_at_once() -> None:
    line = b"5;" + b"a" * 5000 + b"\r\n"
    with pytest.raises(ChunkedError):
        ChunkedDecoder().feed(line)


def test_extensions_are_bounded_over_the_whole_body() -> None:
    decoder = ChunkedDecoder()
    piece = b"1;" + b"a" * 1000 + b"\r\nb\r\n"
    for _ in range(16):
        decoder.feed(piece)
    with pytest.raises(ChunkedError, match="extensions"):
        decoder.feed(piece)


@pytest.mark.parametrize("first", [1, 100, 109, 110, 111])
def test_the_bound_of_trailers_is_exact_however_they_are_cut(first: int) -> None:
    def feed(length: int) -> bool:
        decoder = ChunkedDecoder(max_trailer_bytes=100)
        wire = b"0\r\nA: " + b"b" * (length - 5) + b"\r\n\r\n"
        decoder.feed(wire[:first])
        decoder.feed(wire[first:])
        return decoder.done

    assert feed(100)
    with pytest.raises(ChunkedError):
        feed(101)


def test_endless_trailers_are_refused_without_their_end() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"0\r\n")
    line = b"A: " + b"b" * 59 + b"\r\n"
    for _ in range(1024):
        decoder.feed(line)
    with pytest.raises(ChunkedError, match="too long"):
        decoder.feed(line)


def test_bytes_fed_after_the_end_join_the_rest() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"0\r\n\r\nGET") == []
    assert decoder.feed(b" / HTTP/1.1") == []
    assert decoder.rest == b"GET / HTTP/1.1"


def test_a_chunk_is_passed_on_before_it_is_complete() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"fffffff\r\nabc") == [b"abc"]
    assert decoder.feed(b"def") == [b"def"]
    assert not decoder.done


def test_no_chunk_is_written_for_an_empty_piece() -> None:
    assert chunk(b"") == b""
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk(b"A: b\r\n") == b"0\r\nA: b\r\n\r\n"


@given(encoded(), st.lists(st.integers(0, 1000), max_size=12))
def test_any_cut_of_a_valid_body_gives_the_same(
    body: tuple[bytes, bytes, bytes, bytes], places: list[int]
) -> None:
    wire, data, trailers, rest = body
    assert outcome(cut(wire, places)) == (True, data, trailers, rest)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([b"5", b"0", b"\r", b"\n", b"\r\n", b"a", b";", b" ", b"A: b", b"\0"]),
            max_size=30,
        ).map(b"".join),
    ),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_nothing_but_chunked_error_is_raised_and_refusals_do_not_come_and_go(
    wire: bytes, places: list[int]
) -> None:
    """Cut elsewhere, a body may be refused sooner, but what is completed is the same."""
    whole, parts = outcome([wire]), outcome(cut(wire, places))
    if whole[0] is True or parts[0] is True:
        assert whole == parts


@given(encoded(), st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_else(
    body: tuple[bytes, bytes, bytes, bytes], place: int, value: int
) -> None:
    wire = bytearray(body[0])
    wire[place % len(wire)] = value
    outcome([bytes(wire)])


@given(PIECES, TRAILERS)
def test_what_is_encoded_is_decoded(pieces: list[bytes], trailers: bytes) -> None:
    wire = b"".join(map(chunk, pieces)) + last_chunk(trailers)
    assert outcome([wire]) == (True, b"".join(pieces), trailers, b"")
