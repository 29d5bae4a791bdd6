"""What becomes of a pair: values in, one Assessment out, questions in between."""

from typing import Any

import msgspec
import pytest

from proxy.core.divergences import DifferenceRecord, RecordedAnswer
from proxy.core.messages import AskAgain, Counts, ExchangeRecord, NotAsked, Observation, SameAgain
from proxy.core.model import Compare, Route, Shadow, Side
from proxy.observe.assessing import ANSWER_S, FEW, REFUSED_S, Assessment, Assessor
from proxy.observe.compared import Result, Results
from tests.harness.snapshots import route

OK = ExchangeRecord(200, 1.0)


def a_route(
    digest: str = "d", compare: Compare | None = None, shadow: Shadow | None = None
) -> Route:
    return route(
        "/a/*",
        "shadow-read",
        name="a",
        digest=digest,
        compare=compare or Compare(),
        shadow=shadow or Shadow(),
    )


def seen(
    equal: bool | None = False, legacy: ExchangeRecord = OK, new: ExchangeRecord = OK
) -> Observation:
    return Observation(1000.5, "a", "GET", "/a/1", -1, "t" * 32, Side.LEGACY, legacy, new, equal)


def result(
    number: int,
    outcome: str = "divergent",
    kind: str = "read",
    paths: tuple[str, ...] | None = ("$.x",),
    askable: bool = True,
    **more: Any,
) -> Result:
    differences = None if paths is None else [DifferenceRecord(p, "value", "1", "2") for p in paths]
    found = Result(0, number, kind, askable, seen(), outcome, differences)
    return msgspec.structs.replace(found, **more)


class Bench:
    """An assessor of one route, its questions and what it told."""

    def __init__(self, one: Route | None = None, is_there: bool = True) -> None:
        self.asked: list[AskAgain] = []
        self.told: list[Assessment] = []
        self.is_there = is_there
        self.assessor = Assessor(self._ask, self.told.append, 7)
        self.assessor.retain({"a": one or a_route()})

    def _ask(self, slot: int, question: AskAgain) -> bool:
        self.asked.append(question)
        return self.is_there

    def take(self, *results: Result, now: float = 0.0) -> None:
        self.assessor.take(Results(0, list(results)), now)

    @property
    def results(self) -> list[str]:
        return [each.result for each in self.told]


def test_equal_under_the_rules_is_told_at_once() -> None:
    bench = Bench()
    bench.take(result(1, "equal", paths=()))
    assert bench.results == ["equal"]
    assert not bench.told[0].asked
    assert bench.asked == []


def test_a_failed_comparator_is_neither_parity_nor_a_divergence() -> None:
    bench = Bench()
    bench.take(result(1, "comparator_failed", paths=(), detail="why"))
    assert bench.results == ["comparator_failed"]
    assert (bench.told[0].detail, bench.told[0].divergence) == ("why", None)


def test_a_divergence_is_asked_again_and_counts_if_it_stays() -> None:
    bench = Bench()
    bench.take(result(1))
    assert bench.asked == [AskAgain(1, new_too=True)]
    assert bench.told == []
    bench.take(result(1, kind="again", paths=("$.x",)))
    assert bench.results == ["divergent"]
    assert bench.told[0].asked
    divergence = bench.told[0].divergence
    assert divergence is not None
    assert (divergence.route, divergence.phase, divergence.target) == ("a", "shadow-read", "/a/1")
    assert [each.noise for each in divergence.differences] == [False]
    assert len(divergence.id) == 20


def test_one_whose_second_answers_are_the_first_ones_counts_at_once() -> None:
    bench = Bench()
    bench.take(result(1))
    bench.assessor.same_again(SameAgain(0, 1, new_too=True))
    assert bench.results == ["divergent"]
    # And what comes behind it is late, as is one of nobody.
    bench.assessor.same_again(SameAgain(0, 1, new_too=True))
    bench.assessor.same_again(SameAgain(0, 2, new_too=True))
    bench.take(result(1, kind="again", paths=()))
    assert bench.results == ["divergent"]
    noise = bench.assessor.noise("a")
    assert noise is not None
    [known] = noise.summary()
    assert (known.verdict, known.samples, known.counted, known.share) == ("divergent", 1, 1, 0.0)


