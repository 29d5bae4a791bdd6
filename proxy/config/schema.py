"""What `routes.yaml` may hold, as pydantic models: the one list of keys.

Rules: the JSON Schema for editors is made from these models and so is every check of a single
value. Fields carry no defaults of their own: what the user did not set is filled in from the
values of the core (`resolve.py`), and `model_fields_set` says what was set. The default shown to
editors is the text of the contract; a test holds the two together.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator

from comparators.model import LENIENCIES
from proxy.config import types as t
from proxy.config.units import parse_phase
from proxy.core.model import Phase

REQUIRED = "(required)"
MAX_LIST = 1000
MAX_ROUTES = 50_000


class Section(BaseModel):
    """A mapping with a fixed set of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def setting(default: Any, description: str, **extra: Any) -> Any:
    """A key with its default as one writes it in the file; REQUIRED if it has none."""
    if default is REQUIRED:
        return Field(description=description, **extra)
    return Field(
        default=None, description=description, json_schema_extra={"default": default}, **extra
    )


def _or_one(value: object) -> object:
    return [value] if isinstance(value, str) else value


class HealthModel(Section):
    """An active health check of each URL of the backend."""

    path: t.UrlPath = setting(REQUIRED, "asked for with GET")
    interval: t.PositiveTime = setting("5s", "between two checks of one URL")
    expect: Annotated[int, t.Whole(100, 599)] = setting(200, "the status that means healthy")


class BackendTlsModel(Section):
    """How TLS to an https:// backend is set up."""

    ca: t.File | None = setting(None, "trusted certificates (PEM) instead of the system's")
    cert: t.File | None = setting(None, "client certificate (PEM)")
    key: t.File | None = setting(None, "private key of the client certificate (PEM)")
    verify: t.Flag = setting(True, "false accepts any certificate; never outside a test")


class BackendModel(Section):
    """A system that answers HTTP."""

    url: Annotated[
        list[t.BackendUrl],
        Field(min_length=1, max_length=64),
        BeforeValidator(_or_one, json_schema_input_type=t.BackendUrl | list[t.BackendUrl]),
    ] = setting(REQUIRED, "one address, or several: least outstanding requests, bad ones ejected")
    connect_timeout: t.PositiveTime = setting("2s", "until a connection (and its TLS) stands")
    timeout: t.PositiveTime = setting("30s", "from the end of the request to the response headers")
    idle_timeout: t.PositiveTime = setting(
        "60s", "between bytes, but while the client owes some; the whole has no limit"
    )
    max_connections: Annotated[int, t.Whole(1, 65535)] = setting(
        256, "in all, divided among workers"
    )
    health: HealthModel | None = setting(None, "active health check; null is off")
    host: Annotated[str, t.Word("preserve", "backend")] = setting(
        "preserve", "Host as the client sent it, or the backend's own"
    )
    idempotency_key: t.Flag = setting(False, "this backend honours Idempotency-Key")
    tls: BackendTlsModel | None = setting(None, "for https:// addresses; null is the system's CAs")


def _backend(value: object) -> object:
    if isinstance(value, str | list):
        return {"url": value}
    if isinstance(value, dict):
        return value
    raise ValueError("is not a backend; legal is an address, a list of them, or a mapping with url")


Backend = Annotated[
    BackendModel,
    BeforeValidator(
        _backend, json_schema_input_type=t.BackendUrl | list[t.BackendUrl] | BackendModel
    ),
]


DEFAULT_ADMIN_LISTEN = "127.0.0.1:9090"


class AdminModel(Section):
    """The admin API's own listener."""

    listen: t.Listen = setting(DEFAULT_ADMIN_LISTEN, "address of the admin API and dashboard")
    tokens_file: t.File | None = setting(None, 'lines "token role", role viewer or operator')


class ServerTlsModel(Section):
    """TLS of the listener."""

    cert: t.File = setting(REQUIRED, "certificate chain (PEM)")
    key: t.File = setting(REQUIRED, "private key (PEM, not encrypted)")


class LimitsModel(Section):
    """The bounds of the client side."""

    header_bytes: t.Size = setting("64KiB", "size of a request's head; 431 beyond")
    headers: Annotated[int, t.Whole(1, 1000)] = setting(100, "number of header lines; 431 beyond")
    request_body: t.Size | None = setting(None, "size of a request's body, 413 beyond; null: none")
    client_idle: t.PositiveTime = setting("60s", "between two requests of a connection")
    header_timeout: t.PositiveTime = setting("10s", "for a request's head to arrive; 408 beyond")
    body_idle: t.PositiveTime = setting(
        "30s",
        "between two bytes of a body (its framing is none), 408 beyond; or taken of an answer",
    )
    connections: Annotated[int, t.Whole(1, 1_000_000)] = setting(
        10000, "clients, divided among workers"
    )
    switch_timeout: t.PositiveTime = setting(
        "5s", "how long writes wait while write authority moves; 503 beyond"
    )


