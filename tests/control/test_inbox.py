"""Inbox and outbox: small whatever comes, and nothing that matters is lost."""

from proxy.control.inbox import Inbox
from proxy.control.outbox import Outbox
from proxy.control.world import SlotJoined, SlotQuiet, WriteMissed
from proxy.core.framing import worker_unframer
from proxy.core.messages import EndpointHealth, Full, States
from proxy.core.model import LEGACY_ONLY, RouteState, Side, Snapshot
from tests.control.estate import route, table
from tests.control.test_link import full

STATE = RouteState.of_phase(LEGACY_ONLY)
MISSED = WriteMissed("a", Side.NEW)


def test_repetitions_take_no_room() -> None:
    inbox = Inbox()
    for revision in range(1000):
        inbox.put(MISSED)
        inbox.put(SlotQuiet(0, "a", revision))
    assert inbox.take() == [MISSED, SlotQuiet(0, "a", 999)]
    assert inbox.take() == []


def test_of_several_tables_the_last_one_counts_and_a_request_to_compile_stays() -> None:
    inbox = Inbox()
    inbox.put(table(route("a", LEGACY_ONLY), forced=True))
    inbox.put(table(route("b", LEGACY_ONLY)))
    assert inbox.take() == [table(route("b", LEGACY_ONLY), forced=True)]


def test_a_slot_that_joins_takes_its_old_words_back() -> None:
    inbox = Inbox()
    inbox.put(SlotQuiet(0, "a", 1))
    inbox.put(SlotQuiet(1, "a", 1))
    inbox.put(SlotJoined(0))
    inbox.put(SlotQuiet(0, "b", 1))
    assert inbox.take() == [SlotJoined(0), SlotQuiet(1, "a", 1), SlotQuiet(0, "b", 1)]


def test_what_is_put_back_is_overtaken_by_what_came_later() -> None:
    inbox = Inbox()
    inbox.put(SlotQuiet(0, "a", 2))
    inbox.put_back([MISSED, SlotQuiet(0, "a", 1), SlotQuiet(1, "a", 1)])
    assert inbox.take() == [MISSED, SlotQuiet(0, "a", 2), SlotQuiet(1, "a", 1)]


def test_an_outbox_keeps_one_of_each_in_the_right_order() -> None:
    outbox = Outbox()
    assert not outbox
    for revision in range(5):
        outbox.put_states(States(1, revision, {"gone": STATE}))
        outbox.put_full(full(revision))
    outbox.put_health(EndpointHealth("legacy", "http://a", up=False))
    outbox.put_health(EndpointHealth("legacy", "http://a", up=True))
    outbox.put_states(States(1, 6, {"a": STATE}))
    outbox.put_states(States(1, 7, {"b": STATE}))
    assert outbox
    assert list(worker_unframer().feed(outbox.take())) == [
        Full(Snapshot(1, 4, {}, (), {}, trusted_proxies=("",))),
        States(1, 7, {"a": STATE, "b": STATE}),
        EndpointHealth("legacy", "http://a", up=True),
    ]
    assert not outbox
    assert outbox.take() == b""
