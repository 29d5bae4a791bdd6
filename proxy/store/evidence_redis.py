"""Words that controllers of several machines say to each other: a bounded stream in Redis.

What is older than the stream is long is lost; who says a word numbers it, so that this is seen.
Every call waits for the server for TIMEOUT_S at most.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import redis.exceptions

from proxy.store.redis_address import shown_address
from proxy.store.redis_client import redis_client
from proxy.store.state import StoreError

TIMEOUT_S: Final = 2.0
STREAM: Final = "banyan:evidence"
KEPT: Final = 1000  # words
HEARD_AT_ONCE: Final = 200


class RedisEvidence:
    """The stream at `url`. Made by `open`."""

    def __init__(self, url: str) -> None:
        self._name = shown_address(url)
        self._redis = redis_client(url, TIMEOUT_S)
        self._last = b"0-0"

    @classmethod
    async def open(cls, url: str) -> "RedisEvidence":
        """The stream, heard from its end on. Raises StoreError."""
        stream = cls(url)
        try:
            with stream._as_store_error():
                newest = await stream._redis.xrevrange(STREAM, count=1)
        except BaseException:
            await stream.close()
            raise
        if newest:
            stream._last = newest[0][0]
        return stream

    async def say(self, word: bytes) -> None:
        """Tell all who hear. Raises StoreError; it may have been told all the same."""
        with self._as_store_error():
            await self._redis.xadd(STREAM, {"word": word}, maxlen=KEPT, approximate=True)

    async def hear(self) -> list[bytes]:
        """What was said since, one's own words too. Raises StoreError."""
        words: list[bytes] = []
        found: list[Any] = [None]
        while found:
            with self._as_store_error():
                answer = await self._redis.xread({STREAM: self._last}, count=HEARD_AT_ONCE)
            found = answer[0][1] if answer else []
            for at, fields in found:
                self._last = at
                words.append(fields.get(b"word", b""))
            if len(words) > KEPT:
                break
        return words

    async def close(self) -> None:
        with contextlib.suppress(redis.exceptions.RedisError, OSError, TimeoutError):
            await self._redis.aclose()

    @contextlib.contextmanager
    def _as_store_error(self) -> Iterator[None]:
        try:
            yield
        except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
            text = f"the evidence stream at {self._name} cannot be used: {type(error).__name__}"
            raise StoreError(text) from error
