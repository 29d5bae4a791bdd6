"""The admin API over real sockets: answers, errors, headers, and its own description."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import msgspec
import pytest
from aiohttp.test_utils import TestClient
from aiohttp.web import Application, Request
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from proxy.admin.app import make_app
from proxy.admin.problems import COMPRESS_FROM_BYTES
from proxy.admin.view import (
    Advance,
    ConfigError,
    ConfigView,
    FindingView,
    Pending,
    ReadyView,
    Revert,
    RouteView,
    WorkerView,
)
from proxy.core.messages import Counts
from proxy.core.model import UNMATCHED
from tests.admin.estate import NO_VERDICT, WORKER, Estate, a_route

Client = TestClient[Request, Application]
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FINDING = FindingView("routes.yaml", 7, 3, "warning", "NOT_ACTIVE", "routes./a.advance", "later")


@pytest.fixture
def estate() -> Estate:
    made = Estate(a_route("orders", "shadow-read"), a_route(UNMATCHED, "legacy-only"))
    made.report(
        Counts(
            "orders",
            client_requests=4,
            requests={"shadow-read|legacy|200": 4},
            eligible=4,
            comparisons={"equal": 2, "divergent": 1},
            errors={"new": 1},
            skipped={"sampled_out": 1},
            latency={"legacy": {30: 4}, "new": {40: 4}},
        )
    )
    return made


@pytest.fixture
async def client(estate: Estate, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_app(estate))


async def test_the_routes_are_in_the_contracts_form(client: Client) -> None:
    answer = await client.get("/api/v1/routes")
    assert answer.status == 200
    orders, unmatched = (await answer.json())["routes"]
    window = orders.pop("window")
    assert orders == {
        "name": "orders",
        "pattern": "/api/orders/*",
        "declared_phase": "shadow-read",
        "effective_phase": "shadow-read",
        "pending": None,
        "held": False,
        "missed": [],
        "revert": None,
        "advance": None,
        "ready_at": None,
        "stale": False,
        "verdict": {
            "state": "inconclusive",
            "evidence": NO_VERDICT.evidence,
            "cause": "",
        },
    }
    assert window.pop("latency_ms")["new"].keys() == {"p50", "p95", "p99"}
    assert window == {
        "seconds": 290.0,
        "requests": 4,
        "requests_per_s": 0.4,
        "comparisons": 3,
        "divergences": 1,
        "coverage": 0.75,
        "errors": {"legacy": 0, "new": 1},
        "skipped": {"sampled_out": 1},
    }
    assert unmatched["name"] == UNMATCHED
    assert unmatched["window"]["latency_ms"]["new"] == {"p50": None, "p95": None, "p99": None}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("(unmatched)", "(unmatched)"),
        ("(unmatched)", "%28unmatched%29"),
        ("a/b", "a%2Fb"),
        ("users {id}", "users%20%7Bid%7D"),
        ("50%", "50%25"),
        ("größe", "gr%C3%B6%C3%9Fe"),
    ],
)
async def test_a_route_is_found_by_its_percent_encoded_name(
    name: str, path: str, aiohttp_client: AiohttpClient
) -> None:
    client = await aiohttp_client(make_app(Estate(a_route(name, "25%"))))
    answer = await client.get(URL(f"/api/v1/routes/{path}", encoded=True))
    assert answer.status == 200
    assert (await answer.json())["name"] == name


async def test_an_unknown_route_is_a_problem(client: Client) -> None:
    answer = await client.get("/api/v1/routes/nothing")
    assert answer.content_type == "application/problem+json"
    assert await answer.json(content_type=None) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no route named 'nothing'; there are 'orders', '(unmatched)' "
        "(GET /api/v1/routes).",
    }


async def test_no_table_yet_is_not_a_table_without_routes(aiohttp_client: AiohttpClient) -> None:
    estate = Estate()
    estate.ready = ReadyView.of([], ["the state store is being opened"])
    client = await aiohttp_client(make_app(estate))
    for path in ("/api/v1/routes", "/api/v1/routes/orders"):
        answer = await client.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "no table of routes yet: the state store is being" in (await answer.json())["detail"]
    assert (await client.get("/")).status == 200


async def test_an_unknown_path_is_a_problem(client: Client) -> None:
    answer = await client.get("/api/v2/routes")
    assert answer.status == 404
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/api/v1/routes", "/api/v1/routes/orders", "/livez", "/"])
async def test_nothing_can_be_changed(client: Client, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert (await answer.json(content_type=None))["status"] == 405


class Broken(Estate):
    """Its configuration cannot be read."""

    def config(self) -> ConfigView:
        raise RuntimeError("secret internals")


async def test_a_bug_is_a_problem_without_internals(
    aiohttp_client: AiohttpClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await aiohttp_client(make_app(Broken()))
    answer = await client.get("/api/v1/config")
    assert answer.status == 500
    assert answer.content_type == "application/problem+json"
    assert "secret" not in await answer.text()
    assert "admin_error" in capsys.readouterr().out


async def test_health(client: Client, estate: Estate) -> None:
    assert (await client.get("/livez")).status == 200
    ready = await client.get("/readyz")
    assert ready.status == 200
    assert (await ready.json())["status"] == "ready"

    sick = WorkerView(1, None, False, None, None, restarts=2, degraded="died of signal 9")
    estate.ready = ReadyView.of([WORKER, sick])
    degraded = await client.get("/readyz")
    assert degraded.status == 200
    body = await degraded.json()
    assert body["status"] == "degraded"
    assert [w["degraded"] for w in body["workers"]] == [None, "died of signal 9"]

    estate.ready = ReadyView.of([sick])
    unready = await client.get("/readyz")
    assert unready.status == 503
    assert (await unready.json())["unready"] == ["no worker is serving"]
    assert (await client.get("/livez")).status == 200


async def test_metrics_are_the_exposition(client: Client) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {f.name: f for f in text_string_to_metric_families(await answer.text())}
    assert found["banyan_client_requests"].samples[0].value == 4
    assert found["banyan_config_generation"].samples[0].value == 3


async def test_config_shows_the_refused_edit(client: Client, estate: Estate) -> None:
    assert (await (await client.get("/api/v1/config")).json())["last_error"] is None
    estate.configuration = msgspec.structs.replace(
        estate.configuration,
        findings=(FINDING,),
        last_error=ConfigError(AT, "routes.yaml:3:1: error SYNTAX: no", (FINDING,)),
    )
    body = await (await client.get("/api/v1/config")).json()
    assert body.keys() == {"file", "generation", "loaded_at", "findings", "last_error"}
    assert body["loaded_at"] == "2026-01-02T03:04:05Z"
    assert body["findings"][0]["code"] == "NOT_ACTIVE"
    assert body["last_error"]["at"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("path", ["/", "/livez", "/metrics", "/api/v1/routes", "/nothing"])
async def test_every_answer_is_guarded(client: Client, path: str) -> None:
    for answer in (await client.get(path), await client.head(path)):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Server"] == "banyan"
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_head_is_get_without_the_body(client: Client) -> None:
    get, head = await client.get("/api/v1/routes"), await client.head("/api/v1/routes")
    assert head.status == 200
    assert await head.read() == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_a_foreign_host_is_refused(client: Client) -> None:
    answer = await client.get("/api/v1/routes", headers={"Host": "evil.example"})
    assert answer.status == 421
    assert "orders" not in await answer.text()


async def test_a_long_list_is_compressed_for_who_wants_it(aiohttp_client: AiohttpClient) -> None:
    estate = Estate(*(a_route(f"route-{number}", "0%") for number in range(1000)))
    client = await aiohttp_client(make_app(estate), auto_decompress=False)
    plain = await client.get("/api/v1/routes", headers={"Accept-Encoding": "identity"})
    packed = await client.get("/api/v1/routes", headers={"Accept-Encoding": "gzip"})
    assert len(await plain.read()) > COMPRESS_FROM_BYTES
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(await packed.read()) < len(await plain.read()) / 4


def full_route() -> RouteView:
    """A route with every optional part there."""
    return msgspec.structs.replace(
        a_route("full", "shadow-read", declared="dual-write"),
        pending=Pending("dual-write", AT, "worker 1 still has writes under way"),
        held=True,
        missed=("new",),
        revert=Revert(AT, "25%", "shadow-read", "divergence", "12 of 40 pairs differ"),
        advance=Advance("0%", "980 more comparisons"),
    )


def test_a_revert_has_the_contracts_names() -> None:
    revert = json.loads(msgspec.json.encode(full_route()))["revert"]
    assert list(revert) == ["at", "from", "to", "reason", "evidence"]


async def test_the_description_is_what_exists(client: Client, estate: Estate) -> None:
    document = await (await client.get("/api/openapi.json")).json()
    described = set(document["paths"])
    app = client.app
    assert app is not None
    assert described == {resource.canonical for resource in app.router.resources()}
    estate.known.append(full_route())
    for path, operations in document["paths"].items():
        (method,) = operations
        for name in ("orders", "full", "nothing") if "{name}" in path else ("",):
            url = path.replace("{name}", name).replace("{id}", "none")
            body = {"reason": "a test"} if method == "post" else None
            answer = await client.request(method, url, json=body)
            responses = operations[method]["responses"]
            known = str(answer.status) if str(answer.status) in responses else "default"
            schema = schema_of(responses, known, answer)
            if "json" in answer.content_type:
                body = await answer.json(content_type=None)
                validate(body, schema, document)


async def test_the_description_holds_for_an_unready_proxy(client: Client, estate: Estate) -> None:
    estate.ready = ReadyView.of([])
    document = await (await client.get("/api/openapi.json")).json()
    answer = await client.get("/readyz")
    responses = document["paths"]["/readyz"]["get"]["responses"]
    validate(await answer.json(), schema_of(responses, "503", answer), document)


def schema_of(responses: dict[str, Any], status: str, answer: Any) -> dict[str, Any]:
    content = responses[status]["content"]
    assert answer.content_type in content
    found: dict[str, Any] = content[answer.content_type]["schema"]
    return found


def validate(body: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Holds the body against the schema, with the document's components at hand."""
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(body)
