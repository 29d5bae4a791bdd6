"""httpbin behind the proxy, in every phase: each endpoint answers as when it is asked directly.

Two httpbins run under gunicorn, legacy and new. Each call is made through the proxy and then of
legacy itself, and status line, headers (order, case and repeats included) and body are compared as
bytes. What may differ is all in `end_to_end` (the Date, the fields of one connection) and in
`CHANCE` (what httpbin makes up anew for each answer). Where httpbin echoes the request, it is
asked directly with the headers that the proxy adds, so that the echo is compared as a whole.
"""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.core.sticky import draw
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until, soon
from tests.harness.wire import Response
from tests.services.asking import Asker, Call, end_to_end
from tests.services.httpbin_calls import CALLS, ECHOING
from tests.services.installed import python_with
from tests.services.running import Service

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(360)]

PHASES = ("legacy-only", "shadow-read", "0%", "25%", "dual-write", "new-only")
ALWAYS = ("shadow-read", "new-only")  # the other phases take the extended run
NAMES = {phase: phase.replace("%", "-per-cent") for phase in PHASES}
HOSTS = {phase: f"{name}.example" for phase, name in NAMES.items()}

CONFIG = """
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
backends:
  legacy: "%(legacy)s"
  new: "%(new)s"
  hasty: {url: "%(legacy)s", timeout: 300ms}
defaults: {sticky: "header:X-Client", ack_timeout: 5s}
routes:
  alike.example/*: {phase: shadow-read, name: alike}
  hasty.example/*: {phase: legacy-only, legacy: hasty}
"""
# One thread: httpbin seeds the one random generator of the process.
GUNICORN = (
    *("gunicorn", "httpbin:app", "--bind", "127.0.0.1:0", "--worker-class", "gthread"),
    *("--threads", "1", "--keep-alive", "60", "--no-control-socket"),
)

Chance = Callable[[bytes], bytes]


def masking(pattern: bytes, mask: bytes) -> Chance:
    return lambda text: re.sub(pattern, mask, text)


# By rule: what httpbin makes up for each answer, masked in the values of its headers and its body.
CHANCE: dict[str, tuple[Chance, ...]] = {
    "/uuid": (masking(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"(uuid)"),),
    "/cache": (
        masking(rb"^[0-9a-f]{32}$", b"(an ETag)"),
        masking(rb"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$", b"(Last-Modified)"),
    ),
    # The time in the header of the gzip format (RFC 1952 §2.3.1).
    "/gzip": (masking(rb"(?s)^(\x1f\x8b\x08.)....", rb"\1(time)"),),
}
for rule in CALLS:
    if rule.startswith("/digest-auth/"):
        CHANCE[rule] = (masking(rb'(nonce|opaque)="[0-9a-f]+"', rb'\1="(made up)"'),)
# A HEAD shows the length of a compressed body, in which the trace id is anew.
COMPRESSED = ("/gzip", "/deflate", "/brotli")


@dataclass
class Place:
    """The proxy between two httpbins."""

    python: Path
    serving: Serving
    proxied: Asker
    direct: Asker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    python = python_with("httpbin", "httpbin", "gunicorn", part="httpbin behind the proxy")
    folder = tmp_path_factory.mktemp("httpbin")
    async with (
        Service(python, GUNICORN, folder) as legacy,
        Service(python, GUNICORN, folder) as new,
    ):
        lines = [CONFIG % {"legacy": legacy.url, "new": new.url}]
        for phase, host in HOSTS.items():
            lines.append(f"  {host}/*: {{phase: {phase}, name: {NAMES[phase]}}}\n")
        async with Serving(folder, "".join(lines)) as serving:
            place = Place(python, serving, Asker(serving.address), Asker(legacy.address))
            yield place
            place.proxied.close()
            place.direct.close()


def in_phases() -> list[object]:
    return [
        phase if phase in ALWAYS else pytest.param(phase, marks=pytest.mark.extended)
        for phase in PHASES
    ]


@pytest.mark.parametrize("phase", in_phases())
@pytest.mark.parametrize("rule", CALLS)
async def test_an_endpoint_answers_as_when_it_is_asked_directly(
    place: Place, rule: str, phase: str
) -> None:
    for call in CALLS[rule]:
        for client in clients(phase):
            asked = call.with_headers(*client)
            answer = await place.proxied.ask(asked, HOSTS[phase])
            if rule in ECHOING:
                asked = asked.with_headers(*await added_lines(place, answer, HOSTS[phase]))
            expected = await place.direct.ask(asked, HOSTS[phase])
            seen = comparable(answer, rule, call)
            assert seen == comparable(expected, rule, call), f"{phase}: {call} {client}"


async def test_every_rule_and_method_of_httpbin_is_asked(place: Place) -> None:
    script = "import httpbin\nfor r in httpbin.app.url_map.iter_rules(): print(r.rule, *r.methods)"
    lines = (await run(place.python, script)).decode().splitlines()
    rules = {rule: set(methods) for rule, *methods in map(str.split, lines)}
    assert {rule: {call.method for call in calls} for rule, calls in CALLS.items()} == rules


