"""The Redis store of the state: several writers, a server that is away, foreign data, changes."""

import asyncio
import signal
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from proxy.store.records import Change, Stored, TableMark
from proxy.store.redis_address import shown_address
from proxy.store.state import ConflictError, DamagedError, LostError, StoreError
from proxy.store.state_redis import TIMEOUT_S, RedisStore
from proxy.store.state_scripts import (
    CHANNEL,
    HISTORY,
    META,
    PREFIX,
    RECORDS,
    REPLICAS,
    SCHEMA,
)
from tests.harness.redisserver import RedisServer, redis_server
from tests.store.test_contract import kept, record, transition

SEEN_WITHIN_S = 0.5
IN_TIME_S = TIMEOUT_S + 1.0  # the machine may be slow


@pytest.fixture(scope="module")
def program() -> str:
    return redis_server()


@pytest.fixture
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), program) as started:
        yield started


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Any]:
    async with Redis.from_url(server.url) as opened:
        yield opened


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    opened = await RedisStore.open(server.url, "a1")
    yield opened
    await opened.close()


@pytest.fixture
async def other(server: RedisServer) -> AsyncIterator[RedisStore]:
    opened = await RedisStore.open(server.url, "b2")
    yield opened
    await opened.close()


async def refused(call: Awaitable[object], match: str) -> StoreError:
    """The error with which the call ends, in time."""
    began = time.monotonic()
    with pytest.raises(StoreError, match=match) as raised:
        await call
    assert time.monotonic() - began < IN_TIME_S
    return raised.value


async def subscribed(client: Any) -> None:
    """Return once somebody hears of changes."""
    async with asyncio.timeout(10):
        while (await client.pubsub_numsub(CHANNEL))[0][1] == 0:
            pass


# Several stores on one Redis


async def test_of_two_that_commit_the_same_generation_one_wins(
    store: RedisStore, other: RedisStore
) -> None:
    for generation in range(1, 51):
        changes = [
            Change(
                (record(generation=generation, digest=digest),),
                transitions=(transition(generation),),
                table=TableMark(generation, digest),
            )
            for digest in ("mine", "theirs")
        ]
        found = await asyncio.gather(
            store.commit(changes[0]), other.commit(changes[1]), return_exceptions=True
        )
        assert found.count(None) == 1
        assert any(isinstance(each, ConflictError) for each in found)
        won = changes[found.index(None)]
        stored = await store.load()
        assert stored.records == (await other.load()).records
        assert stored.records["users"] == won.records[0]
    assert [each.at for each in await store.history()] == [float(n) for n in range(50, 0, -1)]


async def test_a_conflict_says_what_is_there(store: RedisStore, other: RedisStore) -> None:
    await store.commit(Change((record(),)))
    error = await refused(other.commit(Change((record(generation=5),))), "does not follow")
    assert str(error) == (
        "the state of route users is at generation 1, generation 5 does not follow it"
    )


async def test_every_key_has_the_prefix_and_the_tag(store: RedisStore, client: Any) -> None:
    await store.begin()
    await store.commit(Change((record(),), transitions=(transition(1),), table=TableMark(1, "d")))
    keys = await client.keys()
    assert len(keys) == 5
    assert all(key.startswith(f"{PREFIX}{{all}}:".encode()) for key in keys)


# A server that is away, hangs or refuses


async def test_a_server_that_was_killed_is_used_again(
    server: RedisServer, store: RedisStore, client: Any
) -> None:
    await store.begin()
    await store.commit(Change((record(),), transitions=(transition(1),)))
    await client.save()
    server.stop()
    await refused(store.load(), "cannot be used")
    await refused(store.commit(Change((record(generation=2),))), "cannot be used")
    await refused(store.version(), "cannot be used")
    await refused(store.wait_for_change(1, 10), "cannot be used")
    await refused(RedisStore.open(server.url, "a1"), "cannot be used")
    server.start()
    assert (await store.load()).records == {"users": record()}
    await store.commit(Change((record(generation=2),)))
    assert (await store.begin()).starts == 2
    assert await store.history() == [transition(1)]


async def test_a_server_that_lost_everything_is_not_started_afresh_unasked(
    server: RedisServer, store: RedisStore
) -> None:
    await store.commit(Change((record(),)))
    server.stop()
    await refused(store.load(), "cannot be used")
    server.start()
    for call in (store.load, store.begin, lambda: store.commit(Change((record(),)))):
        assert isinstance(await refused(call(), "has lost what it held"), DamagedError)
    again = await RedisStore.open(server.url, "a1")
    assert kept(await again.load()) == Stored()
    await store.restore(Stored(1, TableMark(), {"users": record()}))
    assert (await again.load()).records == {"users": record()}
    await again.close()


async def test_a_server_that_hangs_is_not_waited_for(
    server: RedisServer, store: RedisStore
) -> None:
    await store.commit(Change((record(),)))
    known = await store.version()
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    calls: list[Awaitable[object]] = [
        store.load(),
        store.commit(Change((record(generation=2),))),
        store.wait_for_change(known, 60),
        RedisStore.open(server.url, "a1"),
    ]
    for call in calls:
        await refused(call, "does not answer within 2 s")
    server.process.send_signal(signal.SIGCONT)
    # The outcome of the commit is unknown, as the protocol says: load, then go on.
    generation = (await store.load()).records["users"].generation
    assert generation in (1, 2)
    await store.commit(Change((record(generation=generation + 1),)))


