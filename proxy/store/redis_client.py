"""One client of a Redis, as all stores in it use it."""

from typing import Any, Final

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

LOST: Final = (redis.exceptions.ConnectionError,)


def redis_client(url: str, timeout_s: float, tries_again: bool = False) -> Any:
    """A client that waits for the server, connecting included, for so long.

    `tries_again`: once more where the connection was lost (it may be of before the server's
    restart); for calls that may be done twice. The client's types say that every answer may be text
    as well as bytes, or nothing: so it has none here.
    """
    again = Retry(NoBackoff(), 1, supported_errors=LOST)
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=again if tries_again else Retry(NoBackoff(), 0),
        protocol=2,
    )
