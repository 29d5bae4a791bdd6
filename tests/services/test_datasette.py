"""Datasette 0.65 as legacy and 1.0 as new, on one SQLite database, with `/*` in shadow-read.

A tap before each of the two keeps what it really said. The client must get legacy's bytes, head
and body, and the counts of comparisons must be those that follow from the bytes of both. What
differs in the JSON of both is what docs/datasette.md lists.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from comparators import Answer, Rules, compare, compile_rules
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until
from tests.harness.wire import Response
from tests.services import library
from tests.services.asking import Asker, Call
from tests.services.installed import python_with
from tests.services.running import Service
from tests.services.tap import Tap

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(480)]

CONFIG = """
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
backends:
  legacy: %(legacy)s
  new: %(new)s
defaults:
  shadow: {timeout: 30s}
  compare: {noise: 0%%, recheck: false}  # each pair counts as it is
routes:
  "/*": {phase: shadow-read, name: library, revert: null}
"""
DOCUMENT = Path(__file__).parents[2] / "docs" / "datasette.md"
PART = "datasette 0.65 as legacy and 1.0 as new"
MAX_BODY_BYTES = 1 << 20  # `shadow.max_body`
CLIENTS = 4
AT_ONCE = 10
MARK = "X-Request-Id"
RULES = compile_rules(Rules())

CALLS = [
    *(Call("GET", target) for target in (*library.TARGETS, *library.LARGE_TARGETS)),
    *(Call("HEAD", target) for target in library.TARGETS[::7]),
    *(Call("OPTIONS", target) for target in library.TARGETS[::11]),
    Call("GET", "/library.json", ("Accept-Encoding: gzip, br", "Cookie: ds_actor=none")),
    Call("GET", "/assets/page.html", ("If-None-Match: *",)),
    Call("GET", "/assets/large.bin", ("Range: bytes=10-19",)),
    Call("GET", "/-/static/app.css", ("If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT",)),
]
WRITES = [
    Call("POST", "/-/messages", ("Content-Type: application/x-www-form-urlencoded",), b"message=x"),
    Call("POST", "/library/books/-/insert", ("Content-Type: application/json",), b'{"row": {}}'),
    Call("POST", "/library/late", (), chunks=(b"year=", b"2000")),
    Call("PUT", "/library/books/1", (), b"x"),
    Call("DELETE", "/library/books/1"),
]


@dataclass
class Told:
    """What came of the calls: by mark, the client's answer and that of each side."""

    calls: dict[str, Call]
    answers: dict[str, Response]
    legacy: dict[str, Response | None]
    new: dict[str, Response | None]
    route: dict[str, Any]
    metrics: str
    serving: Serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    legacy_python, new_python = await asyncio.gather(
        asyncio.to_thread(python_with, "datasette-legacy", "datasette==0.65.*", part=PART),
        asyncio.to_thread(python_with, "datasette-new", "datasette>=1.0a0", part=PART),
    )
    folder = tmp_path_factory.mktemp("datasette")
    words = prepare(folder)
    async with (
        Service(legacy_python, (*words, "--metadata", "metadata.json"), folder) as legacy,
        Service(new_python, (*words, "--config", "config.json"), folder) as new,
        Tap(legacy.address) as legacy_tap,
        Tap(new.address) as new_tap,
        Serving(folder, CONFIG % {"legacy": legacy_tap.url, "new": new_tap.url}) as serving,
    ):
        calls = {f"call-{number}": call for number, call in enumerate([*CALLS, *WRITES])}
        marked, answers = list(calls.items()), {}
        # No more at once than a comparer gets through with what two services leave it of the cores.
        for at in range(0, len(marked), AT_ONCE):
            some = dict(marked[at : at + AT_ONCE])
            answers.update(await ask_all(serving.address, some))
            route = await counted(serving, len(answers))
        yield Told(
            calls,
            answers,
            await legacy_tap.answers(MARK),
            await new_tap.answers(MARK),
            route,
            await serving.metrics(),
            serving,
        )


async def test_the_client_gets_the_bytes_of_legacy(told: Told) -> None:
    assert told.answers.keys() == told.legacy.keys()
    for mark, answer in told.answers.items():
        said = told.legacy[mark]
        assert said is not None, told.calls[mark]
        # Behind an upload that legacy did not wait for, the proxy closes the connection.
        head = answer.head.replace(b"Connection: close\r\n", b"")
        assert head == said.head, told.calls[mark]
        assert answer.body == said.body, told.calls[mark]


async def test_new_is_asked_each_read_and_no_write(told: Told) -> None:
    reads = {mark for mark, call in told.calls.items() if call not in WRITES}
    assert told.new.keys() == reads


