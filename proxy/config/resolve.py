"""From the checked file to the core's values: defaults filled in, inheritance resolved.

Rules: what the user set replaces what is inherited, key by key; `ignore`, `unordered` and `redact`
add to it. null switches `compare`, `revert` and `advance` off; a mapping switches them on again.
Relative paths resolve against the directory of the file.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel

from proxy.config import schema
from proxy.config.settings import Admin, Alert, State, Telemetry
from proxy.core.model import (
    DUAL_WRITE,
    ZERO,
    Backend,
    BackendTls,
    Compare,
    Health,
    Limits,
    Override,
    Phase,
    Route,
    ServerTls,
)
from proxy.core.policy import Advance, Revert, Step

Convert = Callable[[Any], Any]

# Where a key goes, for those whose name changes: model field -> (attribute, conversion).
_AS_TUPLE: Convert = tuple
_LIMITS: dict[str, tuple[str, Convert | None]] = {
    "request_body": ("request_body_bytes", None),
    "client_idle": ("client_idle_s", None),
    "header_timeout": ("header_timeout_s", None),
    "body_idle": ("body_idle_s", None),
}
_SHADOW: dict[str, tuple[str, Convert | None]] = {
    "max_body": ("max_body_bytes", None),
    "timeout": ("timeout_s", None),
}
_COMPARE: dict[str, tuple[str, Convert | None]] = {
    "headers": ("headers", lambda names: tuple(name.lower() for name in names)),
    "ignore": ("ignore", _AS_TUPLE),
    "unordered": ("unordered", _AS_TUPLE),
    "redact": ("redact", _AS_TUPLE),
    "lenient": ("lenient", lambda words: tuple(sorted(set(words)))),
}
_ADDING = ("ignore", "unordered", "redact")
_REVERT: dict[str, tuple[str, Convert | None]] = {"cooldown": ("cooldown_s", None)}
_ADVANCE: dict[str, tuple[str, Convert | None]] = {
    "steps": (
        "steps",
        lambda steps: tuple(Step(*each) for step in steps for each in step.items()),
    ),
    "dwell": ("dwell_s", None),
    "approve": ("approve", _AS_TUPLE),
    "retire": ("retire_s", None),
}
_ROUTE: dict[str, tuple[str, Convert | None]] = {
    "safe_methods": ("safe_methods", frozenset),
    "writes": ("split_writes", lambda writes: writes == "split"),
    "ack_timeout": ("ack_timeout_s", None),
    "write_body": ("write_body_bytes", None),
    "fallback_after": ("fallback_after_s", None),
    "override": (
        "override",
        lambda model: None if model is None else Override(model.header, tuple(model.from_)),
    ),
}
_BACKEND: dict[str, tuple[str, Convert | None]] = {
    "connect_timeout": ("connect_timeout_s", None),
    "timeout": ("timeout_s", None),
    "idle_timeout": ("idle_timeout_s", None),
}
# Handled one by one, not by renaming.
_NOT_ROUTE = frozenset({"shadow", "compare", "revert", "advance", "serve", "name", "phase"})


class Settings(NamedTuple):
    """All that a route inherits or sets. `route` has the key's parts still missing."""

    route: Route
    revert: Revert | None
    advance: Advance | None
    serve: str


BUILT_IN = Settings(
    route=Route(name="", pattern="", methods=(), host=None, path="", phase=ZERO),
    revert=Revert(),
    advance=None,
    serve="new",
)


def settings_of(model: schema.DefaultsModel, above: Settings) -> Settings:
    """What `model` sets, over what it inherits."""
    was_set = model.model_fields_set
    route = above.route
    changes = _changes(model, _ROUTE, leave_out=_NOT_ROUTE)
    if "shadow" in was_set:
        changes["shadow"] = msgspec.structs.replace(route.shadow, **_changes(model.shadow, _SHADOW))
    if "compare" in was_set:
        changes["compare"] = _compare(model.compare, route.compare)
    revert, advance = above.revert, above.advance
    if "revert" in was_set:
        revert = _merged(model.revert, revert, Revert(), _REVERT)
    if "advance" in was_set:
        # A ladder without any steps, inherited or own, is refused by the caller.
        advance = _merged(model.advance, advance, Advance(steps=()), _ADVANCE)
    return Settings(
        msgspec.structs.replace(route, **changes) if changes else route,
        revert,
        advance,
        model.serve if "serve" in was_set else above.serve,
    )


