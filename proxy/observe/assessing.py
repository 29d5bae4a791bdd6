"""What a comparison counts as: equal, divergent, noise, or nothing that can be said.

Comparers say in which places two answers differ; here what is known of a route's noise decides
whether that counts, and whether the request is asked again before it does. Nothing here waits: an
answer to a question comes as another message or not at all, and then its time runs out. Times are
in seconds of a clock that does not go back.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from comparators.model import Kind, Outcome
from comparators.noise import Judgement, RouteNoise, Verdict
from comparators.tally import Place
from proxy.core.divergences import DifferenceRecord, Divergence, SideRecord, wildcarded
from proxy.core.messages import (
    AskAgain,
    Counts,
    ExchangeRecord,
    NotAsked,
    Observation,
    SameAgain,
)
from proxy.core.model import Phase, Route
from proxy.observe.compared import Result, Results

ANSWER_S: Final = 15.0  # a worker's shadow time-out, the way back, and a comparer's queue
MAX_WAITING: Final = 10_000
# All places of a route's shadows were taken: for so long nobody is asked, and refused, again; then
# a few at a time, until one is answered.
REFUSED_S: Final = 0.1
FEW: Final = 4


class Assessment(msgspec.Struct, frozen=True):
    """What became of one pair. `divergence` is there for "divergent" and "noise"."""

    result: str  # "equal", "divergent", "noise", "comparator_failed", or "unverified"
    observation: Observation
    divergence: Divergence | None = None
    detail: str = ""
    slot: int = -1  # of the worker that sent the pair to a comparer
    asked: bool = False  # what it came to was for asking again to tell


class _Waiting(msgspec.Struct, frozen=True):
    """A divergence whose request is being asked again."""

    result: Result
    until: float
    digest: str  # of its route, as it was compared


class _Route:
    """A route that compares, and what is known of it."""

    def __init__(self, route: Route, noise: RouteNoise) -> None:
        self.route = route
        self.noise = noise
        self.waiting = 0
        self.no_place_until = 0.0  # and none since, where it is not 0.0


class Assessor:
    """Takes what workers and comparers say; tells each Assessment to its owner, once."""

    def __init__(
        self,
        ask: Callable[[int, AskAgain], bool],
        tell: Callable[[Assessment], None],
        salt: int,
    ) -> None:
        self._ask = ask  # False: that worker is not there
        self._tell = tell
        self._salt = salt & 0xFFFF
        self._ids = itertools.count()
        self._routes: dict[str, _Route] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._learned: dict[str, bytes] = {}  # from the store, until the route is there

    # What there is

    def learned(self, kept: Mapping[str, bytes]) -> None:
        """What `knowledge` returned before a restart; routes that know nothing yet take it over."""
        self._learned = dict(kept)
        for each in self._routes.values():
            if not each.noise:
                each.noise = self._noise_of(each.route)

    def retain(self, routes: Mapping[str, Route]) -> None:
        """The table in force. A route whose digest changed begins to learn anew."""
        before = self._routes
        self._routes = {}
        for name, route in routes.items():
            if route.compare is None:
                continue
            old = before.get(name)
            if old is not None and old.route.digest == route.digest:
                old.route = route
                self._routes[name] = old
            else:
                self._routes[name] = _Route(route, self._noise_of(route))

    def knowledge(self) -> Iterator[tuple[str, bytes]]:
        """What is known of each route's noise, to be kept over a restart."""
        for name, each in list(self._routes.items()):
            if each.noise:
                yield name, each.route.digest.encode() + each.noise.encode()

    def noise(self, route: str) -> RouteNoise | None:
        """What is known of a route's noise."""
        each = self._routes.get(route)
        return each.noise if each else None

    def _noise_of(self, route: Route) -> RouteNoise:
        kept = self._learned.pop(route.name, b"")
        digest = route.digest.encode()
        if digest and kept.startswith(digest):
            return RouteNoise.decode(kept[len(digest) :])
        return RouteNoise()

    # What is said

    def counted(self, counts: Counts) -> None:
        """Pairs that were the same bytes, of which only numbers come."""
        each = self._routes.get(counts.route)
        if each is not None:
            each.noise.compared(counts.comparisons.get("equal", 0))
            same = counts.comparisons.get("control_equal", 0)
            if same:
                each.noise.control((), same)

    def observed(self, observation: Observation) -> bool:
        """A pair of which new failed and legacy did not: no body is needed to tell.

        False where it is none of those.
        """
        if observation.equal is not False or observation.route not in self._routes:
            return False
        new, legacy = observation.new, observation.legacy
        if not _failed(new) or _failed(legacy):
            return False
        self._failed(observation, None)
        return True

    def take(self, results: Results, now: float) -> None:
        """What a comparer found."""
        for result in results.results:
            each = self._routes.get(result.observation.route)
            if each is None:
                continue
            if result.kind == "read":
                self._read(each, result, now)
            elif result.kind == "control":
                if result.outcome != Outcome.COMPARATOR_FAILED.value:
                    each.noise.control(result.control)
            elif result.kind == "error":
                self._failed(result.observation, result)
            else:
                self._again(each, result)

    def not_asked(self, message: NotAsked, now: float) -> None:
        """A request could not be asked again."""
        waiting = self._pop(message.id)
        if waiting is not None:
            each = self._routes.get(waiting.result.observation.route)
            if each is not None and message.reason == "in_flight":
                each.no_place_until = now + REFUSED_S
            self._decide_without(waiting.result, message.reason)

    def same_again(self, message: SameAgain) -> None:
        """A request was asked again, and what it differs in is what it differed in before."""
        waiting = self._pop(message.id)
        each = self._routes.get(waiting.result.observation.route) if waiting else None
        if waiting is None or each is None:
            return
        if waiting.digest != each.route.digest:
            self._decide_without(waiting.result, "the rules have changed")
            return
        places = _places(waiting.result)
        each.no_place_until = 0.0
        judgement = each.noise.asked(places, (), places if message.new_too else None)
        self._conclude(waiting.result, judgement, asked=True)

    def expire(self, now: float) -> None:
        """Give up waiting where the time has run out."""
        late = []
        for suspect, waiting in self._waiting.items():  # in the order of their times
            if waiting.until > now:
                break
            late.append(suspect)
        for suspect in late:
            each = self._pop(suspect)
            if each is not None:
                self._decide_without(each.result, "no answer in time")

    # Deciding

    def _failed(self, seen: Observation, result: Result | None) -> None:
        """New failed and legacy did not; `result` has the answers, where they were looked at."""
        difference = DifferenceRecord(
            "status", Kind.FAILURE.value, _outcome(seen.legacy), _outcome(seen.new)
        )
        divergence = self._divergence(seen, "divergent", (difference,), result)
        self._tell(Assessment("divergent", seen, divergence))

    def _read(self, each: _Route, result: Result, now: float) -> None:
        if result.outcome == Outcome.COMPARATOR_FAILED.value:
            self._tell(
                Assessment(
                    "comparator_failed", result.observation, None, result.detail, result.slot
                )
            )
            return
        each.noise.compared(1)
        if result.outcome == Outcome.EQUAL.value:
            self._tell(Assessment("equal", result.observation, slot=result.slot))
            return
        compare = each.route.compare
        assert compare is not None
        may_ask = result.askable and (compare.recheck or compare.noise > 0)
        no_place = now < each.no_place_until or (each.no_place_until > 0.0 and each.waiting >= FEW)
        judgement = each.noise.judge(
            _places(result),
            recheck=compare.recheck,
            can_ask=may_ask
            and not no_place
            and each.waiting < each.route.shadow.max_in_flight
            and len(self._waiting) < MAX_WAITING,
        )
        if judgement.verdict is Verdict.ASK:
            asked = AskAgain(result.id, judgement.new_too)
            if self._ask(result.slot, asked):
                digest = each.route.digest
                self._waiting[result.id] = _Waiting(result, now + ANSWER_S, digest)
                each.waiting += 1
                return
            judgement = each.noise.gave_up(_places(result))
        self._conclude(result, judgement, may_ask=may_ask, why="in_flight" if no_place else "")

    def _again(self, each: _Route, again: Result) -> None:
        waiting = self._pop(again.id)
        if waiting is None:
            return
        each.no_place_until = 0.0
        if again.outcome == Outcome.COMPARATOR_FAILED.value:
            self._decide_without(waiting.result, again.detail)
            return
        recheck = None if again.differences is None else _places(again)
        judgement = each.noise.asked(_places(waiting.result), again.control, recheck, again.crossed)
        self._conclude(waiting.result, judgement, asked=True)

    def _decide_without(self, result: Result, why: str) -> None:
        each = self._routes.get(result.observation.route)
        if each is None or each.route.compare is None:
            return
        judgement = each.noise.gave_up(_places(result))
        self._conclude(result, judgement, why=why)

    def _conclude(
        self,
        result: Result,
        judgement: Judgement,
        *,
        asked: bool = False,
        may_ask: bool = True,
        why: str = "",
    ) -> None:
        verdict, seen, slot = judgement.verdict, result.observation, result.slot
        if verdict is Verdict.UNVERIFIED:
            if may_ask:
                self._tell(Assessment("unverified", seen, None, why, slot, asked=True))
                return
            # Asking again is switched off, or is not done for this method: it counts as it is.
            verdict = Verdict.DIVERGENT
        name = "divergent" if verdict is Verdict.DIVERGENT else "noise"
        differences = tuple(
            msgspec.structs.replace(each, noise=True) if _place(each) in judgement.noise else each
            for each in result.differences or ()
        )
        divergence = self._divergence(seen, name, differences, result)
        self._tell(Assessment(name, seen, divergence, slot=slot, asked=asked))

    def _pop(self, suspect: int) -> _Waiting | None:
        waiting = self._waiting.pop(suspect, None)
        if waiting is not None:
            each = self._routes.get(waiting.result.observation.route)
            if each is not None and each.waiting:
                each.waiting -= 1
        return waiting

    def _divergence(
        self,
        seen: Observation,
        name: str,
        differences: tuple[DifferenceRecord, ...],
        result: Result | None = None,
    ) -> Divergence:
        number = next(self._ids) & 0xFFFFF
        return Divergence(
            id=f"{int(seen.at * 1000):011x}{number:05x}{self._salt:04x}",
            at=seen.at,
            route=seen.route,
            method=seen.method,
            target=seen.target,
            phase=str(Phase(seen.phase)),
            trace_id=seen.trace_id,
            result=name,
            legacy=_side(seen.legacy),
            new=_side(seen.new),
            differences=differences,
            comparator=result.comparator if result else "",
            truncated=result.truncated if result else False,
            detail=result.detail if result else "",
            legacy_answer=result.legacy_answer if result else None,
            new_answer=result.new_answer if result else None,
            unlike=result.unlike if result else (),
        )


def _places(result: Result) -> list[Place]:
    return list(dict.fromkeys(_place(each) for each in result.differences or ()))


def _place(difference: DifferenceRecord) -> Place:
    return wildcarded(difference.path), difference.kind


def _side(record: ExchangeRecord) -> SideRecord:
    return SideRecord(record.status, round(record.ms, 3), record.failure)


def _failed(record: ExchangeRecord) -> bool:
    return bool(record.failure) or record.status >= 500


def _outcome(record: ExchangeRecord) -> str:
    return record.failure or str(record.status)
