"""Every warning: the smallest file that gets it, and the nearest one that does not."""

import pytest

from proxy.config import changes_for_restart, lint
from proxy.config.inactive import NOT_ACTIVE
from proxy.config.units import parse_phase
from proxy.core.model import Side
from tests.config.samples import BACKENDS, config_of, findings_of, loaded, only, with_routes

REMOTE = "backends: {legacy: 'http://10.0.0.1:1', new: 'http://10.0.0.2:1'}\n"

# code, the lines of routes (and other keys before them), the key path, words of the way out.
UNWISE = [
    ("UNSAFE_SAFE_METHOD", "/a: {phase: 0%, safe_methods: [GET, PUT]}", "", ".safe_methods", "PUT"),
    ("UNSAFE_SAFE_METHOD", "/a: {phase: 1%, safe_methods: [POST]}", "", ".safe_methods", "search"),
    ("UNSAFE_SAFE_METHOD", "/a: 1%", "defaults: {safe_methods: [DELETE]}", "", "leave it out"),
    ("UNSAFE_SAFE_METHOD", "/user/logout: shadow-read", "", "", "[HEAD, OPTIONS]"),
    ("UNSAFE_SAFE_METHOD", "GET /items/{id}/delete: shadow-read", "", "", "changes something"),
    ("NOTHING_SHADOWED", "/a: {phase: 1%, shadow: {sample: 0%}}", "", ".shadow.sample", "above 0%"),
    ("NOTHING_SHADOWED", "POST /a: shadow-read", "", "", "legacy-only"),
    ("SAME_BACKEND", "/a: {phase: shadow-read, new: legacy}", "", ".new", "rewrite"),
    ("SAME_BACKEND", "/a: {phase: 0%, new: legacy}", "", ".new", "every write is done twice"),
    ("SPLIT_WRITES", "/a: {phase: 10%, writes: split}", "", ".writes", "one database"),
    ("ACK_TIMEOUT", "/a: {phase: 10%, ack_timeout: 31s}", "", ".ack_timeout", "lower it"),
    ("ACK_TIMEOUT", "/a: {phase: 0%, ack: both, ack_timeout: 31s}", "", ".ack_timeout", "lower"),
    ("READ_YOUR_WRITES", "/a: {phase: 10%, ack: authoritative}", "", ".ack", "auto or both"),
    ("FALLBACK_NEVER", "/a: {phase: 10%, fallback_after: 30s}", "", ".fallback_after", "leave it"),
    ("REWRITE_COLLAPSES", "/a/*: {phase: legacy-only, rewrite: /b}", "", ".rewrite", "/*"),
    (
        "SHADOW_STARVES",
        "/a: {phase: 10%, shadow: {max_in_flight: 256}}",
        "",
        ".shadow.max_in_flight",
        "max_connections",
    ),
    ("MEMORY", "/a: {phase: 1%, shadow: {max_body: 100MiB}}", "", ".shadow", "max_in_flight"),
    ("MEMORY", "/a: {phase: 0%, write_body: 1GiB}", "", ".write_body", "lower write_body"),
    (
        "OVERRIDE_OPEN",
        "/a: {phase: legacy-only, override: {header: x, from: [0.0.0.0/0]}}",
        "",
        ".override.from",
        "your testers",
    ),
    (
        "OVERRIDE_OPEN",
        "/a: {phase: legacy-only, override: {header: x, from: ['::/0']}}",
        "",
        ".override.from",
        "your testers",
    ),
]


@pytest.mark.parametrize(("code", "routes", "more", "below", "words"), UNWISE)
def test_an_unwise_route_is_a_warning(
    code: str, routes: str, more: str, below: str, words: str
) -> None:
    found = only(with_routes(routes, more))
    assert (found.code, found.severity) == (code, "warning")
    key = routes.split(": ")[0]
    assert found.key_path == f"routes.{key}{below}"
    assert words in found.text


@pytest.mark.parametrize(
    "routes",
    [
        "/a: {phase: legacy-only, safe_methods: [GET, PUT]}",
        "/a/search: {phase: 1%, safe_methods: [GET, POST]}",
        "/user/logout: legacy-only",
        "/user/logout: {phase: shadow-read, safe_methods: [HEAD]}",
        "POST /user/logout: 0%",
        "/user/{logout}: shadow-read",
        "/catalogue/deleted-scenes: shadow-read",
        "/a: {phase: legacy-only, shadow: {sample: 0%}}",
        "/a: {phase: new-only, shadow: {sample: 0%}}",
        "POST /a: 0%",
        "/a: {phase: new-only, new: legacy}",
        "/a: {phase: shadow-read, new: legacy, rewrite: /b}",
        "/a: {phase: shadow-read, writes: split}",
        "/a: {phase: 0%, ack_timeout: 31s}",
        "/a: {phase: 0%, ack: authoritative}",
        "/a: {phase: dual-write, ack: authoritative}",
        "/a: {phase: 10%, fallback: false, fallback_after: 60s}",
        "/a: {phase: shadow-read, fallback_after: 60s}",
        "/a/*: {phase: legacy-only, rewrite: /b/*}",
        "/a: {phase: shadow-read, shadow: {max_in_flight: 256}}",
        "/a: {phase: shadow-read, write_body: 1GiB}",
        "/a: {phase: 1%, override: {header: x, from: [10.0.0.0/8]}}",
    ],
)
def test_what_looks_like_it_but_is_fine(routes: str) -> None:
    assert findings_of(with_routes(routes)) == []