class TelemetryModel(Section):
    """Traces and logs."""

    otlp: t.WebUrl | None = setting(None, "OTLP/HTTP collector; null exports no spans")
    sample: t.Share = setting("1%", "share of requests traced; trouble is always traced")
    log_format: Annotated[str, t.Word("auto", "json", "console")] = setting(
        "auto", "auto is console on a terminal, json elsewhere"
    )


class AlertModel(Section):
    """A webhook."""

    url: t.WebUrl = setting(REQUIRED, "where events are posted")
    events: Annotated[
        list[Annotated[str, t.Word("revert", "advance", "journal", "config")]],
        Field(max_length=16),
    ] = setting(["revert", "advance", "journal", "config"], "which events")
    format: Annotated[str, t.Word("json", "slack")] = setting("json", "form of the message")
    secret: Annotated[str, Field(min_length=8, max_length=1024)] | None = setting(
        None, "what messages are signed with, best as ${NAME}"
    )


class OverrideModel(Section):
    """Testers choose the side of their reads by a header."""

    header: t.Header = setting(REQUIRED, "its value is legacy or new; stripped before backends")
    from_: Annotated[list[t.Network], Field(min_length=1, max_length=MAX_LIST)] = setting(
        REQUIRED, "networks it is believed from", alias="from"
    )


class ShadowModel(Section):
    """Bounds of the shadow of a read."""

    sample: t.Share = setting("100%", "share of reads that are also sent to the other side")
    max_body: t.Size = setting("1MiB", "a larger body ends the shadow, counted")
    timeout: t.PositiveTime = setting("10s", "for the shadow's whole exchange")
    max_in_flight: Annotated[int, t.Whole(1, 65535)] = setting(128, "at once, a route and worker")


Headers = Annotated[list[t.Token], Field(max_length=MAX_LIST)]
Places = Annotated[list[t.Place], Field(max_length=MAX_LIST)]
Arrays = Annotated[list[t.Array], Field(max_length=MAX_LIST)]
Lenient = Annotated[list[Annotated[str, t.Word(*LENIENCIES)]], Field(max_length=MAX_LIST)]


class CompareModel(Section):
    """When two answers count as equal."""

    status: Annotated[str, t.Word("exact", "class")] = setting("exact", "class: 2xx equals 2xx")
    headers: Headers = setting(["content-type", "location"], "headers that are compared")
    ignore: Places = setting([], "places that may differ; adds to what is inherited")
    unordered: Arrays = setting([], "arrays whose order does not matter; adds")
    tolerance: dict[t.JsonPath, t.Tolerance] = setting({}, "how far numbers may lie apart")
    rename: Annotated[dict[t.RenamedPath, t.RenamedPath], AfterValidator(t.check_renames)] = (
        setting({}, "legacy path to new path")
    )
    redact: Places = setting([], "secret places, shown as keyed hashes; adds")
    lenient: Lenient = setting([], "what else counts as equal: int-float is 1 and 1.0")
    noise: t.Share = setting("1%", "share of GET and HEAD sent to legacy twice")
    recheck: t.Flag = setting(True, "ask again before a divergent GET counts")
    with_: t.Comparator = setting("auto", "comparator", alias="with")


class RevertModel(Section):
    """When a route goes back by itself."""

    divergence: t.Share | None = setting("1%", "share of comparisons that diverge; null: off")
    errors: t.Share | None = setting("2%", "of new, beyond those of legacy; null: off")
    latency: t.Latency | None = setting(None, 'such as "1.5x p99"; null: off')
    min_samples: Annotated[int, t.Whole(1, 10_000_000)] = setting(20, "since the last change")
    false_alarm: t.Probability = setting(1e-6, "per comparison, at the threshold itself")
    cooldown: t.Time = setting("10m", "from a resume to the next automatic advance")
    to: t.RevertTarget = setting("auto", "auto, or a phase")


def _step(value: object) -> object:
    if isinstance(value, dict) and len(value) == 1:
        return value
    if isinstance(value, str):
        return {value: None}
    raise ValueError("is not a step; legal is a phase, or {phase: time} for its own dwell")


StepEntry = Annotated[
    dict[t.PhaseText, t.Time | None],
    BeforeValidator(_step, json_schema_input_type=t.PhaseText | dict[str, t.Time | None]),
]


