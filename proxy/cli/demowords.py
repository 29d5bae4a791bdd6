"""What the demo says: what changed between two looks at the admin API, and the summary at the end.

Pure functions of what the admin API, the metrics, the log and the visitors gave.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from proxy.observe import figures

SHOWN_LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red"}
UNTOLD_FIELDS = frozenset({"event", "level", "timestamp", "process", "exception", "trace_id"})
# What `changes` says in other words.
UNTOLD_EVENTS = frozenset(
    {
        "side misses writes",
        "configuration refused",
        "the last good configuration stays in force",
    }
)

# What a comparison came to, and the heading of its column.
COMPARED = {"equal": "equal", "divergent": "differ", "noise": "noise"}

_SAMPLE = re.compile(r"(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Look(NamedTuple):
    """The answers of GET /api/v1/routes and GET /api/v1/config at one moment."""

    routes: Mapping[str, Any]
    config: Mapping[str, Any]


class Cell(NamedTuple):
    """What requests are counted by."""

    route: str
    phase: str
    side: str


class Figures(NamedTuple):
    """The counters of the summary, since the start of the proxy."""

    client_requests: int
    exchanges: Counter[Cell]
    errors: Counter[Cell]  # transport failures, time-outs and 5xx
    comparisons: Counter[tuple[str, str]]  # route, result


def changes(before: Look, after: Look) -> Iterator[Text]:
    """A line for each thing that a user who edits the file wants to know."""
    file = after.config["file"]
    if after.config["generation"] != before.config["generation"]:
        edits = [*_edits(before.routes, after.routes)] or ["no phase changed"]
        text = f"{file}: generation {after.config['generation']} is in force: {'; '.join(edits)}"
        yield Text(text, "bold green")
    error = after.config["last_error"]
    if error and error != before.config["last_error"]:
        yield Text(f"{file} is refused, the table before it stays in force.", "bold red")
        yield Text(str(error["text"]), "red")
    was = {route["name"]: route for route in before.routes["routes"]}
    for route in after.routes["routes"]:
        yield from _moves(was.get(route["name"]), route)


def _edits(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    was = {route["name"]: route for route in before["routes"]}
    for route in after["routes"]:
        old = was.pop(route["name"], None)
        if old is None:
            yield f"{route['pattern']} is new, {route['declared_phase']}"
        elif old["declared_phase"] != route["declared_phase"]:
            yield f"{route['pattern']} from {old['declared_phase']} to {route['declared_phase']}"
    for gone in was.values():
        yield f"{gone['pattern']} is gone"


def _moves(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[Text]:
    if before is None:
        return
    pattern, now = after["pattern"], after["effective_phase"]
    is_told = before["declared_phase"] != after["declared_phase"] == now
    if before["effective_phase"] != now and not is_told:
        yield Text(f"{pattern} is now in {now} (was in {before['effective_phase']})", "green")
    if after["pending"] and after["pending"] != before["pending"]:
        pending = after["pending"]
        yield Text(f"{pattern} waits before {pending['to']}: {pending['reason']}", "yellow")
    for side in after["missed"]:
        if side not in before["missed"]:
            yield Text(f"{pattern}: from now on {side} lacks a write", "yellow")


def log_line(line: str) -> Text | None:
    """A line of the proxy's log, if it is one that a user should see."""
    entry = _entry(line)
    if entry is None or entry.get("level") not in SHOWN_LEVELS or entry["event"] in UNTOLD_EVENTS:
        return None
    return Text(_in_words(entry), SHOWN_LEVELS[entry["level"]])


def last_line(line: str) -> str:
    """A line that a child wrote before it died, for people."""
    entry = _entry(line)
    return _in_words(entry) if entry else line


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "event" in entry else None


def _in_words(entry: Mapping[str, Any]) -> str:
    told = [(k, v) for k, v in entry.items() if k not in UNTOLD_FIELDS]
    fields = [f"{k}={v}" for k, v in told if not isinstance(v, dict | list)]
    raised = [line.strip(" |") for line in str(entry.get("exception", "")).splitlines()]
    # Of a traceback the line that says what was raised.
    fields += [line for line in raised if re.match(r"[\w.]+(Error|Exception)\b", line)][-1:]
    return " ".join([f"{entry.get('process', 'banyan')}: {entry['event']}", *fields])


def figures_of(metrics: str) -> Figures:
    """The counters of the summary, from the Prometheus text."""
    found = Figures(0, Counter(), Counter(), Counter())
    client_requests = 0
    for line in metrics.splitlines():
        if not (sample := _SAMPLE.fullmatch(line)):
            continue
        labels, count = dict(_LABEL.findall(sample["labels"])), int(float(sample["value"]))
        if sample["name"] == "banyan_client_requests_total":
            client_requests += count
        elif sample["name"] == "banyan_comparisons_total":
            found.comparisons[labels["route"], labels["result"]] += count
        elif sample["name"] == "banyan_requests_total":
            cell = Cell(labels["route"], labels["phase"], labels["side"])
            found.exchanges[cell] += count
            if not labels["code"].isdecimal() or labels["code"] >= "500":
                found.errors[cell] += count
    return found._replace(client_requests=client_requests)


def summary_table(found: Figures, routes: Sequence[Mapping[str, Any]]) -> Table:
    """What each side was asked, by route and phase; comparisons are those of the whole route.

    Those that came to no result (both sides failed) are not among them.
    """
    # Without padding, so that it fits in 80 columns.
    table = Table(
        box=SIMPLE_HEAD, padding=0, show_edge=False, title="What was done", title_justify="left"
    )
    for heading in ("Route", "Phase"):
        table.add_column(heading, no_wrap=True)
    for heading in ("Legacy", "errors", "New", "errors", "Compared", *COMPARED.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for route in routes:
        name = route["name"]
        phases = list(dict.fromkeys(cell.phase for cell in found.exchanges if cell.route == name))
        compared = {result: n for (of, result), n in found.comparisons.items() if of == name}
        results = [compared.get(result, 0) for result in COMPARED]
        results.insert(0, sum(results))
        for phase in phases:
            asked: list[str] = []
            for side in ("legacy", "new"):
                cell = Cell(name, phase, side)
                asked += [str(found.exchanges[cell]), str(found.errors[cell])]
            is_last = phase == phases[-1]
            table.add_row(
                name, phase, *asked, *(str(count) if is_last else "" for count in results)
            )
    return table


def visitors_line(tally: Mapping[str, Any]) -> str:
    """What the visitors saw, in a sentence. `tally` is what `demo.traffic` prints."""
    statuses = ", ".join(f"{count} with {code}" for code, count in tally["statuses"].items())
    by_shop = ", ".join(f"{count} by {shop}" for shop, count in tally["answered_by"].items())
    unanswered = sum(tally["unanswered"].values())
    end = f"{unanswered} got no answer" if unanswered else "none went without an answer"
    return f"The visitors sent {tally['sent']} requests: {statuses}; answered {by_shop}; {end}."


def plain_lines(routes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The table of routes where there is no terminal: a line a route."""
    for route in routes:
        window = route["window"]
        yield (
            f"{route['name']:<14} {route['effective_phase']:<12}"
            f" {figures.rate(window['requests_per_s']):>5}/s"
            f"  errors {window['errors']['legacy']}/{window['errors']['new']}"
            f"  compared {window['comparisons']}, {window['divergences']} differ"
        )
