"""What the controller keeps, logs and traces of single requests, free of secrets."""

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from proxy.control.evidence import Evidence
from proxy.core.divergences import DifferenceRecord
from proxy.core.messages import ExchangeRecord, Observation, Report
from proxy.core.model import Compare, Route, Side
from proxy.observe.assessing import Assessment
from proxy.observe.compared import Result, Results
from proxy.observe.metrics import Aggregator
from proxy.observe.observations import Observations
from proxy.store.divergences import DivergenceStore
from proxy.store.state import StoreError
from tests.harness.snapshots import route

OK = ExchangeRecord(200, 1.0)
DOWN = ExchangeRecord(500, 1.0)


class Told:
    """An Evidence of some routes, and all that it told of requests."""

    def __init__(self, *routes: Route) -> None:
        self.traced: list[Observation] = []
        self.judged: list[Assessment] = []
        self.evidence = Evidence(
            b"k" * 32,
            Aggregator(0.0),
            Observations(structlog.get_logger()),
            lambda slot, question: False,
            lambda seen, result, differences: self.traced.append(seen),
            lambda found, now: self.judged.append(found),
            self._no_store,
        )
        self.evidence.retain({each.name: each for each in routes})

    async def _no_store(self) -> DivergenceStore:
        raise StoreError("none here")


def seen(target: str, new: ExchangeRecord = OK) -> Observation:
    return Observation(1000.5, "a", "GET", target, -1, "0" * 32, Side.LEGACY, OK, new, False)


def compared(target: str) -> Results:
    found = [DifferenceRecord("$.x", "value", "1", "2")]
    return Results(0, [Result(0, 1, "read", False, seen(target), "divergent", found)])


@pytest.mark.parametrize(
    ("path", "target", "shown"),
    [
        ("/reset/{token}", "/reset/swordfish", "/reset/*"),
        ("/u/{id}/pins/{pin}/*", "/u/7/pins/swordfish/x", "/u/7/pins/*/x"),
        ("/u/{id}", "/u/swordfish", "/u/swordfish"),
        ("/reset/{token}", "/reset", "/reset"),
    ],
)
def test_a_parameter_with_the_name_of_a_secret_is_hidden(
    path: str, target: str, shown: str
) -> None:
    made = Told(route(path, "shadow-read", name="a", compare=Compare(recheck=False)))
    with capture_logs() as lines:
        made.evidence.compared(compared(target))
        made.evidence.reported(Report(0, observations=[seen(target, DOWN)]))
        sampled = msgspec.structs.replace(seen(target), equal=True, sampled=True)
        made.evidence.reported(Report(0, observations=[sampled]))
    kept = [found.divergence.target for found in made.judged if found.divergence]
    told = [*kept, *(each.target for each in made.traced), *(line["path"] for line in lines)]
    assert (len(kept), len(made.traced), len(lines)) == (2, 3, 1)
    [one] = set(told)
    before, _, after = shown.partition("*")
    assert one.startswith(before)
    assert one.endswith(after)
    assert ("swordfish" in one) == ("swordfish" in shown)
    assert ("redacted:" in one) == ("*" in shown)
