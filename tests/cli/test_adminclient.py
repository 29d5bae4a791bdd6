"""How the commands tell the admin API from what else may answer there, and its refusals."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from pytest_aiohttp.plugin import AiohttpServer

from proxy.admin.hosts import ADMIN_HEADER
from proxy.cli.adminclient import AdminClient, AdminError
from proxy.cli.status import command


async def invoke(*arguments: str) -> Result:
    """The command in a thread, since it runs a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, command, list(arguments))


async def answer_with(aiohttp_server: AiohttpServer, respond: Callable[[], web.Response]) -> str:
    async def handler(request: web.Request) -> web.Response:
        return respond()

    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    return f"http://127.0.0.1:{(await aiohttp_server(app)).port}"


@pytest.mark.parametrize(
    "respond",
    [
        lambda: web.Response(text="<html>hello"),
        lambda: web.Response(text="[1]", content_type="application/json"),
        lambda: web.Response(status=302, headers={"Location": "/login"}),
        lambda: web.Response(status=404, text='{"error": 1}', content_type="application/json"),
        lambda: web.json_response({"ok": True}),
        lambda: web.json_response({"routes": [{"name": "a route of a backend"}]}),
        lambda: web.json_response({"title": "Bad Gateway", "detail": "x"}, status=502),
        lambda: web.json_response({}, headers={"Server": "banyan"}),
        lambda: web.json_response([], headers={ADMIN_HEADER: "v1"}),
    ],
)
async def test_another_server_at_that_address_is_recognised(
    aiohttp_server: AiohttpServer, respond: Callable[[], web.Response]
) -> None:
    result = await invoke("--admin", await answer_with(aiohttp_server, respond))
    assert result.exit_code == 1
    assert "is not the admin API of Banyan" in result.stderr
    assert "the proxy's own port is another one" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


async def test_a_refusal_is_shown_in_its_own_words(aiohttp_server: AiohttpServer) -> None:
    problem = '{"title": "Internal Server Error", "status": 500, "detail": "The log says why."}'
    admin = await answer_with(
        aiohttp_server,
        lambda: web.Response(status=500, text=problem, headers={ADMIN_HEADER: "v1"}),
    )
    result = await invoke("--admin", admin)
    assert result.exit_code == 1
    assert "refuses (status 500): The log says why." in result.stderr


async def test_a_server_that_never_answers_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = AdminClient(f"http://127.0.0.1:{port}", timeout_s=0.1)
        with pytest.raises(AdminError, match=r"did not answer within 0\.1 s"):
            await client.get("/api/v1/routes")