async def test_the_sides_are_asked_as_the_phase_says(place: Place) -> None:
    """So that the comparisons above are of what they seem to be."""
    sides = {phase: {"legacy", "new"} for phase in PHASES}
    sides |= {"legacy-only": {"legacy"}, "new-only": {"new"}}
    for phase, host in HOSTS.items():
        for client in clients(phase):
            assert (await place.proxied.ask(Call("GET", "/json", client), host)).status == 200

    def asked(metrics: str) -> dict[str, set[str]]:
        pattern = r'banyan_requests_total{route="%s",phase="%s",side="(\w+)"'
        return {p: set(re.findall(pattern % (NAMES[p], p), metrics)) for p in PHASES}

    assert asked(await shown(place, lambda metrics: asked(metrics) == sides)) == sides


async def test_two_alike_sides_compare_as_equal(place: Place) -> None:
    """Every read that is told by its target alone comes out equal, or is skipped for its reason."""
    calls = [
        call
        for rule in CALLS
        if rule not in ECHOING and rule not in CHANCE
        for call in CALLS[rule]
        if call.method == "GET"
    ]
    for call in calls:
        await place.proxied.ask(call, "alike.example")
    conditional = sum(any(h.startswith(("If-", "Range")) for h in call.headers) for call in calls)
    failing = sum(bool(re.match("/status/5|/drip.*code=500", call.target)) for call in calls)
    metrics = await shown(place, lambda text: sum(samples(text, "alike").values()) == len(calls))
    assert samples(metrics, "alike") == {
        "equal": len(calls) - conditional - failing,
        "both_failed": failing,
        "skipped conditional": conditional,
    }


@pytest.mark.parametrize("status", [100, 103])
async def test_an_interim_status_is_no_answer(place: Place, status: int) -> None:
    """The one endpoint that is not passed on: no final answer ever follows (RFC 9110 §15.2)."""
    answer = await place.proxied.ask(Call("GET", f"/status/{status}"), "hasty.example")
    assert (answer.status, answer.header("content-type")) == (504, b"application/problem+json")


def clients(phase: str) -> list[tuple[str, ...]]:
    """The headers by which each side gets to answer: at 25 % one client of each."""
    if phase != "25%":
        return [()]
    keys = [f"client{number}" for number in range(100)]
    to_new = next(key for key in keys if draw(NAMES[phase], key) < 25)
    to_legacy = next(key for key in keys if draw(NAMES[phase], key) >= 25)
    return [(f"X-Client: {to_new}",), (f"X-Client: {to_legacy}",)]


async def added_lines(place: Place, answer: Response, host: str) -> tuple[str, ...]:
    """What the proxy added to the request that this answer echoes."""
    body = await decoded(place, answer)
    found = re.search(rb'"Traceparent": "(00-([0-9a-f]{32})-[0-9a-f]{16}-0[01])"', body)
    traceparent, trace_id = found.groups() if found else (b"0" * 55, b"0" * 32)
    return (
        "Via: 1.1 banyan",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        f"X-Forwarded-Host: {host}",
        f"X-Request-Id: {trace_id.decode()}",
        f"traceparent: {traceparent.decode()}",
    )


async def decoded(place: Place, answer: Response) -> bytes:
    coding = answer.header("content-encoding")
    if coding == b"br" and answer.body:
        script = "import sys, brotlicffi as b; i, o = sys.stdin.buffer, sys.stdout.buffer\n"
        return await run(place.python, script + "o.write(b.decompress(i.read()))", answer.body)
    if coding in (b"gzip", b"deflate") and answer.body:
        return zlib.decompress(answer.body, 32 + zlib.MAX_WBITS)
    return answer.body


async def run(python: Path, script: str, given: bytes = b"") -> bytes:
    """What a script says in the interpreter that has httpbin."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        python, "-c", script, stdin=pipe, stdout=pipe, stderr=pipe
    )
    said, complaint = await soon(process.communicate(given), "the end of a script", 30)
    assert process.returncode == 0, complaint.decode()
    return said


def comparable(answer: Response, rule: str, call: Call) -> dict[str, object]:
    """All of an answer, less what may differ."""

    def masked(text: bytes) -> bytes:
        for mask in CHANCE.get(rule, ()):
            text = mask(text)
        return text

    headers = [(name, masked(value)) for name, value in end_to_end(answer.headers)]
    if call.method == "HEAD" and rule in COMPRESSED:
        headers = [(n, b"(length)" if n.lower() == b"content-length" else v) for n, v in headers]
    return {
        "interim": [(one.line, one.headers) for one in answer.interim],
        "line": answer.line,
        "headers": headers,
        "body": masked(answer.body),
        "trailers": answer.trailers,
    }


def samples(metrics: str, route: str) -> dict[str, int]:
    """Comparisons by result, and what was skipped, by reason."""
    found = re.findall(
        rf'banyan_(comparisons|skipped)_total{{route="{route}",\w+="(\w+)"}} (\d+)', metrics
    )
    return {f"skipped {n}" if kind == "skipped" else n: int(count) for kind, n, count in found}


async def shown(place: Place, enough: Callable[[str], bool]) -> str:
    """The metrics once they show enough."""

    async def look() -> str:
        lines = (await place.serving.metrics()).splitlines()
        return "\n".join(line for line in lines if line[:1] != "#" and "_seconds" not in line)

    return await asked_until(look, enough, "enough in the metrics")