async def test_what_is_waited_for_ends_when_the_server_hangs_meanwhile(
    server: RedisServer, store: RedisStore, client: Any
) -> None:
    waiting = asyncio.create_task(store.wait_for_change(await store.version(), 1.0))
    await subscribed(client)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    assert await waiting == 0


async def test_a_replica_is_refused(server: RedisServer, store: RedisStore, client: Any) -> None:
    await client.replicaof("127.0.0.1", "1")
    await refused(store.commit(Change((record(),))), "read-only replica")
    await refused(store.load(), "read-only replica")
    await refused(RedisStore.open(server.url, "a1"), "read-only replica")
    await client.replicaof("NO", "ONE")
    assert kept(await store.load()) == Stored()


async def test_a_server_that_loads_its_data_is_refused(
    server: RedisServer, store: RedisStore, client: Any
) -> None:
    await store.commit(Change((record(),)))
    await client.mset({f"other:{n}": "x" * 1000 for n in range(4000)})
    await client.save()
    server.stop()
    await refused(store.load(), "cannot be used")
    # 20 s for all keys; it answers after each few of them.
    server.start("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    await refused(store.load(), "still loading")
    await refused(RedisStore.open(server.url, "a1"), "still loading")


async def test_a_full_server_changes_nothing(store: RedisStore, client: Any) -> None:
    await store.commit(Change((record(), record("orders"))))
    known = await store.version()
    await client.config_set("maxmemory", "1")
    change = Change((record(generation=2),), ("orders",), (transition(1),), TableMark(2, "d"))
    await refused(store.commit(change), "maxmemory")
    assert kept(await store.load()) == Stored(
        records={"users": record(), "orders": record("orders")}
    )
    assert await store.history() == []
    assert await store.version() == known


async def test_what_is_no_redis_is_said_to_be_none() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        port = web.sockets[0].getsockname()[1]
        await refused(
            RedisStore.open(f"redis://127.0.0.1:{port}", "a1"), "what answers there is no Red"
        )


# Data that is none of ours, or not all of it


@pytest.mark.parametrize("key", [SCHEMA, META, RECORDS, HISTORY])
async def test_a_key_of_another_type_is_damage(
    server: RedisServer, store: RedisStore, client: Any, key: str
) -> None:
    await store.commit(Change((record(),), transitions=(transition(1),)))
    await client.delete(key)
    await client.sadd(key, "foreign")
    change = Change((record(generation=2),), transitions=(transition(2),))
    calls = [store.load(), store.begin(), store.commit(change), store.history()]
    for call in [*calls, RedisStore.open(server.url, "a1")]:
        assert isinstance(await refused(call, "is damaged"), DamagedError)
    assert await client.smembers(key) == {b"foreign"}


async def test_values_that_cannot_be_read_are_damage(
    server: RedisServer, store: RedisStore, client: Any
) -> None:
    await store.commit(Change((record(),), transitions=(transition(1),)))
    for key, field, value in [
        (RECORDS, "users", "no JSON"),
        (RECORDS, "users", "[]"),
        (RECORDS, "users", '{"name": "users", "generation": 1}'),
        (META, "starts", "many"),
        (REPLICAS, "a1:generation", "none"),
        (REPLICAS, "a1:table", b"\xff"),
        (META, "version", "new"),
    ]:
        before = await client.hget(key, field)
        await client.hset(key, field, value)
        error = await refused(RedisStore.open(server.url, "a1"), "is damaged")
        assert isinstance(error, DamagedError)
        await (client.hset(key, field, before) if before else client.hdel(key, field))
    await client.xadd(HISTORY, {"foreign": "1"})
    await refused(store.history(), "a transition cannot be read")
    await client.hset(RECORDS, "users", "no JSON")
    await refused(store.commit(Change((record(generation=2),))), "a record cannot be read")


@pytest.mark.parametrize("key", [SCHEMA, META, RECORDS, REPLICAS])
async def test_a_key_that_is_gone_is_damage(
    server: RedisServer, store: RedisStore, client: Any, key: str
) -> None:
    await store.declare("file")
    await store.commit(Change((record(),)))
    await client.delete(key)
    for call in (store.load(), RedisStore.open(server.url, "a1")):
        assert isinstance(await refused(call, "is damaged"), LostError)


async def test_a_newer_schema_is_refused(
    server: RedisServer, store: RedisStore, client: Any
) -> None:
    await client.set(SCHEMA, "2")
    await refused(RedisStore.open(server.url, "a1"), r"a newer Banyan \(schema 2\)")
    await refused(store.commit(Change((record(),))), "a newer Banyan")


async def test_a_field_of_later_is_passed_over(store: RedisStore, client: Any) -> None:
    await store.commit(Change((record(),), transitions=(transition(1),)))
    text = await client.hget(RECORDS, "users")
    await client.hset(RECORDS, "users", text[:-1] + b',"later":{"a":[1]}}')
    assert (await store.load()).records == {"users": record()}
    await store.commit(Change((record(generation=2),)))


# Changes that others make


async def test_a_commit_and_a_restore_raise_the_version(
    store: RedisStore, other: RedisStore
) -> None:
    assert await store.version() == 0
    await other.restore(Stored(1, TableMark(), {"users": record()}))
    restored = await store.version()
    assert restored > 0
    await other.commit(Change((record(generation=2),)))
    committed = await store.version()
    assert committed > restored
    with pytest.raises(ConflictError):
        await other.commit(Change((record(generation=2),)))
    assert await store.version() == committed


async def test_a_commit_of_another_is_heard(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    for generation in range(1, 6):
        known = await store.version()
        waiting = [asyncio.create_task(store.wait_for_change(known, 30)) for _ in range(2)]
        await subscribed(client)
        began = time.monotonic()
        await other.commit(Change((record(generation=generation),)))
        found = await asyncio.gather(*waiting)
        assert time.monotonic() - began < SEEN_WITHIN_S
        assert found == [await other.version()] * 2


async def test_a_commit_is_heard_after_the_connection_was_lost(
    store: RedisStore, other: RedisStore, client: Any
) -> None:
    waiting = asyncio.create_task(store.wait_for_change(await store.version(), 30))
    await subscribed(client)
    await client.client_kill_filter(_type="pubsub")
    await subscribed(client)
    began = time.monotonic()
    await other.commit(Change((record(),)))
    assert await waiting == await other.version()
    assert time.monotonic() - began < SEEN_WITHIN_S


async def test_who_may_not_subscribe_or_publish_polls(
    server: RedisServer, other: RedisStore, client: Any
) -> None:
    await client.execute_command(
        *("ACL", "SETUSER", "deaf", "on", ">word", "~banyan:state:*", "resetchannels", "+@all")
    )
    deaf = await RedisStore.open(server.url.replace("unix://", "unix://deaf:word@"), "a1")
    waiting = asyncio.create_task(deaf.wait_for_change(0, 30))
    await other.commit(Change((record(),)))
    known = await waiting
    assert known == await other.version()
    await deaf.commit(Change((record(generation=2),)))
    assert await other.wait_for_change(known, 30) != known
    await deaf.close()


async def test_nothing_new_is_the_known_version_in_time(store: RedisStore) -> None:
    began = time.monotonic()
    assert await store.wait_for_change(0, 0.3) == 0
    assert 0.3 <= time.monotonic() - began < 1.0
    assert await store.wait_for_change(0, 0) == 0
    assert await store.wait_for_change(7, 0) == 0  # one of before the server lost everything


# Secrets


async def test_a_refused_password_is_not_said(server: RedisServer, client: Any) -> None:
    await client.config_set("requirepass", "right")
    for who in ("me:hidden@", ":hidden@", "hidden@", ""):
        url = server.url.replace("unix://", f"unix://{who}")
        error = await refused(RedisStore.open(url, "a1"), "refuses the user and password")
        assert "hidden" not in "".join(traceback.format_exception(error))
        assert server.url in str(error)
    store = await RedisStore.open(server.url.replace("unix://", "unix://:right@"), "a1")
    await store.close()


async def test_what_a_user_may_not_do_names_no_user(server: RedisServer, client: Any) -> None:
    await client.execute_command("ACL", "SETUSER", "hidden", "on", ">word", "~none:*", "+@all")
    error = await refused(
        RedisStore.open(server.url.replace("unix://", "unix://hidden:word@"), "a1"), "may not do"
    )
    assert "hidden" not in str(error)


async def test_the_url_of_a_server_that_is_away_is_shown_without_secrets() -> None:
    error = await refused(
        RedisStore.open("redis://hidden:hidden@127.0.0.1:1/0?password=hidden", "a1"),
        "cannot be used",
    )
    assert "hidden" not in "".join(traceback.format_exception(error))
    assert "redis://127.0.0.1:1/0 " in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:hid/den@host/0",
        "redis://me:hid?den@host",
        "redis://me:hid#den@host",
        "redis://me:1?hidden@host",
        "redis://me:hidden@more@host",
        "redis://hidden:port",
        "redis://host/hidden",
        "redis://host/0?password=hid@den",
        "redis://host/0?passwort=hidden",
        "redis://host/0?socket_timeout=60",
        "redis://host/0?db=hidden",
        "redis://:6379",
        "unix://hidden/path",
        "unix://me:hidden@",
        "http://me:hidden@host",
        "redis://[hidden",
        "",
    ],
)
async def test_a_url_that_is_none_is_not_shown(url: str) -> None:
    error = await refused(RedisStore.open(url, "a1"), "is not of the form")
    assert "hid" not in str(error)
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:hid%40den@host:6380/1", "redis://host:6380/1"),
        ("redis://host", "redis://host"),
        ("redis://[::1]:6379/", "redis://[::1]:6379/"),
        ("rediss://:hidden@host?ssl_ca_certs=/ca.pem&db=1", "rediss://host"),
        ("unix://me:hidden@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert shown_address(url) == shown
