"""`banyan check`: what it prints, and how it exits."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from pytest_aiohttp.plugin import AiohttpServer

from proxy.admin.hosts import ADMIN_HEADER
from proxy.cli.check import command
from proxy.config.jsonschema import json_schema_text
from tests.config.samples import EXAMPLES, with_routes

LINE = re.compile(r"[^:]+:\d+:\d+: (error|warning) [A-Z_]+: .+")


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(command, arguments, env=env)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "routes.yaml"


def test_a_file_with_nothing_to_say_exits_0() -> None:
    result = run(str(EXAMPLES / "short.yaml"))
    assert result.exit_code == 0
    assert "is valid: 5 routes, nothing to object." in result.stdout
    assert result.stderr == ""


def test_errors_exit_1_a_line_each(file: Path) -> None:
    file.write_text("backends: {legacy: x}\nroutes: {a: 1%}\n")
    result = run(str(file))
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert all(LINE.fullmatch(line) for line in lines)
    assert lines[0].startswith(f"{file}:1:20: error BAD_VALUE: backends.legacy: ")
    assert "would be refused: 2 errors, 0 warnings." in result.stderr


def test_warnings_are_findings_too(file: Path) -> None:
    file.write_text(with_routes("/logout: shadow-read"))
    result = run(str(file))
    assert result.exit_code == 1
    assert "warning UNSAFE_SAFE_METHOD:" in result.stdout
    assert "is valid: 1 route, 1 warning." in result.stderr
    assert run(str(file), "--warnings-ok").exit_code == 0


def test_a_dash_is_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fine = CliRunner().invoke(command, ["-"], input=with_routes("/a: shadow-read"))
    assert (fine.exit_code, fine.stdout) == (
        0,
        "Standard input is valid: 1 route, nothing to object.\n",
    )
    wrong = CliRunner().invoke(command, ["-"], input=with_routes("/a: nonsense"))
    assert wrong.exit_code == 1
    assert wrong.stdout.startswith("-:4:7: error BAD_VALUE: routes./a: ")
    assert "Standard input would be refused" in wrong.stderr
    # Files that it names are looked for here.
    (tmp_path / "ca.pem").write_text("none")
    tls = "backends: {legacy: {url: 'https://h', tls: {ca: ca.pem}}, new: 'http://n'}\nroutes: {}"
    assert "BAD_FILE" in CliRunner().invoke(command, ["-"], input=tls).stdout
    assert CliRunner().invoke(command, ["-"], input="#" * ((4 << 20) + 1)).exit_code == 1


def test_warnings_ok_does_not_excuse_errors(file: Path) -> None:
    file.write_text("")
    assert run(str(file), "--warnings-ok").exit_code == 1


def test_bad_usage_exits_2() -> None:
    assert run("--nope").exit_code == 2
    assert run("a.yaml", "b.yaml").exit_code == 2


def test_the_file_may_come_from_the_option_or_the_environment(file: Path) -> None:
    file.write_text(with_routes("/a: 1%"))
    assert run("--config", str(file)).exit_code == 0
    assert run(BANYAN_CONFIG=str(file)).exit_code == 0
    assert run(str(file), BANYAN_CONFIG="/nowhere.yaml").exit_code == 0


@pytest.mark.parametrize("data", [b"", b"\t", b"\xff", b"[" * 5_000_000, b"a: &x [*x]"])
def test_a_bad_file_is_one_clear_line_and_no_traceback(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    result = run(str(file))
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert LINE.fullmatch(result.stdout.strip())
    assert "Traceback" not in result.output


def test_a_directory_and_a_missing_file(tmp_path: Path) -> None:
    assert "directory" in run(str(tmp_path)).stdout
    missing = run(str(tmp_path / "gone.yaml"))
    assert (missing.exit_code, "no such file" in missing.stdout) == (1, True)


def test_variables_come_from_the_environment(file: Path) -> None:
    file.write_text("backends: {legacy: '${BANYAN_L}', new: 'http://n:1'}\nroutes: {}\n")
    assert run(str(file), BANYAN_L="http://l:1").exit_code == 0
    assert "ENVIRONMENT" in run(str(file)).stdout


def test_json_has_the_same_findings(file: Path) -> None:
    file.write_text(with_routes("/logout: shadow-read"))
    result = run(str(file), "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert (data["file"], data["ok"], data["routes"]) == (str(file), True, 1)
    [found] = data["findings"]
    assert set(found) == {"file", "line", "column", "severity", "code", "key_path", "text"}
    assert (found["code"], found["line"]) == ("UNSAFE_SAFE_METHOD", 4)


def test_the_schema_is_printed() -> None:
    result = run("--schema")
    assert (result.exit_code, result.stdout) == (0, json_schema_text())


async def test_what_is_in_force_is_compared(aiohttp_server: AiohttpServer, file: Path) -> None:
    async def routes(request: web.Request) -> web.Response:
        named: dict[str, Any] = {
            "name": "a",
            "declared_phase": "legacy-only",
            "effective_phase": "legacy-only",
            "missed": ["new"],
            "revert": None,
        }
        return web.json_response({"routes": [named]}, headers={ADMIN_HEADER: "v1"})

    app = web.Application()
    app.router.add_get("/api/v1/routes", routes)
    server = await aiohttp_server(app)
    await asyncio.to_thread(file.write_text, with_routes("/a: 10%"))
    url = str(server.make_url("/"))
    result = await asyncio.to_thread(run, str(file), "--admin", url)
    assert result.exit_code == 1
    assert "warning PHASE_SKIPPED" in result.stdout
    assert "warning MISSED_WRITES" in result.stdout


def test_an_admin_api_that_is_not_there_is_one_paragraph(file: Path) -> None:
    file.write_text(with_routes("/a: 10%"))
    result = run(str(file), "--admin", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "Traceback" not in result.output