def test_what_differed_by_other_rules_settles_nothing() -> None:
    bench = Bench()
    bench.take(result(1))
    bench.assessor.retain({"a": a_route(digest="other")})
    bench.assessor.same_again(SameAgain(0, 1, new_too=True))
    assert bench.results == ["unverified"]


def test_legacy_alone_that_says_the_same_does_not_confirm_new() -> None:
    """As with a second answer of legacy that a comparer found equal."""
    one, other = Bench(), Bench()
    for bench in (one, other):
        bench.take(result(1))
    one.assessor.same_again(SameAgain(0, 1, new_too=False))
    other.take(result(1, "equal", kind="again", paths=None))
    assert one.results == other.results


def test_it_is_told_whether_it_took_asking_to_tell() -> None:
    """What is known as noise and could not be asked about was not answered."""
    bench = Bench()
    for number in range(40):
        bench.take(result(number))
        if bench.asked and bench.asked[-1].id == number:
            bench.take(result(number, kind="again", paths=(), control=[("$.x", "value")]))
    assert (bench.told[0].result, bench.told[0].asked) == ("noise", True)
    bench.told.clear()
    number = 40
    while bench.asked[-1].id < 40:  # now and then it is asked about again
        bench.take(result(number))
        number += 1
    assert {(each.result, each.asked) for each in bench.told} == {("noise", False)}
    bench.told.clear()
    bench.assessor.not_asked(NotAsked(0, bench.asked[-1].id, "in_flight"), 0.0)
    assert [(each.result, each.asked) for each in bench.told] == [("noise", False)]


def test_one_that_vanished_or_that_legacy_makes_too_is_noise() -> None:
    bench = Bench()
    bench.take(result(1))
    bench.take(result(1, kind="again", paths=()))
    bench.take(result(2, paths=("$.y",)))
    bench.take(result(2, kind="again", paths=("$.y",), control=[("$.y", "value")]))
    assert bench.results == ["noise", "noise"]
    assert all(
        d.noise for told in bench.told if told.divergence for d in told.divergence.differences
    )


@pytest.mark.parametrize("why", ["not asked", "late", "worker gone", "comparator failed"])
def test_what_could_not_be_asked_again_says_nothing(why: str) -> None:
    bench = Bench(is_there=why != "worker gone")
    bench.take(result(1))
    if why == "not asked":
        bench.assessor.not_asked(NotAsked(0, 1, "in_flight"), 0.0)
    elif why == "late":
        bench.assessor.expire(ANSWER_S - 0.1)
        assert bench.told == []
        bench.assessor.expire(ANSWER_S)
    elif why == "comparator failed":
        bench.take(result(1, "comparator_failed", kind="again", paths=None))
    assert bench.results == ["unverified"]
    assert bench.told[0].asked
    # And an answer that comes all the same is late.
    bench.take(result(1, kind="again"))
    assert bench.results == ["unverified"]


def test_nobody_is_asked_for_a_moment_after_all_places_were_taken() -> None:
    bench = Bench()
    bench.take(result(1), result(2))
    bench.assessor.not_asked(NotAsked(0, 1, "in_flight"), 1.0)
    bench.take(result(3), now=1.0 + REFUSED_S / 2)
    assert [each.id for each in bench.asked] == [1, 2]
    assert [(each.result, each.detail) for each in bench.told] == 2 * [("unverified", "in_flight")]
    bench.take(result(4), now=1.0 + REFUSED_S)
    assert [each.id for each in bench.asked] == [1, 2, 4]