@pytest.mark.parametrize("path", sorted(NOT_ACTIVE), ids=".".join)
def test_a_key_that_is_not_acted_on_yet_says_so(path: tuple[str, ...]) -> None:
    values = {"tokens_file": "t"}
    text = values[path[-1]]
    for part in reversed(path[1:]):
        text = f"{{{part}: {text}}}"
    found = only(with_routes("/a: shadow-read", f"{path[0]}: {text}"))
    assert (found.code, found.severity) == ("NOT_ACTIVE", "warning")
    assert found.key_path == ".".join(path)


def test_defaults_written_out_are_nothing_to_warn_of() -> None:
    text = (
        "defaults:\n  revert: {divergence: 1%, errors: 2%, latency: null, min_samples: 20,"
        " false_alarm: 1e-6, cooldown: 10m, to: auto}\n"
        "  compare: {ignore: [], noise: 1%, recheck: true, with: auto}\n  advance: null\n"
        "comparers: 1\nalerts: []\ntelemetry: {otlp: null}\nadmin: {tokens_file: null}\n"
    )
    assert findings_of(with_routes("/a: {phase: 1%, revert: null}", text)) == []


@pytest.mark.parametrize(
    ("route", "below", "words"),
    [
        ("revert: {divergence: 3%}, compare: null", "revert.divergence", "compare is null"),
        ("revert: {divergence: 100%}", "revert.divergence", "no rate is above 100%"),
        ("revert: {errors: 100%}", "revert.errors", "no rate is above 100%"),
        ("revert: {to: 20%}", "revert.to", "no step back from 10%"),
        ("revert: {min_samples: 10000}, shadow: {sample: 0.1%}", "revert.min_samples", "requests"),
        ("shadow: {sample: 0.001%}", "", "2,000,000 requests"),
        ("advance: {steps: [20%]}, shadow: {sample: 10%}", "", "at most 10%"),
        (
            "advance: {steps: [20%], min_coverage: 60%}, compare: null",
            "advance.min_coverage",
            "at most 0%",
        ),
        (
            "advance: {steps: [20%], min_samples: 10000000}",
            "advance.min_samples",
            "10,000,000 requests",
        ),
    ],
)
def test_a_threshold_that_cannot_be_reached(route: str, below: str, words: str) -> None:
    found = findings_of(with_routes(f"/a: {{phase: 10%, {route}}}"), "CANNOT_FIRE")
    assert words in " ".join(each.text for each in found)
    assert any(each.key_path.startswith(f"routes./a.{below}".rstrip(".")) for each in found)


@pytest.mark.parametrize(
    "route",
    [
        "phase: 10%, compare: null",
        "phase: new-only, revert: {divergence: 3%}, compare: null",
        "phase: 10%, shadow: {sample: 1%}",
        "phase: 10%, advance: {steps: [20%]}, shadow: {sample: 50%}",
    ],
)
def test_thresholds_that_can_be_reached(route: str) -> None:
    assert findings_of(with_routes(f"/a: {{{route}}}"), "CANNOT_FIRE") == []


def test_a_ladder_with_nothing_that_would_go_back() -> None:
    for revert in ("null", "{divergence: null, errors: null}"):
        text = with_routes(f"/a: {{phase: 1%, advance: {{steps: [2%]}}, revert: {revert}}}")
        assert [each.key_path for each in findings_of(text, "UNGUARDED_ADVANCE")] == [
            "routes./a.advance"
        ]
    text = with_routes("/a: {phase: 1%, advance: {steps: [2%]}}")
    assert findings_of(text, "UNGUARDED_ADVANCE") == []


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (REMOTE + "listen: 0.0.0.0:80", "load balancer"),
        (BACKENDS + "listen: '[::]:80'", "load balancer"),
        (BACKENDS + "listen: unix:/run/b.sock", "Unix socket"),
        (REMOTE, "loopback listener"),
        (BACKENDS, None),
        (REMOTE + "listen: 0.0.0.0:80\ntrusted_proxies: [10.0.0.0/8]", None),
        (REMOTE + "listen: 0.0.0.0:80\ndefaults: {sticky: 'cookie:sid'}", None),
    ],
)
def test_client_ip_where_clients_have_one_address(head: str, words: str | None) -> None:
    found = findings_of(f"{head}\nroutes:\n  /a: 25%\n")
    assert [each.code for each in found] == (["STICKY_BEHIND_PROXY"] if words else [])
    assert all(words is not None and words in each.text for each in found)
    other_phases = f"{head}\nroutes: {{/a: 0%, /b: dual-write, /c: shadow-read}}\n"
    assert findings_of(other_phases) == []


