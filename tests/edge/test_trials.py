"""What requests are evidence of: trials, each once, and what is only counted."""

import itertools

import pytest

from proxy.core.model import Override, Sticky
from tests.edge.conftest import Proxy
from tests.harness.backend import Handler, replying
from tests.harness.snapshots import route

BY_CLIENT = Sticky("header", "X-Client")
FINE = replying(b"fine")
OTHER = replying(b"other")
FAILS = replying(b"no", "500 Internal Server Error")
UNAVAILABLE = replying(b"no", "503 Service Unavailable")
numbers = itertools.count()


async def visit(proxy: Proxy, times: int, *lines: str, write: bool = False) -> None:
    """Ask so many times, each time as another client unless the lines say who it is."""
    async with await proxy.connect() as client:
        for _ in range(times):
            sent = lines or (f"X-Client: c{next(numbers)}",)
            if write:
                await client.post("/a", b"body", *sent)
            else:
                await client.get("/a", *sent)


async def counted(proxy: Proxy, **wanted: int) -> None:
    """Wait for these trials, and see that there are no others."""
    totals = proxy.worker.totals
    await proxy.reported(lambda totals: +totals.trials == wanted)
    assert +totals.trials == wanted


@pytest.mark.parametrize("phase", ["shadow-read", "0%", "25%", "dual-write"])
@pytest.mark.parametrize(
    ("of_legacy", "of_new", "wanted"),
    [
        (FINE, FINE, {"equal": 3, "fine": 3}),
        (FINE, FAILS, {"new_failed": 3, "failed": 3}),
        (FAILS, FINE, {"fine": 3}),
        (FAILS, FAILS, {}),
    ],
    ids=["well", "new fails", "legacy fails", "both fail"],
)
async def test_pairs(
    proxy: Proxy, phase: str, of_legacy: Handler, of_new: Handler, wanted: dict[str, int]
) -> None:
    proxy.legacy.handler, proxy.new.handler = of_legacy, of_new
    await proxy.serve(route("/*", phase, sticky=BY_CLIENT, fallback=False))
    await visit(proxy, 3)
    await proxy.reported(lambda totals: totals.requests.total() == 6)
    await counted(proxy, **wanted)


async def test_what_one_client_repeats_is_one_trial(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = FINE
    await proxy.serve(route("/*", "shadow-read", sticky=BY_CLIENT))
    await visit(proxy, 5, "X-Client: one")
    await visit(proxy, 5, "X-Client: two")
    await proxy.reported(lambda totals: totals.comparisons["/*|equal"] == 10)
    await counted(proxy, equal=2, fine=2)


async def test_what_differs_is_a_trial_that_others_tell_more_of(proxy: Proxy) -> None:
    proxy.legacy.handler, proxy.new.handler = FINE, OTHER
    await proxy.serve(route("/*", "shadow-read", sticky=BY_CLIENT))
    await visit(proxy, 3)
    await visit(proxy, 3, "X-Client: one")
    await counted(proxy, differing=4, fine=4)


async def test_a_repeat_is_marked_for_those_who_judge_it_later(proxy: Proxy) -> None:
    proxy.legacy.handler, proxy.new.handler = FINE, OTHER
    await proxy.serve(route("/*", "shadow-read", sticky=BY_CLIENT))
    await visit(proxy, 3, "X-Client: one")
    await proxy.reported(lambda totals: len(totals.observations) == 3)
    assert [seen.repeat for seen in proxy.worker.totals.observations] == [False, True, True]


@pytest.mark.parametrize(
    ("handler", "fallback", "wanted"),
    [
        (FINE, True, {"fine": 2}),
        (FAILS, True, {"failed": 2}),
        (UNAVAILABLE, True, {"failed": 2}),
        (UNAVAILABLE, False, {"failed": 2}),
    ],
)
async def test_new_alone(
    proxy: Proxy, handler: Handler, fallback: bool, wanted: dict[str, int]
) -> None:
    proxy.legacy.handler, proxy.new.handler = FINE, handler
    await proxy.serve(route("/*", "new-only", sticky=BY_CLIENT, fallback=fallback))
    await visit(proxy, 2)
    await counted(proxy, **wanted)


async def test_legacy_alone_is_no_evidence(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "legacy-only", sticky=BY_CLIENT))
    await visit(proxy, 2)
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 2)
    assert not +proxy.worker.totals.trials


async def test_what_testers_choose_is_no_evidence(proxy: Proxy) -> None:
    proxy.new.handler = FAILS
    override = Override("X-Side", ("127.0.0.0/8",))
    await proxy.serve(route("/*", "0%", sticky=BY_CLIENT, override=override))
    await visit(proxy, 2, "X-Side: new")
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 2)
    assert not +proxy.worker.totals.trials


@pytest.mark.parametrize(
    ("phase", "of_legacy", "of_new", "wanted"),
    [
        ("0%", FINE, FINE, {"fine": 2}),
        ("0%", FINE, FAILS, {"failed": 2}),
        ("0%", FAILS, FINE, {}),
        ("dual-write", FINE, FAILS, {"failed": 2}),
    ],
)
async def test_writes(
    proxy: Proxy, phase: str, of_legacy: Handler, of_new: Handler, wanted: dict[str, int]
) -> None:
    proxy.legacy.handler, proxy.new.handler = of_legacy, of_new
    await proxy.serve(route("/*", phase, sticky=BY_CLIENT))
    await visit(proxy, 2, write=True)
    await proxy.reported(lambda totals: totals.client_requests["/*"] == 2)
    await counted(proxy, **wanted)


async def test_what_is_well_and_not_traced_is_only_counted(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = FINE
    await proxy.serve(route("/*", "shadow-read", sticky=BY_CLIENT), trace_sample=0.0)
    await visit(proxy, 3)
    proxy.new.handler = FAILS
    await visit(proxy, 1)
    await proxy.reported(lambda totals: totals.comparisons.total() == 4)
    assert [seen.new.status for seen in proxy.worker.totals.observations] == [500]
