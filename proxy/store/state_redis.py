"""A StateStore in Redis, for the controllers of several machines at once.

What changes anything is a script at the server (state_scripts.py), so controllers need not agree
on anything: of two that commit the same generation, one gets a ConflictError. Every call waits for
the server for TIMEOUT_S at most, and none is done twice: one that failed may have been done.

What is written is as durable as the Redis is told to be: with `appendonly yes` and
`appendfsync always` no commit is lost to a power cut. One that has lost its keys is refused as
damaged until the store is opened again, so that nothing starts afresh over an unknown latch.
It must be Redis 6.2 or newer, or what speaks like it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec
import redis.exceptions

from proxy.store.records import Change, Record, Replica, Stored, TableMark, Transition, lines_of
from proxy.store.redis_address import shown_address
from proxy.store.redis_client import redis_client
from proxy.store.state import (
    HISTORY_KEPT,
    ConflictError,
    DamagedError,
    LostError,
    StoreError,
    check_generations,
)
from proxy.store.state_scripts import (
    BEGIN,
    CHANNEL,
    COMMIT,
    FILES_KEPT,
    FORGOTTEN_MS,
    KEYS,
    LEAVE,
    LOAD,
    META,
    OPEN,
    PRESENT,
    READ_HISTORY,
    REFILL,
    RESTORE,
    SCHEMA_VERSION,
    SILENT_MS,
)
from proxy.store.tasks import goes_on

TIMEOUT_S: Final = 2.0  # of one call, connecting and all
POLLED_S: Final = 0.25  # how often the version is asked for where nothing is heard of changes
HEARING_POLLED_S: Final = 2.0  # and where it is: a message may get lost

_record_of = msgspec.json.Decoder(Record).decode
_transition_of = msgspec.json.Decoder(Transition).decode
_encode = msgspec.json.Encoder().encode


class RedisStore:
    """The store at `url`, as one of its replicas. Made by `open`."""

    def __init__(self, url: str, replica: str, name: str) -> None:
        self._name = shown_address(url)
        self._closed = False
        self._replica = replica
        self._replica_name = name
        self._file = ""  # the digest of what the file declares
        self._order = 0  # of that file, as the server said last
        self._presence = asyncio.Lock()  # of two words of one replica the later one holds
        # A commit that was done, and done again, would be a conflict with itself.
        self._redis = redis_client(url, TIMEOUT_S)
        scripts = (OPEN, LOAD, BEGIN, COMMIT, RESTORE, REFILL, PRESENT, LEAVE, READ_HISTORY)
        self._scripts = {script: self._redis.register_script(script) for script in scripts}

    @classmethod
    async def open(
        cls, url: str, replica: str, name: str = "", known: Stored | None = None
    ) -> "RedisStore":
        """The store, made where there is none, once all of it could be read. Raises StoreError.

        One that has lost some of its keys is filled from what is `known`.

        `url` is redis://, rediss:// or unix://; nothing of its user and password is ever shown.
        `replica` is hexadecimal digits that no other one has, `name` is for people.
        """
        store = cls(url, replica, name)
        try:
            try:
                await store._run(OPEN)
            except LostError:
                if known is None:
                    raise
                with contextlib.suppress(ConflictError):
                    await store.refill(known)
            # Unreadable records show here and not in the middle of a decision.
            await store.load()
        except BaseException:
            await store.close()
            raise
        return store

    async def begin(self) -> Stored:
        return self._stored(await self._run(BEGIN))

    async def load(self) -> Stored:
        return self._stored(await self._run(LOAD))

    async def commit(self, change: Change) -> None:
        transitions = change.transitions[-HISTORY_KEPT:]
        table = ("", "") if change.table is None else (change.table.generation, change.table.digest)
        said = (change.quiet, change.withdrawn, change.swapped)
        arguments: list[Any] = [HISTORY_KEPT, *table]
        arguments += [len(change.records), len(change.forgotten), *map(len, said)]
        for record in change.records:
            arguments += [record.name, record.generation, _encode(record)]
        arguments += change.forgotten
        for routes in said:
            for route, generation in routes.items():
                arguments += [route, generation]
        for each in transitions:
            arguments += [each.route, _encode(each)]
        word, *found = await self._run(COMMIT, arguments)
        if word == b"loud":
            raise ConflictError("not every replica holds back what it was taken to hold back")
        if word == b"conflict":
            have = [self._record(text) for text in found if text is not None]
            check_generations(Stored(records={record.name: record for record in have}), change)
            raise self._damaged("a record is under the name of another one")

    async def restore(self, stored: Stored) -> None:
        word, *_ = await self._run(RESTORE, self._filling(stored))
        if word == b"conflict":
            raise ConflictError("only an empty store can be filled from a snapshot")

    async def refill(self, stored: Stored) -> None:
        """Where the server has lost all it held, or some keys: put back what is known of it.

        What is still there stays. ConflictError where nothing is missing, be it that another
        replica was first.
        """
        word, *_ = await self._run(REFILL, self._filling(stored))
        if word == b"conflict":
            raise ConflictError("nothing is missing any more")

    def _filling(self, stored: Stored) -> list[Any]:
        others = [each for each in stored.replicas if each.id != self._replica]
        arguments: list[Any] = [stored.starts, stored.table.generation, stored.table.digest]
        arguments += [len(others), len(stored.records)]
        for each in others:
            arguments += [each.id, each.name]
        for record in stored.records.values():
            arguments += [record.name, _encode(record)]
        for line in lines_of(stored):
            arguments += [line.route, _encode(line)]
        return arguments

    async def declare(self, file: str) -> None:
        """Say which file this replica has now, by its digest, and so whether it leads."""
        async with self._presence:
            if file != self._file:
                self._file, self._order = file, 0
            await self._say_present()

    async def present(self) -> tuple[Replica, ...]:
        """Say that this replica is there; all that are. To be called every few seconds."""
        async with self._presence:
            return await self._say_present()

    async def leave(self) -> None:
        """Say that this replica serves nothing any more."""
        async with self._presence:
            await self._run(LEAVE)

    async def _say_present(self) -> tuple[Replica, ...]:
        arguments = [
            *(self._replica_name, self._file, self._order),
            *(FORGOTTEN_MS, SILENT_MS, FILES_KEPT),
        ]
        _, found = await self._run(PRESENT, arguments)
        replicas = self._replicas(found)
        [self._order] = [each.order for each in replicas if each.id == self._replica]
        return replicas

    async def history(self, route: str | None = None, limit: int = 100) -> list[Transition]:
        if limit <= 0:
            return []
        _, *found = await self._run(READ_HISTORY, [limit, int(route is not None), route or ""])
        try:
            return [_transition_of(text) for text in found]
        except msgspec.MsgspecError as error:
            raise self._damaged(f"a transition cannot be read: {error}") from error

    async def version(self) -> int:
        """Another number once anything was committed or restored; 0 in a new store.

        Later ones are larger, by any amount, unless the Redis lost what it held. Raises StoreError.
        """
        async with self._as_store_error():
            found = await self._redis.hget(META, "version")
        try:
            return int(found or 0)
        except ValueError:
            raise self._damaged(f"version in {META} is no number") from None

    async def wait_for_change(self, known: int, timeout_s: float) -> int:
        """The version as soon as it is not `known`; `known` when that takes `timeout_s`.

        The version is asked for at once, whatever `timeout_s`. StoreError if the Redis cannot be
        asked, at once or later. Several may wait at the same time.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        version = await self.version()
        changes = _Changes(self._redis)
        try:
            async with asyncio.timeout_at(ends_at) as waiting:
                # The time is looked at, too: Python 3.11 may lose what ends a wait for a time.
                while version == known and goes_on() and (left := ends_at - loop.time()) > 0:
                    # Before the version is asked for: a change between the two is heard.
                    hearing = await changes.subscribe(min(TIMEOUT_S, left))
                    version = await self.version()
                    if version == known and hearing:
                        await changes.wait(min(HEARING_POLLED_S, left))
                    elif version == known:
                        await asyncio.sleep(min(POLLED_S, left))
        except TimeoutError:
            if not waiting.expired():
                raise
        finally:
            await changes.close()
        return version

    async def close(self) -> None:
        self._closed = True
        with contextlib.suppress(redis.exceptions.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                await self._redis.aclose()

    async def _run(self, script: str, arguments: Sequence[Any] = ()) -> list[Any]:
        """What the script answers: "done" or "conflict", and more. Raises StoreError."""
        async with self._as_store_error():
            answer: list[Any] = await self._scripts[script](
                keys=KEYS, args=[SCHEMA_VERSION, CHANNEL, self._replica, *arguments]
            )
        word, *more = answer
        if word == b"damaged":
            raise self._damaged(more[0].decode(errors="replace"))
        if word == b"lost":
            why = more[0].decode(errors="replace")
            raise LostError(
                f"the state store at {self._name} is damaged ({why}). Replicas that run, or start "
                "with a snapshot, tell it again what they know; where there are none put good data "
                "in its place, or remove its keys and start Banyan again"
            )
        if word == b"schema":
            schema = more[0].decode(errors="replace")
            if not schema.isdecimal() or int(schema) < SCHEMA_VERSION:
                raise self._damaged("the version of its schema is no number of Banyan's")
            raise DamagedError(
                f"the state store at {self._name} was written by a newer Banyan "
                f"(schema {schema}); use that one"
            )
        return answer

    def _stored(self, answer: Sequence[Any]) -> Stored:
        _, starts, generation, digest, replicas, *texts = answer
        records = [self._record(text) for text in texts]
        try:
            table = TableMark(int(generation), digest.decode())
        except ValueError as error:
            raise self._damaged("the mark of a table is none") from error
        by_name = {record.name: record for record in records}
        return Stored(int(starts), table, by_name, self._replica, self._replicas(replicas))

    def _replicas(self, found: Sequence[Sequence[bytes]]) -> tuple[Replica, ...]:
        replicas = []
        try:
            for id, name, order, age_ms, *quiet in found:
                generations = dict(zip(quiet[::2], quiet[1::2], strict=True))
                replicas.append(
                    Replica(
                        id.decode(),
                        name.decode(errors="replace"),
                        int(float(order)),
                        max(float(age_ms) / 1000, 0.0),
                        {route.decode(): int(at) for route, at in generations.items()},
                    )
                )
        except ValueError as error:
            raise self._damaged("what it says of a replica cannot be read") from error
        return tuple(sorted(replicas, key=lambda each: each.id))

    def _record(self, text: bytes) -> Record:
        try:
            return _record_of(text)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"a record cannot be read: {error}") from error

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(
            f"the state store at {self._name} is damaged ({why}). It may have held reverts and "
            "missed writes, so nothing starts afresh over it: put good data in its place, or "
            "remove its keys and start Banyan again"
        )

    @contextlib.asynccontextmanager
    async def _as_store_error(self) -> AsyncIterator[None]:
        """One call of the server: it ends in time, and its errors are of the store."""
        if self._closed:
            raise StoreError("the store is closed")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                yield
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            if "WRONGTYPE" in str(error):
                raise self._damaged(f"{META} is of something else") from error
            text = f"the state store at {self._name} cannot be used: {_why(error)}"
            raise StoreError(text) from error


