"""Ten thousand routes: loaded whole, quickly, and from any thread."""

import threading
import time

from proxy.config import Loaded
from proxy.core.routing import RouteTable
from tests.config.samples import BACKENDS, loaded

ROUTES = 10_000
# About a third of a second and two seconds of an idle core: the bounds are for a busy one.
SHORT_S = 4.0
LONG_S = 16.0


def short_form() -> str:
    return f"{BACKENDS}routes:\n" + "".join(f"  /api/r{i}/*: shadow-read\n" for i in range(ROUTES))


def long_form() -> str:
    return f"{BACKENDS}routes:\n" + "".join(
        f"  /api/r{i}/{{id}}:\n    name: r{i}\n    phase: 10%\n    sticky: cookie:sid\n"
        f"    rewrite: /v2/r{i}/{{id}}\n    compare: {{headers: [etag]}}\n"
        "    shadow: {sample: 10%}\n"
        for i in range(ROUTES)
    )


def test_ten_thousand_routes_in_the_short_form() -> None:
    began = time.thread_time()
    outcome = loaded(short_form())
    assert time.thread_time() - began < SHORT_S
    assert outcome.findings == ()
    assert outcome.config is not None
    assert len(outcome.config.routes) == ROUTES + 1
    table = RouteTable.build(outcome.config.routes, lambda route: route.name)
    match = table.match("GET", "", "/api/r9999/x")
    assert match is not None
    assert match.payload == "api-r9999"


def test_ten_thousand_routes_in_the_long_form() -> None:
    began = time.thread_time()
    outcome = loaded(long_form())
    assert time.thread_time() - began < LONG_S
    assert outcome.findings == ()
    assert outcome.config is not None
    assert len({route.digest for route in outcome.config.routes}) == ROUTES + 1


def test_ten_thousand_wrong_routes_are_refused_in_time() -> None:
    began = time.thread_time()
    outcome = loaded(short_form().replace("shadow-read", "shadow-raed"))
    assert time.thread_time() - began < LONG_S
    assert len(outcome.findings) == 51


def test_it_may_be_called_from_threads_at_once() -> None:
    text = short_form()
    outcomes: list[Loaded] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(loaded(text)), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [outcome.config is not None for outcome in outcomes] == [True, True]
