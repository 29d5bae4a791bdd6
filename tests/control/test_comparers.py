"""The controller's end of the links to comparers, against peers that speak well and badly."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.control.comparers import Comparers
from proxy.core.framing import frame
from proxy.core.model import Compare
from proxy.observe.compared import Results, Ruleset, ruleset_unframer
from tests.harness.waiting import Changes, soon

RULES = Ruleset(1, [Compare()], {"a": 0}, b"k" * 32, "/")


class Link:
    """A Comparers on a socket of the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: list[Results] = []
        self.changes = Changes()
        self.comparers = Comparers(1, self._received)

    def _received(self, results: Results) -> None:
        self.results.append(results)
        self.changes.notify()

    async def connect(self) -> "Peer":
        return Peer(*await asyncio.open_unix_connection(self.path))


class Peer:
    """The comparer's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.unframer = ruleset_unframer()

    async def ruleset(self) -> Ruleset:
        while True:
            data = await soon(self.reader.read(1 << 16), "a ruleset")
            assert data, "the controller hung up"
            for ruleset in self.unframer.feed(data):
                return ruleset

    async def is_cut(self) -> bool:
        try:
            return not await soon(self.reader.read(1 << 16), "the end")
        except ConnectionError:
            return True


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Link]:
    path = tmp_path / "results.sock"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(os.fspath(path))
    listening.listen(16)
    listening.setblocking(False)
    link = Link(path)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(link.comparers.serve(listening))
        yield link
        serving.cancel()


async def test_who_connects_gets_the_rules_in_force_and_each_later_one(link: Link) -> None:
    link.comparers.use(RULES)
    peer = await link.connect()
    assert await peer.ruleset() == RULES
    later = Ruleset(2, [], {}, b"k" * 32, "/")
    link.comparers.use(later)
    assert await peer.ruleset() == later
    assert link.comparers.connected == 1


async def test_who_connects_before_there_are_rules_gets_them_then(link: Link) -> None:
    peer = await link.connect()
    peer.writer.write(frame(Results(0, [])))
    await link.changes.until(lambda: link.results)
    link.comparers.use(RULES)
    assert await peer.ruleset() == RULES


async def test_results_arrive_and_a_comparer_that_leaves_is_forgotten(link: Link) -> None:
    link.comparers.use(RULES)
    peer = await link.connect()
    sent = Results(0, [], {"a": 3}, 0.5)
    peer.writer.write(frame(sent))
    await link.changes.until(lambda: link.results == [sent])
    peer.writer.close()
    again = await link.connect()
    assert await again.ruleset() == RULES


@pytest.mark.parametrize("data", [b"\xff" * 32, frame(RULES), b"\x00\x00\x00\x01\xc1"])
async def test_what_is_no_result_ends_that_link_and_no_other(link: Link, data: bytes) -> None:
    link.comparers.use(RULES)
    good, bad = await link.connect(), await link.connect()
    await good.ruleset()
    bad.writer.write(data)
    await bad.ruleset()
    assert await bad.is_cut()
    good.writer.write(frame(Results(0, [])))
    await link.changes.until(lambda: link.results)


async def test_one_that_does_not_read_keeps_no_rules_waiting_but_the_newest(link: Link) -> None:
    peer = await link.connect()
    peer.writer.write(frame(Results(0, [])))
    await link.changes.until(lambda: link.results)
    names = {f"route-{number}": 0 for number in range(50_000)}
    for generation in range(1, 21):
        link.comparers.use(Ruleset(generation, [Compare()], names, b"k" * 32, "/"))
        await asyncio.sleep(0)
    seen = [(await peer.ruleset()).generation]
    while seen[-1] != 20:
        seen.append((await peer.ruleset()).generation)
    assert len(seen) <= 3