@pytest.mark.parametrize(
    ("routes", "number"),
    [
        ("GET /a: 25%\nPOST /a: 25%", 1),
        ("GET /a: 25%\n/a: 25%", 1),
        ("/a: legacy-only\nPUT /a: new-only", 1),
        ("GET /a/{id}: 25%\n/a/*: shadow-read", 1),
        ("POST /a/{id}: new-only\n/a/*: legacy-only", 1),
        ("GET /a: 10%", 1),  # writes go to no route, so to legacy alone
        ("GET h.com/a: 10%\nPOST h.com/a: 0%", 1),
        ("GET /a/{id}: shadow-read\n/a/*: legacy-only", 0),
        ("GET /a/{id}: 25%\n/a/*: 50%", 0),
        ("GET /a: shadow-read", 0),
        ("GET,HEAD /a: {phase: 25%}\n/a/*: {phase: 25%, writes: split}", 0),
        ("GET,POST,PUT,PATCH,DELETE /a: 25%", 0),
        ("GET a.com/x: 1%\nPOST b.com/x: dual-write", 1),
        ("GET /a: new-only\nHEAD /a: new-only\nPOST,PUT,PATCH,DELETE /b: legacy-only", 1),
        ("GET /a: 25%\nPOST /a: 30%\nPUT /a: 40%", 1),
    ],
)
def test_reads_and_writes_of_one_path_on_different_routes(routes: str, number: int) -> None:
    found = findings_of(with_routes(routes), "SPLIT_METHODS")
    assert len(found) == number, "\n".join(map(str, found))
    assert all("one route for all methods" in each.text for each in found)


@pytest.mark.parametrize(
    ("routes", "losers"),
    [
        ("a.com/api/*: 1%\n/api/users: 1%", ["routes.a.com/api/*"]),
        ("a.com/api/*: 1%\n/api/{x}/*: 1%", ["routes.a.com/api/*"]),
        ("a.com/*: 1%\n/api/users: 1%", ["routes.a.com/*"]),
        ("a.com/api/*: 1%\n/api/users: 1%\na.com/api/users: 1%", []),
        ("a.com/api/*: 1%\n/api/*: {phase: 1%, name: x}", []),
        ("a.com/api/users: 1%\n/api/*: 1%", []),
        ("/api/*: 1%\n/api/users: 1%", []),
    ],
)
def test_a_host_that_loses_to_a_longer_path(routes: str, losers: list[str]) -> None:
    found = findings_of(with_routes(routes), "SHADOWED_ROUTE")
    assert [each.key_path for each in found] == losers


@pytest.mark.parametrize(
    ("text", "code", "key_path"),
    [
        ("trusted_proxies: [0.0.0.0/0]", "TRUST_EVERYONE", "trusted_proxies"),
        ("backends: {spare: 'http://h:1'}", "UNUSED_BACKEND", "backends.spare"),
        ("backends: {legacy: 'http://8.8.8.8'}", "PLAINTEXT", "backends.legacy"),
        ("backends: {legacy: 'http://[2001:4860::1]:80'}", "PLAINTEXT", "backends.legacy"),
        ("backends: {legacy: 'http://h:443'}", "PLAINTEXT", "backends.legacy"),
        ("backends: {new: {url: 'http://h', tls: {}}}", "TLS_UNUSED", "backends.new.tls"),
        (
            "backends: {new: {url: 'https://h', tls: {verify: false}}}",
            "TLS_UNVERIFIED",
            "backends.new.tls.verify",
        ),
        ("alerts: [{url: 'http://8.8.8.8/x'}]", "PLAINTEXT", "alerts[0].url"),
        ("telemetry: {otlp: 'http://8.8.8.8:4318'}", "PLAINTEXT", "telemetry.otlp"),
    ],
)
def test_an_unwise_setting_is_a_warning(text: str, code: str, key_path: str) -> None:
    whole = {"legacy": "'http://127.0.0.1:7'", "new": "'http://127.0.0.1:8'"}
    if text.startswith("backends: {"):
        name, _, value = text.removeprefix("backends: {").removesuffix("}").partition(": ")
        whole[name] = value
        text = ""
    lines = "".join(f"  {name}: {value}\n" for name, value in whole.items())
    found = [f for f in findings_of(f"backends:\n{lines}{text}\nroutes: {{}}") if f.code == code]
    assert [each.key_path for each in found] == [key_path]


