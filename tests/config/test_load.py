"""From routes.yaml to a Config: defaults, inheritance, variables, snapshots."""

from pathlib import Path

import pytest

from proxy.config import Alert, State, TcpAddress, UnixAddress, load
from proxy.core.model import (
    LEGACY_ONLY,
    NEW_ONLY,
    SHADOW_READ,
    UNMATCHED,
    ZERO,
    Backend,
    Compare,
    Health,
    Limits,
    Override,
    Phase,
    Route,
    RouteState,
    Shadow,
    Side,
    Sticky,
)
from proxy.core.policy import Advance, LatencyRule, Revert, Step
from tests.config.samples import BACKENDS, EXAMPLES, config_of, loaded, with_routes


def test_the_short_form_of_the_contract() -> None:
    outcome = load(EXAMPLES / "short.yaml", {})
    assert outcome.findings == ()
    config = outcome.config
    assert config is not None
    assert config.backends == {
        "legacy": Backend("legacy", ("http://127.0.0.1:9001",)),
        "new": Backend("new", ("http://127.0.0.1:9002",)),
    }
    assert [(route.name, str(route.phase)) for route in config.routes] == [
        ("api-legacy", "legacy-only"),
        ("api-orders", "shadow-read"),
        ("api-users", "dual-write"),
        ("api-products", "new-only"),
        ("api-search", "25%"),
        (UNMATCHED, "legacy-only"),
    ]
    assert config.listen == TcpAddress("127.0.0.1", 8080)
    assert config.admin.listen == TcpAddress("127.0.0.1", 9090)
    assert config.state == State(EXAMPLES / ".banyan" / "state.db")
    assert (config.workers, config.comparers) == (1, 1)


def test_the_long_form_of_the_contract_writes_out_the_defaults() -> None:
    """All that it shows as default is what the core's values default to."""
    config = load(EXAMPLES / "long.yaml", {}).config
    assert config is not None
    short = config_of(with_routes("/x: 1%"))
    assert config.limits == short.limits == Limits()
    assert config.switch_timeout_s == 5.0
    assert config.telemetry == short.telemetry
    assert config.admin == short.admin
    assert config.listen == short.listen
    assert config.trusted_proxies == ()
    assert config.alerts == ()
    assert config.tls is None
    assert config.backends["legacy"] == Backend("legacy", ("http://127.0.0.1:9001",))
    assert config.backends["new"].urls == ("http://10.0.0.1:80", "http://10.0.0.2:80")
    [route, unmatched] = config.routes
    assert route == Route(
        name="users",
        pattern="/api/users/{id}",
        methods=(),
        host=None,
        path="/api/users/{id}",
        phase=SHADOW_READ,
        new="users-v2",
        rewrite="/v2/users/{id}",
        sticky=Sticky("param", "id"),
        compare=Compare(ignore=("$.updated_at", "header:etag")),
        digest=route.digest,
    )
    assert unmatched == Route(
        name=UNMATCHED,
        pattern="/*",
        methods=(),
        host=None,
        path="/*",
        phase=LEGACY_ONLY,
        digest=unmatched.digest,
    )
    assert config.reverts["users"] == Revert()
    assert config.advances[UNMATCHED] is None
    assert config.advances["users"] == Advance(
        steps=(
            Step(SHADOW_READ, 86400.0),
            *(Step(Phase(weight)) for weight in (0, 10, 25, 50, 75, 100)),
            Step(NEW_ONLY),
        ),
        approve=(NEW_ONLY,),
    )


