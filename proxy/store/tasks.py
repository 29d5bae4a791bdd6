"""Ending tasks that wait for a Redis."""

import asyncio


def goes_on() -> bool:
    """Whether this task was not cancelled. To be asked by each loop around calls of a Redis.

    Its client may swallow the one CancelledError there is, and the loop would never end.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()
