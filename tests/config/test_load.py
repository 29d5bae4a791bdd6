"""From routes.yaml to a Config: defaults, inheritance, and every way to get a value wrong."""

from pathlib import Path

import pytest

from proxy.config import (
    Advance,
    Alert,
    LatencyRule,
    Revert,
    State,
    Step,
    TcpAddress,
    UnixAddress,
    load,
)
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
from tests.config.samples import BACKENDS, EXAMPLES, config_of, findings_of, loaded, with_routes


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
    {status: class, headers: [X-A], ignore: ["$.a"], unordered: ["$.b"], tolerance: {"$.c": 0.5},
     rename: {"$.d": "$.e"}, redact: ["header:X-S"], noise: 2%, recheck: false, with: "pkg.mod:fn"}
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
            ignore=("$.a",),
            unordered=("$.b",),
            tolerance={"$.c": 0.5},
            rename={"$.d": "$.e"},
            redact=("header:x-s",),
            noise=0.02,
            recheck=False,
            with_="pkg.mod:fn",
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
  compare: {ignore: ["$.b", "$.a"], headers: [etag], tolerance: {"$.y": 1}}
/b: shadow-read
""",
            "defaults:\n  shadow: {timeout: 3s}\n  compare:\n"
            '    {ignore: ["$.a"], redact: ["$.r"], headers: [x], status: class, '
            'tolerance: {"$.x": 1}}\n',
        )
    )
    first, second = (route.compare for route in config.routes[:2])
    assert first == Compare(
        status="class",
        headers=("etag",),
        ignore=("$.a", "$.b"),
        redact=("$.r",),
        tolerance={"$.y": 1.0},
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


@pytest.mark.parametrize(
    ("text", "code", "key_path", "words"),
    [
        ("wrokers: 2", "UNKNOWN_KEY", "wrokers", "did you mean workers?"),
        ("limits: {headerbytes: 1}", "UNKNOWN_KEY", "limits.headerbytes", "mean header_bytes?"),
        ("limits:", "BAD_VALUE", "limits", "is empty"),
        ("limits: 5", "BAD_VALUE", "limits", "not a mapping; legal are the keys header_bytes"),
        ("listen: 8080", "BAD_VALUE", "listen", "did you mean 127.0.0.1:8080?"),
        ("listen: localhost", "BAD_VALUE", "listen", "host:port, [v6]:port or unix:/path"),
        ("listen: ':99999'", "BAD_VALUE", "listen", "0 to 65535"),
        ("listen: '[1]:80'", "BAD_VALUE", "listen", "no IPv6 address"),
        ("listen: unix:run.sock", "BAD_VALUE", "listen", "absolute path"),
        (f"listen: unix:/{'x' * 200}", "BAD_VALUE", "listen", "107 bytes"),
        ("workers: 0", "BAD_VALUE", "workers", "legal is 1 to 256, or auto"),
        ("workers: true", "BAD_VALUE", "workers", "not a whole number"),
        ("workers: '2'", "BAD_VALUE", "workers", "not a whole number"),
        ("state: mysql://x", "BAD_VALUE", "state", "sqlite:PATH or redis://"),
        ("admin: {listen: 0.0.0.0:9}", "ADMIN_EXPOSED", "admin.listen", "no access control yet"),
        ("admin: {listen: '[::]:9'}", "ADMIN_EXPOSED", "admin.listen", "loopback"),
        ("admin: {listen: 127.0.0.1:8080}", "LISTEN_CLASH", "admin.listen", "another port"),
        ("limits: {header_bytes: 64kb}", "BAD_VALUE", "limits.header_bytes", "mean 64KiB?"),
        ("limits: {header_bytes: -1}", "BAD_VALUE", "limits.header_bytes", "out of range"),
        ("limits: {client_idle: 60}", "BAD_VALUE", "limits.client_idle", "did you mean 60s?"),
        ("limits: {client_idle: 0s}", "BAD_VALUE", "limits.client_idle", "longer than nothing"),
        ("limits: {client_idle: 5 minutes}", "BAD_VALUE", "limits.client_idle", "ms, s, m, h or d"),
        ("limits: {headers: many}", "BAD_VALUE", "limits.headers", "1 to 1000"),
        ("trusted_proxies: 10.0.0.0/8", "BAD_VALUE", "trusted_proxies", "not a list"),
        ("trusted_proxies: [10.0.0.1/8]", "BAD_VALUE", "trusted_proxies[0]", "mean 10.0.0.0/8?"),
        ("trusted_proxies: [lan]", "BAD_VALUE", "trusted_proxies[0]", "not a network"),
        ("telemetry: {sample: 0.01}", "BAD_VALUE", "telemetry.sample", "did you mean 1%?"),
        ("telemetry: {sample: 101%}", "BAD_VALUE", "telemetry.sample", "0% to 100%"),
        ("telemetry: {log_format: jsno}", "BAD_VALUE", "telemetry.log_format", "mean json?"),
        ("telemetry: {otlp: otel:4318}", "BAD_VALUE", "telemetry.otlp", "web address"),
        ("alerts: [{events: [revert]}]", "MISSING_KEY", "alerts[0]", "url is missing"),
        ("tls: {cert: c.pem}", "MISSING_KEY", "tls", "key is missing"),
        ("tls: {cert: c.pem, key: k.pem}", "BAD_FILE", "tls", "/etc/banyan/c.pem is not a file"),
        ("defaults: {phase: 1%}", "UNKNOWN_KEY", "defaults.phase", "no such key"),
        ("defaults: {legacy: lgacy}", "UNKNOWN_BACKEND", "defaults.legacy", "mean legacy?"),
        ("defaults: {sticky: ip}", "BAD_VALUE", "defaults.sticky", "client-ip"),
        ("defaults: {sticky: 'cookie:'}", "BAD_VALUE", "defaults.sticky", "names no cookie"),
        ("defaults: {safe_methods: [get]}", "BAD_VALUE", "defaults.safe_methods[0]", "mean GET?"),
        ("defaults: {safe_methods: GET}", "BAD_VALUE", "defaults.safe_methods", "not a list"),
        ("defaults: {ack: bth}", "BAD_VALUE", "defaults.ack", "did you mean both?"),
        ("defaults: {fallback: yes}", "BAD_VALUE", "defaults.fallback", "true or false"),
        ("defaults: {override: {header: x}}", "MISSING_KEY", "defaults.override", "from is miss"),
        (
            "defaults: {override: {header: Host, from: [10.0.0.0/8]}}",
            "BAD_VALUE",
            "defaults.override.header",
            "its own meaning",
        ),
        (
            "defaults: {override: {header: x, from: []}}",
            "BAD_VALUE",
            "defaults.override.from",
            "needs at least 1",
        ),
        ("defaults: {compare: {with: jsn}}", "BAD_VALUE", "defaults.compare.with", "mean json?"),
        ("defaults: {compare: {ignore: [a]}}", "BAD_VALUE", "defaults.compare.ignore[0]", "$.i"),
        ("defaults: {compare: {unordered: [header:a]}}", "BAD_VALUE", "defaults.compare.u", "JSON"),
        ("defaults: {compare: {tolerance: {$.a: -1}}}", "BAD_VALUE", "defaults.compare.t", "0 or"),
        ("defaults: {compare: {tolerance: {a: 1}}}", "BAD_VALUE", "defaults.compare.t", '"a" is'),
        ("defaults: {revert: {latency: 2x}}", "BAD_VALUE", "defaults.revert.latency", "1.5x p99"),
        ("defaults: {revert: {latency: 1x p99}}", "BAD_VALUE", "defaults.revert.latency", "above"),
        ("defaults: {revert: {false_alarm: 2}}", "BAD_VALUE", "defaults.revert.f", "between 0"),
        ("defaults: {revert: {to: shadow}}", "BAD_VALUE", "defaults.revert.to", "shadow-read?"),
        ("defaults: {advance: {dwell: 1h}}", "BAD_LADDER", "routes./x", "no steps"),
        ("defaults: {advance: {steps: [5%, 1%]}}", "BAD_LADDER", "routes./x", "go forward"),
        ("defaults: {advance: {steps: [5%], approve: [6%]}}", "BAD_LADDER", "routes./x", "6%"),
        ("defaults: {advance: {steps: [{1%: 1}]}}", "BAD_VALUE", "defaults.advance.s", "1s?"),
        ("defaults: {advance: {steps: [5]}}", "BAD_VALUE", "defaults.advance.steps[0]", "a step"),
        ("defaults: {rewrite: {id}}", "BAD_VALUE", "defaults.rewrite", 'mean "{id}", in quotes?'),
        ("defaults: {sticky: 'param:id'}", "BAD_STICKY", "routes./x", "legal are none"),
        ("defaults: {rewrite: '/{id}'}", "BAD_REWRITE", "routes./x", "no parameter {id}"),
        ("defaults: {maintenance: yes}", "BAD_VALUE", "defaults.maintenance", "reads, writes or"),
    ],
)
def test_what_is_wrong_outside_of_routes(text: str, code: str, key_path: str, words: str) -> None:
    assert_one_error(with_routes("/x: 1%", text), code, key_path, words)


@pytest.mark.parametrize(
    ("backend", "below", "words"),
    [
        ("127.0.0.1:80", "", "did you mean http://127.0.0.1:80?"),
        ("http://127.0.0.1:80/api", "", "use rewrite"),
        ("http://u:p@h", "", "credentials"),
        ("http://", "", "no valid host"),
        ("http://1.2.3.4.5:80", "", "no valid host"),
        ("http://[::1:80", "", "http"),
        ("http://h:0", "", "1 to 65535"),
        ("http://h:x", "", "valid port"),
        ("ftp://h", "", "not a backend's address"),
        ("unix:x", "", "absolute"),
        ("5", "", "not a backend"),
        ("[]", "", "needs at least 1"),
        ("{url: []}", ".url", "needs at least 1"),
        ("{urls: http://h}", ".urls", "did you mean url?"),
        ("{url: http://h, timeout: 3}", ".timeout", "mean 3s?"),
        ("{url: http://h, host: new}", ".host", "preserve or backend"),
        ("{url: http://h, health: /x}", ".health", "not a mapping"),
        ("{url: http://h, health: {path: x}}", ".health.path", "/healthz"),
        ("{url: http://h, tls: {verify: no}}", ".tls.verify", "true or false"),
    ],
)
def test_what_is_wrong_with_a_backend(backend: str, below: str, words: str) -> None:
    text = f"backends:\n  legacy: http://h:1\n  new: {backend}\nroutes: {{}}\n"
    found = findings_of(text)
    [first] = [each for each in found if words in each.text]
    assert first.key_path.startswith(f"backends.new{below}")
    assert loaded(text).config is None
    assert {each.line for each in found} == {3}


@pytest.mark.parametrize(
    ("routes", "code", "key_path", "words"),
    [
        ("/a:", "BAD_VALUE", "routes./a", "a phase, or a mapping"),
        ("/a: 25", "BAD_VALUE", "routes./a", "did you mean 25%?"),
        ("/a: 2.5%", "BAD_VALUE", "routes./a", "weights are whole"),
        ("/a: 101%", "BAD_VALUE", "routes./a", "0% to 100%"),
        ("/a: shadow_read", "BAD_VALUE", "routes./a", "did you mean shadow-read?"),
        ("/a: [1%]", "BAD_VALUE", "routes./a", "phase"),
        ("/a: {name: x}", "MISSING_KEY", "routes./a", "phase is missing"),
        ("/a: {phase: 1%, nam: x}", "UNKNOWN_KEY", "routes./a.nam", "did you mean name?"),
        ("/a: {phase: 1%, name: a b}", "BAD_VALUE", "routes./a.name", "letters, digits"),
        (f"/a: {{phase: 1%, name: {'n' * 65}}}", "BAD_VALUE", "routes./a.name", "1 to 64"),
        ("/a: {phase: 1%, new: nwe}", "UNKNOWN_BACKEND", "routes./a.new", "did you mean new?"),
        ("/a/{b}: {phase: 1%, sticky: 'param:c'}", "BAD_STICKY", "routes./a/{b}.sticky", "are b"),
        ("/a/{b}: {phase: 1%, rewrite: '/{c}'}", "BAD_REWRITE", "routes./a/{b}.rewrite", "{c}"),
        ("/a: {phase: 1%, rewrite: '/b/*'}", "BAD_REWRITE", "routes./a.rewrite", "/*"),
        ("/a: {phase: 1%, rewrite: b}", "BAD_VALUE", "routes./a.rewrite", "not a path"),
        ("a: 1%", "BAD_ROUTE_KEY", "routes.a", "did you mean /a?"),
        ("/a/{b}c: 1%", "BAD_ROUTE_KEY", "routes./a/{b}c", "whole segment"),
        ("/a/*/b: 1%", "BAD_ROUTE_KEY", "routes./a/*/b", "last segment"),
        ("/a/b*: 1%", "BAD_ROUTE_KEY", "routes./a/b*", "last segment"),
        ("/{a}/{a}: 1%", "BAD_ROUTE_KEY", "routes./{a}/{a}", "twice"),
        ("/a?b: 1%", "BAD_ROUTE_KEY", "routes./a?b", "never queries"),
        ("/a%2: 1%", "BAD_ROUTE_KEY", "routes./a%2", "hexadecimal"),
        ("/../a: 1%", "BAD_ROUTE_KEY", "routes./../a", "above the root"),
        ("GET/a: 1%", "BAD_ROUTE_KEY", "routes.GET/a", "a space between GET and the path"),
        ("get /a: 1%", "BAD_ROUTE_KEY", "routes.get /a", "did you mean GET?"),
        ("GET, POST /a: 1%", "BAD_ROUTE_KEY", "routes.GET, POST /a", "a space too many"),
        ("'/a ': 1%", "BAD_ROUTE_KEY", "routes./a", "a space too many"),
        ("GET,GET /a: 1%", "BAD_ROUTE_KEY", "routes.GET,GET /a", "GET twice"),
        ("CONNECT /a: 1%", "BAD_ROUTE_KEY", "routes.CONNECT /a", "never proxied"),
        ("a.com:80/a: 1%", "BAD_ROUTE_KEY", "routes.a.com:80/a", "a port behind its host"),
        ("'*.com/a': 1%", "BAD_ROUTE_KEY", "routes.*.com/a", "* in its host"),
        ("b\u00fccher.de/a: 1%", "BAD_ROUTE_KEY", "routes.b\u00fccher.de/a", "xn--"),
        ("-a.com/a: 1%", "BAD_ROUTE_KEY", "routes.-a.com/a", "no valid host"),
        ("/a: 1%\n/a: 2%", "DUPLICATE_KEY", "routes./a", "first in line 4"),
        ("/{a}: {phase: 1%}\n/{b}: 2%", "DUPLICATE_ROUTE", "routes./{b}", "the same requests"),
        ("GET,PUT /a: 1%\nPOST,PUT /a: 1%", "DUPLICATE_ROUTE", "routes.POST,PUT /a", "PUT req"),
        ("A.com/a: 1%\na.com/a: {phase: 1%, name: x}", "DUPLICATE_ROUTE", "routes.a.com/a", "A."),
        ("/a/b: 1%\n/a-b: 1%", "DUPLICATE_NAME", "routes./a-b", "named a-b, as /a/b is"),
        ("/a: 1%\n/b: {phase: 1%, name: a}", "DUPLICATE_NAME", "routes./b.name", "named a"),
    ],
)
def test_what_is_wrong_with_a_route(routes: str, code: str, key_path: str, words: str) -> None:
    assert_one_error(with_routes(routes), code, key_path, words)


def assert_one_error(text: str, code: str, key_path: str, words: str) -> None:
    assert loaded(text).config is None
    errors = [each for each in findings_of(text) if each.severity == "error"]
    assert [each.code for each in errors] == [code], "\n".join(map(str, errors))
    [found] = errors
    assert found.key_path.startswith(key_path)
    assert found.text.startswith(found.key_path + ": ")
    assert words in found.text


def test_an_unknown_backend_is_said_where_it_can_be_put_right() -> None:
    [found] = findings_of("backends: {old: 'http://a:1', new: 'http://b:1'}\nroutes: {/x: 1%}")
    assert (found.code, found.key_path, found.line) == ("UNKNOWN_BACKEND", "backends", 1)
    assert "legal are old, new" in found.text


def test_several_errors_are_reported_together_in_the_order_of_the_file() -> None:
    found = findings_of(
        "listen: 80\nbackends: {legacy: x}\nroutes:\n  /a: b\n  c: 1%\n  /a: 1%\nwrong: 1\n"
    )
    assert [(each.line, each.code) for each in found] == [
        (1, "BAD_VALUE"),
        (2, "BAD_VALUE"),
        (4, "BAD_VALUE"),
        (5, "BAD_ROUTE_KEY"),
        (6, "DUPLICATE_KEY"),
        (7, "UNKNOWN_KEY"),
    ]


def test_very_many_errors_are_counted_not_listed() -> None:
    found = findings_of(with_routes("\n".join(f"/r{i}: nope" for i in range(1000))))
    assert len(found) == 51
    assert found[-1].text == "and 950 more like it"


@pytest.mark.parametrize("text", ["[]", "5", "text", "- a", "true", "null"])
def test_a_file_that_is_no_mapping(text: str) -> None:
    [found] = findings_of(text)
    assert "it needs at least the keys backends and routes" in found.text


def test_no_routes_yet_is_a_way_to_begin() -> None:
    assert [route.name for route in config_of(BACKENDS + "routes: {}").routes] == [UNMATCHED]


def test_a_loop_back_to_the_proxy_is_refused() -> None:
    text = "backends: {legacy: 'http://localhost:8080', new: 'http://h:1'}\nroutes: {}"
    assert_one_error(text, "BACKEND_LOOP", "backends.legacy", "this proxy itself")
