"""From the checked file to a Config, and what of it does not fit together."""

import ssl
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import cast

import msgspec

from proxy.config import resolve, schema
from proxy.config.addresses import TcpAddress
from proxy.config.digest import Digests
from proxy.config.findings import Finding, Position
from proxy.config.places import Places
from proxy.config.resolve import Settings
from proxy.config.routekey import RouteKey, default_name, parse_route_key
from proxy.config.settings import Admin, Config
from proxy.core.model import LEGACY_ONLY, UNMATCHED, Backend, Phase, Route, Sticky
from proxy.core.patterns import rewrite_problem
from proxy.core.policy import Advance, Revert

LISTEN = TcpAddress("127.0.0.1", 8080)
ADMIN = Admin(TcpAddress("127.0.0.1", 9090))
SWITCH_TIMEOUT_S = 5.0


def assemble(
    model: schema.FileModel, places: Places, file: Path, text_digest: str
) -> tuple[Config | None, list[Finding]]:
    """The whole Config, or None where a finding says that there can be none."""
    base = file.parent
    backends = {
        name: resolve.backend_of(name, backend, base) for name, backend in model.backends.items()
    }
    limits = model.limits
    table = _Table(places, backends, model.defaults, base)
    entries = cast("Mapping[str, Phase | schema.RouteModel]", model.routes)
    for key, entry in entries.items():
        table.add(key, entry)
    table.add_unmatched()
    if table.findings:
        return None, table.findings
    config = Config(
        file=file,
        shown_as=places.file,
        text_digest=text_digest,
        listen=model.listen or LISTEN,
        workers=resolve.workers_of(model.workers),
        comparers=model.comparers or 1,
        state=resolve.state_of(model.state, base),
        admin=resolve.admin_of(model.admin, ADMIN, base),
        tls=resolve.server_tls_of(model.tls, base),
        limits=resolve.limits_of(limits),
        switch_timeout_s=(limits and limits.switch_timeout) or SWITCH_TIMEOUT_S,
        trusted_proxies=tuple(model.trusted_proxies or ()),
        telemetry=resolve.telemetry_of(model.telemetry),
        alerts=tuple(resolve.alert_of(each) for each in model.alerts or ()),
        backends=backends,
        routes=tuple(table.routes),
        reverts=table.reverts,
        advances=table.advances,
        phase_positions=table.phase_positions(),
    )
    return config, [*_listeners(config, places), *_files(config, places)]


