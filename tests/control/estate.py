"""Small values that the tests of the controller share."""

from proxy.control.world import Moment, TableLoaded
from proxy.core.model import LEGACY_ONLY, UNMATCHED, Phase, Route


def route(name: str, phase: Phase, **changed: object) -> Route:
    values: dict[str, object] = {"methods": (), "host": None, "digest": f"{name} digest", **changed}
    return Route(
        name=name,
        pattern=f"/{name}/*",
        path=f"/{name}/*",
        phase=phase,
        **values,  # type: ignore[arg-type]
    )


def table(*routes: Route, digest: str | None = None, forced: bool = False) -> TableLoaded:
    """These routes and the unmatched one, as a loaded file. The digest follows from them."""
    everything = (*routes, route(UNMATCHED, LEGACY_ONLY))
    return TableLoaded(everything, repr(everything) if digest is None else digest, 5.0, forced)


def at(seconds: float) -> Moment:
    return Moment(wall=1_000_000.0 + seconds, clock=seconds)