async def test_the_calls_are_of_use(told: Told) -> None:
    """They show what the services can do, and some of it is alike in both."""
    seen = Counter(answer.status for answer in told.answers.values())
    assert seen[200] > 80, seen
    assert {400, 403, 404} <= seen.keys(), seen
    assert not [status for status in seen if status >= 502], seen
    sizes = [len(answer.body) for answer in told.answers.values()]
    assert sum(size > MAX_BODY_BYTES for size in sizes) >= len(library.LARGE_TARGETS)
    results = outcomes(told)
    assert results["equal"] > 10, results
    assert results["divergent"] > 50, results


async def test_the_counts_follow_from_the_bytes_of_both(told: Told) -> None:
    results = outcomes(told)
    window = told.route["window"]
    compared = results["equal"] + results["divergent"]
    assert window["requests"] == len(told.calls)
    assert window["comparisons"] == compared, window["skipped"]
    assert window["divergences"] == results["divergent"]
    assert window["skipped"] == {
        reason: results[reason]
        for reason in ("conditional", "body_too_large", "legacy_failed", "both_failed")
        if results[reason]
    }
    eligible = len(CALLS) - results["conditional"]
    assert window["coverage"] == pytest.approx(compared / eligible, abs=0.0001)
    assert window["errors"] == {
        side: sum(answer is not None and answer.status >= 500 for answer in answers.values())
        for side, answers in (("legacy", told.legacy), ("new", told.new))
    }


async def test_what_differs_in_json_is_what_the_docs_list(told: Told) -> None:
    listed = set(re.findall(r"^\| `(\S+)` \| (\S+) \|", DOCUMENT.read_text(), re.MULTILINE))
    assert len(listed) >= 20
    signatures = await told.serving.admin("/api/v1/signatures?route=library")
    found = {(each["path"], each["kind"]) for each in signatures["signatures"]}
    assert listed - found == set()


async def test_nothing_breaks(told: Told) -> None:
    ready = await told.serving.admin("/readyz")
    assert (ready["status"], [worker["restarts"] for worker in ready["workers"]]) == ("ready", [0])
    assert [line for line in told.serving.log if line.get("level") in ("error", "critical")] == []
    assert told.serving.plain == []


def prepare(folder: Path) -> tuple[str, ...]:
    """The database, the files of the site, the settings; how both versions are started."""
    library.make(folder / "library.db")
    assets = folder / "assets"
    assets.mkdir()
    (assets / "page.html").write_text("<!doctype html><title>✓</title>")
    (assets / "large.bin").write_bytes(bytes(range(256)) * 3000)
    (assets / "empty.txt").write_text("")
    databases = {"databases": {"library": {"queries": library.QUERIES}}}
    (folder / "metadata.json").write_text(json.dumps(library.TITLE | databases))
    (folder / "config.json").write_text(json.dumps(databases))
    return (
        *("datasette", "serve", "--immutable", "library.db", "--port", "0", "--memory", "--cors"),
        *("--static", "assets:assets", "--secret", "the same for both"),
        *("--setting", "sql_time_limit_ms", "20000", "--setting", "facet_time_limit_ms", "20000"),
    )


async def ask_all(address: tuple[str, int], calls: dict[str, Call]) -> dict[str, Response]:
    """Every call, by a few clients side by side."""
    answers: dict[str, Response] = {}
    waiting = iter(calls.items())

    async def client() -> None:
        asker = Asker(address)
        for mark, call in waiting:
            answers[mark] = await asker.ask(call.with_headers(f"{MARK}: {mark}"), "library.example")
        asker.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    return answers


async def counted(serving: Serving, asked: int) -> dict[str, Any]:
    """The route once all is counted, and every read is compared or skipped."""
    reads = min(asked, len(CALLS))

    def is_enough(route: dict[str, Any]) -> bool:
        window = route["window"]
        judged = window["comparisons"] + sum(window["skipped"].values())
        return bool(window["requests"] >= asked and judged >= reads)

    return await asked_until(lambda: serving.route("library"), is_enough, f"{asked} calls", 40)


def outcomes(told: Told) -> Counter[str]:
    """What comparing has to say of the reads."""
    found: Counter[str] = Counter()
    for mark, call in told.calls.items():
        if call not in WRITES:
            found[outcome(call, told.legacy[mark], told.new[mark])] += 1
    return found


def outcome(call: Call, legacy: Response | None, new: Response | None) -> str:
    if any(line.startswith(("If-", "Range")) for line in call.headers):
        return "conditional"
    if any(one is None or len(one.body) > MAX_BODY_BYTES for one in (legacy, new)):
        return "body_too_large"
    assert legacy is not None
    assert new is not None
    if legacy.status >= 500:
        return "both_failed" if new.status >= 500 else "legacy_failed"
    if new.status >= 500:
        return "divergent"
    found = compare(as_answer(legacy), as_answer(new), RULES, call.method)
    return found.outcome.value


def as_answer(answer: Response) -> Answer:
    names = ("content-type", "location", "content-encoding")
    headers = [
        (name, value.decode("latin-1")) for name in names for value in answer.headers_named(name)
    ]
    return Answer(answer.status, tuple(headers), answer.body)
