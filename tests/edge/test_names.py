"""Look-ups of backend names: one at a time per name, shared, forgotten in time."""

import asyncio
import socket

import pytest
import uvloop

from proxy.edge import names
from proxy.edge.names import HostName, is_address

Info = tuple[object, ...]


class Resolver(asyncio.SelectorEventLoop):
    """A loop whose resolver is answered by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.answers: list[asyncio.Future[list[Info]]] = []

    async def getaddrinfo(self, host, port, **_):  # type: ignore[no-untyped-def]  # as asyncio's
        self.asked.append(host)
        answer: asyncio.Future[list[Info]] = self.create_future()
        self.answers.append(answer)
        return await answer


def infos(*addresses: str) -> list[Info]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def run(test: "object") -> None:
    assert callable(test)
    with asyncio.Runner(loop_factory=Resolver) as runner:
        runner.run(test())


def loop() -> Resolver:
    running = asyncio.get_running_loop()
    assert isinstance(running, Resolver)
    return running


def test_everybody_who_waits_shares_one_look_up() -> None:
    async def test() -> None:
        name = HostName(loop(), "a.example")
        waiting = [asyncio.ensure_future(name.addresses()) for _ in range(100)]
        await turn()
        assert loop().asked == ["a.example"]
        loop().answers[0].set_result(infos("10.0.0.1", "10.0.0.2", "10.0.0.1"))
        assert await asyncio.gather(*waiting) == [["10.0.0.1", "10.0.0.2"]] * 100
        assert await name.addresses() == ["10.0.0.1", "10.0.0.2"]
        assert len(loop().asked) == 1

    run(test)


def test_those_who_give_up_do_not_end_it_for_the_others() -> None:
    async def test() -> None:
        name = HostName(loop(), "a.example")
        hasty = asyncio.ensure_future(name.addresses())
        patient = asyncio.ensure_future(name.addresses())
        await turn()
        hasty.cancel()
        await turn()
        loop().answers[0].set_result(infos("10.0.0.1"))
        assert await patient == ["10.0.0.1"]

    run(test)


def test_a_failure_that_nobody_waits_for_is_no_noise() -> None:
    async def test() -> None:
        noise: list[object] = []
        loop().set_exception_handler(lambda _, context: noise.append(context))
        name = HostName(loop(), "a.example")
        hasty = asyncio.ensure_future(name.addresses())
        await turn()
        hasty.cancel()
        await turn()
        loop().answers[0].set_exception(socket.gaierror(-2, "Name or service not known"))
        await turn()
        again = asyncio.ensure_future(name.addresses())
        await turn()
        assert len(loop().asked) == 2
        loop().answers[1].set_exception(socket.gaierror(-2, "Name or service not known"))
        with pytest.raises(socket.gaierror):
            await again
        assert noise == []

    run(test)


def test_an_answer_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "FRESH_S", 0.0)

    async def test() -> None:
        name = HostName(loop(), "a.example")
        for number in (1, 2):
            waiting = asyncio.ensure_future(name.addresses())
            await turn()
            loop().answers[-1].set_result(infos(f"10.0.0.{number}"))
            assert await waiting == [f"10.0.0.{number}"]

    run(test)


def test_an_address_is_not_looked_up() -> None:
    async def test() -> None:
        for address in ("127.0.0.1", "::1"):
            assert await HostName(loop(), address).addresses() == [address]
        assert loop().asked == []

    run(test)


def test_localhost_on_the_loop_of_the_worker() -> None:
    async def test() -> None:
        found = await HostName(asyncio.get_running_loop(), "localhost").addresses()
        assert found
        assert all(is_address(address) for address in found)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())