def phase_of(phase: Phase, serve: str) -> Phase:
    """`dual-write` with `serve: legacy` is another way to write 0%."""
    return ZERO if phase == DUAL_WRITE and serve == "legacy" else phase


def backend_of(name: str, model: schema.BackendModel, base: Path) -> Backend:
    changes = _changes(model, _BACKEND, leave_out=frozenset({"url", "health", "tls"}))
    if model.health is not None:
        changes["health"] = Health(
            model.health.path,
            interval_s=model.health.interval or 5.0,
            expect=model.health.expect or 200,
        )
    if model.tls is not None:
        files = {
            name: _absolute(value, base)
            for name, value in _changes(model.tls, {}, leave_out=frozenset({"verify"})).items()
            if value is not None
        }
        changes["tls"] = BackendTls(**files, verify=model.tls.verify is not False)
    return Backend(name=name, urls=tuple(dict.fromkeys(model.url)), **changes)


def limits_of(model: schema.LimitsModel | None) -> Limits:
    return Limits(**_changes(model, _LIMITS, leave_out=frozenset({"switch_timeout"})))


def admin_of(model: schema.AdminModel | None, default: Admin, base: Path) -> Admin:
    if model is None:
        return default
    tokens = Path(_absolute(model.tokens_file, base)) if model.tokens_file else None
    return Admin(model.listen if "listen" in model.model_fields_set else default.listen, tokens)


def server_tls_of(model: schema.ServerTlsModel | None, base: Path) -> ServerTls | None:
    if model is None:
        return None
    return ServerTls(_absolute(model.cert, base), _absolute(model.key, base))


def telemetry_of(model: schema.TelemetryModel | None) -> Telemetry:
    return Telemetry(**_changes(model, {}))


def alert_of(model: schema.AlertModel) -> Alert:
    events = ("revert", "advance", "journal", "config")
    return Alert(
        model.url,
        tuple(dict.fromkeys(model.events)) if "events" in model.model_fields_set else events,
        model.format or "json",
        model.secret,
    )


def state_of(text: str | None, base: Path) -> State:
    default = base / ".banyan" / "state.db"
    if text is None:
        return State(default)
    if text.startswith("sqlite:"):
        return State(Path(_absolute(text.removeprefix("sqlite:"), base)))
    return State(default, redis_url=text)


def workers_of(number: int | None) -> int:
    """0 stands for `auto`: as many as there are processors for this process."""
    if number is None:
        return 1
    return number or min(len(os.sched_getaffinity(0)), 256)


def _changes(
    model: BaseModel | None,
    renamed: Mapping[str, tuple[str, Convert | None]],
    leave_out: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Attributes of the core's value for the fields that were set."""
    changes: dict[str, Any] = {}
    for name in model.model_fields_set if model is not None else ():
        if name in leave_out:
            continue
        value = getattr(model, name)
        attribute, convert = renamed.get(name, (name, None))
        changes[attribute] = convert(value) if convert is not None else value
    return changes


def _merged(model: Any, above: Any, built_in: Any, renamed: Any) -> Any:
    if model is None:
        return None
    values = {name: getattr(above or built_in, name) for name in built_in.__dataclass_fields__}
    return type(built_in)(**values | _changes(model, renamed))


def _compare(model: schema.CompareModel | None, above: Compare | None) -> Compare | None:
    if model is None:
        return None
    above = above or Compare()
    changes = _changes(model, _COMPARE)
    for name in _ADDING:
        if name in changes:
            changes[name] = tuple(dict.fromkeys((*getattr(above, name), *changes[name])))
    return msgspec.structs.replace(above, **changes)


def _absolute(path: str, base: Path) -> str:
    return os.path.normpath(base / path)