class _Table:
    """Routes as they are added, with the findings about each and about pairs of them."""

    def __init__(
        self,
        places: Places,
        backends: Mapping[str, Backend],
        defaults: schema.DefaultsModel | None,
        base: Path,
    ) -> None:
        self.routes: list[Route] = []
        self.reverts: dict[str, Revert | None] = {}
        self.advances: dict[str, Advance | None] = {}
        self.findings: list[Finding] = []
        self._places = places
        self._backends = backends
        self._defaults = (
            resolve.settings_of(defaults, resolve.BUILT_IN) if defaults else resolve.BUILT_IN
        )
        self._digests = Digests(backends, base)
        self._keys: dict[str, str] = {}  # name -> key
        self._taken: dict[tuple[object, ...], str] = {}  # what a request fits -> key
        self._checked: set[int] = set()  # settings whose backends are known to exist

    def add(self, key: str, entry: "Phase | schema.RouteModel") -> None:
        try:
            parts = parse_route_key(key)
        except ValueError as problem:
            self._found("BAD_ROUTE_KEY", key, str(problem))
            return
        name: str | None = None
        if isinstance(entry, Phase):
            settings, phase = self._defaults, entry
        else:
            settings, phase = resolve.settings_of(entry, self._defaults), entry.phase
            name = entry.name
        self._check_overlap(key, parts)
        name = self._unique_name(key, parts, name)
        self._check_settings(key, parts, settings)
        self._append(
            msgspec.structs.replace(
                settings.route,
                name=name,
                pattern=key,
                methods=parts.methods,
                host=parts.host,
                path=parts.path,
                phase=resolve.phase_of(phase, settings.serve),
            ),
            settings,
        )

    def add_unmatched(self) -> None:
        """What no route takes goes to the legacy backend of `defaults`."""
        plain = self._defaults.route
        if plain.legacy not in self._backends:
            self._unknown_backend("legacy", plain.legacy, None)
            return
        route = msgspec.structs.replace(
            plain,
            name=UNMATCHED,
            pattern="/*",
            path="/*",
            phase=LEGACY_ONLY,
            new=plain.new if plain.new in self._backends else plain.legacy,
            rewrite=None,
            override=None,
            # A parameter of the path is none of every path.
            sticky=Sticky("client-ip") if plain.sticky.kind == "param" else plain.sticky,
        )
        settings = Settings(route, self._defaults.revert, None, "new")
        self._append(route, settings)

    def phase_positions(self) -> dict[str, Position]:
        return {
            name: self._places.document.position(("routes", key, "phase"))
            for name, key in self._keys.items()
        }

    def _append(self, route: Route, settings: Settings) -> None:
        digest = self._digests.digest(route, settings)
        self.routes.append(msgspec.structs.replace(route, digest=digest))
        self.reverts[route.name] = settings.revert
        self.advances[route.name] = settings.advance

    def _found(self, code: str, key: str, text: str, *below: str) -> None:
        loc = ("routes", key, *below)
        self.findings.append(self._places.finding(code, loc, text, of_key=not below))

    def _check_overlap(self, key: str, parts: RouteKey) -> None:
        for method in parts.methods or (None,):
            fits = (parts.shape, parts.host, method)
            other = self._taken.setdefault(fits, key)
            if other != key:
                what = f"{method} requests" if method else "requests"
                self._found(
                    "DUPLICATE_ROUTE",
                    key,
                    f"takes the same {what} as {other} (names of parameters do not count); "
                    "keep one of them, or give them different methods or hosts",
                )
                return

    def _unique_name(self, key: str, parts: RouteKey, name: str | None) -> str:
        given = name is not None
        name = name or default_name(parts)
        other = self._keys.setdefault(name, key)
        if other != key:
            self._found(
                "DUPLICATE_NAME",
                key,
                f"is named {name}, as {other} is; give one of them another name",
                *(("name",) if given else ()),
            )
        return name

    def _check_settings(self, key: str, parts: RouteKey, settings: Settings) -> None:
        route = settings.route
        if route.rewrite is not None:
            problem = rewrite_problem(parts.path, route.rewrite)
            if problem:
                self._found(
                    "BAD_REWRITE", key, f"the rewrite {route.rewrite}: {problem}", "rewrite"
                )
        if route.sticky.kind == "param" and route.sticky.name not in parts.params:
            have = ", ".join(parts.params) or "none"
            self._found(
                "BAD_STICKY",
                key,
                f"param:{route.sticky.name} is no parameter of this path; legal are {have}",
                "sticky",
            )
        if id(settings) in self._checked:
            return
        if settings is self._defaults:  # lives as long as this table
            self._checked.add(id(settings))
        for side, name in (("legacy", route.legacy), ("new", route.new)):
            if name not in self._backends:
                self._unknown_backend(side, name, key)
        if settings.advance is not None:
            for problem in _ladder_problems(settings.advance):
                self._found("BAD_LADDER", key, problem, "advance")

    def _unknown_backend(self, side: str, name: str, key: str | None) -> None:
        near = get_close_matches(name, self._backends, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        listed = ", ".join(list(self._backends)[:20])
        text = f"the {side} side is the backend {name}, which is not in backends{hint}; "
        loc: tuple[str, ...] = ("routes", key, side) if key else ("defaults", side)
        if len(self._places.document.existing(loc)) < len(loc):
            # Inherited: the place to put it right is where the name is chosen, or backends.
            loc = ("defaults", side)
        if len(self._places.document.existing(loc)) < len(loc):
            loc = ("backends",)
        text += f"legal are {listed}"
        found = self._places.finding("UNKNOWN_BACKEND", loc, text, of_key=loc == ("backends",))
        if found not in self.findings:
            self.findings.append(found)


def _ladder_problems(advance: Advance) -> Iterator[str]:
    phases = [step.phase for step in advance.steps]
    if not phases:
        yield "has no steps; give it steps, such as [{shadow-read: 24h}, 0%, 50%, new-only]"
    for before, after in pairwise(phases):
        if after <= before:
            yield f"the step {after} comes after {before}; steps go forward, each only once"
    for phase in advance.approve:
        if phase not in phases:
            legal = ", ".join(map(str, phases))
            yield f"approve names {phase}, which is no step; legal are {legal}"


def _listeners(config: Config, places: Places) -> Iterator[Finding]:
    if not config.admin.listen.is_loopback:
        yield places.finding(
            "ADMIN_EXPOSED",
            ("admin", "listen"),
            f"{config.admin.listen} can be reached from other machines, and the admin API has no "
            "access control yet; legal is a loopback address such as 127.0.0.1:9090, or unix:/path",
        )
    # Port 0 lets the system choose, so two of them are no clash.
    chosen = isinstance(config.listen, TcpAddress) and config.listen.port == 0
    if config.admin.listen == config.listen and not chosen:
        yield places.finding(
            "LISTEN_CLASH",
            ("admin", "listen"),
            f"{config.listen} is the proxy's own address too; give one of them another port",
        )
    own = {str(config.listen), str(config.admin.listen)}
    if isinstance(config.listen, TcpAddress) and config.listen.host in ("0.0.0.0", "127.0.0.1"):
        own |= {f"{host}:{config.listen.port}" for host in ("127.0.0.1", "localhost", "[::1]")}
    for backend in config.backends.values():
        for url in backend.urls:
            if url.partition("://")[2] in own or url in own:
                yield places.finding(
                    "BACKEND_LOOP",
                    ("backends", backend.name, "url"),
                    f"{url} is this proxy itself; name the address of the system behind it",
                )


def _files(config: Config, places: Places) -> Iterator[Finding]:
    """Certificates are loaded once here: a proxy must not find out at its next connection."""
    if config.tls is not None:
        problem = _pair_problem(config.tls.cert, config.tls.key, server=True)
        if problem:
            yield places.finding("BAD_FILE", ("tls",), problem, of_key=True)
    for backend in config.backends.values():
        tls = backend.tls
        if tls is None:
            continue
        loc = ("backends", backend.name, "tls")
        if tls.ca is not None and (problem := _ca_problem(tls.ca)):
            yield places.finding("BAD_FILE", (*loc, "ca"), problem)
        if tls.cert is not None and (problem := _pair_problem(tls.cert, tls.key, server=False)):
            yield places.finding("BAD_FILE", (*loc, "cert"), problem)
        if tls.key is not None and tls.cert is None:
            yield places.finding(
                "BAD_FILE", (*loc, "key"), "is a key without a certificate; set cert as well"
            )


def _pair_problem(cert: str, key: str | None, *, server: bool) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    for file in filter(None, (cert, key)):
        if problem := _file_problem(file):
            return problem
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"{cert} and its key cannot be used ({reason}); give PEM files that belong together"
    return None


def _ca_problem(ca: str) -> str | None:
    if problem := _file_problem(ca):
        return problem
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"{ca} holds no certificates ({reason}); give a PEM file"
    return None


def _file_problem(file: str) -> str | None:
    try:
        if not Path(file).is_file():
            return f"{file} is not a file; relative names start at the configuration's directory"
        with Path(file).open("rb"):
            return None
    except (OSError, ValueError) as error:
        return f"{file} cannot be read ({error})"
