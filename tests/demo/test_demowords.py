"""What the demo says, from values."""

import json
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from proxy.cli.demowords import (
    Cell,
    Look,
    changes,
    figures_of,
    log_line,
    summary_table,
    visitors_line,
)


def route(name: str, declared: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "pattern": f"/{name}/*",
        "declared_phase": declared,
        "effective_phase": declared,
        "pending": None,
        "missed": [],
    } | more


def look(*routes: dict[str, Any], generation: int = 1, error: str | None = None) -> Look:
    last_error = {"at": "now", "text": error} if error else None
    config = {"file": "routes.yaml", "generation": generation, "last_error": last_error}
    return Look({"routes": list(routes)}, config)


def said(before: Look, after: Look) -> list[str]:
    return [line.plain for line in changes(before, after)]


def test_nothing_changed_nothing_is_said() -> None:
    now = look(route("a", "25%"), error="as before")
    assert said(now, now) == []


def test_an_edit_is_told_with_what_it_changed() -> None:
    before = look(route("a", "25%"), route("b", "new-only"))
    after = look(route("a", "50%"), route("c", "legacy-only"), generation=2)
    assert said(before, after) == [
        "routes.yaml: generation 2 is in force: /a/* from 25% to 50%; /c/* is new, legacy-only; "
        "/b/* is gone",
    ]


def test_a_move_that_no_edit_explains_is_told() -> None:
    before = look(route("a", "dual-write", effective_phase="99%"))
    after = look(route("a", "dual-write"))
    assert said(before, after) == ["/a/* is now in dual-write (was in 99%)"]


def test_an_edit_that_moves_no_phase_is_told_too() -> None:
    (line,) = said(look(route("a", "25%")), look(route("a", "25%"), generation=2))
    assert line == "routes.yaml: generation 2 is in force: no phase changed"


def test_a_refused_edit_is_told_with_the_error() -> None:
    before, after = look(route("a", "25%")), look(route("a", "25%"), error="routes.yaml:3:1: bad")
    assert said(before, after) == [
        "routes.yaml is refused, the table before it stays in force.",
        "routes.yaml:3:1: bad",
    ]


def test_a_move_that_waits_and_a_missed_write_are_told_once() -> None:
    before = look(route("a", "99%"))
    pending = {"to": "dual-write", "since": "now", "reason": "a write is under way"}
    after = look(route("a", "99%", pending=pending, missed=["new"]))
    assert said(before, after) == [
        "/a/* waits before dual-write: a write is under way",
        "/a/*: from now on new lacks a write",
    ]
    assert said(after, after) == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"level": "info", "event": "ready"}, None),
        ({"level": "error", "event": "child died", "process": "launcher", "child": "worker 0"},
         "launcher: child died child=worker 0"),
        ({"level": "warning", "event": "late", "timestamp": "now"}, "banyan: late"),
        ({"level": "error", "event": "failed", "exception": "a\n    | OSError: no\n  +--"},
         "banyan: failed OSError: no"),
        ([], None),
    ],
)  # fmt: skip
def test_warnings_and_errors_of_the_log_are_shown(entry: object, expected: str | None) -> None:
    text = log_line(json.dumps(entry))
    assert (text.plain if text else None) == expected


def test_what_is_not_json_is_not_shown() -> None:
    assert log_line("Traceback (most recent call last):") is None


METRICS = r"""
# HELP banyan_client_requests_total Client requests.
banyan_client_requests_total{route="a"} 12
banyan_client_requests_total{route="(unmatched)"} 3
banyan_requests_total{route="a",phase="25%",side="legacy",code="200"} 9
banyan_requests_total{route="a",phase="25%",side="new",code="200"} 6
banyan_requests_total{route="a",phase="25%",side="new",code="503"} 2
banyan_requests_total{route="a",phase="25%",side="new",code="reset"} 1
banyan_requests_total{route="a",phase="50%",side="new",code="404"} 3
banyan_comparisons_total{route="a",result="equal"} 4
banyan_comparisons_total{route="a",result="divergent"} 2
banyan_comparisons_total{route="a",result="noise"} 5
banyan_comparisons_total{route="a",result="both_failed"} 1
banyan_config_generation 2
"""


def test_the_figures_are_those_of_the_metrics() -> None:
    found = figures_of(METRICS)
    assert found.client_requests == 15
    assert found.exchanges[Cell("a", "25%", "new")] == 9
    assert found.errors == Counter({Cell("a", "25%", "new"): 3})
    assert found.comparisons == Counter(
        {("a", "equal"): 4, ("a", "divergent"): 2, ("a", "noise"): 5, ("a", "both_failed"): 1}
    )


def test_the_summary_has_a_row_for_each_phase_a_route_was_in() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - given away
    console.print(summary_table(figures_of(METRICS), [route("a", "50%"), route("b", "25%")]))
    rows = [line.split() for line in console.export_text().splitlines() if line.startswith("a ")]
    assert rows == [
        ["a", "25%", "9", "0", "9", "3"],
        ["a", "50%", "0", "0", "3", "0", "11", "4", "2", "5"],
    ]


def test_the_summary_fits_in_eighty_columns() -> None:
    found = figures_of(METRICS)
    names = ("a", "api-products")
    found.exchanges[Cell("api-products", "shadow-read", "legacy")] = 2345
    with open("/dev/null", "w") as nowhere:
        console = Console(width=80, record=True, file=nowhere)
        console.print(summary_table(found, [route(name, "50%") for name in names]))
    assert "…" not in console.export_text()


def test_the_visitors_are_summed_up_in_a_sentence() -> None:
    tally = {
        "sent": 5,
        "statuses": {"200": 3, "404": 1},
        "answered_by": {"legacy": 3, "new": 1},
        "unanswered": {"ClientOSError": 1},
    }
    assert visitors_line(tally) == (
        "The visitors sent 5 requests: 3 with 200, 1 with 404; answered 3 by legacy, 1 by new; "
        "1 got no answer."
    )
