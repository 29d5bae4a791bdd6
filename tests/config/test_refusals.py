"""Every way to get a value wrong: where it is said, and what is said to be legal."""

import pytest

from proxy.core.model import UNMATCHED
from tests.config.samples import BACKENDS, config_of, findings_of, loaded, with_routes


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
        ("state: mysql://x", "BAD_VALUE", "state", "sqlite:PATH, redis://"),
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
        (
            "defaults: {compare: {ignore: ['$.a[']}}",
            "BAD_VALUE",
            "defaults.compare.i",
            "unclosed [",
        ),
        ("defaults: {compare: {ignore: ['$.a.']}}", "BAD_VALUE", "defaults.compare.i", "no name"),
        ("defaults: {compare: {ignore: ['$.a[b]']}}", "BAD_VALUE", "defaults.compare.i", "['b']"),
        (
            "defaults: {compare: {ignore: ['cookie:']}}",
            "BAD_VALUE",
            "defaults.compare.i",
            "no cook",
        ),
        ("defaults: {compare: {redact: ['$.a b']}}", "BAD_VALUE", "defaults.compare.r", "begins"),
        (
            "defaults: {compare: {ignore: ['$.a by b']}}",
            "BAD_VALUE",
            "defaults.compare.i",
            "begins",
        ),
        ("defaults: {compare: {unordered: ['$.a by']}}", "BAD_VALUE", "defaults.compare.u", "beg"),
        (
            "defaults: {compare: {tolerance: {'$.': 1}}}",
            "BAD_VALUE",
            "defaults.compare.t",
            "no name",
        ),
        ("defaults: {compare: {rename: {$.a: $..b}}}", "BAD_VALUE", "defaults.compare.r", "[*]"),
        (
            "defaults: {compare: {rename: {'$.a[*]': $.b}}}",
            "BAD_VALUE",
            "defaults.compare.r",
            "end",
        ),
        (
            "defaults: {compare: {rename: {'$.a[*].b': $.b}}}",
            "BAD_VALUE",
            "defaults.compare.rename",
            "the mapping cannot be followed: $.a[*].b and $.b do not go through the same arrays",
        ),
        (
            "defaults: {compare: {lenient: [int_float]}}",
            "BAD_VALUE",
            "defaults.compare",
            "mean int-float?",
        ),
        ("defaults: {compare: {lenient: all}}", "BAD_VALUE", "defaults.compare.l", "not a list"),
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
        ("http://h/a: 1%", "BAD_ROUTE_KEY", "routes.http://h/a", "begins with http://"),
        ("GET https://h:1/a: 1%", "BAD_ROUTE_KEY", "routes.GET https", "begins with https://"),
        ("/a: {phase: 1%, sticky: 'cookie: x'}", "BAD_VALUE", "routes./a.st", "mean cookie:x?"),
        ("/a: {phase: 1%, serve:new}", "UNKNOWN_KEY", "routes./a.serve:new", "behind serve:"),
        ("/b/*:legacy-only", "BAD_VALUE", "routes", "a space is missing behind its colon"),
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


@pytest.mark.parametrize("value", ["'${E}'", "${E}", "http://${E}", "http://${E}:${E}"])
def test_a_variable_that_is_set_to_nothing_is_named(value: str) -> None:
    text = f"backends:\n  legacy: {value}\n  new: 'http://b:1'\nroutes: {{}}"
    [found] = loaded(text, {"E": "", "F": ""}).findings
    assert (found.code, found.key_path) == ("BAD_VALUE", "backends.legacy")
    assert "(E is empty in the environment)" in found.text


def test_a_variable_that_is_set_is_not_called_empty() -> None:
    text = "backends: {legacy: '${F}$${E}', new: 'http://b:1'}\nroutes: {}"
    [found] = loaded(text, {"E": "", "F": "x"}).findings
    assert "empty" not in found.text


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
