"""`banyan compare --replay`: exports, by the rules of a file."""

import tracemalloc
from pathlib import Path

import msgspec
import pytest

from comparators.redaction import Redactor
from proxy.core.divergences import RecordedAnswer, SideRecord
from tests.cli.replays import JSON, data, export, har, recorded, replay
from tests.store.divergences import difference, divergence

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
        recorded(2, 1, 2, "$", new_answer=None),
        recorded(3, 1, 2, "$", new_answer=RecordedAnswer(200, JSON, None)),
        recorded(4, 1, 2, "$", route="gone"),
        recorded(5, 1, 2, "$", new_answer=RecordedAnswer(200, JSON, deep)),
    )
    result = replay(tmp_path, path, "--json")
    assert result.exit_code == 1
    assert "Nothing was replayed, so nothing is known: none of the 4 pairs" in result.stderr
    found = data(result)
    assert (found["pairs"], found["replayed"]) == (4, 0)
    assert found["not_replayed"] == {
        "the answers were not recorded": 1,
        "a body was not recorded": 1,
        "a body is nested too deep to be recorded whole": 1,
        "no route gone in the configuration compares": 1,
    }


@pytest.mark.parametrize("new", [SideRecord(0, 1.0, "timeout"), SideRecord(503, 1.0)])
def test_a_failure_stays_one_by_any_rules(tmp_path: Path, new: SideRecord) -> None:
    failed = msgspec.structs.replace(
        divergence(1, difference("status", "failure"), answers=False),
        legacy=SideRecord(200, 1.0),
        new=new,
    )
    result = replay(tmp_path, export(tmp_path, failed), "--json", compare="{status: class}")
    assert result.exit_code == 0
    found = data(result)
    assert found["signatures"] == [{"signature": "orders status failure", "before": 1, "after": 1}]
    assert [each["before"] for each in found["changes"]] == ["divergent"]


def test_an_export_without_pairs_is_no_success(tmp_path: Path) -> None:
    path = export(tmp_path)
    for arguments, says in (
        ((path,), f"there are no pairs in {path}"),
        ((path, "--route", "orders"), f"there are no pairs of orders in {path}"),
        (("/dev/null",), "there are no pairs in /dev/null"),
    ):
        result = replay(tmp_path, *arguments)
        assert (result.exit_code, says in result.stderr) == (1, True), result.stderr


def test_a_byte_order_mark_is_no_part_of_an_export(tmp_path: Path) -> None:
    path = export(tmp_path, *PAIRS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert data(replay(tmp_path, path, "--json"))["replayed"] == 3


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
