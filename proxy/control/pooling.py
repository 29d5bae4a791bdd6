"""Evidence that replicas share: what each has counted goes to all others, who count it as well.

So every replica judges the whole, and the first that finds a route failing reverts it for all; of
two at once the store refuses one. Evidence counts for a route under the same rules, in the same
phase and since the same resume only. Each says what it has counted since its last word, by the slot
of time in which the trials began; without a Redis it goes on collecting, within bounds, and judges
by what it has itself. Slots are of the wall clock of who counts, and are heard by one's own.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec
import structlog

from proxy.core.detection import SLOT_S
from proxy.core.model import Phase
from proxy.store.evidence_redis import RedisEvidence
from proxy.store.state import StoreError
from proxy.store.tasks import goes_on

SHARE_S: Final = 0.25
TRY_AGAIN_S: Final = 1.0
MAX_ROUTES: Final = 10_000
SKEW_S: Final = 1.0  # words are heard within that; more is that clocks are not set alike
MAX_SLOTS: Final = 64  # of one route, beyond what is remembered the oldest are taken together
ROUTES_A_WORD: Final = 200

log = structlog.get_logger("proxy.control")


class Share(msgspec.Struct, array_like=True):
    """What was counted of one route: trials by slot, times by bucket of LATENCY_BOUNDS_S.

    Of each slot: how many were equal, diverged, were not failed by new, were failed by it. And of
    the reads that could be compared: how many there were, and how many that was done with.
    """

    route: str
    phase: Phase
    digest: str
    resumed_at: float | None
    trials: dict[int, list[int]] = {}
    legacy: dict[int, int] = {}
    new: dict[int, int] = {}
    eligible: int = 0
    compared: int = 0


class Word(msgspec.Struct, frozen=True, array_like=True):
    """A message of one replica; its numbers follow each other."""

    replica: str
    number: int
    shares: list[Share]
    at: float = 0.0  # when it was said, by the wall clock of who says it; 0: unknown


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Word).decode


class Pool:
    """What is counted here and not shared yet. Bounded; what does not fit is counted."""

    def __init__(self) -> None:
        self.is_open = False  # somebody is there to share with
        self.dropped = 0  # routes whose evidence was not taken, each time
        self._shares: dict[str, Share] = {}

    def trial(self, share: Share, slot: int, counts: Iterable[int]) -> None:
        """Count trials of one slot. `share` is a fresh one, of what the route is now."""
        if (kept := self._kept(share)) is not None:
            _add(kept.trials, slot, counts)
            if len(kept.trials) > MAX_SLOTS:
                oldest, next_one = sorted(kept.trials)[:2]
                _add(kept.trials, next_one, kept.trials.pop(oldest))

    def took(self, share: Share, legacy: dict[int, int], new: dict[int, int]) -> None:
        """Count times."""
        if (legacy or new) and (kept := self._kept(share)) is not None:
            for into, counts in ((kept.legacy, legacy), (kept.new, new)):
                for bucket, count in counts.items():
                    into[bucket] = into.get(bucket, 0) + count

    def read(self, share: Share, eligible: int, compared: int) -> None:
        """Count reads that could be compared, and those that were."""
        if (eligible or compared) and (kept := self._kept(share)) is not None:
            kept.eligible += eligible
            kept.compared += compared

    def take(self) -> list[Share]:
        """Everything; empty afterwards."""
        shares = list(self._shares.values())
        self._shares.clear()
        return shares

    def put_back(self, shares: Iterable[Share]) -> None:
        """What could not be said."""
        for share in shares:
            empty = Share(share.route, share.phase, share.digest, share.resumed_at)
            for slot, counts in share.trials.items():
                self.trial(empty, slot, counts)
            self.took(empty, share.legacy, share.new)
            self.read(empty, share.eligible, share.compared)

    def _kept(self, share: Share) -> Share | None:
        if not self.is_open:
            return None
        kept = self._shares.get(share.route)
        if kept is not None and _key(kept) == _key(share):
            return kept
        if kept is None and len(self._shares) >= MAX_ROUTES:
            self.dropped += 1
            return None
        made = Share(share.route, share.phase, share.digest, share.resumed_at, {}, {}, {})
        self._shares[share.route] = made
        return made


class Pooling:
    """Says what is in the pool, and hears what others say. Owned by the controller."""

    def __init__(
        self,
        pool: Pool,
        heard: Callable[[Share], None],
        open_stream: Callable[[], Awaitable[RedisEvidence]],
        replica: str,
    ) -> None:
        self.is_open = False  # others can be heard
        self.counts: Counter[str] = Counter()  # words that were sent, heard, lost or unreadable
        self._pool = pool
        self._heard = heard
        self._open_stream = open_stream
        self._replica = replica
        self._number = 0
        self._numbers: dict[str, int] = {}  # the last one of each other replica
        self._stream: RedisEvidence | None = None

    async def run(self) -> None:
        """Share until cancelled."""
        try:
            while goes_on():
                try:
                    if self._stream is None:
                        self._stream = await self._open_stream()
                    self.is_open = True
                    await self._share(self._stream)
                except StoreError as error:
                    if self.is_open:
                        log.warning("evidence is not shared", reason=str(error))
                    self.is_open = False
                await asyncio.sleep(SHARE_S if self.is_open else TRY_AGAIN_S)
        finally:
            if self._stream is not None:
                await self._stream.close()

    async def _share(self, stream: RedisEvidence) -> None:
        shares = self._pool.take()
        while shares:
            word = Word(self._replica, self._number + 1, shares[:ROUTES_A_WORD], time.time())
            try:
                await stream.say(_encode(word))
            except BaseException:
                self._pool.put_back(shares)
                raise
            self._number += 1
            self.counts["sent"] += 1
            del shares[:ROUTES_A_WORD]
        for text in await stream.hear():
            self._hear(text)

    def _hear(self, text: bytes) -> None:
        try:
            word = _decode(text)
        except msgspec.MsgspecError:
            self.counts["unreadable"] += 1
            return
        if word.replica == self._replica:
            return
        expected = self._numbers.get(word.replica, word.number - 1) + 1
        self.counts["lost"] += max(word.number - expected, 0)
        self._numbers.pop(word.replica, None)
        self._numbers[word.replica] = word.number
        if len(self._numbers) > MAX_ROUTES:
            del self._numbers[next(iter(self._numbers))]
        self.counts["heard"] += 1
        skew_s = time.time() - word.at if word.at else 0.0
        for share in word.shares:
            if abs(skew_s) > SKEW_S:
                later = round(skew_s / SLOT_S)
                share.trials = {slot + later: each for slot, each in share.trials.items()}
            with contextlib.suppress(ValueError):  # of another version: fewer or more counts
                self._heard(share)


def _add(trials: dict[int, list[int]], slot: int, counts: Iterable[int]) -> None:
    """Count them in that slot."""
    before = trials.get(slot, (0, 0, 0, 0))
    trials[slot] = [a + b for a, b in zip(before, counts, strict=True)]


def _key(share: Share) -> tuple[Phase, str, float | None]:
    return share.phase, share.digest, share.resumed_at
