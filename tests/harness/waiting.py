"""Waiting for conditions: always with a deadline, never by hoping that a pause is long enough."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

DEADLINE_S = 10.0
T = TypeVar("T")


class Changes:
    """Something that changes and can be waited on: `notify` after each change."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def until(
        self, predicate: Callable[[], object], what: str = "", within_s: float = DEADLINE_S
    ) -> None:
        """Wait until `predicate()` is true; fails with `what` after the deadline."""
        end = time.monotonic() + within_s
        while not predicate():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            left = end - time.monotonic()
            try:
                await asyncio.wait_for(waiter, max(left, 0.001))
            except TimeoutError:
                if predicate():
                    return
                raise AssertionError(f"not within {within_s} s: {what or predicate}") from None
            finally:
                self._waiters.discard(waiter)


async def eventually(
    predicate: Callable[[], object], what: str = "", within_s: float = DEADLINE_S
) -> None:
    """Poll a condition that nothing announces (memory of a process, a file) until it holds."""
    end = time.monotonic() + within_s
    while not predicate():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what or predicate}")
        await asyncio.sleep(0.01)


async def stays(predicate: Callable[[], object], what: str = "", for_s: float = 0.4) -> None:
    """Poll a condition that has to hold all the time."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert predicate(), f"did not stay for {for_s} s: {what or predicate}"
        await asyncio.sleep(0.02)


async def asked_until(
    ask: Callable[[], Awaitable[T]],
    enough: Callable[[T], object],
    what: str = "",
    within_s: float = DEADLINE_S,
) -> T:
    """Ask what only answers (an API) again and again; the first answer that is enough."""
    answer: T | str = "no answer at all"
    try:
        async with asyncio.timeout(within_s):
            while not enough(found := await ask()):
                answer = found
                await asyncio.sleep(0.02)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what or enough}; but {answer}") from None


async def soon(awaitable: Awaitable[T], what: str = "", within_s: float = DEADLINE_S) -> T:
    """The result of `awaitable`, or a failure that says what did not come."""
    try:
        return await asyncio.wait_for(awaitable, within_s)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what or awaitable}") from None
