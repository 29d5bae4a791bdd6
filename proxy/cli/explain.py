"""`banyan explain`: why a request goes where it goes, without sending it.

The answer comes from proxy.core.explaining, so from the code that routes. It is about the phases
as declared in the file: reverts and missed writes live in the state store, `banyan status` shows
them.
"""

import ipaddress
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from proxy.cli.options import config_option
from proxy.core.explaining import Explanation, Request, explain
from proxy.core.model import Backend, Compare
from proxy.observe.plain import plain

LISTED_ROUTES = 10
LABEL_WIDTH = 10

_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_is_target = re.compile(r"/.*|\*|https?://.*", re.IGNORECASE | re.DOTALL).fullmatch
_LENIENCIES = {
    "int-float": "1 equals 1.0",
    "number-text": 'the text "1" equals the number 1',
    "null-absent": "null equals a key that is missing",
}
_ROLES = {"answer": "answers", "fallback": "fallback", "shadow": "shadow", "second": "then"}

EXAMPLES = """
Examples:

\b
  banyan explain GET /api/orders/7
  banyan explain POST http://shop.example/api/users -H 'Cookie: sid=42'
  banyan explain GET /api/search?q=fig --client-ip 192.0.2.7 --json
"""


@click.command("explain", epilog=EXAMPLES)
@click.argument("method")
@click.argument("url")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A request header."
)
@click.option(
    "--client-ip",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address that connects to the proxy.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON.")
@config_option("The configuration to route by.")
def command(
    method: str,
    url: str,
    headers: tuple[str, ...],
    client_ip: str,
    as_json: bool,
    config_path: Path,
) -> None:
    """Say which route takes a request and why, and what happens to it then.

    URL is a path or a whole URL; only its host and path matter for the route. Phases are those
    declared in the file. Exits 1 if the proxy would refuse the request for its target.
    """
    request = _request(method, url, headers, client_ip)
    # Here, since reading the schema takes longer than a usage error should.
    from proxy.config import load

    loaded = load(config_path, os.environ)
    if loaded.config is None:
        errors = [finding for finding in loaded.findings if finding.severity == "error"]
        more = f" (and {len(errors) - 1} more; see banyan check)" if len(errors) > 1 else ""
        raise click.ClickException(f"There is nothing to route by: {errors[0]}{more}")
    config = loaded.config
    explanation = explain(config.routes, request, trusted_proxies=config.trusted_proxies)
    if as_json:
        data = as_data(explanation, config.backends)
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        for label, text in lines(explanation, config.backends):
            click.echo(click.style(label.ljust(LABEL_WIDTH), bold=True) + _shown(text))
    if explanation.refused is not None:
        raise SystemExit(1)


def as_data(explanation: Explanation, backends: dict[str, Backend]) -> dict[str, Any]:
    """An explanation as JSON data; each side that is asked with the URLs of its backend."""
    data: dict[str, Any] = msgspec.to_builtins(explanation)
    for ask in data["asked"]:
        ask["urls"] = list(backends[ask["backend"]].urls)
    if data["compare"] is not None:
        data["compare"]["with"] = data["compare"].pop("with_")
    return data


def lines(explanation: Explanation, backends: dict[str, Backend]) -> Iterator[tuple[str, str]]:
    """An explanation for people: pairs of a label (may be empty) and a line of text."""
    given = explanation
    yield "request", f"{given.method} {given.target} from {given.client_ip}"
    if given.host:
        yield "host", given.host
    if given.refused is not None:
        yield "refused", f"with {given.refused.status}: {given.refused.detail}"
        return
    yield "path", given.path or ""
    if given.route is not None:
        yield "route", f"{given.route}: {given.pattern}, {given.phase}"
    passed = [
        *((f"beats {each.pattern}", each.because) for each in given.beaten),
        *((f"not {each.pattern}", each.because) for each in given.turned_away),
    ]
    for what, because in passed[:LISTED_ROUTES]:
        yield "", f"{what}: {because}"
    if len(passed) > LISTED_ROUTES:
        yield "", f"and {len(passed) - LISTED_ROUTES} more, which --json lists"
    if given.params:
        yield "params", ", ".join(f"{name} = {value}" for name, value in given.params.items())
    if given.kind is not None:
        safe = "is" if given.kind == "read" else "is not"
        yield "kind", f"a {given.kind}: {given.method} {safe} among the route's safe_methods"
    if given.draw is not None:
        draw = given.draw
        source = "client-ip" if draw.missing else draw.source
        yield (
            "draw",
            f"{draw.value:.2f}, new is below {draw.weight}: {draw.side.value}"
            f" (by {source}: {draw.key})",
        )
    for ask in given.asked:
        urls = ", ".join(backends[ask.backend].urls)
        yield _ROLES[ask.role], f"{ask.side.value}, {ask.when}".rstrip(", ")
        yield "", f"{given.method} {ask.target} at {ask.backend} ({urls})"
    if given.compare is not None:
        for at, rule in enumerate(_rules(given.compare)):
            yield "" if at else "compares", rule
    for at, note in enumerate(given.notes):
        yield "" if at else "note", note


def _rules(compare: Compare) -> Iterator[str]:
    """The rules that are set, one a line."""
    exact = compare.status == "exact"
    yield "status codes" if exact else "classes of status codes (2xx, 3xx...)"
    if compare.headers:
        yield "headers: " + ", ".join(compare.headers)
    yield (
        "bodies, by their content type"
        if compare.with_ == "auto"
        else (f"bodies, with: {compare.with_}")
    )
    if compare.ignore:
        yield "ignoring " + ", ".join(compare.ignore)
    if compare.unordered:
        yield "in any order: " + ", ".join(compare.unordered)
    for path, tolerance in compare.tolerance.items():
        yield f"{path} within {tolerance:g}"
    for legacy, new in compare.rename.items():
        yield f"{legacy} of legacy is {new} of new"
    for leniency in compare.lenient:
        yield _LENIENCIES[leniency]
    if compare.redact:
        yield "by keyed hash alone: " + ", ".join(compare.redact)
    if compare.noise:
        share = f"{compare.noise * 100:g} %"
        yield f"noise: {share} of GET and HEAD are sent to legacy twice"
    if compare.recheck:
        yield "a divergent GET is asked again before it counts"


def _request(method: str, url: str, headers: tuple[str, ...], client_ip: str) -> Request:
    """The request that a client would send. Text becomes UTF-8 on the wire, read as latin-1."""
    if not _is_token(method):
        raise click.BadParameter(f"{method} is not the name of a method", param_hint="METHOD")
    if not _is_target(url):
        raise click.BadParameter(
            f"{url} is neither a path like /api/orders nor a URL like http://shop.example/api",
            param_hint="URL",
        )
    fields = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not _is_token(name):
            raise click.BadParameter(f"{header} is not of the form 'Name: value'", param_hint="-H")
        fields.append((name, _on_the_wire(value.strip())))
    try:
        address = str(ipaddress.ip_address(client_ip))
    except ValueError:
        raise click.BadParameter(
            f"{client_ip} is not an IP address", param_hint="--client-ip"
        ) from None
    return Request(method.upper(), _on_the_wire(url), tuple(fields), address)


def _on_the_wire(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _shown(text: str) -> str:
    """Text off the wire for a terminal: as UTF-8 where it is, nothing that steers the terminal."""
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return plain(text)
