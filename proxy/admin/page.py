"""The page at `/`: the table of routes and what differs most, made whole on the server.

It works without a script; with one, it fetches itself every two seconds and swaps its main part.
Style and script are inline and named in the policy by their hashes, so nothing else runs.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from urllib.parse import quote

from proxy.admin.divergences import SignatureView
from proxy.admin.view import ConfigView, ReadyView, RouteView
from proxy.core.divergences import SignatureNoise
from proxy.observe import figures
from proxy.observe.plain import plain

MAX_ROWS = 200
MAX_FINDINGS = 10
MAX_SIGNATURES = 10
LINKS = {
    "/api/v1/routes": "routes",
    "/api/v1/divergences": "divergences",
    "/api/v1/signatures": "signatures",
    "/api/v1/config": "configuration",
    "/readyz": "readiness",
    "/metrics": "metrics",
    "/api/openapi.json": "API description",
}

STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --warn: #b45309; --bad: #c02626;
  --good: #15803d }
@media (prefers-color-scheme: dark) {
  :root { --quiet: #999; --warn: #f0a53a; --bad: #f87171; --good: #4ade80 } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem;
  padding: 1.5rem 1.25rem }
h1 { font-size: 1.3rem; margin: 0 }
h2 { font-size: 1.05rem; margin: 1.8rem 0 0 }
p { margin: .35rem 0 }
code { font: .92em ui-monospace, monospace }
.quiet { color: var(--quiet) } .warn { color: var(--warn) } .bad { color: var(--bad) }
.good { color: var(--good) }
.note { border-left: 3px solid currentColor; padding-left: .6rem; margin: .8rem 0;
  white-space: pre-line }
.scroll { overflow-x: auto; margin: 1.2rem 0 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { font-weight: 600; font-size: .82rem; color: var(--quiet); vertical-align: bottom }
th, td { text-align: right; padding: .42rem .6rem; border-bottom: 1px solid var(--line);
  white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
td { vertical-align: top }
td div { font-size: .85rem; white-space: normal; max-width: 17rem; overflow-wrap: anywhere }
td.path { white-space: normal; overflow-wrap: anywhere; min-width: 14rem }
nav a { margin-right: 1.1rem }
"""

SCRIPT = """
const main = document.querySelector("main"), state = document.querySelector("#state");
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/", {signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const left = [...document.querySelectorAll(".scroll")].map(table => table.scrollLeft);
    main.replaceChildren(...page.querySelector("main").childNodes);
    document.querySelectorAll(".scroll").forEach((table, at) => table.scrollLeft = left[at] || 0);
    state.textContent = "live";
    state.className = "quiet";
  } catch {
    state.textContent = "the admin API does not answer; these are the last figures";
    state.className = "bad";
  }
}
setInterval(refresh, 2000);
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADINGS = (
    "Route",
    "Phase",
    "Requests/s",
    "Errors<br>legacy / new",
    "Compared",
    "Differing",
    "Coverage",
    "Legacy ms<br>p50 / p99",
    "New ms<br>p50 / p99",
)

SIGNATURE_HEADINGS = ("Route", "Difference", "Divergences", "Noise", "Last seen", "Sample")


def render_page(
    routes: Sequence[RouteView],
    config: ConfigView,
    ready: ReadyView,
    signatures: Sequence[SignatureView] = (),
    trouble: str = "",
) -> str:
    """The page, whole; `trouble` is why there are no signatures."""
    differing = _signatures(signatures, trouble)
    body = "\n".join((*_notes(config, ready), *_table(routes), *differing))
    links = " ".join(f'<a href="{href}">{text}</a>' for href, text in LINKS.items())
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Banyan</title>
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>{STYLE}</style>
<h1>Banyan</h1>
<main>
{body}
</main>
<nav>{links}<span id="state" class="quiet"></span></nav>
<script>{SCRIPT}</script>
</html>
"""


def _notes(config: ConfigView, ready: ReadyView) -> Iterator[str]:
    loaded = f"{config.loaded_at:%Y-%m-%d %H:%M:%S %Z}"
    yield (
        f'<p class="quiet"><code>{escape(config.file)}</code>, generation {config.generation}, '
        f"loaded {escape(loaded)}</p>"
    )
    if config.last_error:
        yield _note(
            "bad", f"The last edit was refused, the table before it stays: {config.last_error.text}"
        )
    for finding in config.findings[:MAX_FINDINGS]:
        place = f"{finding.file}:{finding.line}:{finding.column}"
        yield _note("warn", f"{place}: {finding.severity} {finding.code}: {finding.text}")
    if (more := len(config.findings) - MAX_FINDINGS) > 0:
        yield _note("warn", f"{more} more findings: see the configuration below")
    for reason in ready.unready:
        yield _note("bad", f"Not ready: {reason}")
    for trouble in ready.degraded:
        yield _note("bad", f"Degraded: {trouble}")
    for worker in ready.workers:
        if worker.degraded:
            yield _note("warn", f"Worker {worker.slot}: {worker.degraded}")


