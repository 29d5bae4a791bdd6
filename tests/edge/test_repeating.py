"""Reads that are asked again: of legacy for the noise, of both to be sure; within the limits."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.core.messages import AskAgain, NotAsked, SameAgain
from proxy.core.model import Compare, Shadow
from tests.edge.conftest import Proxy
from tests.harness.backend import Backend, Call, Handler, hanging, replying
from tests.harness.comparers import ComparerEnd
from tests.harness.snapshots import route
from tests.harness.worker import Worker

ASKING = Compare(noise=0.0, recheck=True)


@pytest_asyncio.fixture(loop_scope="session")
async def end(tmp_path: Path) -> AsyncIterator[ComparerEnd]:
    async with ComparerEnd(tmp_path / "compare0.sock") as end:
        yield end


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(end: ComparerEnd, legacy: Backend, new: Backend) -> AsyncIterator[Proxy]:
    legacy.handler, new.handler = counting(b"legacy"), counting(b"new")
    worker = await Worker(extra=("--comparers", str(end.path))).start()
    yield Proxy(worker, legacy, new)
    output = worker.output()
    await worker.stop()
    assert "Traceback" not in output, output


def counting(name: bytes):  # type: ignore[no-untyped-def]  # a handler
    """Answers with its name and how often it was asked."""
    times = 0

    async def handler(call: Call) -> None:
        nonlocal times
        times += 1
        await replying(b"%b %d" % (name, times))(call)

    return handler


async def ask(proxy: Proxy, *lines: str, method: str = "GET", path: str = "/a?q=1") -> None:
    async with await proxy.connect() as client:
        head = (f"{method} {path} HTTP/1.1", "Host: a", *lines, "", "")
        client.write("\r\n".join(head).encode())
        await client.head()


async def not_asked(proxy: Proxy) -> NotAsked:
    worker = proxy.worker
    await worker.changes.until(lambda: worker.not_asked, "NotAsked")
    return worker.not_asked[0]


async def test_legacy_is_asked_again_as_a_shadow(proxy: Proxy, end: ComparerEnd) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=ASKING))
    await ask(proxy, "X-A: 1")
    suspect = await end.suspect()
    assert suspect.askable
    proxy.worker.send(AskAgain(suspect.id, new_too=False))
    again = await end.suspect(kind="again")
    assert again.id == suspect.id
    assert again.legacy.body == b"legacy 1"
    assert again.legacy_again is not None
    assert again.legacy_again.body == b"legacy 2"
    assert again.new is not None
    assert again.new.body == b"new 1"
    assert again.new_again is None
    assert len(proxy.new.calls) == 1
    first, second = proxy.legacy.calls
    assert second.head.startswith(b"GET /a?q=1 HTTP/1.1\r\n")
    assert b"\r\nBanyan-Role: shadow\r\n" in second.head
    # Its span is another one, of the same trace.
    without = re.compile(rb"Banyan-Role: shadow\r\n|(?<=traceparent: 00-.{33}).{16}")
    assert without.sub(b"", second.head) == without.sub(b"", first.head)


@pytest.mark.parametrize("phase", ["shadow-read", "0%", "dual-write"])
async def test_both_are_asked_again(proxy: Proxy, end: ComparerEnd, phase: str) -> None:
    await proxy.serve(route("/*", phase, compare=ASKING))
    await ask(proxy)
    suspect = await end.suspect()
    proxy.worker.send(AskAgain(suspect.id, new_too=True))
    again = await end.suspect(kind="again")
    assert again.legacy_again is not None
    assert again.new_again is not None
    assert (again.legacy.body, again.legacy_again.body) == (b"legacy 1", b"legacy 2")
    assert again.new_again.body == b"new 2"


@pytest.mark.parametrize("new_too", [False, True])
async def test_answers_that_are_the_first_ones_again_need_no_comparer(
    proxy: Proxy, end: ComparerEnd, new_too: bool
) -> None:
    proxy.legacy.handler, proxy.new.handler = replying(b"legacy"), replying(b"new")
    await proxy.serve(route("/*", "shadow-read", compare=ASKING))
    await ask(proxy)
    suspect = await end.suspect()
    proxy.worker.send(AskAgain(suspect.id, new_too=new_too))
    worker = proxy.worker
    await worker.changes.until(lambda: worker.same_again, "SameAgain")
    assert worker.same_again == [SameAgain(slot=0, id=suspect.id, new_too=new_too)]
    assert (len(proxy.legacy.calls), len(proxy.new.calls)) == (2, 2 if new_too else 1)
    assert [each.kind for each in end.suspects] == ["read"]


@pytest.mark.parametrize(
    ("side", "changed"),
    [
        ("legacy", replying(b"other")),
        ("new", replying(b"other")),
        ("new", replying(b"same", "201 Created")),
        ("new", replying(b"same", "200 OK", "Content-Type: text/csv")),
    ],
)
async def test_what_one_side_changed_goes_to_a_comparer(
    proxy: Proxy, end: ComparerEnd, side: str, changed: Handler
) -> None:
    proxy.legacy.handler, proxy.new.handler = replying(b"legacy"), replying(b"same")
    await proxy.serve(route("/*", "shadow-read", compare=ASKING))
    await ask(proxy)
    suspect = await end.suspect()
    (proxy.legacy if side == "legacy" else proxy.new).handler = changed
    proxy.worker.send(AskAgain(suspect.id, new_too=True))
    again = await end.suspect(kind="again")
    assert again.id == suspect.id
    assert proxy.worker.same_again == []


@pytest.mark.parametrize(("with_", "is_same"), [("auto", True), ("mine:compare", False)])
async def test_a_comparator_of_the_users_own_sees_all_headers(
    proxy: Proxy, end: ComparerEnd, with_: str, is_same: bool
) -> None:
    proxy.legacy.handler = replying(b"legacy", "200 OK", "X-Nonce: 1")
    proxy.new.handler = replying(b"new")
    compare = Compare(noise=0.0, recheck=True, with_=with_)
    await proxy.serve(route("/*", "shadow-read", compare=compare))
    await ask(proxy)
    suspect = await end.suspect()
    proxy.legacy.handler = replying(b"legacy", "200 OK", "X-Nonce: 2")
    proxy.worker.send(AskAgain(suspect.id, new_too=False))
    if is_same:
        await proxy.worker.changes.until(lambda: proxy.worker.same_again, "SameAgain")
    else:
        assert (await end.suspect(kind="again")).id == suspect.id


async def test_a_request_is_asked_again_once(proxy: Proxy, end: ComparerEnd) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=ASKING))
    await ask(proxy)
    suspect = await end.suspect()
    proxy.worker.send(AskAgain(suspect.id, new_too=False))
    proxy.worker.send(AskAgain(suspect.id, new_too=False))
    assert (await not_asked(proxy)).reason == "expired"
    await end.suspect(kind="again")
    assert len(proxy.legacy.calls) == 2


async def test_what_was_never_asked_is_not_asked_again(proxy: Proxy) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=ASKING))
    proxy.worker.send(AskAgain(42, new_too=True))
    assert await not_asked(proxy) == NotAsked(slot=0, id=42, reason="expired")


async def test_the_limit_of_shadows_holds_for_what_is_asked_again(
    proxy: Proxy, end: ComparerEnd
) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=ASKING, shadow=Shadow(max_in_flight=1)))
    await ask(proxy)
    suspect = await end.suspect()
    proxy.new.handler = hanging
    await ask(proxy)
    await proxy.new.changes.until(lambda: len(proxy.new.calls) == 2, "a shadow under way")
    proxy.worker.send(AskAgain(suspect.id, new_too=True))
    assert (await not_asked(proxy)).reason == "in_flight"
    assert len(proxy.legacy.calls) == 2


@pytest.mark.parametrize("side", ["legacy", "new"])
async def test_a_side_that_fails_the_second_time_settles_nothing(
    proxy: Proxy, end: ComparerEnd, side: str
) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=ASKING))
    await ask(proxy)
    suspect = await end.suspect()
    failing = proxy.legacy if side == "legacy" else proxy.new
    failing.handler = replying(b"", "500 Internal Server Error")
    proxy.worker.send(AskAgain(suspect.id, new_too=True))
    assert (await not_asked(proxy)).reason == "failed"


async def test_a_hanging_side_is_waited_for_no_longer_than_a_shadow(
    proxy: Proxy, end: ComparerEnd
) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=ASKING, shadow=Shadow(timeout_s=0.3)))
    await ask(proxy)
    suspect = await end.suspect()
    proxy.new.handler = hanging
    proxy.worker.send(AskAgain(suspect.id, new_too=True))
    assert (await not_asked(proxy)).reason == "failed"


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS"])
async def test_only_a_get_can_be_asked_again(proxy: Proxy, end: ComparerEnd, method: str) -> None:
    safe = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
    proxy.new.handler = replying(b"new", "201 Created")
    await proxy.serve(route("/*", "shadow-read", compare=ASKING, safe_methods=safe))
    await ask(proxy, method=method)
    assert not (await end.suspect()).askable


async def test_a_share_of_reads_is_asked_of_legacy_twice(proxy: Proxy, end: ComparerEnd) -> None:
    await proxy.serve(route("/*", "shadow-read", compare=Compare(noise=1.0, recheck=False)))
    await ask(proxy)
    control = await end.suspect(kind="control")
    assert control.legacy.body == b"legacy 1"
    assert control.legacy_again is not None
    assert control.legacy_again.body == b"legacy 2"
    assert len(proxy.new.calls) == 1


async def test_a_control_of_the_same_bytes_is_only_counted(proxy: Proxy, end: ComparerEnd) -> None:
    proxy.legacy.handler = proxy.new.handler = replying(b"x")
    await proxy.serve(route("/*", "shadow-read", compare=Compare(noise=1.0)))
    await ask(proxy)
    await proxy.reported(lambda totals: totals.comparisons["/*|control_equal"] == 1)
    assert proxy.worker.totals.comparisons["/*|equal"] == 1
    assert end.suspects == []


async def test_writes_and_other_reads_are_never_sent_twice(proxy: Proxy) -> None:
    safe = frozenset({"GET", "HEAD", "OPTIONS", "POST"})
    proxy.legacy.handler = proxy.new.handler = replying(b"x")
    await proxy.serve(
        route("/*", "0%", compare=Compare(noise=1.0), safe_methods=safe),
        route("/w/*", "0%", compare=Compare(noise=1.0)),
    )
    await ask(proxy, method="POST", path="/")
    await ask(proxy, method="POST", path="/w/1")
    await ask(proxy, "If-None-Match: x")
    await proxy.reported(lambda totals: totals.client_requests["/w/*"] == 1)
    await proxy.reported(lambda totals: totals.skipped["/*|conditional"] == 1)
    assert len(proxy.legacy.calls) == 3


async def test_a_control_beyond_the_limit_of_shadows_is_shed(proxy: Proxy) -> None:
    proxy.legacy.handler = proxy.new.handler = replying(b"x")
    await proxy.serve(
        route("/*", "shadow-read", compare=Compare(noise=1.0), shadow=Shadow(max_in_flight=1))
    )
    hold = proxy.new.handler
    proxy.new.handler = hanging
    await ask(proxy)
    await proxy.new.changes.until(lambda: len(proxy.new.calls) == 1, "a shadow under way")
    proxy.new.handler = hold
    await ask(proxy)
    await proxy.reported(lambda totals: totals.skipped["/*|in_flight"] == 1)
    assert len(proxy.legacy.calls) == 2


async def test_what_was_asked_again_is_let_go(proxy: Proxy, end: ComparerEnd) -> None:
    # A cycle of such a request and its exchanges kept the bodies until the garbage collector came.
    body = b"x" * 500_000
    proxy.legacy.handler = proxy.new.handler = replying(body)
    controlled = Compare(noise=1.0, recheck=False)
    await proxy.serve(route("/*", "shadow-read", compare=controlled))
    await ask(proxy)
    before = proxy.worker.rss_mib()
    for _ in range(120):
        await ask(proxy)
    asked_twice = 2 * 121
    await proxy.worker.changes.until(lambda: len(proxy.legacy.calls) >= asked_twice, "controls")
    assert proxy.worker.rss_mib() - before < 30
