"""Trace context and the ids of spans."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.tracing import (
    SECOND_DIGITS,
    Parent,
    asks_to_be_sampled,
    parent_in,
    span_ids,
    trace_context,
)

TRACE_ID = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = b"00f067aa0ba902b7"


@given(st.integers(min_value=1, max_value=2**64 - 1))
@example(1 << 60)
@example(2 << 60)
@example(4 << 60)
@example(8 << 60)
@example(1)
def test_the_spans_of_a_request_have_four_ids_of_which_none_is_zero(value: int) -> None:
    ids = span_ids(f"{value:016x}")
    assert len(set(ids)) == 4
    assert all(len(each) == 16 and int(each, 16) for each in ids)
    assert ids.first == f"{value:016x}"


@given(st.integers(min_value=0, max_value=2**192 - 1), st.booleans())
@example(0, True)
@example(1 << 64, True)
@example(1, False)
def test_a_trace_that_begins_here_is_valid(bits: int, sampled: bool) -> None:
    trace = trace_context(None, bits, sampled)
    said = parent_in(trace.header)
    assert said == Parent(trace.trace_id, trace.span_id, 1 if sampled else 0)
    assert trace.sampled is sampled
    assert trace.parent == b""
    # What the edge does to the bytes of the second side is what the controller makes of the id.
    second = SECOND_DIGITS[trace.span_id[0]] + trace.span_id[1:]
    assert span_ids(trace.span_id.decode()).second == second.decode()


@given(
    st.integers(min_value=1, max_value=2**128 - 1),
    st.integers(min_value=1, max_value=2**64 - 1),
    st.integers(min_value=0, max_value=255),
    st.integers(min_value=0, max_value=2**192 - 1),
    st.booleans(),
)
def test_a_trace_is_continued(
    trace_id: int, span_id: int, flags: int, bits: int, sampled: bool
) -> None:
    given = b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)
    parent = parent_in(given)
    assert parent == (b"%032x" % trace_id, b"%016x" % span_id, flags)
    trace = trace_context(parent, bits, sampled)
    said = parent_in(trace.header)
    assert said is not None
    # The flags that mean nothing yet are not passed on.
    assert said == (b"%032x" % trace_id, trace.span_id, (flags & 2) + sampled)
    assert trace.parent == b"%016x" % span_id
    assert asks_to_be_sampled(said) is sampled


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"nonsense",
        b"00-" + b"0" * 32 + b"-" + SPAN_ID + b"-01",
        b"00-" + TRACE_ID + b"-" + b"0" * 16 + b"-01",
        b"ff-" + TRACE_ID + b"-" + SPAN_ID + b"-01",
        b"00-" + TRACE_ID.upper() + b"-" + SPAN_ID + b"-01",
        b"00-" + TRACE_ID + b"-" + SPAN_ID + b"-01-more",
    ],
)
def test_what_is_no_trace_context(given: bytes) -> None:
    assert parent_in(given) is None