@pytest.mark.parametrize(
    ("before", "after", "left_out"),
    [
        ("legacy-only", "shadow-read", None),
        ("legacy-only", "0%", "shadow-read"),
        ("legacy-only", "new-only", "shadow-read and 1% to 99% and dual-write"),
        ("shadow-read", "0%", None),
        ("shadow-read", "50%", None),
        ("shadow-read", "dual-write", "1% to 99%"),
        ("10%", "90%", None),
        ("99%", "dual-write", None),
        ("99%", "new-only", "dual-write"),
        ("dual-write", "new-only", None),
        ("new-only", "legacy-only", None),
        ("new-only", "new-only", None),
        (None, "new-only", None),
    ],
)
def test_an_edit_that_leaves_out_a_phase(
    before: str | None, after: str, left_out: str | None
) -> None:
    config = config_of(with_routes(f"/a:\n  phase: {after}"))
    previous = {"a": parse_phase(before)} if before is not None else {}
    found = lint(config, previous, {})
    assert [each.code for each in found] == (["PHASE_SKIPPED"] if left_out else [])
    for each in found:
        assert f"leaves out {left_out}," in each.text
        assert (each.line, each.column, each.severity) == (5, 12, "warning")


@pytest.mark.parametrize(
    ("before", "after", "missed", "sides"),
    [
        ("new-only", "legacy-only", "legacy", "legacy"),
        ("new-only", "99%", "legacy", "legacy"),
        ("new-only", "dual-write", "legacy", ""),
        ("new-only", "new-only", "legacy", ""),
        ("shadow-read", "0%", "new", ""),
        ("shadow-read", "1%", "new", "new"),
        ("0%", "dual-write", "new", "new"),
        ("10%", "20%", "new", ""),
        ("shadow-read", "1%", "", ""),
        (None, "1%", "legacy new", "legacy new"),
    ],
)
def test_an_edit_toward_a_side_that_has_missed_writes(
    before: str | None, after: str, missed: str, sides: str
) -> None:
    flags = {"a": frozenset(map(Side, missed.split()))} if missed else {}
    previous = {"a": parse_phase(before)} if before is not None else None
    found = lint(config_of(with_routes(f"/a: {after}")), previous, flags)
    texts = [each.text for each in found if each.code == "MISSED_WRITES"]
    assert [text.split(" answers clients")[0].split()[-1] for text in texts] == sides.split()
    assert all("accept_loss: true" in text for text in texts)
    meant = config_of(with_routes(f"/a: {{phase: {after}, accept_loss: true}}"))
    assert not [f for f in lint(meant, previous, flags) if f.code == "MISSED_WRITES"]


def test_what_only_a_restart_brings_into_force() -> None:
    one = config_of(with_routes("/a: 1%"))
    assert changes_for_restart(one, config_of(with_routes("/b: 2%", "limits: {headers: 5}"))) == ()
    other = config_of(with_routes("/a: 1%", "listen: 127.0.0.1:70\nworkers: 3"))
    found = changes_for_restart(one, other)
    assert [(each.code, each.key_path) for each in found] == [
        ("RESTART_NEEDED", "listen"),
        ("RESTART_NEEDED", "workers"),
    ]


def test_a_warning_does_not_refuse_the_file() -> None:
    outcome = loaded(with_routes("/logout: shadow-read"))
    assert outcome.config is not None
    assert [each.severity for each in outcome.findings] == ["warning"]


@pytest.mark.parametrize(
    ("declared", "edited", "said"),
    [
        ("25%", "25%", ["LATCHED"]),
        ("25%", "50%", ["LATCHED"]),
        ("25%", "10%", []),
        ("25%", "0%", []),
    ],
)
def test_an_edit_that_leaves_a_latch(declared: str, edited: str, said: list[str]) -> None:
    latched = {"a": (parse_phase("25%"), parse_phase(declared))}
    found = lint(config_of(with_routes(f"/a: {edited}")), {"a": parse_phase("0%")}, {}, latched)
    assert [f.code for f in found] == said
    assert all("reverted from 25%; `banyan resume a`" in f.text for f in found)


@pytest.mark.parametrize("entry", ["secret: 1234567", "secret: hunter2", "url: 'hunter2 //x'"])
def test_a_secret_that_is_wrong_is_not_shown(entry: str) -> None:
    other = "" if entry.startswith("url") else "url: 'https://h', "
    found = findings_of(with_routes("/a: legacy-only", f"alerts: [{{{other}{entry}}}]"))
    assert [each.severity for each in found] == ["error"]
    assert "hunter2" not in str(found[0])
    assert "1234567" not in str(found[0])
