"""Routes and snapshots built from few words."""

from collections.abc import Iterable

from proxy.core.model import UNMATCHED, Backend, Limits, Phase, Route, RouteState, Snapshot, Sticky

PHASES = {
    "legacy-only": Phase(-2),
    "shadow-read": Phase(-1),
    "0%": Phase(0),
    "1%": Phase(1),
    "25%": Phase(25),
    "50%": Phase(50),
    "75%": Phase(75),
    "99%": Phase(99),
    "dual-write": Phase(100),
    "new-only": Phase(101),
}


def phase(name: str) -> Phase:
    """A phase by its name in `routes.yaml`."""
    return PHASES.get(name) or Phase(int(name.removesuffix("%")))


def route(pattern: str, phase_name: str = "legacy-only", **settings: object) -> Route:
    """A route from its key (`[METHODS ][host]/path`); `settings` are Route's own fields."""
    methods, _, place = pattern.rpartition(" ")
    host, slash, path = place.partition("/")
    name = str(settings.pop("name", pattern))
    return Route(
        name=name,
        pattern=pattern,
        methods=tuple(methods.split(",")) if methods else (),
        host=host or None,
        path=slash + path,
        phase=phase(phase_name),
        **settings,  # type: ignore[arg-type]  # the fields are checked where they are read
    )


def snapshot(
    routes: Iterable[Route],
    backends: dict[str, str | tuple[str, ...] | Backend],
    states: dict[str, RouteState] | None = None,
    limits: Limits | None = None,
    **settings: object,
) -> Snapshot:
    """A snapshot; a backend may be given by its URL. The unmatched route is added."""
    listed = [*routes]
    unmatched = Route(
        name=UNMATCHED,
        pattern=UNMATCHED,
        methods=(),
        host=None,
        path="/*",
        phase=Phase(-2),
        new="legacy",
        sticky=Sticky("client-ip"),
        compare=None,
    )
    # What a worker tells of requests must not depend on chance.
    settings.setdefault("trace_sample", 1.0)  # so that every pair is told of
    full = {}
    for name, backend in backends.items():
        if isinstance(backend, str):
            backend = Backend(name, (backend,))
        elif isinstance(backend, tuple):
            backend = Backend(name, backend)
        full[name] = backend
    return Snapshot(
        generation=0,
        revision=0,
        backends=full,
        routes=(*listed, unmatched),
        states=states or {},
        limits=limits or Limits(),
        **settings,  # type: ignore[arg-type]  # as above
    )