def test_every_key_takes_a_value() -> None:
    """Away from each default, so that no key is read and then lost."""
    config = config_of(
        """
listen: unix:/run/banyan.sock
workers: 4
comparers: 2
state: redis://cache:6379/1
admin: {listen: "[::1]:9091", tokens_file: tokens}
limits:
  {header_bytes: 32KiB, headers: 50, request_body: 1GiB, client_idle: 30s, header_timeout: 5s,
   body_idle: 500ms, connections: 10, switch_timeout: 2s}
trusted_proxies: [10.0.0.0/8, "::1"]
telemetry: {otlp: "http://otel:4318", sample: 10%, log_format: json}
alerts: [{url: "https://hooks.example/x", events: [revert], format: slack}]
backends:
  legacy:
    url: [https://one:8443, unix:/run/legacy.sock]
    connect_timeout: 1s
    timeout: 1m
    idle_timeout: 2h
    max_connections: 1000
    health: {path: "/healthz?full=1", interval: 1d, expect: 204}
    host: backend
    idempotency_key: true
  new: [http://a:1, http://b:2/]
defaults:
  safe_methods: [GET, REPORT]
  writes: split
  ack: both
  ack_timeout: 3s
  write_body: 1MiB
  sticky: "cookie:sid"
  fallback: false
  fallback_after: 4s
  override: {header: X-Side, from: [10.1.0.0/16]}
  shadow: {sample: 50%, max_body: 2KiB, timeout: 6s, max_in_flight: 7}
  compare:
    {status: class, headers: [X-A], ignore: ["$.a", "cookie:Sid"], unordered: ["$.b by sku"],
     tolerance: {"$.c": 0.5}, rename: {"$.d": "$.e"}, redact: ["header:X-S"], noise: 2%,
     lenient: [number-text, int-float, int-float], recheck: false, with: "json.decoder:JSONDecoder"}
  revert:
    {divergence: null, errors: 5%, latency: "1.5x p99", min_samples: 30, false_alarm: 1e-3,
     cooldown: 0s, to: shadow-read}
  advance: {steps: [10%], dwell: 2h, min_samples: 5, min_coverage: 40%, retire: null}
  accept_loss: true
  maintenance: writes
routes:
  GET,POST shop.example/a/{x}: {phase: dual-write, serve: legacy, rewrite: "/b/{x}", name: a.b_c-d}
"""
    )
    assert config.listen == UnixAddress("/run/banyan.sock")
    assert (config.workers, config.comparers) == (4, 2)
    assert config.state.redis_url == "redis://cache:6379/1"
    assert config.admin.listen == TcpAddress("::1", 9091)
    assert config.admin.tokens_file == Path("/etc/banyan/tokens")
    assert config.limits == Limits(32 << 10, 50, 1 << 30, 30.0, 5.0, 0.5, 10)
    assert config.switch_timeout_s == 2.0
    assert config.trusted_proxies == ("10.0.0.0/8", "::1/128")
    assert (config.telemetry.otlp, config.telemetry.sample) == ("http://otel:4318", 0.1)
    assert config.telemetry.log_format == "json"
    assert config.alerts == (Alert("https://hooks.example/x", ("revert",), "slack"),)
    assert config.backends["legacy"] == Backend(
        name="legacy",
        urls=("https://one:8443", "unix:/run/legacy.sock"),
        connect_timeout_s=1.0,
        timeout_s=60.0,
        idle_timeout_s=7200.0,
        max_connections=1000,
        health=Health("/healthz?full=1", 86400.0, 204),
        host="backend",
        idempotency_key=True,
    )
    assert config.backends["new"].urls == ("http://a:1", "http://b:2")
    route = config.routes[0]
    assert route == Route(
        name="a.b_c-d",
        pattern="GET,POST shop.example/a/{x}",
        methods=("GET", "POST"),
        host="shop.example",
        path="/a/{x}",
        phase=ZERO,
        safe_methods=frozenset({"GET", "REPORT"}),
        rewrite="/b/{x}",
        split_writes=True,
        ack="both",
        ack_timeout_s=3.0,
        write_body_bytes=1 << 20,
        sticky=Sticky("cookie", "sid"),
        fallback=False,
        fallback_after_s=4.0,
        override=Override("X-Side", ("10.1.0.0/16",)),
        shadow=Shadow(0.5, 2048, 6.0, 7),
        compare=Compare(
            status="class",
            headers=("x-a",),
            ignore=("$.a", "cookie:Sid"),
            unordered=("$.b by sku",),
            tolerance={"$.c": 0.5},
            rename={"$.d": "$.e"},
            redact=("header:x-s",),
            lenient=("int-float", "number-text"),
            noise=0.02,
            recheck=False,
            with_="json.decoder:JSONDecoder",
        ),
        maintenance="writes",
        accept_loss=True,
        digest=route.digest,
    )
    assert config.reverts["a.b_c-d"] == Revert(
        None, 0.05, LatencyRule(1.5, 99), 30, 1e-3, 0.0, SHADOW_READ
    )
    assert config.advances["a.b_c-d"] == Advance((Step(Phase(10)),), 7200.0, 5, 0.4, (), None)


def test_a_route_adds_to_lists_of_places_and_replaces_the_rest() -> None:
    config = config_of(
        with_routes(
            """/a:
  phase: shadow-read
  shadow: {sample: 5%}
  compare:
    {ignore: ["$.b", "$.a"], headers: [etag], tolerance: {"$.y": 1}, lenient: [null-absent]}
/b: shadow-read
""",
            "defaults:\n  shadow: {timeout: 3s}\n  compare:\n"
            '    {ignore: ["$.a"], redact: ["$.r"], headers: [x], status: class, '
            'tolerance: {"$.x": 1}, lenient: [int-float]}\n',
        )
    )
    first, second = (route.compare for route in config.routes[:2])
    assert first == Compare(
        status="class",
        headers=("etag",),
        ignore=("$.a", "$.b"),
        redact=("$.r",),
        tolerance={"$.y": 1.0},
        lenient=("null-absent",),
    )
    assert second is not None
    assert second.headers == ("x",)
    assert config.routes[0].shadow == Shadow(sample=0.05, timeout_s=3.0)


