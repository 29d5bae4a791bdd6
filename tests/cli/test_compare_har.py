"""`banyan compare --replay` with what others recorded: HAR files and folders of bodies."""

import base64
import json
from pathlib import Path

import pytest

from tests.cli.replays import data, entry, har, replay


def test_har_files_are_matched_by_their_requests(tmp_path: Path) -> None:
    legacy = har(
        tmp_path,
        "legacy.har",
        entry("/api/orders/1", '{"n": 1}'),
        entry("/api/orders/1", '{"n": 2}'),
        entry("/api/orders/2?x=1", "{}"),
        entry("/api/orders/3", "{}"),
        entry("/api/orders/4", "", status=0),
        entry("/elsewhere", "{}"),
    )
    new = har(
        tmp_path,
        "new.har",
        entry("/elsewhere", "{}"),
        entry("/api/orders/4", "{}"),
        entry("/api/orders/1", '{"n":1}'),
        entry("/api/orders/1", '{"n":3}'),
        entry("/api/orders/2?x=1", "{}", status=404),
        entry("/api/orders/9", "{}"),
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
    assert found["not_replayed"] == {
        "the other file has no answer to it": 1,
        "legacy.har has no answer to it": 1,
        "legacy_failed: there is nothing to hold new against": 1,
        "no route takes it": 1,
    }


def test_a_body_in_base64_is_decoded(tmp_path: Path) -> None:
    for name in ("legacy.har", "new.har"):
        text = base64.b64encode(b'{"n": 1}').decode()
        har(tmp_path, name, entry("/api/orders/1", text, encoding="base64"))
    found = data(replay(tmp_path, tmp_path / "legacy.har", tmp_path / "new.har", "--json"))
    assert [each["after"] for each in found["changes"]] == ["equal"]


def test_a_body_that_was_not_saved_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    def answers(name: str, size: int) -> Path:
        return har(
            tmp_path,
            name,
            entry("/api/orders/1", size=size),
            entry("/api/orders/2", "", size=size),
            entry("/api/orders/3", size=-1),
            entry("/api/orders/4"),
            entry("/api/orders/5", size=0),
            entry("/api/orders/6", size=-1, status=204),
            entry("/api/orders/7", size=size, method="HEAD"),
            entry("/api/orders/8", "{}", size=2),
            entry("/api/orders/9", "[1, 2]", size=2_000_000),
            entry("/api/orders/10", "[1, 2]", size=9),  # with a byte order mark
        )

    found = data(replay(tmp_path, answers("legacy.har", 12), answers("new.har", 99), "--json"))
    assert found["not_replayed"] == {
        "a body was not recorded": 4,
        "a body was not recorded whole": 1,
    }
    assert [(each["after"], each["count"]) for each in found["changes"]] == [("equal", 5)]


def test_what_fails_is_told_as_under_traffic(tmp_path: Path) -> None:
    statuses = ((500, 200), (500, 502), (0, 0), (200, 500), (200, 0), (404, 404))
    paths = [
        har(
            tmp_path,
            name,
            *(
                entry(f"/api/orders/{number}", "{}", status=pair[side])
                for number, pair in enumerate(statuses)
            ),
        )
        for side, name in enumerate(("legacy.har", "new.har"))
    ]
    result = replay(tmp_path, *paths, "--json")
    assert result.exit_code == 1
    found = data(result)
    assert found["not_replayed"] == {
        "both_failed: neither side gave a usable answer": 2,
        "legacy_failed: there is nothing to hold new against": 1,
    }
    assert found["signatures"] == [
        {"signature": "orders status failure", "before": None, "after": 2}
    ]
    changes = {each["after"]: each["pairs"] for each in found["changes"]}
    assert changes == {
        "divergent": ["GET /api/orders/3", "GET /api/orders/4"],
        "equal": ["GET /api/orders/5"],
    }


@pytest.mark.parametrize("on_new", ["/v2/moved", "/api/moved"])
def test_what_is_rewritten_belongs_together(tmp_path: Path, on_new: str) -> None:
    legacy = har(tmp_path, "legacy.har", entry("/api/moved/%7e1?a=/", '{"n": 1}'))
    new = har(tmp_path, "new.har", entry(f"{on_new}/~1?a=/", '{"n": 2}'))
    result = replay(tmp_path, legacy, new, "--json")
    assert result.exit_code == 1
    assert data(result)["signatures"] == [
        {"signature": "moved $.n value", "before": None, "after": 1}
    ]


def test_files_without_a_pair_are_no_success(tmp_path: Path) -> None:
    one = har(tmp_path, "legacy.har", entry("/api/orders/1", "{}"))
    other = har(tmp_path, "new.har", entry("/api/orders/2", "{}"))
    empty = har(tmp_path, "empty.har")
    for first, second, says in (
        (one, other, "Nothing was replayed, so nothing is known: none of the 2 pairs could be."),
        (empty, empty, f"there are no pairs in {empty} and {empty}"),
    ):
        result = replay(tmp_path, first, second)
        assert result.exit_code == 1
        assert says in result.stderr


def test_a_byte_order_mark_is_no_part_of_a_har_file(tmp_path: Path) -> None:
    paths = [har(tmp_path, name, entry("/api/orders/1", "{}")) for name in ("a.har", "b.har")]
    for path in paths:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert data(replay(tmp_path, *paths, "--json"))["replayed"] == 1


def test_values_that_an_exporter_joined_are_taken_apart(tmp_path: Path) -> None:
    joined = (("Set-Cookie", "a=1; Path=/\nb=2; Path=/"),)
    apart = (("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/"))
    legacy = har(tmp_path, "legacy.har", entry("/api/orders/1", "{}", headers=joined))
    new = har(tmp_path, "new.har", entry("/api/orders/1", "{}", headers=apart))
    found = data(replay(tmp_path, legacy, new, "--json", compare="{headers: [set-cookie]}"))
    assert [each["after"] for each in found["changes"]] == ["equal"]


def test_a_bad_har_file_is_named(tmp_path: Path) -> None:
    good = har(tmp_path, "legacy.har", entry("/api/orders/1", "{}"))
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


def test_folders_without_a_common_file_are_no_success(tmp_path: Path) -> None:
    for side in ("legacy", "new"):
        (tmp_path / side).mkdir()
        (tmp_path / side / f"{side}.json").write_text("{}")
    result = replay(tmp_path, tmp_path / "legacy", tmp_path / "new", "--route", "orders")
    assert result.exit_code == 1
    assert "none of the 2 pairs could be" in result.stderr
