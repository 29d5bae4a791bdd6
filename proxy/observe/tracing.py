"""Traces of requests, recorded when they are over and exported beside everything else.

`record` is called on the controller's way and does nothing but append to a bounded queue: what
finds no room is dropped and counted. Half of the room is kept for requests with which something is
wrong; those that are traced by share alone do not push them out. `run` encodes and sends in
batches, tries again while the collector is away, and never raises. A collector that hangs, refuses
or answers nonsense costs traces and nothing else.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from proxy.core.divergences import DifferenceRecord
from proxy.core.messages import Observation
from proxy.core.model import Backend, Route
from proxy.observe.exposition import family, labels
from proxy.observe.otlp import Backoff, Batch, Collector, Delivery, deliver, encode, session
from proxy.observe.spans import Origin
from proxy.observe.traced import TraceRecord, is_traced, something_is_wrong, trace_of

MAX_WAITING: Final = 4096  # records
BATCH: Final = 128  # records of one request to the collector
SAY_EVERY_S: Final = 60.0


class Log(Protocol):
    """What is needed of a structlog logger."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...


class Pace(msgspec.Struct, frozen=True):
    """The times of exporting."""

    gather_s: float = 0.5  # before each batch; 256 traces a second are a tenth of a processor
    timeout_s: float = 10.0  # of one try, answer included
    first_retry_s: float = 1.0
    most_retry_s: float = 30.0
    give_up_s: float = 120.0  # a batch is tried this long
    flush_s: float = 1.0  # at the end of the process


class TraceCounts(msgspec.Struct):
    """What came of the traces since the start: spans, traces by reason, tries by reason."""

    exported: int = 0  # spans
    rejected: int = 0  # spans that the collector said it did not take
    dropped: dict[str, int] = {}  # traces: "queue_full", "share_shed", "undelivered", "broken"
    failed: dict[str, int] = {}  # tries: "timeout", "refused", "503", ...

    def drop(self, reason: str, count: int = 1) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def fail(self, reason: str) -> None:
        self.failed[reason] = self.failed.get(reason, 0) + 1


