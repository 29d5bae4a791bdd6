"""The load that stands for shadows, on a real socket."""

import asyncio
import sys
from pathlib import Path

from benchmarks.requests import request_set, write_set
from tests.benchmarks.test_load import Server


async def test_a_backend_is_asked_as_often_as_was_said(tmp_path: Path) -> None:
    write_set(tmp_path / "requests", request_set()[:50])
    async with Server().running() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.beside", "--port", str(server.port)),
            *("--rate", "400", "--seconds", "1", "--requests", str(tmp_path / "requests")),
        )
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert 200 <= len(server.heads) <= 401
    assert len(set(server.heads)) == 50


async def test_a_backend_that_goes_away_is_an_error(tmp_path: Path) -> None:
    write_set(tmp_path / "requests", request_set()[:5])

    async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.beside", "--port", str(port)),
            *("--rate", "100", "--seconds", "20", "--requests", str(tmp_path / "requests")),
            stderr=asyncio.subprocess.PIPE,
        )
        _, words = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode != 0
    assert b"ConnectionResetError" in words or b"BrokenPipeError" in words