def _note(kind: str, text: str) -> str:
    return f'<p class="note {kind}">{escape(text)}</p>'


def _table(routes: Sequence[RouteView]) -> Iterator[str]:
    shown = list(routes)
    if len(routes) > MAX_ROWS:
        busiest = sorted(routes, key=lambda route: -route.window.requests)[:MAX_ROWS]
        names = {route.name for route in busiest}
        shown = [route for route in routes if route.name in names]
    headings = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    yield f'<div class="scroll"><table><thead><tr>{headings}</tr></thead><tbody>'
    yield from (_row(route) for route in shown)
    yield "</tbody></table></div>"
    rest = f" The {MAX_ROWS} busiest of {len(routes):,} routes." if len(shown) < len(routes) else ""
    yield f'<p class="quiet">Counts and latencies of the last five minutes.{rest}</p>'


def _row(route: RouteView) -> str:
    window = route.window
    cells = (
        f'{escape(route.name)}<div class="quiet"><code>{escape(route.pattern)}</code></div>',
        _phase(route),
        figures.rate(window.requests_per_s),
        f"{figures.count(window.errors.legacy)} / {_alarming(window.errors.new)}",
        figures.count(window.comparisons),
        _alarming(window.divergences),
        figures.share(window.coverage) + _unjudged(window.skipped),
        *(
            f"{figures.milliseconds(side.p50)} / {figures.milliseconds(side.p99)}"
            for side in (window.latency_ms.legacy, window.latency_ms.new)
        ),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _unjudged(skipped: Mapping[str, int]) -> str:
    failed = skipped.get("comparator_failed", 0)
    return f'<div class="bad">{figures.count(failed)} comparator_failed</div>' if failed else ""


def _signatures(signatures: Sequence[SignatureView], trouble: str) -> Iterator[str]:
    yield "<h2>What differs most</h2>"
    if trouble:
        yield _note("warn", f"The divergences cannot be had now: {trouble}")
        return
    if not signatures:
        yield '<p class="quiet">Nothing has differed that is still kept.</p>'
        return
    headings = "".join(f"<th>{heading}</th>" for heading in SIGNATURE_HEADINGS)
    yield f'<div class="scroll"><table><thead><tr>{headings}</tr></thead><tbody>'
    yield from (_signature(each) for each in signatures[:MAX_SIGNATURES])
    yield "</tbody></table></div>"
    yield (
        '<p class="quiet">Noise is how often legacy differs from itself in that place, of so many '
        "times it was asked twice. What noise explains counts as no divergence.</p>"
    )


def _signature(each: SignatureView) -> str:
    cells = (
        escape(plain(each.route)),
        f"<code>{escape(plain(each.path))}</code>"
        f'<div class="quiet">{escape(plain(each.kind))}</div>',
        _alarming(each.count),
        _noise(each.noise),
        f"{each.last_at:%Y-%m-%d %H:%M:%S}",
        " ".join(
            f'<a href="/api/v1/divergences/{quote(id, safe="")}">JSON</a>'
            for id in each.sample_ids[:1]
        )
        or figures.NONE,
    )
    classes = ("", ' class="path"', "", "", "", "")
    return "<tr>" + "".join(map("<td{}>{}</td>".format, classes, cells)) + "</tr>"


def _noise(noise: SignatureNoise | None) -> str:
    if noise is None:
        return figures.NONE
    known = (
        f"{figures.share(noise.share)} of {figures.count(noise.samples)}"
        if noise.samples
        else figures.NONE
    )
    if not noise.count:
        return known
    return f'{known}<div class="quiet">explains {figures.count(noise.count)}</div>'


def _phase(route: RouteView) -> str:
    effective, declared = escape(route.effective_phase), escape(route.declared_phase)
    text = effective if effective == declared else f"{effective} (declared {declared})"
    notes = []
    if route.pending:
        notes.append(("warn", f"moving to {route.pending.to}: {route.pending.reason}"))
    if route.revert:
        why = ": ".join(filter(None, (route.revert.reason, route.revert.evidence)))
        at = f"{route.revert.at:%Y-%m-%d %H:%M:%S} UTC"
        notes.append(("bad", f"reverted from {route.revert.from_phase} at {at}: {why}"))
    if route.held:
        notes.append(("quiet", "held"))
    for side in route.missed:
        notes.append(("bad", f"{side} has missed writes"))
    if route.verdict.state == "failing":
        notes.append(("bad", f"failing: {route.verdict.evidence}"))
    if route.advance:
        needs = route.advance.needs or "nothing more"
        notes.append(("quiet", f"next {route.advance.to}: needs {needs}"))
    if route.ready_at:
        notes.append(("quiet", f"ready to be removed since {route.ready_at:%Y-%m-%d}"))
    return text + "".join(f'<div class="{kind}">{escape(note)}</div>' for kind, note in notes)


def _alarming(number: int) -> str:
    text = figures.count(number)
    return f'<span class="bad">{text}</span>' if number else text
