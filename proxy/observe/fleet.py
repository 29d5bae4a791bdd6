"""What the controller knows beside the counts of the workers, as Prometheus gauges."""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from proxy.core.model import RouteState
from proxy.observe.exposition import family, labels


class Fleet(msgspec.Struct, frozen=True):
    """What the controller knows beside the counts; passed in at each scrape."""

    states: Mapping[str, RouteState]
    generation: int
    config_errors: int
    pending: Collection[str] = ()  # routes with a move under way
    workers: Mapping[int, bool] = {}  # slot: serving or not
    restarts: Mapping[int, int] = {}  # by slot
    link_disconnects: Mapping[str, int] = {}  # by reason
    comparers: int = 0  # connected
    comparer_busy_s: float = 0.0
    divergences_dropped: Mapping[str, int] = {}  # by reason
    reverts: Mapping[tuple[str, str], int] = {}  # by route and cause
    alerts: Mapping[str, int] = {}  # by what became of them
    listeners_let_go: int = 0
    replicas: int = 0  # that share the state store
    hung: Mapping[str, int] = {}  # by kind of process
    words: Mapping[str, int] = {}  # of evidence, by what became of them


def fleet_families(fleet: Fleet) -> Iterator[str]:
    """The families that describe the table in force and the workers."""
    yield from family(
        "banyan_phase",
        "gauge",
        "1 for the phase in force of each route.",
        (
            (labels(route=route, phase=str(state.phase)), 1)
            for route, state in list(fleet.states.items())
        ),
    )
    yield from family(
        "banyan_missed",
        "gauge",
        "1 for a side that has missed writes of the route.",
        (
            (labels(route=route, side=side.value), 1)
            for route, state in list(fleet.states.items())
            for side in sorted(state.missed, key=lambda side: side.value)
        ),
    )
    yield from family(
        "banyan_move_pending",
        "gauge",
        "1 for a route whose move to another phase is not complete.",
        ((labels(route=route), 1) for route in sorted(fleet.pending)),
    )
    yield from family(
        "banyan_config_generation",
        "gauge",
        "Generation of the table in force; grows with each good edit.",
        [("", fleet.generation)],
    )
    yield from family(
        "banyan_config_errors_total",
        "counter",
        "Edits of the configuration that were refused.",
        [("", fleet.config_errors)],
    )
    yield from family(
        "banyan_worker_up",
        "gauge",
        "1 for a worker that serves, 0 for one that does not.",
        ((labels(slot=str(slot)), int(up)) for slot, up in sorted(fleet.workers.items())),
    )
    yield from family(
        "banyan_worker_restarts_total",
        "counter",
        "Times a worker was started again after it died.",
        ((labels(slot=str(slot)), count) for slot, count in sorted(fleet.restarts.items())),
    )
    yield from family(
        "banyan_hung_total",
        "counter",
        "Processes whose loop stood still, and that were killed for it: started again at once.",
        ((labels(child=kind), count) for kind, count in sorted(fleet.hung.items())),
    )
    yield from family(
        "banyan_link_disconnects_total",
        "counter",
        "Times the controller cut a worker off, by reason; it serves its last table meanwhile.",
        (
            (labels(reason=reason), count)
            for reason, count in sorted(fleet.link_disconnects.items())
        ),
    )
    yield from family(
        "banyan_reverts_total",
        "counter",
        "Reverts by cause: divergence, errors, latency, operator; refused where it stayed.",
        (
            (labels(route=route, cause=cause), count)
            for (route, cause), count in sorted(fleet.reverts.items())
        ),
    )
    yield from family(
        "banyan_alerts_total",
        "counter",
        "Messages to webhooks by what became of them.",
        ((labels(outcome=outcome), count) for outcome, count in sorted(fleet.alerts.items())),
    )
    yield from family(
        "banyan_listeners_let_go_total",
        "counter",
        "Listeners of the admin API's events that read too slowly.",
        [("", fleet.listeners_let_go)],
    )
    yield from family(
        "banyan_replicas",
        "gauge",
        "Replicas that share the state store, this one included; 0 where nobody can share it.",
        [("", fleet.replicas)],
    )
    yield from family(
        "banyan_evidence_words_total",
        "counter",
        "Messages of evidence between replicas: sent, heard, lost, unreadable; dropped before.",
        ((labels(outcome=outcome), count) for outcome, count in sorted(fleet.words.items())),
    )
    yield from family(
        "banyan_comparers",
        "gauge",
        "Comparison processes that are there.",
        [("", fleet.comparers)],
    )
    yield from family(
        "banyan_comparer_busy_seconds_total",
        "counter",
        "Time that all comparers spent comparing.",
        [("", round(fleet.comparer_busy_s, 6))],
    )
    yield from family(
        "banyan_divergences_dropped_total",
        "counter",
        "Divergences that are not kept (they are counted all the same), by reason.",
        (
            (labels(reason=reason), count)
            for reason, count in sorted(fleet.divergences_dropped.items())
        ),
    )
