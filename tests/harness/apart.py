"""A backend in a process of its own, so that its work is not in the times that a test measures.

`python -m tests.harness.apart KIND` serves one of the handlers of the isolation tests, says its
port, and ends with its standard input.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.harness.backend import Backend
from tests.harness.waiting import soon


@asynccontextmanager
async def apart(module: str, *arguments: str) -> AsyncIterator[str]:
    """The URL of a module that says its port and ends with its standard input."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        port = int(await soon(process.stdout.readline(), f"the port of {module}"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.kill()
        await process.wait()


@asynccontextmanager
async def backend_apart(kind: str) -> AsyncIterator[str]:
    """The URL of a backend of this kind."""
    async with apart("tests.harness.apart", kind) as url:
        yield url


async def main(kind: str) -> None:
    from tests.edge.test_isolation import HANDLERS

    async with Backend(kind, HANDLERS[kind]) as backend:
        print(backend.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
