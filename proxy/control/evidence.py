"""From what workers and comparers say to what is counted, kept and told of each pair.

One object of the controller holds the parts: the Assessor decides, the counts go to the metrics,
divergences to their store, a few lines to the log. The store is written to in batches by a task
of its own; while it is out of reach divergences wait in a bounded queue, what does not fit is
dropped and counted, and nothing else stops.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from comparators.redaction import Redactor
from comparators.secrets import is_secret_name
from proxy.core.allowance import Allowance
from proxy.core.divergences import DifferenceRecord, Divergence, SignatureSummary
from proxy.core.messages import AskAgain, NotAsked, Observation, Report, SameAgain
from proxy.core.model import Route
from proxy.core.patterns import Pattern
from proxy.observe.assessing import Assessment, Assessor
from proxy.observe.compared import Results
from proxy.observe.metrics import SKIPPED_MARK, Aggregator
from proxy.observe.observations import Observations
from proxy.observe.traced import is_traced
from proxy.store.divergences import DivergenceStore
from proxy.store.state import StoreError
from proxy.store.tasks import goes_on

FLUSH_S: Final = 0.5
SAVE_NOISE_S: Final = 30.0
REOPEN_S: Final = 10.0
MAX_QUEUED: Final = 5000
MAX_BATCH: Final = 500
# A side that is down makes a failure of each request. All are counted, by the workers; so many are
# looked at one by one (logged, traced, kept), and so many divergences are kept, a second.
FAILURES_A_SECOND: Final = 100.0
KEPT_A_SECOND: Final = 1000.0
SLICE: Final = 100  # routes whose noise is encoded before others have their turn

# An Observation, what it came to (None: as the worker says), and the differences.
Trace = Callable[[Observation, str | None, tuple[DifferenceRecord, ...]], None]

log = structlog.get_logger("proxy.control")


class Evidence:
    """Owned by the controller. Everything but `run` is quick and never waits."""

    def __init__(
        self,
        key: bytes,
        counts: Aggregator,
        observations: Observations,
        ask: Callable[[int, AskAgain], bool],
        trace: Trace,
        judge: Callable[[Assessment, float], None],
        open_store: Callable[[], Awaitable[DivergenceStore]],
    ) -> None:
        self._redactor = Redactor(key)
        # Of routes like /reset/{token}: the segments of the path that are secrets.
        self._secret_segments: dict[str, tuple[int, ...]] = {}
        self._counts = counts
        self._observations = observations
        self._trace = trace
        self._judge = judge
        self._open_store = open_store
        self._assessor = Assessor(ask, self._assessed, secrets.randbits(16))
        self._queue: deque[Divergence] = deque()
        self.store: DivergenceStore | None = None  # None until it is open
        self.problem = ""  # why it is
        self._dropped = 0  # divergences that never got to the store
        self._too_many = 0  # failures and divergences beyond what is looked at
        self._failures = Allowance(FAILURES_A_SECOND, FAILURES_A_SECOND)
        self._kept = Allowance(KEPT_A_SECOND, KEPT_A_SECOND)
        self.busy_s = 0.0  # of all comparers

    def noise_of(self, summary: SignatureSummary) -> tuple[float, int] | None:
        """The share of control pairs in which legacy differs from itself there, and how many."""
        noise = self._assessor.noise(summary.route)
        known = noise.place((summary.path, summary.kind)) if noise else None
        return (known.share, known.samples) if known else None

    def drops(self) -> dict[str, int]:
        """Divergences that are not kept, by reason."""
        kept = self.store.dropped() if self.store is not None else {}
        return {**kept, "queue": self._dropped, "rate": self._too_many}

    def retain(self, routes: Mapping[str, Route]) -> None:
        """The table in force."""
        self._assessor.retain(routes)
        self._observations.retain(routes)
        found = {name: _secret_segments(route) for name, route in routes.items()}
        self._secret_segments = {name: segments for name, segments in found.items() if segments}

    def reported(self, report: Report) -> None:
        """What a worker counted and saw."""
        now = time.monotonic()
        for counts in report.counts:
            self._assessor.counted(counts)
        for seen in report.observations:
            if not is_traced(seen):
                continue
            if not self._failures.take(now):
                self._too_many += 1
            else:
                # A path may hold what no log and no span must; most are looked at no further.
                target = self._redactor.target(seen.target)
                seen = self._without_parameters(msgspec.structs.replace(seen, target=target))
                self._observations.take(seen, now)
                if not self._assessor.observed(seen):
                    self._trace(seen, None, ())

    def compared(self, results: Results) -> None:
        """What a comparer found."""
        now = time.monotonic()
        self.busy_s += results.busy_s
        for route, count in results.dropped.items():
            self._counts.judged(route, f"{SKIPPED_MARK}comparer_busy", now, count)
        if any(each.observation.route in self._secret_segments for each in results.results):
            shown = [
                msgspec.structs.replace(
                    each, observation=self._without_parameters(each.observation)
                )
                for each in results.results
            ]
            results = msgspec.structs.replace(results, results=shown)
        self._assessor.take(results, now)

    def _without_parameters(self, seen: Observation) -> Observation:
        """With the parameters of its path hidden that its route names secrets."""
        places = self._secret_segments.get(seen.route)
        if not places:
            return seen
        segments = seen.target.split("/")
        for place in places:
            if place < len(segments):
                segments[place] = self._redactor.hashed(segments[place])
        return msgspec.structs.replace(seen, target="/".join(segments))

    def not_asked(self, message: NotAsked) -> None:
        """A worker could not ask again."""
        self._assessor.not_asked(message, time.monotonic())

    def same_again(self, message: SameAgain) -> None:
        """A worker asked again, and got what it got before."""
        self._assessor.same_again(message)

    def _assessed(self, found: Assessment) -> None:
        now = time.monotonic()
        seen = found.observation
        failed = seen.new.failure or seen.new.status >= 500
        self._judge(found, now)
        if found.result == "unverified":
            self._counts.judged(seen.route, f"{SKIPPED_MARK}unverified", now)
        elif not failed:  # the workers have counted those
            self._counts.judged(seen.route, found.result, now)
        if found.divergence is not None:
            self._put(found.divergence, now)
        self._observations.assessed(found, now)
        divergence = found.divergence
        self._trace(seen, found.result, divergence.differences if divergence else ())

    def _put(self, divergence: Divergence, now: float) -> None:
        if not self._kept.take(now):
            self._too_many += 1
            return
        if len(self._queue) >= MAX_QUEUED:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(divergence)

    async def run(self) -> None:
        """Keep divergences and what is known of noise, until cancelled."""
        try:
            await self._keep()
        finally:
            await self._close()

    async def _keep(self) -> None:
        reopen_at = save_at = 0.0
        while goes_on():
            now = time.monotonic()
            self._assessor.expire(now)
            if self.store is None and now >= reopen_at:
                await self._open()
                reopen_at, save_at = now + REOPEN_S, now + SAVE_NOISE_S
            await self._flush()
            if self.problem and self.store is not None and now >= reopen_at:
                await self._try_the_store()
                reopen_at = now + REOPEN_S
            if now >= save_at:
                await self._save_noise()
                save_at = now + SAVE_NOISE_S
            await asyncio.sleep(FLUSH_S)

    async def _open(self) -> None:
        try:
            self.store = await self._open_store()
            self._assessor.learned(await self.store.load_noise())
            self.problem = ""
        except StoreError as error:
            self._trouble(str(error))

    async def _try_the_store(self) -> None:
        """It failed: whether it is back shows before the next divergence comes."""
        assert self.store is not None
        try:
            await self.store.signatures(limit=1)
        except StoreError as error:
            self._trouble(str(error))
        else:
            self.problem = ""

    async def _flush(self) -> None:
        while self.store is not None and self._queue:
            size = min(len(self._queue), MAX_BATCH)
            batch = [self._queue.popleft() for _ in range(size)]
            try:
                await self.store.add(batch)
            except StoreError as error:
                self._dropped += len(batch)
                self._trouble(str(error))
                return
            self.problem = ""

    async def _save_noise(self) -> None:
        known = {}
        for number, (route, noise) in enumerate(self._assessor.knowledge()):
            known[route] = noise
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        if self.store is not None and known:
            try:
                await self.store.save_noise(known)
            except StoreError as error:
                self._trouble(str(error))

    def _trouble(self, reason: str) -> None:
        if reason != self.problem:
            log.error("divergences are not kept", reason=reason)
        self.problem = reason

    async def _close(self) -> None:
        """The last ones too, at the end: a store answers within seconds or not at all."""
        await self._flush()
        await self._save_noise()
        if self.store is not None:
            await self.store.close()


def _secret_segments(route: Route) -> tuple[int, ...]:
    names = Pattern.parse(route.path).names if "{" in route.path else ()
    return tuple(number for name, number in names if is_secret_name(name))
