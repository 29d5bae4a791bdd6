"""Recorded pairs for `banyan compare --replay`, and the command over them."""

import json
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result

from proxy.admin.divergences import whole
from proxy.cli.compare import command
from proxy.core.divergences import Divergence, RecordedAnswer, SideRecord
from tests.store.divergences import difference, divergence

JSON = (("Content-Type", "application/json"),)


def config(folder: Path, compare: str = "{}") -> Path:
    """A file with the routes orders, moved (its path is another one on new), and users."""
    path = folder / "routes.yaml"
    path.write_text(
        "backends: {legacy: http://127.0.0.1:9001, new: http://127.0.0.1:9002}\n"
        f"routes:\n  /api/orders/*: {{name: orders, phase: shadow-read, compare: {compare}}}\n"
        "  /api/moved/*: {name: moved, phase: shadow-read, rewrite: /v2/moved/*}\n"
        "  /api/users/*: {name: users, phase: shadow-read, compare: null}\n"
    )
    return path


def recorded(
    number: int,
    one: object,
    other: object,
    *paths: str,
    noise: tuple[str, ...] = (),
    **changed: Any,
) -> Divergence:
    """A pair with these JSON bodies, which differed in these paths."""
    differences = [difference(path) for path in paths]
    differences += [difference(path, noise=True) for path in noise]
    answers = [RecordedAnswer(200, JSON, json.dumps(body)) for body in (one, other)]
    made = msgspec.structs.replace(
        divergence(number, *differences, result="divergent" if paths else "noise"),
        legacy=SideRecord(200, 1.0),
        new=SideRecord(200, 1.0),
        legacy_answer=answers[0],
        new_answer=answers[1],
    )
    return msgspec.structs.replace(made, **changed)


def export(folder: Path, *pairs: Divergence) -> Path:
    """The pairs as `banyan divergences --export` writes them."""
    path = folder / "pairs.ndjson"
    path.write_bytes(b"".join(msgspec.json.encode(whole(each)) + b"\n" for each in pairs))
    return path


def replay(folder: Path, *arguments: object, compare: str = "{}") -> Result:
    """`banyan compare --replay` with these arguments, by these rules of orders."""
    words = [str(each) for each in arguments]
    config_path = str(config(folder, compare))
    return CliRunner().invoke(command, ["--config", config_path, "--replay", *words])


def data(result: Result) -> dict[str, Any]:
    """What it printed with --json."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


Entry = dict[str, Any]


def entry(
    target: str,
    text: str | None = None,
    *,
    status: int = 200,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = JSON,
    **content: object,
) -> Entry:
    """A request and its answer as they stand in a HAR file."""
    if text is not None:
        content["text"] = text
    return {
        "startedDateTime": "2026-01-01T00:00:00Z",
        "request": {"method": method, "url": target},
        "response": {
            "status": status,
            "headers": [{"name": key, "value": value} for key, value in headers],
            "content": {"mimeType": "application/json", **content},
        },
    }


def har(folder: Path, name: str, *entries: Entry) -> Path:
    """A HAR file of what a host of its own was asked."""
    path = folder / name
    host = f"https://{name.removesuffix('.har')}.example"
    for each in entries:
        each["request"]["url"] = host + each["request"]["url"]
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}))
    return path
