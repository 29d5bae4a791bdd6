"""A DivergenceStore in Redis, for the controllers of several machines at once.

What changes more than one key is a script at the server (divergence_scripts.py), so controllers
need not agree on anything. Pages are in the order in which divergences came. Every call waits for
the server for seconds at most; one that failed may have been done, and adding again what is there
changes nothing.
"""

import contextlib
import hashlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import redis.exceptions

from proxy.core.divergences import Divergence, Page, Seen, SignatureNoise, SignatureSummary
from proxy.store.divergence_scripts import ADD, FORGET, KEEP, PREFIX, READ
from proxy.store.divergences import SHOWN_SAMPLES, StoreBounds, other
from proxy.store.packing import packed, unpacked
from proxy.store.redis_client import redis_client
from proxy.store.state import StoreError

TIMEOUT_S: Final = 3.0
ADDED_AT_ONCE: Final = 50  # each is a script of its own: others get their turn between them
EXPORTED_AT_ONCE: Final = 20
READ_AT_ONCE: Final = 200

STREAM: Final = f"{PREFIX}divergences"
IDS: Final = f"{STREAM}:ids"
NOISE: Final = f"{PREFIX}noise"

PLACE: Final = 26  # characters of a place: the padded id of an entry, and a cursor

Entry = tuple[bytes, bytes, bytes]  # place, record, answers

_CURSOR = re.compile(r"[0-9]{15}-[0-9]{10}")