@pytest.mark.parametrize("answer", ["again", "same again"])
def test_few_are_asked_at_a_time_until_one_is_answered(answer: str) -> None:
    bench = Bench()
    bench.take(result(0))
    bench.assessor.not_asked(NotAsked(0, 0, "in_flight"), 1.0)
    later = 1.0 + REFUSED_S
    bench.take(*(result(number) for number in range(1, 10)), now=later)
    assert [each.id for each in bench.asked] == list(range(FEW + 1))
    assert {each.detail for each in bench.told} == {"in_flight"}
    if answer == "again":
        bench.take(result(1, kind="again"), now=later)
    else:
        bench.assessor.same_again(SameAgain(0, 1, new_too=True))
    bench.take(*(result(number) for number in range(10, 20)), now=later)
    assert len(bench.asked) == FEW + 11


def test_with_asking_switched_off_a_divergence_counts_as_it_is() -> None:
    bench = Bench(a_route(compare=Compare(noise=0.0, recheck=False)))
    bench.take(result(1))
    assert (bench.asked, bench.results) == ([], ["divergent"])


def test_a_method_that_is_not_asked_again_counts_as_it_is() -> None:
    bench = Bench()
    bench.take(result(1, askable=False))
    assert (bench.asked, bench.results) == ([], ["divergent"])
    assert not bench.told[0].asked


def test_no_more_questions_wait_than_shadows_may_be_in_flight() -> None:
    bench = Bench(a_route(shadow=Shadow(max_in_flight=2)))
    bench.take(*(result(number) for number in range(5)))
    assert len(bench.asked) == 2
    assert bench.results == ["unverified"] * 3
    bench.take(result(0, kind="again"))
    bench.take(result(9))
    assert len(bench.asked) == 3


def test_a_failing_candidate_diverges_and_a_failing_legacy_does_not() -> None:
    bench = Bench()
    failed, refused = ExchangeRecord(500, 1.0), ExchangeRecord(0, 1.0, "refused")
    assert bench.assessor.observed(seen(new=failed))
    assert bench.assessor.observed(seen(new=refused))
    assert not bench.assessor.observed(seen(legacy=failed, new=failed))
    assert not bench.assessor.observed(seen(equal=True))
    shown = [each.divergence for each in bench.told]
    assert [(d.differences[0].path, d.differences[0].new) for d in shown if d] == [
        ("status", "500"),
        ("status", "refused"),
    ]


def test_an_error_of_new_that_was_looked_at_counts_once_with_its_answers() -> None:
    bench = Bench()
    observation = seen(new=ExchangeRecord(500, 1.0))
    answer = RecordedAnswer(500, (), "it broke")
    error = result(1, kind="error", paths=None, observation=observation, new_answer=answer)
    bench.take(error)
    bench.take(msgspec.structs.replace(error, outcome="comparator_failed", new_answer=None))
    found = [each.divergence for each in bench.told]
    assert [each.result for each in bench.told] == ["divergent", "divergent"]
    assert [(d.differences[0].kind, d.new_answer) for d in found if d] == [
        ("failure", answer),
        ("failure", None),
    ]
    assert bench.asked == []


def test_what_is_known_survives_a_restart_and_not_another_digest() -> None:
    bench = Bench()
    bench.take(result(1))
    bench.take(result(1, kind="again", control=[("$.x", "value")]))
    bench.assessor.counted(Counts("a", comparisons={"equal": 3, "control_equal": 2}))
    kept = dict(bench.assessor.knowledge())
    again = Bench()
    again.assessor.learned(kept)
    assert dict(again.assessor.knowledge()) == kept
    other = Bench(a_route("other"))
    other.assessor.learned(kept)
    assert dict(other.assessor.knowledge()) == {}
    bench.assessor.retain({"a": a_route("other")})
    assert dict(bench.assessor.knowledge()) == {}


def test_a_route_that_left_says_nothing_any_more() -> None:
    bench = Bench()
    bench.take(result(1))
    bench.assessor.retain({})
    bench.take(result(2), result(1, kind="again"))
    bench.assessor.expire(ANSWER_S)
    assert bench.told == []
