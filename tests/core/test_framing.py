"""The framing of the link, fed in every possible way of cutting the stream."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.framing import LinkError, controller_unframer, frame, worker_unframer
from proxy.core.messages import (
    MAX_MESSAGE_BYTES,
    Applied,
    EndpointHealth,
    FromWorker,
    Full,
    Hello,
    Quiet,
)
from proxy.core.model import LEGACY_ONLY, Backend, Route, RouteState, Snapshot

MESSAGES: list[FromWorker] = [
    Hello(role="worker", slot=0, pid=123),
    Applied(slot=0, generation=1, revision=2),
    Quiet(slot=0, route="users", revision=3),
]


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_messages_come_out_whole_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(frame(message) for message in MESSAGES)
    unframer = controller_unframer()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    received = [
        message
        for start, end in itertools.pairwise(edges)
        for message in unframer.feed(stream[start:end])
    ]
    assert received == MESSAGES


def test_a_snapshot_survives_the_link() -> None:
    route = Route(
        name="a", pattern="/a", methods=(), host=None, path="/a", phase=LEGACY_ONLY, digest="d"
    )
    snapshot = Snapshot(
        generation=1,
        revision=1,
        backends={"legacy": Backend("legacy", ("http://127.0.0.1:1",))},
        routes=(route,),
        states={"a": RouteState.of_phase(LEGACY_ONLY)},
    )
    assert list(worker_unframer().feed(frame(Full(snapshot)))) == [Full(snapshot)]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), id="too long"),
        pytest.param(b"\x00\x00\x00\x01\xc1", id="not msgpack"),
        pytest.param(frame(EndpointHealth("legacy", "http://a", True)), id="not for this side"),
    ],
)
def test_what_is_no_message_is_refused(stream: bytes) -> None:
    with pytest.raises(LinkError):
        list(controller_unframer().feed(stream))


def test_the_good_messages_before_a_bad_one_are_delivered() -> None:
    feed = controller_unframer().feed(frame(MESSAGES[0]) + b"\x00\x00\x00\x01\xc1")
    assert next(feed) == MESSAGES[0]
    with pytest.raises(LinkError):
        next(feed)
