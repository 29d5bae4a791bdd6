"""The page: whole without a script, nothing of a route's name can become markup."""

import base64
import hashlib
import re

import msgspec

from proxy.admin.page import CONTENT_SECURITY_POLICY, MAX_FINDINGS, MAX_ROWS, render_page
from proxy.admin.view import ConfigError, ReadyView, WorkerView
from proxy.core.messages import Counts
from tests.admin.estate import WORKER, Estate, a_route
from tests.admin.test_app import AT, FINDING, full_route


def render(estate: Estate) -> str:
    return render_page(estate.routes(), estate.config(), estate.readiness())


def test_the_table_is_there_without_a_script() -> None:
    estate = Estate(a_route("orders", "25%"))
    estate.report(Counts("orders", client_requests=40, errors={"new": 3}, latency={"new": {40: 1}}))
    page = render(estate)
    for text in ("orders", "/api/orders/*", "25%", "<td>4.0</td>", "generation 3"):
        assert text in page
    assert page.count("<tr>") == 2


def test_what_is_wrong_is_said() -> None:
    estate = Estate(full_route())
    estate.ready = ReadyView.of(
        [WORKER, WorkerView(1, None, False, None, None, 2, "died <twice>")],
        degraded=["disk is full"],
    )
    estate.configuration = msgspec.structs.replace(
        estate.configuration, findings=(FINDING,), last_error=ConfigError(AT, "error SYNTAX: no")
    )
    page = render(estate)
    for text in (
        "shadow-read (declared dual-write)",
        "moving to dual-write: worker 1 still has writes under way",
        "new has missed writes",
        "reverted from ",
        "held",
        "the table before it stays: error SYNTAX: no",
        "warning NOT_ACTIVE: later",
        "Degraded: disk is full",
        "Worker 1: died &lt;twice&gt;",
    ):
        assert text in page


def test_a_comparator_that_fails_is_said() -> None:
    estate = Estate(a_route("orders", "25%"))
    estate.report(Counts("orders", eligible=6, comparisons={"comparator_failed": 6}))
    assert "<td>0%" in (page := render(estate))
    assert "6 comparator_failed" in page


def test_names_are_escaped() -> None:
    page = render(Estate(a_route("<script>alert(1)</script>", "0%")))
    assert "<script>alert" not in page


def test_the_policy_names_the_inline_parts_and_nothing_else() -> None:
    page = render(Estate())
    for tag in ("style", "script"):
        [inline] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert not re.findall(r'(?:src|href)="(?!/)', page)
    assert " style=" not in page
    assert not re.findall(r"\son\w+=", page)


def test_of_very_many_routes_the_busiest_are_shown_in_the_order_of_the_file() -> None:
    estate = Estate(*(a_route(f"r{number}", "0%") for number in range(MAX_ROWS * 2)))
    estate.report(*(Counts(f"r{n}", client_requests=n) for n in range(MAX_ROWS * 2)))
    page = render(estate)
    shown = re.findall(r"<tr><td>(r\d+)<", page)
    assert shown == [f"r{number}" for number in range(MAX_ROWS, MAX_ROWS * 2)]
    assert f"{MAX_ROWS} busiest of {MAX_ROWS * 2} routes" in page


def test_very_many_findings_do_not_bury_the_table() -> None:
    estate = Estate()
    estate.configuration = msgspec.structs.replace(
        estate.configuration, findings=(FINDING,) * (MAX_FINDINGS + 7)
    )
    page = render(estate)
    assert page.count("NOT_ACTIVE") == MAX_FINDINGS
    assert "7 more findings" in page
