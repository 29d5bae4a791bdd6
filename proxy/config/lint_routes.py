"""What of a correct file is unwise, each with a way out: the rules that look at one thing.

Rules: a rule is a generator over one route or one backend and yields (code, key below it, text).
It looks at the phase, since most hazards exist only while both sides are in use. Rules that look
at several routes are in `lint_tables.py`, those that compare with what is in force in
`lint_edits.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from proxy.config.addresses import UnixAddress
from proxy.config.findings import Finding
from proxy.config.lint_edits import skipped_steps
from proxy.config.lint_limits import lint_limits
from proxy.config.lint_tables import lint_tables
from proxy.config.places import Places
from proxy.config.settings import Config
from proxy.core.model import UNMATCHED, Backend, Route, Side

# A bound on one route's buffers per worker beyond which an operator should have meant it.
MUCH_MEMORY = 1 << 30
MUCH_WRITE_BODY = 256 << 20
MANY_REQUESTS = 1_000_000

_WRITING = ("POST", "PUT", "DELETE", "PATCH")
_SEARCHING = re.compile(r"search|query|find|filter|lookup|match|suggest|validate|preview", re.I)
_ACTING = re.compile(
    r"(?:^|[-_.])(log-?out|sign-?out|log-?off|delete|remove|destroy|unsubscribe|purge|reset|revoke"
    r"|cancel|activate|deactivate|disable|enable|approve|confirm|checkout|logoff)(?:$|[-_.])",
    re.I,
)

Said = Iterator[tuple[str, tuple[str, ...], str]]


class View(NamedTuple):
    """One route with what the rules ask about it."""

    route: Route
    config: Config
    written: Mapping[str, Any]  # the route as the file has it, {} for the short form
    defaults: Mapping[str, Any]

    @property
    def progress(self) -> int:
        return self.route.phase.progress

    @property
    def shadows(self) -> bool:
        """Whether reads are also sent to the other side."""
        return -1 <= self.progress <= 100

    def backend(self, side: Side) -> Backend:
        return self.config.backends[self.route.backend(side)]

    def sets(self, section: str, key: str) -> bool:
        """Whether the user wrote it, here or in defaults."""
        return any(
            isinstance(each.get(section), dict) and each[section].get(key) is not None
            for each in (self.written, self.defaults)
        )


def lint_file(config: Config, value: Mapping[str, Any], places: Places) -> Iterator[Finding]:
    """Findings that the file alone gives."""
    defaults = value.get("defaults") or {}
    for route in config.routes:
        if route.name == UNMATCHED:
            continue
        written = value["routes"].get(route.pattern)
        view = View(route, config, written if isinstance(written, dict) else {}, defaults)
        for rule in ROUTE_RULES:
            for code, below, text in rule(view):
                loc = ("routes", route.pattern, *below)
                own = len(places.document.existing(loc)) == len(loc)
                loc = loc if own else loc[:2]
                yield places.finding(code, loc, text, of_key=not own or not below)
    for backend in config.backends.values():
        for backend_rule in BACKEND_RULES:
            for code, below, text in backend_rule(backend):
                yield places.finding(code, ("backends", backend.name, *below), text)
    for code, below, text in _whole_file(config):
        yield places.finding(code, below, text)
    yield from lint_limits(config.limits, places)
    yield from lint_tables(config, places)


def _unsafe_safe_method(view: View) -> Said:
    route = view.route
    if not view.shadows:
        return
    handled = set(route.methods) or {"GET", *route.safe_methods}
    for method in sorted(route.safe_methods.intersection(_WRITING) & handled):
        if method == "POST" and _SEARCHING.search(route.path):
            continue
        yield (
            "UNSAFE_SAFE_METHOD",
            ("safe_methods",),
            f"{method} is declared a read, so it is sent to both sides with nothing kept in step; "
            "leave it out of safe_methods, unless it changes nothing (a search)",
        )
    if "GET" in route.safe_methods and "GET" in handled:
        for segment in route.path.split("/"):
            if not segment.startswith("{") and (found := _ACTING.search(segment)):
                yield (
                    "UNSAFE_SAFE_METHOD",
                    (),
                    f"a GET of {segment} likely changes something ({found[1]}) and is sent to both "
                    "sides; give the route safe_methods: [HEAD, OPTIONS]",
                )
                return


def _nothing_shadowed(view: View) -> Said:
    route = view.route
    if not view.shadows:
        return
    if route.shadow.sample == 0:
        yield (
            "NOTHING_SHADOWED",
            ("shadow", "sample"),
            f"at 0% no read of this {route.phase} route reaches the other side, so nothing is "
            "learnt; set a share above 0%",
        )
    elif view.progress == -1 and route.methods and not route.safe_methods & set(route.methods):
        yield (
            "NOTHING_SHADOWED",
            (),
            "in shadow-read only reads are shadowed, and none of these methods is one; use "
            "legacy-only, or 0% to send writes to both",
        )


def _cannot_fire(view: View) -> Said:
    route, config = view.route, view.config
    revert, advance = config.reverts[route.name], config.advances[route.name]
    sample = route.shadow.sample
    compared = route.compare is not None and sample > 0
    if revert is not None and view.shadows:
        if revert.divergence is not None and not compared and view.sets("revert", "divergence"):
            why = "compare is null" if route.compare is None else "shadow.sample is 0%"
            yield (
                "CANNOT_FIRE",
                ("revert", "divergence"),
                f"nothing is compared ({why}), so no divergence is ever seen; compare, or set null",
            )
        for name in ("divergence", "errors"):
            if getattr(revert, name) == 1:
                yield (
                    "CANNOT_FIRE",
                    ("revert", name),
                    "no rate is above 100%; set a lower share, or null to switch it off",
                )
        if revert.to is not None and revert.to >= route.phase:
            yield (
                "CANNOT_FIRE",
                ("revert", "to"),
                f"{revert.to} is no step back from {route.phase}; name an earlier phase, or auto",
            )
        if compared and revert.min_samples / sample > MANY_REQUESTS:
            yield "CANNOT_FIRE", ("revert", "min_samples"), _too_many(revert.min_samples, sample)
    if advance is not None and view.progress < 101:
        covered = sample if compared else 0.0
        if advance.min_coverage > covered:
            yield (
                "CANNOT_FIRE",
                ("advance", "min_coverage"),
                f"at most {covered * 100:.4g}% of the reads are compared, and to advance "
                f"{advance.min_coverage * 100:.4g}% are needed; raise shadow.sample, or lower "
                "min_coverage",
            )
        elif compared and advance.min_samples / sample > MANY_REQUESTS:
            yield "CANNOT_FIRE", ("advance", "min_samples"), _too_many(advance.min_samples, sample)


def _too_many(samples: int, share: float) -> str:
    return (
        f"{samples:,} samples take {samples / share:,.0f} requests at this shadow.sample; "
        "raise the sample, or lower min_samples"
    )


def _sticky_behind_proxy(view: View) -> Said:
    """All on one machine is somebody trying it out; everywhere else one address hides many."""
    if (
        not 1 <= view.progress <= 99
        or view.route.sticky.kind != "client-ip"
        or view.config.trusted_proxies
    ):
        return
    listen = view.config.listen
    if isinstance(listen, UnixAddress):
        why = "clients of a Unix socket have no address"
    elif not listen.is_loopback:
        why = "behind a load balancer all clients have its address"
    elif not all(_on_this_machine(url) for b in view.config.backends.values() for url in b.urls):
        why = "what reaches a loopback listener comes from this machine, so all have one address"
    else:
        return
    yield (
        "STICKY_BEHIND_PROXY",
        ("sticky",),
        f"clients are divided by client-ip with no trusted_proxies: {why}, and {view.route.phase} "
        'becomes all or nothing; list the proxy in trusted_proxies, or use sticky: "cookie:NAME"',
    )


def _same_backend(view: View) -> Said:
    route = view.route
    if not view.shadows or route.rewrite is not None:
        return
    shared = set(view.backend(Side.LEGACY).urls) & set(view.backend(Side.NEW).urls)
    if not shared:
        return
    twice = (
        ", and every write is done twice" if view.progress >= 0 and not route.split_writes else ""
    )
    yield (
        "SAME_BACKEND",
        ("new",),
        f"both sides are {sorted(shared)[0]}: it is compared with itself{twice}; name another "
        "backend, or give the route a rewrite",
    )


def _writes(view: View) -> Said:
    route = view.route
    if not route.phase.both_written:
        return
    if route.split_writes:
        yield (
            "SPLIT_WRITES",
            ("writes",),
            "each write goes to one side only, which is right only if both systems are on one "
            "database (Banyan cannot know); if they are not, use writes: both",
        )
        return
    weighted = 1 <= view.progress <= 99
    if weighted and route.ack == "authoritative":
        yield (
            "READ_YOUR_WRITES",
            ("ack",),
            "clients whose reads new answers may not see their own writes yet; use ack: auto or "
            "both, unless that does not matter",
        )
    if route.ack == "both" or (route.ack == "auto" and weighted):
        other = view.backend(route.phase.authority.other)
        if route.ack_timeout_s > other.timeout_s:
            yield (
                "ACK_TIMEOUT",
                ("ack_timeout",),
                f"{route.ack_timeout_s:g}s is longer than the timeout of {other.name} "
                f"({other.timeout_s:g}s), which ends the wait first; lower it",
            )


def _fallback_never(view: View) -> Said:
    after = view.route.fallback_after_s
    if not view.route.fallback or after is None or view.progress < 1:
        return
    new = view.backend(Side.NEW)
    if after >= new.timeout_s:
        yield (
            "FALLBACK_NEVER",
            ("fallback_after",),
            f"{new.name} times out after {new.timeout_s:g}s, before or with it; lower "
            "fallback_after, or leave it out",
        )


def _rewrite_collapses(view: View) -> Said:
    route = view.route
    if route.rewrite and route.path.endswith("/*") and not route.rewrite.endswith("/*"):
        yield (
            "REWRITE_COLLAPSES",
            ("rewrite",),
            f"every path below {route.path[:-1]} becomes {route.rewrite} on new; end it with /* to "
            "carry the rest over",
        )


def _shadow_bounds(view: View) -> Said:
    route = view.route
    if not view.shadows:
        return
    shadow = route.shadow
    if 1 <= view.progress <= 99:
        for side in (Side.LEGACY, Side.NEW):
            backend = view.backend(side)
            if shadow.max_in_flight >= backend.max_connections:
                yield (
                    "SHADOW_STARVES",
                    ("shadow", "max_in_flight"),
                    f"{shadow.max_in_flight} shadows may take all {backend.max_connections} "
                    f"connections to {backend.name}, which also answers clients here; lower it "
                    "below max_connections",
                )
                break
    if shadow.max_in_flight * shadow.max_body_bytes > MUCH_MEMORY:
        yield (
            "MEMORY",
            ("shadow",),
            f"{shadow.max_in_flight} shadows of {shadow.max_body_bytes:,} bytes may take "
            f"{shadow.max_in_flight * shadow.max_body_bytes >> 20:,} MiB in each worker; lower "
            "max_body or max_in_flight",
        )
    if route.phase.both_written and route.write_body_bytes > MUCH_WRITE_BODY:
        yield (
            "MEMORY",
            ("write_body",),
            f"a single write may take {route.write_body_bytes >> 20:,} MiB of a worker until both "
            "sides have it; lower write_body",
        )


def _override_open(view: View) -> Said:
    override = view.route.override
    if override is not None and any(_is_everyone(each) for each in override.networks):
        yield (
            "OVERRIDE_OPEN",
            ("override", "from"),
            f"everyone may choose the side with the header {override.header}; list the networks "
            "of your testers",
        )


def _unguarded_advance(view: View) -> Said:
    revert = view.config.reverts[view.route.name]
    rules = (revert.divergence, revert.errors, revert.latency) if revert is not None else ()
    if view.config.advances[view.route.name] is not None and not any(r is not None for r in rules):
        yield (
            "UNGUARDED_ADVANCE",
            ("advance",),
            "the route climbs by itself, but nothing would take it back; set revert, or advance "
            "by hand",
        )


def _skipping_advance(view: View) -> Said:
    advance = view.config.advances[view.route.name]
    if advance is not None:
        for text in skipped_steps(view.route, advance):
            yield "PHASE_SKIPPED", ("advance", "steps"), text


def _backend_tls(backend: Backend) -> Said:
    secure = [url.startswith("https:") for url in backend.urls]
    if backend.tls is not None and not any(secure):
        yield "TLS_UNUSED", ("tls",), "no address is https://, so tls does nothing; use https://"
    if backend.tls is not None and not backend.tls.verify and any(secure):
        yield (
            "TLS_UNVERIFIED",
            ("tls", "verify"),
            "any certificate is accepted, so anyone in between can answer; name the CA in tls.ca",
        )
    for url in backend.urls:
        if problem := _plain_problem(url):
            yield "PLAINTEXT", ("url",), f"{url} {problem}"


def _whole_file(config: Config) -> Said:
    for network in config.trusted_proxies:
        if _is_everyone(network):
            yield (
                "TRUST_EVERYONE",
                ("trusted_proxies",),
                f"{network} is everyone: any client can claim any address (client-ip, override); "
                "list your proxies only",
            )
    used = {name for route in config.routes for name in (route.legacy, route.new)}
    for name in config.backends:
        if name not in used:
            yield (
                "UNUSED_BACKEND",
                ("backends", name),
                "no route uses this backend; name it as legacy or new of a route, or remove it",
            )
    for index, alert in enumerate(config.alerts):
        if problem := _plain_problem(alert.url):
            yield "PLAINTEXT", ("alerts", index, "url"), f"the webhook {problem}"  # type: ignore[misc]  # an index is a place too
    if config.telemetry.otlp and (problem := _plain_problem(config.telemetry.otlp)):
        yield "PLAINTEXT", ("telemetry", "otlp"), f"the collector {problem}"


def _plain_problem(url: str) -> str | None:
    if not url.startswith("http://"):
        return None
    host, port = _host_port(url)
    if port == "443":
        return "speaks plain HTTP to the port of HTTPS; use https://"
    try:
        public = ip_address(host).is_global
    except ValueError:
        return None
    return "crosses a public network unencrypted; use https://" if public else None


def _on_this_machine(url: str) -> bool:
    if url.startswith("unix:"):
        return True
    host, _ = _host_port(url)
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host_port(url: str) -> tuple[str, str]:
    authority = url.partition("://")[2].partition("/")[0]
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = authority.partition(":")
    return host, port


def _is_everyone(network: str) -> bool:
    return ip_network(network).prefixlen == 0


ROUTE_RULES: tuple[Callable[[View], Said], ...] = (
    _unsafe_safe_method,
    _nothing_shadowed,
    _cannot_fire,
    _sticky_behind_proxy,
    _same_backend,
    _writes,
    _fallback_never,
    _rewrite_collapses,
    _shadow_bounds,
    _override_open,
    _unguarded_advance,
    _skipping_advance,
)
BACKEND_RULES: tuple[Callable[[Backend], Said], ...] = (_backend_tls,)