class _Changes:
    """Hears of changes, while there is a connection for it. Of one task."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        self._subscription: Any = None

    async def subscribe(self, timeout_s: float) -> bool:
        """Whether every change from now on is heard. Takes `timeout_s` at most."""
        if self._subscription is not None:
            return True
        self._subscription = self._redis.pubsub()
        try:
            async with asyncio.timeout(timeout_s):
                await self._subscription.subscribe(CHANNEL)
                # Sent is not done; the server's word for it comes first.
                if await self._subscription.get_message(timeout=timeout_s):
                    return True
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            pass
        await self.close()
        return False

    async def wait(self, timeout_s: float) -> None:
        """Return once there was a change, or may have been, or the time is over."""
        try:
            await self._subscription.get_message(timeout=timeout_s)
        except (redis.exceptions.RedisError, OSError, TimeoutError):
            await self.close()

    async def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(redis.exceptions.RedisError, OSError, TimeoutError):
                await subscription.aclose()


def _why(error: BaseException) -> str:
    """What is wrong, and what to do; of the server's own words only what names nobody."""
    # What the server said to a new connection is wrapped.
    while isinstance(error.__cause__, redis.exceptions.RedisError):
        error = error.__cause__
    match error:
        case (
            redis.exceptions.AuthenticationError()
            | redis.exceptions.AuthenticationWrongNumberOfArgsError()
        ):
            return "it refuses the user and password of its URL, or wants some"
        case redis.exceptions.NoPermissionError():
            return f"its user may not do all that is needed with {KEYS[0]} and the keys beside it"
        case redis.exceptions.BusyLoadingError():
            return "it is still loading its data; try again in a moment"
        case redis.exceptions.MasterDownError():
            return "it is a replica that has lost its primary; name the primary"
        case redis.exceptions.AskError() | redis.exceptions.ClusterDownError():
            return "it is a node of a cluster that has not these keys, or is down"
        case redis.exceptions.InvalidResponse():
            return "what answers there is no Redis"
        case redis.exceptions.TimeoutError() | TimeoutError():
            return f"it does not answer within {TIMEOUT_S:g} s"
    text = str(error) or type(error).__name__
    if "unauthenticated" in text:  # so much is not read from somebody who has not said a password
        return "it refuses the user and password of its URL, or wants some"
    if "READONLY" in text or isinstance(error, redis.exceptions.ReadOnlyError):
        return "it is a read-only replica; name the primary"
    return text