class Traces:
    """Takes the traces of all requests and exports them. Its owner runs `run` in a TaskGroup."""

    def __init__(self, log: Log, pace: Pace | None = None) -> None:
        self.counts = TraceCounts(dropped={}, failed={})
        self._log = log
        self._pace = pace or Pace()
        self._origin = Origin(_version())
        self._collector: Collector | None = None
        self._address: str | None = None
        self._waiting: deque[TraceRecord] = deque()
        self._news = asyncio.Event()
        self._edited = asyncio.Event()
        self._said_at = float("-inf")
        self._is_away = False

    def configure(self, otlp: str | None) -> None:
        """Export there from now on; nowhere with None. Traces that wait go there too."""
        if otlp == self._address:
            return
        self._address = otlp
        self._collector = None
        if otlp is not None:
            try:
                self._collector = Collector(otlp)
            except ValueError:
                # Its text may hold what is secret.
                self._log.warning("spans are not exported", reason="not an address")
        if self._collector is None:
            self._waiting.clear()
        self._edited.set()

    @property
    def is_on(self) -> bool:
        """Whether there is a collector: what is recorded without one is forgotten at once."""
        return self._collector is not None

    def observe(
        self,
        seen: Observation,
        route: Route,
        backends: Mapping[str, Backend],
        *,
        scheme: str = "http",
        result: str | None = None,
        differences: tuple[DifferenceRecord, ...] = (),
        target: str | None = None,
        compare_ms: float = 0.0,
    ) -> None:
        """Record an observation, if it is one that is traced.

        `scheme` is that of the listener; the rest is for what a comparer judged: see `trace_of`.
        """
        if self._collector is None or not is_traced(seen, result):
            return
        if len(self._waiting) >= MAX_WAITING:
            # Before the work: in an outage there are many of these.
            self.counts.drop("queue_full")
        else:
            self.record(
                trace_of(
                    seen,
                    route,
                    backends,
                    scheme=scheme,
                    result=result,
                    differences=differences,
                    target=target,
                    compare_ms=compare_ms,
                )
            )

    def record(self, trace: TraceRecord) -> None:
        """Have a trace exported, if there is a collector and room. Never waits, never raises."""
        if self._collector is None:
            return
        waiting = len(self._waiting)
        if waiting >= MAX_WAITING:
            self.counts.drop("queue_full")
        elif waiting >= MAX_WAITING // 2 and not something_is_wrong(trace):
            self.counts.drop("share_shed")
        else:
            self._waiting.append(trace)
            if not waiting:
                self._news.set()

    async def run(self) -> None:
        """Export until cancelled; then once more what still waits."""
        try:
            while True:
                self._edited.clear()
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(self._export(self._collector))
                    await self._edited.wait()
                    task.cancel()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.flush_s):
                    await self._flush()

    async def _export(self, collector: Collector | None) -> None:
        if collector is None:
            return
        backoff = Backoff(self._pace.first_retry_s, self._pace.most_retry_s)
        async with session(self._pace.timeout_s) as client:
            while True:
                await self._gathered()
                try:
                    await self._send(client, collector, backoff)
                except Exception as error:  # a bug costs these traces, and not the controller
                    self.counts.fail("bug")
                    self._log.warning("spans are not exported", reason=type(error).__name__)
                    await asyncio.sleep(self._pace.first_retry_s)

    async def _gathered(self) -> None:
        """Wait until there is something, and a moment for more of it.

        That moment also bounds what tracing takes of this process: a batch in each is its most.
        """
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        await asyncio.sleep(self._pace.gather_s)

    def _take(self) -> list[TraceRecord]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), BATCH))]

    async def _send(
        self, client: aiohttp.ClientSession, collector: Collector, backoff: Backoff
    ) -> None:
        """Send one batch, trying again for a while. Cancelled, it waits again."""
        records = self._take()
        try:
            batch = await encode(records, self._origin)
            arrived = not batch.spans or await self._deliver(client, collector, batch, backoff)
        except asyncio.CancelledError:
            if self._collector is not None:
                self._waiting.extendleft(reversed(records))
            raise
        self.counts.drop("broken", batch.broken)
        if not arrived:
            self.counts.drop("undelivered", len(records) - batch.broken)

    async def _deliver(
        self, client: aiohttp.ClientSession, collector: Collector, batch: Batch, backoff: Backoff
    ) -> bool:
        now = asyncio.get_running_loop().time
        give_up_at = now() + self._pace.give_up_s
        while True:
            delivery = await deliver(client, collector, batch.body)
            self._note(collector, delivery, batch, now())
            wait_s = max(backoff.next_s(), delivery.retry_after_s)
            if not delivery.failure:
                backoff.reset()
                return True
            if not delivery.retry or now() + wait_s >= give_up_at:
                return False
            await asyncio.sleep(wait_s)

    def _note(self, collector: Collector, delivery: Delivery, batch: Batch, now: float) -> None:
        """Count a try; tell of the first failure, then of one in a while, and of their end."""
        if delivery.failure:
            self.counts.fail(delivery.failure)
            if not self._is_away or now - self._said_at >= SAY_EVERY_S:
                self._is_away, self._said_at = True, now
                self._log.warning(
                    "spans are not exported", collector=collector.shown, reason=delivery.failure
                )
            return
        rejected = min(delivery.rejected, batch.spans)
        self.counts.exported += batch.spans - rejected
        self.counts.rejected += rejected
        if self._is_away:
            self._is_away = False
            self._log.info("spans are exported again", collector=collector.shown)
        if rejected and now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            self._log.warning(
                "the collector rejected spans",
                collector=collector.shown,
                spans=rejected,
                reason=delivery.said,
            )

    async def _flush(self) -> None:
        """Send what waits, with one try each, as far as the collector is there."""
        collector = self._collector
        if collector is None or not self._waiting:
            return
        async with session(self._pace.flush_s) as client:
            while records := self._take():
                batch = await encode(records, self._origin)
                delivery = await deliver(client, collector, batch.body)
                self._note(collector, delivery, batch, asyncio.get_running_loop().time())
                if delivery.failure:
                    return


def trace_families(counts: TraceCounts) -> Iterator[str]:
    """The counts for Prometheus."""
    yield from family(
        "banyan_spans_exported_total",
        "counter",
        "Spans that the collector took.",
        [("", counts.exported)],
    )
    yield from family(
        "banyan_spans_rejected_total",
        "counter",
        "Spans that the collector said it did not take.",
        [("", counts.rejected)],
    )
    yield from family(
        "banyan_traces_dropped_total",
        "counter",
        "Traces that were not exported, by reason.",
        ((labels(reason=reason), count) for reason, count in sorted(counts.dropped.items())),
    )
    yield from family(
        "banyan_span_exports_failed_total",
        "counter",
        "Tries to reach the collector that failed, by reason.",
        ((labels(reason=reason), count) for reason, count in sorted(counts.failed.items())),
    )


def _version() -> str:
    try:
        return version("banyan-proxy")
    except PackageNotFoundError:
        return "unknown"
