"""Divergences to store, and a store of either kind."""

from proxy.core.divergences import DifferenceRecord, Divergence, RecordedAnswer, SideRecord

NOW = 1_700_000_000.0
ANSWER = RecordedAnswer(200, (("content-type", "application/json"),), '{"price": 1}')
OTHER_ANSWER = RecordedAnswer(200, (("content-type", "application/json"),), '{"price": 2}')


def difference(path: str = "$.price", kind: str = "value", noise: bool = False) -> DifferenceRecord:
    return DifferenceRecord(path, kind, "1", "2", noise)


def divergence(
    number: int,
    *differences: DifferenceRecord,
    route: str = "orders",
    result: str = "divergent",
    at: float | None = None,
    answers: bool = True,
) -> Divergence:
    """The divergence of this number, a second after the one before it."""
    return Divergence(
        id=f"d{number}",
        at=NOW + number if at is None else at,
        route=route,
        method="GET",
        target=f"/api/{route}/{number}",
        phase="shadow-read",
        trace_id=f"{number:032x}",
        result=result,
        legacy=SideRecord(200, 12.5),
        new=SideRecord(0, 30.0, "timeout") if number % 2 else SideRecord(200, 8.0),
        differences=differences or (difference(),),
        comparator="json",
        legacy_answer=ANSWER if answers else None,
        new_answer=OTHER_ANSWER if answers else None,
    )