def test_null_switches_off_and_a_mapping_on_again() -> None:
    config = config_of(
        with_routes(
            """/a: 1%
/b:
  phase: 1%
  compare: {status: class}
  revert: {errors: 9%}
  advance: {steps: [5%]}
/c: {phase: 1%, fallback_after: null, override: null, maintenance: null}
""",
            "defaults: {compare: null, revert: null, advance: null, maintenance: all, "
            "fallback_after: 1s, override: {header: x, from: [10.0.0.0/8]}}",
        )
    )
    a, b, c = config.routes[:3]
    assert (a.compare, config.reverts["a"], config.advances["a"]) == (None, None, None)
    assert b.compare == Compare(status="class")
    assert config.reverts["b"] == Revert(errors=0.09)
    assert config.advances["b"] == Advance((Step(Phase(5)),))
    assert (c.fallback_after_s, c.override, c.maintenance) == (None, None, None)
    assert (a.fallback_after_s, a.maintenance) == (1.0, "all")


def test_a_ladder_may_be_inherited_and_its_dwell_changed() -> None:
    config = config_of(
        with_routes("/a: {phase: 1%, advance: {dwell: 5m}}", "defaults: {advance: {steps: [5%]}}")
    )
    assert config.advances["a"] == Advance((Step(Phase(5)),), dwell_s=300.0)


@pytest.mark.parametrize(
    ("serve", "phase", "expected"),
    [
        ("legacy", "dual-write", "0%"),
        ("legacy", "100%", "0%"),
        ("new", "dual-write", "dual-write"),
        ("new", "100%", "dual-write"),
        ("legacy", "25%", "25%"),
        ("legacy", "new-only", "new-only"),
    ],
)
def test_dual_write_served_by_legacy_is_zero_per_cent(
    serve: str, phase: str, expected: str
) -> None:
    own = config_of(with_routes(f"/a: {{phase: {phase}, serve: {serve}}}"))
    inherited = config_of(with_routes(f"/a: {phase}", f"defaults: {{serve: {serve}}}"))
    assert [str(config.routes[0].phase) for config in (own, inherited)] == [expected] * 2


def test_the_unmatched_route_goes_to_the_legacy_backend_of_defaults() -> None:
    config = config_of(
        "backends: {old: 'http://a:1', v2: 'http://b:1'}\n"
        "defaults: {legacy: old, new: v2, rewrite: '/x/{id}', sticky: 'param:id'}\n"
        "routes: {'/{id}': 1%}"
    )
    unmatched = config.routes[-1]
    assert (unmatched.legacy, unmatched.new, unmatched.phase) == ("old", "v2", LEGACY_ONLY)
    assert (unmatched.rewrite, unmatched.sticky) == (None, Sticky("client-ip"))


def test_relative_files_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    path = tmp_path / "conf" / "routes.yaml"
    path.write_text(f"{BACKENDS}routes: {{}}\nstate: sqlite:../var/s.db\nadmin: {{tokens_file: t}}")
    config = load(path, {}).config
    assert config is not None
    assert config.state.sqlite_path == tmp_path / "var" / "s.db"
    assert config.admin.tokens_file == tmp_path / "conf" / "t"
    assert config.file == path


def test_variables_fill_in_values_and_keys() -> None:
    config = config_of(
        "backends: {legacy: 'http://${HOST}:1', new: '${NEW}'}\nworkers: ${N}\n"
        "routes: {'/${V}/x': '${PHASE}'}",
        {"HOST": "h", "NEW": "http://n:2", "N": "3", "V": "v1", "PHASE": "7%"},
    )
    assert config.backends["legacy"].urls == ("http://h:1",)
    assert (config.workers, config.routes[0].path, config.routes[0].phase) == (3, "/v1/x", Phase(7))


def test_a_value_from_the_environment_is_never_shown() -> None:
    outcome = loaded("backends: {legacy: '${SECRET}'}\nroutes: {}", {"SECRET": "hunter2"})
    [found] = outcome.findings
    assert "${SECRET}" in found.text
    assert "hunter2" not in str(found)


def test_the_digest_of_the_text_follows_the_environment_it_took() -> None:
    text = "backends: {legacy: '${L}', new: 'http://n:1'}\nroutes: {}"
    one, same, other = (
        config_of(text, {"L": url, "UNUSED": url}).text_digest
        for url in ("http://a:1", "http://a:1", "http://b:1")
    )
    assert one == same != other


def test_a_snapshot_has_a_state_for_each_route() -> None:
    config = config_of(with_routes("/a: 10%\n/b: dual-write"))
    moved = RouteState(LEGACY_ONLY, Side.LEGACY)
    snapshot = config.snapshot(3, 7, {"a": moved, "gone": moved})
    assert (snapshot.generation, snapshot.revision) == (3, 7)
    assert snapshot.states == {
        "a": moved,
        "b": RouteState(Phase(100), Side.NEW),
        UNMATCHED: RouteState(LEGACY_ONLY, Side.LEGACY),
    }
    assert snapshot.routes == config.routes
    assert snapshot.trace_sample == 0.01


def test_auto_workers_are_at_least_one() -> None:
    assert config_of(with_routes("/a: 1%", "workers: auto")).workers >= 1
