"""`banyan explain` as people call it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.explain import command

ROUTES = """\
backends:
  legacy: http://127.0.0.1:9001
  new: http://127.0.0.1:9002
routes:
  /api/orders/*: shadow-read
  POST /api/orders/{id}: legacy-only
  /api/search/*:
    phase: 25%
    sticky: "cookie:sid"
    rewrite: /v2/search/*
    compare:
      ignore: ["$.took"]
      tolerance: {"$.score": 0.01}
      lenient: [int-float, number-text, null-absent]
  /*: legacy-only
"""


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES, encoding="utf-8")
    return file


def run(routes: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--config", str(routes)])


def test_people_read_where_a_request_goes(routes: Path) -> None:
    result = run(routes, "GET", "/api/./orders/7?x=1")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "request   GET /api/./orders/7?x=1 from 127.0.0.1",
        "path      /api/orders/7",
        "route     api-orders: /api/orders/*, shadow-read",
        "          beats /*: segment 1: a literal (api) comes before *",
        "          not POST /api/orders/{id}: takes only POST",
        "kind      a read: GET is among the route's safe_methods",
        "answers   legacy",
        "          GET /api/orders/7?x=1 at legacy (http://127.0.0.1:9001)",
        "shadow    new",
        "          GET /api/orders/7?x=1 at new (http://127.0.0.1:9002)",
        "compares  status codes",
        "          headers: content-type, location",
        "          bodies, by their content type",
        "          noise: 1 % of GET and HEAD are sent to legacy twice",
        "          a divergent GET is asked again before it counts",
    ]


def test_weighted_request_shows_draw_rewrite_and_rules(routes: Path) -> None:
    result = run(routes, "GET", "http://shop.example/api/search/fig", "-H", "Cookie: sid=42")
    assert result.exit_code == 0
    assert "host      shop.example\n" in result.stdout
    assert "(by cookie sid: 42)" in result.stdout
    assert "GET /v2/search/fig at new" in result.stdout
    assert "GET /api/search/fig at legacy" in result.stdout
    assert "ignoring $.took" in result.stdout
    assert "$.score within 0.01" in result.stdout
    assert "          1 equals 1.0\n" in result.stdout
    assert '          the text "1" equals the number 1\n' in result.stdout
    assert "          null equals a key that is missing\n" in result.stdout


def test_json(routes: Path) -> None:
    result = run(routes, "get", "/api/search/fig", "--json", "--client-ip", "2001:DB8::1")
    data = json.loads(result.stdout)
    assert (data["method"], data["route"], data["phase"]) == ("GET", "api-search", "25%")
    assert data["draw"]["key"] == "2001:db8::1"
    assert data["draw"]["missing"] is True
    assert data["compare"]["with"] == "auto"
    assert data["beaten"] == [
        {
            "route": "all",
            "pattern": "/*",
            "because": "segment 1: a literal (api) comes before *",
        }
    ]
    assert {ask["side"]: ask["urls"] for ask in data["asked"]} == {
        "legacy": ["http://127.0.0.1:9001"],
        "new": ["http://127.0.0.1:9002"],
    }


def test_key_is_drawn_as_the_bytes_on_the_wire(routes: Path) -> None:
    result = run(routes, "GET", "/api/search/a", "-H", "Cookie: sid=f\u00edg\u001b[31m", "--json")
    assert json.loads(result.stdout)["draw"]["key"] == "f\xc3\xadg\x1b[31m"
    shown = run(routes, "GET", "/api/search/a", "-H", "Cookie: sid=f\u00edg\u001b[31m").stdout
    assert "cookie sid: fíg\\x1b[31m" in shown


@pytest.mark.parametrize(
    ("method", "url", "words"),
    [
        ("GET", "/..", "with 400: the path climbs above the root"),
        ("GET", "/a\\b", "with 400: the path holds a backslash"),
        ("GET", "/caf\u00e9", "with 400: the path holds the byte 0xC3"),
        ("CONNECT", "http://h/", "with 501"),
    ],
)
def test_refused_target_exits_1(routes: Path, method: str, url: str, words: str) -> None:
    for arguments in ([], ["--json"]):
        result = run(routes, method, url, *arguments)
        assert result.exit_code == 1
        assert result.stderr == ""
    assert words in run(routes, method, url).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["GET"], "Missing argument 'URL'"),
        (["GET", "api/orders"], "neither a path"),
        (["G@T", "/"], "not the name of a method"),
        (["GET", "/", "-H", "cookie"], "not of the form"),
        (["GET", "/", "-H", "a b: c"], "not of the form"),
        (["GET", "/", "--client-ip", "here"], "not an IP address"),
    ],
)
def test_bad_usage_exits_2(routes: Path, arguments: list[str], words: str) -> None:
    result = run(routes, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize("text", [None, "", "routes: {", "routes: {/a: shadow}\n"])
def test_bad_configuration_is_one_paragraph(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "routes.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    result = run(file, "GET", "/")
    assert result.exit_code == 1
    assert str(file) in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_many_beaten_routes_are_cut_short_for_people(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    depths = "".join(f"  {'/a' * n}/*: legacy-only\n" for n in range(1, 31))
    file.write_text(ROUTES + depths, encoding="utf-8")
    result = run(file, "GET", "/a" * 30)
    assert "and 20 more, which --json lists" in result.stdout
    assert len(json.loads(run(file, "GET", "/a" * 30, "--json").stdout)["beaten"]) == 30


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "banyan explain GET /api/orders/7" in result.stdout