class RedisDivergences:
    """The store at `url`. Made by `open`."""

    def __init__(
        self,
        url: str,
        bounds: StoreBounds,
        chance: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._name = _without_password(url)
        self._bounds = bounds
        self._chance = chance
        self._now = now
        self._dropped: Counter[str] = Counter()
        self._closed = False
        self._redis = redis_client(url, TIMEOUT_S, tries_again=True)
        self._add = self._redis.register_script(ADD)
        self._keep = self._redis.register_script(KEEP)
        self._read_some = self._redis.register_script(READ)
        self._forget = self._redis.register_script(FORGET)

    @classmethod
    async def open(
        cls,
        url: str,
        bounds: StoreBounds,
        chance: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> "RedisDivergences":
        """The store, once its server has answered. Raises StoreError.

        `chance` gives numbers from 0 (included) to 1 (excluded); `now` seconds since the epoch.
        """
        store = cls(url, bounds, chance, now)
        try:
            with store._as_store_error():
                await store._redis.ping()
        except BaseException:
            await store.close()
            raise
        return store

    async def add(self, divergences: Sequence[Divergence]) -> None:
        with self._as_store_error():
            for start in range(0, len(divergences), ADDED_AT_ONCE):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for each in divergences[start : start + ADDED_AT_ONCE]:
                        await self._add(args=self._arguments(each), client=pipe)
                    self._count(reservoir=sum(await pipe.execute()))
            going_on = True
            while going_on:
                oldest = repr(self._now() - self._bounds.age_s)
                age, count, size, done = await self._keep(
                    args=[self._bounds.count, self._bounds.size_bytes, oldest]
                )
                self._count(age=age, count=count, bytes=size)
                going_on = done >= 500

    def _arguments(self, divergence: Divergence) -> list[Any]:
        """What ADD takes."""
        record, answers = packed(divergence, self._bounds.size_bytes)
        bounds = self._bounds
        instead = other(divergence.route, divergence.result == "noise")
        arguments: list[Any] = [
            *(divergence.id, record, answers or b"", divergence.route),
            *(max(int(divergence.at * 1000), 0), repr(divergence.at)),
            len(record) + len(answers or b""),
            *(bounds.samples_a_signature, max(bounds.samples_a_signature // 10, 1)),
            *(bounds.signatures_a_route, bounds.signatures, bounds.count),
            *_words(instead),
        ]
        for seen in divergence.seen() or (instead,):
            arguments += [*_words(seen), int(seen.noise), repr(self._chance())]
        return arguments

    def _count(self, **dropped: int) -> None:
        self._dropped.update({reason: count for reason, count in dropped.items() if count})

    async def page(
        self,
        route: str | None = None,
        signature: str | None = None,
        since: float | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise ValueError("this is no cursor of a page")
        if signature is not None and route is not None and not signature.startswith(f"{route} "):
            return Page(())
        oldest = max(since or 0.0, self._now() - self._bounds.age_s)
        found: list[tuple[str, Divergence]] = []
        with self._as_store_error():
            while True:
                size = min(limit + 1, READ_AT_ONCE)
                entries, last = await self._before(_index(route, signature), cursor, oldest, size)
                for place, record, _ in entries:
                    divergence = unpacked(record, None)
                    if divergence.at >= oldest:
                        found.append((place.decode(), divergence))
                if len(found) > limit or not last:
                    break
                cursor = last
        more = len(found) > limit
        shown = found[:limit]
        return Page(tuple(each for _, each in shown), shown[-1][0] if more and shown else None)

    async def _before(
        self, index: str, cursor: str | None, oldest: float, size: int
    ) -> tuple[list[Entry], str]:
        """The next entries before the cursor, the newest first."""
        first = max(int(oldest * 1000), 0)
        if index:
            bounds = f"({cursor}" if cursor else "+", f"[{first:015d}"
        else:
            bounds = f"({_plain(cursor)}" if cursor else "+", f"{first}-0"
        return await self._read(index, "newest", *bounds, size)

    async def _read(
        self, index: str, order: str, start: str, end: str, size: int, answers: bool = False
    ) -> tuple[list[Entry], str]:
        """Entries, and the place behind which there may be more; nothing if there are none."""
        arguments: list[Any] = [index, order, start, end, size, int(answers)]
        last, *flat = await self._read_some(args=arguments)
        return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True)), last.decode()

    async def get(self, id: str) -> Divergence | None:
        with self._as_store_error():
            member = await self._redis.hget(IDS, id)
            if member is None:
                return None
            entry = _plain(member[:PLACE].decode())
            found, _ = await self._read("", "oldest", entry, entry, 1, answers=True)
            return unpacked(*found[0][1:]) if found else None

    async def signatures(
        self, route: str | None = None, limit: int | None = None
    ) -> list[SignatureSummary]:
        oldest = self._now() - self._bounds.age_s
        key = f"{PREFIX}signatures" + ("" if route is None else f":route:{route}")
        with self._as_store_error():
            digests = await self._redis.zrevrange(key, 0, -1 if limit is None else limit - 1)
            async with self._redis.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hgetall(f"{PREFIX}signature:{digest.decode()}")
                    samples = f"{PREFIX}samples:{digest.decode()}"
                    pipe.zrevrange(samples, 0, SHOWN_SAMPLES - 1)
                found = await pipe.execute()
        summaries = [
            _summary(fields, samples)
            for fields, samples in zip(found[::2], found[1::2], strict=True)
            if fields and float(fields[b"last"]) >= oldest
        ]
        return sorted(summaries, key=lambda s: (-s.count, -_explained(s), s.signature))

    async def export(self, route: str | None = None) -> AsyncIterator[Divergence]:
        last, index = "", _index(route, None)
        while True:
            after = "-"
            if last:
                after = f"({last}\xff" if index else f"({_plain(last)}"
            with self._as_store_error():
                found, last = await self._read(
                    index, "oldest", after, "+", EXPORTED_AT_ONCE, answers=True
                )
            for _, record, answers in found:
                yield unpacked(record, answers)
            if not last:
                return

    async def save_noise(self, routes: dict[str, bytes]) -> None:
        with self._as_store_error():
            if routes:
                await self._redis.hset(NOISE, mapping=dict(routes))

    async def load_noise(self) -> dict[str, bytes]:
        with self._as_store_error():
            found = await self._redis.hgetall(NOISE)
        return {route.decode(): learned for route, learned in found.items()}

    async def clear(self, route: str) -> int:
        count = 0
        with self._as_store_error():
            while done := await self._forget(args=[route]):
                count += done
        return count

    def dropped(self) -> dict[str, int]:
        return dict(self._dropped)

    async def close(self) -> None:
        self._closed = True
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            await self._redis.aclose()

    @contextlib.contextmanager
    def _as_store_error(self) -> Iterator[None]:
        if self._closed:
            raise StoreError("the store of divergences is closed")
        try:
            yield
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            text = f"the store of divergences at {self._name} cannot be used: {why}"
            raise StoreError(text) from error


def _words(seen: Seen) -> tuple[str, str, str, str]:
    digest = hashlib.sha256(seen.signature.encode()).hexdigest()[:32]
    return digest, seen.signature, seen.path, seen.kind


def _index(route: str | None, signature: str | None) -> str:
    """The key that names the entries; nothing for all."""
    if signature is not None:
        return f"{PREFIX}samples:{hashlib.sha256(signature.encode()).hexdigest()[:32]}"
    return "" if route is None else f"{STREAM}:route:{route}"


def _plain(padded: str) -> str:
    ms, _, number = padded.partition("-")
    return f"{int(ms)}-{int(number)}"


def _summary(fields: dict[bytes, bytes], samples: Sequence[bytes]) -> SignatureSummary:
    noise = int(fields[b"noise"])
    return SignatureSummary(
        signature=fields[b"text"].decode(),
        route=fields[b"route"].decode(),
        path=fields[b"path"].decode(),
        kind=fields[b"kind"].decode(),
        count=int(fields[b"count"]),
        noise=SignatureNoise(0.0, 0, noise) if noise else None,
        first_at=float(fields[b"first"]),
        last_at=float(fields[b"last"]),
        sample_ids=tuple(member[PLACE + 1 :].decode() for member in samples),
    )


def _explained(summary: SignatureSummary) -> int:
    return summary.noise.count if summary.noise else 0


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
