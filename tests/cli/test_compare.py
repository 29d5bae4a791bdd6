"""`banyan compare --replay`: exports, HAR files and folders, by the rules of a file."""

import base64
import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from comparators.redaction import Redactor
from proxy.admin.divergences import whole
from proxy.cli.compare import command
from proxy.core.divergences import Divergence, RecordedAnswer, SideRecord
from tests.store.divergences import difference, divergence

JSON = (("Content-Type", "application/json"),)


def config(folder: Path, compare: str = "{}") -> Path:
    path = folder / "routes.yaml"
    path.write_text(
        "backends: {legacy: http://127.0.0.1:9001, new: http://127.0.0.1:9002}\n"
        f"routes:\n  /api/orders/*: {{name: orders, phase: shadow-read, compare: {compare}}}\n"
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
    path = folder / "pairs.ndjson"
    path.write_bytes(b"".join(msgspec.json.encode(whole(each)) + b"\n" for each in pairs))
    return path


def replay(folder: Path, *arguments: object, compare: str = "{}") -> Result:
    words = [str(each) for each in arguments]
    config_path = str(config(folder, compare))
    return CliRunner().invoke(command, ["--config", config_path, "--replay", *words])


def data(result: Result) -> dict[str, Any]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


PAIRS = (
    recorded(1, {"at": 1, "price": 2}, {"at": 2, "price": 2}, "$.at"),
    recorded(2, {"at": 1, "price": 2}, {"at": 2, "price": 3}, "$.at", "$.price"),
    recorded(3, {"at": 1, "n": 1}, {"at": 1, "n": 2}, noise=("$.n",)),
)


def test_the_same_rules_change_nothing(tmp_path: Path) -> None:
    result = replay(tmp_path, export(tmp_path, *PAIRS), "--json")
    assert result.exit_code == 0
    assert data(result) == {
        "pairs": 3,
        "replayed": 3,
        "not_replayed": {},
        "signatures": [
            {"signature": "orders $.at value", "before": 2, "after": 2},
            {"signature": "orders $.price value", "before": 1, "after": 1},
        ],
        "changes": [
            {"before": "divergent", "after": "divergent", "count": 2, "pairs": ["d1", "d2"]},
            {"before": "noise", "after": "noise", "count": 1, "pairs": ["d3"]},
        ],
    }


def test_a_rule_makes_pairs_equal(tmp_path: Path) -> None:
    path = export(tmp_path, *PAIRS)
    found = data(replay(tmp_path, path, "--json", compare='{ignore: ["$.at"]}'))
    assert found["signatures"][0] == {"signature": "orders $.at value", "before": 2, "after": 0}
    changes = {(each["before"], each["after"]): each["pairs"] for each in found["changes"]}
    assert changes["divergent", "equal"] == ["d1"]
    assert changes["divergent", "divergent"] == ["d2"]
    shown = replay(tmp_path, path, compare='{ignore: ["$.at"]}')
    assert shown.exit_code == 0
    assert "orders $.at value 2 0 -2" in " ".join(shown.stdout.split())
    assert "3 pairs, 3 of them replayed" in shown.stdout
    assert "1 become equal (were divergent): d1" in shown.stdout


def test_what_is_found_anew_is_a_finding(tmp_path: Path) -> None:
    masked = recorded(1, {"at": 1, "n": 1}, {"at": 1, "n": 2, "m": 1}, noise=("$.n",))
    result = replay(tmp_path, export(tmp_path, masked))
    assert result.exit_code == 1
    assert "1 become divergent (were noise): d1" in result.stdout
    assert "orders $.m added" in result.stdout


def test_only_a_route_is_replayed(tmp_path: Path) -> None:
    path = export(tmp_path, *PAIRS, recorded(9, 1, 2, "$", route="users"))
    assert data(replay(tmp_path, path, "--json", "--route", "orders"))["pairs"] == 3
    found = data(replay(tmp_path, path, "--json"))
    assert found["not_replayed"] == {"no route users in the configuration compares": 1}


def test_what_cannot_be_replayed_is_counted(tmp_path: Path) -> None:
    deep = Redactor(b"k" * 32).body("[" * 1000 + "1" + "]" * 1000, "json")
    path = export(
        tmp_path,
        recorded(1, 1, 2, "$", new=SideRecord(0, 1.0, "timeout"), new_answer=None),
        recorded(2, 1, 2, "$", new_answer=None),
        recorded(3, 1, 2, "$", new_answer=RecordedAnswer(200, JSON, None)),
        recorded(4, 1, 2, "$", route="gone"),
        recorded(5, 1, 2, "$", new_answer=RecordedAnswer(200, JSON, deep)),
    )
    found = data(replay(tmp_path, path, "--json"))
    assert (found["pairs"], found["replayed"]) == (5, 0)
    assert found["not_replayed"] == {
        "a side gave no answer": 1,
        "the answers were not recorded": 1,
        "a body was not recorded": 1,
        "a body is nested too deep to be recorded whole": 1,
        "no route gone in the configuration compares": 1,
    }


def test_a_recorded_body_had_its_codings_undone(tmp_path: Path) -> None:
    headers = (("Content-Type", "text/plain; charset=iso-8859-1"), ("Content-Encoding", "gzip"))
    answer = RecordedAnswer(200, headers, "größe")
    pair = recorded(1, 0, 0, "$", legacy_answer=answer, new_answer=answer)
    found = data(replay(tmp_path, export(tmp_path, pair), "--json"))
    assert [each["after"] for each in found["changes"]] == ["equal"]


def test_a_comparator_of_ones_own_replays_too(tmp_path: Path) -> None:
    (tmp_path / "prices.py").write_text(
        "from comparators.model import Difference, Kind\n"
        "def only(legacy, new, rules):\n"
        "    yield Difference('$.mine', Kind.VALUE, 1, 2)\n"
    )
    result = replay(
        tmp_path, export(tmp_path, *PAIRS[:1]), "--json", compare='{with: "prices:only"}'
    )
    assert {"signature": "orders $.mine value", "before": 0, "after": 1} in data(result)[
        "signatures"
    ]


def har(folder: Path, name: str, *entries: tuple[str, int, str]) -> Path:
    path = folder / name
    host = name.removesuffix(".har")
    log = {
        "version": "1.2",
        "entries": [
            {
                "startedDateTime": "2026-01-01T00:00:00Z",
                "request": {"method": "GET", "url": f"https://{host}.example{target}"},
                "response": {
                    "status": status,
                    "headers": [{"name": key, "value": value} for key, value in JSON],
                    "content": {"mimeType": "application/json", "text": text},
                },
            }
            for target, status, text in entries
        ],
    }
    path.write_text(json.dumps({"log": log}))
    return path


def test_har_files_are_matched_by_their_requests(tmp_path: Path) -> None:
    legacy = har(
        tmp_path,
        "legacy.har",
        ("/api/orders/1", 200, '{"n": 1}'),
        ("/api/orders/1", 200, '{"n": 2}'),
        ("/api/orders/2?x=1", 200, "{}"),
        ("/api/orders/3", 200, "{}"),
        ("/api/orders/4", 0, ""),
        ("/elsewhere", 200, "{}"),
    )
    new = har(
        tmp_path,
        "new.har",
        ("/elsewhere", 200, "{}"),
        ("/api/orders/4", 200, "{}"),
        ("/api/orders/1", 200, '{"n":1}'),
        ("/api/orders/1", 200, '{"n":3}'),
        ("/api/orders/2?x=1", 404, "{}"),
        ("/api/orders/9", 200, "{}"),
    )
    result = replay(tmp_path, legacy, new, "--json")
    assert result.exit_code == 1
    found = data(result)
    changes = {each["after"]: each["pairs"] for each in found["changes"]}
    assert changes == {
        "equal": ["GET /api/orders/1"],
        "divergent": ["GET /api/orders/1", "GET /api/orders/2?x=1"],
    }
    assert found["signatures"] == [
        {"signature": "orders $.n value", "before": None, "after": 1},
        {"signature": "orders status status", "before": None, "after": 1},
    ]
    assert sum(found["not_replayed"].values()) == 4


def test_a_body_in_base64_is_decoded(tmp_path: Path) -> None:
    for name in ("legacy.har", "new.har"):
        path = har(tmp_path, name, ("/api/orders/1", 200, ""))
        document = json.loads(path.read_text())
        text = base64.b64encode(b'{"n": 1}').decode()
        document["log"]["entries"][0]["response"]["content"] = {"text": text, "encoding": "base64"}
        path.write_text(json.dumps(document))
    found = data(replay(tmp_path, tmp_path / "legacy.har", tmp_path / "new.har", "--json"))
    assert [each["after"] for each in found["changes"]] == ["equal"]


def test_folders_are_matched_by_their_names(tmp_path: Path) -> None:
    for side, number in (("legacy", 1), ("new", 2)):
        (tmp_path / side / "deep").mkdir(parents=True)
        (tmp_path / side / "deep" / "a.json").write_text(json.dumps({"n": number}))
        (tmp_path / side / "b.json").write_text("[1, 2]" if number == 1 else "[1,2]")
        (tmp_path / side / f"only-{side}.txt").write_text("x")
    result = replay(tmp_path, tmp_path / "legacy", tmp_path / "new", "--route", "orders", "--json")
    found = data(result)
    assert {each["after"]: each["pairs"] for each in found["changes"]} == {
        "equal": ["b.json"],
        "divergent": ["deep/a.json"],
    }
    assert found["not_replayed"] == {"one side lacks the file": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "pairs.ndjson:2: this line is no divergence"),
        ('{"id": "x"}', "pairs.ndjson:2: this line is no divergence"),
        ("[1]", "Expected `object`"),
        ("\xff\x00", "pairs.ndjson:2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = export(tmp_path, PAIRS[0])
    path.write_bytes(path.read_bytes() + text.encode("latin-1") + b"\n")
    result = replay(tmp_path, path)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_a_bad_har_file_is_named(tmp_path: Path) -> None:
    good = har(tmp_path, "legacy.har", ("/api/orders/1", 200, "{}"))
    bad = tmp_path / "new.har"
    for text, says in (
        ('{\n "log": {\n  nonsense', "new.har:3 is no HAR file"),
        ('{"log": {"entries": [{}]}}', "missing required field `request`"),
        ("", "is no HAR file"),
    ):
        bad.write_text(text)
        result = replay(tmp_path, good, bad)
        assert result.exit_code == 1
        assert says in result.stderr


def test_what_cannot_be_meant_is_said(tmp_path: Path) -> None:
    path = export(tmp_path, *PAIRS)
    one = har(tmp_path, "legacy.har")
    for arguments, code, says in (
        ((path, "--route", "order"), 1, "Did you mean orders?"),
        ((tmp_path,), 2, "--route NAME says whose rules"),
        ((tmp_path, "--route", "orders"), 1, "a second one with the answers of new"),
        ((tmp_path, path, "--route", "orders"), 1, "a second one with the answers of new"),
        ((one,), 1, "a second HAR file"),
        ((tmp_path / "none",), 2, "does not exist"),
    ):
        result = replay(tmp_path, *arguments)
        assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    broken = replay(tmp_path, path, compare="{ignore: 7}")
    assert broken.exit_code == 1
    assert "There are no rules to compare by" in broken.stderr


def test_a_long_export_is_not_held_in_memory(tmp_path: Path) -> None:
    pair = recorded(1, {"n": "x" * 5000}, {"n": "y" * 5000}, "$.n")
    replay(tmp_path, export(tmp_path, pair))  # what is imported and kept stays out of it
    path = export(tmp_path, *[pair] * 3000)
    assert path.stat().st_size > 30 << 20
    tracemalloc.start()
    try:
        result = replay(tmp_path, path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "3,000 stay divergent" in result.stdout
    assert peak < 8 << 20