class AdvanceModel(Section):
    """The ladder of a route."""

    steps: Annotated[list[StepEntry], Field(min_length=1, max_length=110)] = setting(
        [], "phases in order of progress, each with its own dwell or not"
    )
    dwell: t.Time = setting("1h", "healthy evidence before the next step")
    min_samples: Annotated[int, t.Whole(0, 1_000_000_000)] = setting(1000, "before the next step")
    min_coverage: t.Share = setting("50%", "share of eligible reads compared")
    approve: Annotated[list[t.PhaseText], Field(max_length=110)] = setting(
        [], "steps that wait for the operator"
    )
    retire: t.Time | None = setting("7d", "in new-only, until reported as ready to be removed")


class DefaultsModel(Section):
    """What every route starts from; a route may set each of these itself."""

    legacy: t.Name = setting("legacy", "backend of the legacy side")
    new: t.Name = setting("new", "backend of the new side")
    safe_methods: Annotated[list[t.Method], Field(max_length=64)] = setting(
        ["GET", "HEAD", "OPTIONS"], "methods that are reads; all others are writes"
    )
    rewrite: t.Rewrite | None = setting(None, "the path on new, such as /v2/users/{id}")
    serve: Annotated[str, t.Word("new", "legacy")] = setting("new", "who answers in dual-write")
    writes: Annotated[str, t.Word("both", "split")] = setting(
        "both", "split: both systems are on one database"
    )
    ack: Annotated[str, t.Word("auto", "authoritative", "both")] = setting(
        "auto", "whose answer a write waits for; auto is both at 1 to 99%"
    )
    ack_timeout: t.PositiveTime = setting("1s", "longest wait for the second side of a write")
    write_body: t.Size = setting("16MiB", "largest body of a write to both sides; 413 beyond")
    sticky: t.StickyKey = setting("client-ip", "by what clients are divided at 1 to 99%")
    fallback: t.Flag = setting(True, "legacy answers reads that new fails")
    fallback_after: t.PositiveTime | None = setting(None, "null: the timeout of the backend")
    override: OverrideModel | None = setting(None, "a header by which testers choose the side")
    shadow: ShadowModel = setting({}, "bounds of the shadow")
    compare: CompareModel | None = setting({}, "comparing rules; null is off")
    revert: RevertModel | None = setting({}, "when to go back; null is off")
    advance: AdvanceModel | None = setting(None, "the ladder; null is off")
    accept_loss: t.Flag = setting(False, "moving to a side that has missed writes is meant")
    maintenance: Annotated[str, t.Word("reads", "writes", "all")] | None = setting(
        None, "answer these with 503 and Retry-After"
    )


class RouteModel(DefaultsModel):
    """One route in the long form."""

    name: t.Name = setting(None, "for the command and the API; default made from the key")
    phase: t.PhaseText = setting(REQUIRED, "what the route does")


def _route(value: object, handler: Callable[[object], RouteModel]) -> Phase | RouteModel:
    """The short form is only its phase: with thousands of routes, models are what costs."""
    if isinstance(value, str):
        return parse_phase(value)
    if isinstance(value, dict):
        return handler(value)
    if value is None:
        raise ValueError("is empty; legal is a phase, or a mapping with phase and other keys")
    parse_phase(value)
    raise ValueError("is not a route; legal is a phase, or a mapping with phase and other keys")


# In truth a Phase (short form) or a RouteModel; pydantic is told of the model alone.
Route = Annotated[
    RouteModel, WrapValidator(_route, json_schema_input_type=t.PhaseText | RouteModel)
]


class FileModel(Section):
    """A strangler-fig reverse proxy's backends and routes."""

    listen: t.Listen = setting("127.0.0.1:8080", "host:port, [v6]:port or unix:/path")
    workers: Annotated[int, t.Workers()] = setting(1, "data-plane processes; auto: one per core")
    comparers: Annotated[int, t.Whole(1, 256)] = setting(1, "comparison processes")
    state: t.StateUrl = setting("sqlite:.banyan/state.db", "sqlite:PATH, or redis://host:port/db")
    admin: AdminModel = setting({}, "the admin API")
    tls: ServerTlsModel | None = setting(None, "TLS of the listener; null is plain HTTP")
    limits: LimitsModel = setting({}, "bounds of the client side")
    trusted_proxies: Annotated[list[t.Network], Field(max_length=MAX_LIST)] = setting(
        [], "networks whose X-Forwarded-* are believed"
    )
    telemetry: TelemetryModel = setting({}, "traces and logs")
    alerts: Annotated[list[AlertModel], Field(max_length=64)] = setting([], "webhooks")
    backends: Annotated[dict[t.Name, Backend], Field(min_length=1, max_length=1000)] = setting(
        REQUIRED, "the systems that answer, by name"
    )
    defaults: DefaultsModel = setting({}, "what every route starts from")
    routes: Annotated[dict[str, Route], Field(max_length=MAX_ROUTES)] = setting(
        REQUIRED, "[METHOD[,METHOD] ][host]/path: a phase, or a mapping"
    )
