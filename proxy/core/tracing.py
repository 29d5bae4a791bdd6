"""Trace context between client, proxy and backends (W3C Trace Context), and the ids of our spans.

The rules that span it:

1. One span id is made for a request, at the edge: that of the request to the side asked first. The
   ids of the other spans follow from it, so that nobody has to store or send them.
2. The side asked first always has the edge's own id as its parent-id, the other side the one
   derived for it, whichever of the two answers in the end.
3. The client's `sampled` flag is followed where the client is believed. From a stranger it is a
   request that the edge may turn down: nobody can have every request traced.
"""

import re
from binascii import hexlify
from typing import Final, NamedTuple

MAX_TRACESTATE_BYTES: Final = 512  # what the recommendation asks to be carried at least

_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ZERO_TRACE: Final = b"0" * 32
_ZERO_SPAN: Final = b"0" * 16
_SAMPLED: Final = 1
_RANDOM: Final = 2  # of the trace id; every other flag has no meaning yet and is sent as zero
# No id is zero (§3.2.2): one bit of each of ours is set, none of the lower 56 of the trace id,
# which samplers take for random.
_NOT_ZERO: Final = 1 << 191 | 1
_FLAGS: Final = (b"00", b"01", b"02", b"03")

# What becomes of the first digit of a span id: one bit of it is flipped, another one for each span.
_DIGITS: Final = b"0123456789abcdef"
_FOR_SECOND: Final = bytes.maketrans(_DIGITS, b"1032547698badcfe")
_FOR_SERVER: Final = bytes.maketrans(_DIGITS, b"23016745ab89efcd")
_FOR_COMPARE: Final = bytes.maketrans(_DIGITS, b"45670123cdef89ab")
_INSTEAD_OF_ZERO: Final = bytes.maketrans(_DIGITS, b"89abcdef01234567")
# By the code of a first digit that of the side not asked first. Ours are not zero behind it.
SECOND_DIGITS: Final = tuple(bytes((code,)) for code in _FOR_SECOND)


class Parent(NamedTuple):
    """A client's own span, as its `traceparent` names it."""

    trace_id: bytes
    span_id: bytes
    flags: int


class Trace:
    """The trace context of a request. `header` is the traceparent of the side asked first."""

    __slots__ = ("header", "parent", "sampled", "span_id", "trace_id")

    def __init__(
        self, trace_id: bytes, header: bytes, span_id: bytes, sampled: bool, parent: bytes
    ) -> None:
        self.trace_id = trace_id
        self.header = header
        self.span_id = span_id  # of the request to the side asked first
        self.sampled = sampled
        self.parent = parent  # the client's span; empty where the trace began here


class SpanIds(NamedTuple):
    """The ids of the spans of one request, as 16 hexadecimal digits."""

    server: str
    first: str  # the request to the side asked first
    second: str  # the request to the other side
    compare: str


def parent_in(traceparent: bytes) -> Parent | None:
    """What a traceparent header says; None where it is not valid."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or match[1] == b"ff" or match[2] == _ZERO_TRACE or match[3] == _ZERO_SPAN:
        return None
    return Parent(match[2], match[3], int(match[4], 16))


def asks_to_be_sampled(parent: Parent) -> bool:
    """Whether the client records this trace."""
    return parent.flags & _SAMPLED != 0


def trace_context(parent: Parent | None, bits: int, sampled: bool) -> Trace:
    """Continue the client's trace, or begin one.

    `bits` are 192 random bits: the upper 128 for a new trace id, the lower 64 for our span.
    """
    digits = hexlify((bits | _NOT_ZERO).to_bytes(24, "big"))
    span_id = digits[32:]
    if parent is None:
        trace_id = digits[:32]
        flags = b"01" if sampled else b"00"
        header = b"00-%b-%b-%b" % (trace_id, span_id, flags)
        return Trace(trace_id, header, span_id, sampled, b"")
    flags = _FLAGS[(parent.flags & _RANDOM) + sampled]
    header = b"00-%b-%b-%b" % (parent.trace_id, span_id, flags)
    return Trace(parent.trace_id, header, span_id, sampled, parent.span_id)


def span_ids(span_id: str) -> SpanIds:
    """The ids of all spans of the request whose span at the edge is this one (16 digits)."""
    first = span_id.encode("ascii")
    return SpanIds(
        _derived(first, _FOR_SERVER).decode("ascii"),
        span_id,
        _derived(first, _FOR_SECOND).decode("ascii"),
        _derived(first, _FOR_COMPARE).decode("ascii"),
    )


def _derived(span_id: bytes, digits: bytes) -> bytes:
    derived = span_id[:1].translate(digits) + span_id[1:]
    if derived == _ZERO_SPAN:  # which is no id (§3.2.2.4)
        return span_id[:1].translate(_INSTEAD_OF_ZERO) + span_id[1:]
    return derived
