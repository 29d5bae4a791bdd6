"""One suspect after the other: answers in, redacted Results out. No socket, no clock.

The rules of a route are compiled when it is first seen, and thrown away with the Ruleset. A
comparator that raises, or that takes longer than the caller allows (`OutOfTimeError`, raised into
it from outside), is a comparator that failed: never parity.
"""

import logging
from collections.abc import Callable

import msgspec

from comparators.compare import compare
from comparators.custom import is_import_path
from comparators.model import Answer, Comparison, Difference, Outcome, Rules
from comparators.redaction import Redactor
from comparators.rules import CompiledRules, compile_rules
from comparators.showing import show_all
from proxy.core.divergences import DifferenceRecord, wildcarded
from proxy.core.message import header_pairs
from proxy.core.messages import AnswerRecord, Suspect
from proxy.observe.compared import Result, Ruleset
from proxy.observe.custom_host import START_TIMEOUT_S, CustomComparator
from proxy.observe.recording import Kept, are_small, places, recorded, unlike

CUSTOM_TIMEOUT_S = 1.0
# A comparator that takes longer to import is not waited for where others wait too.
CUSTOM_PATIENCE_S = 2.0
NOTHING_KEPT = Kept()

# It warns of each two items whose distance it only estimates: a line of log for every one of them.
logging.getLogger("deepdiff.diff").setLevel(logging.ERROR)


class OutOfTimeError(BaseException):
    """Raised into a comparison by whoever runs it, when it takes too long.

    No Exception, so that nothing on the way takes it for one of its own.
    """


class RouteRules:
    """The rules of some routes, ready to use. Close it, since a comparator may run beside.

    `patience_s`: how long a comparison may wait for a comparator of the user's own to be imported.
    """

    def __init__(
        self, rules: Rules, key: bytes, search_path: str, patience_s: float = START_TIMEOUT_S
    ) -> None:
        self.compiled: CompiledRules = compile_rules(rules)
        self.redactor = Redactor(key, rules.redact, rules.rename)
        self.custom = (
            CustomComparator(rules.with_, CUSTOM_TIMEOUT_S, search_path, patience_s)
            if is_import_path(rules.with_)
            else None
        )

    def compare(self, legacy: Answer, new: Answer, method: str) -> Comparison:
        try:
            if self.custom is not None:
                return self.custom.compare(legacy, new, self.compiled.rules)
            return compare(legacy, new, self.compiled, method)
        except MemoryError:
            return Comparison(Outcome.COMPARATOR_FAILED, detail="out of memory")
        except Exception as error:
            # Ours never raise on any bytes (tests); if one does, it is a failure and not parity.
            return Comparison(Outcome.COMPARATOR_FAILED, detail=type(error).__name__)

    def close(self) -> None:
        if self.custom is not None:
            self.custom.close()


class Comparing:
    """Compares by the Ruleset it was given last."""

    def __init__(self) -> None:
        self._ruleset: Ruleset | None = None
        self._rules: dict[int, RouteRules | None] = {}  # by index; None: they cannot be compiled

    @property
    def has_rules(self) -> bool:
        return self._ruleset is not None

    def use(self, ruleset: Ruleset) -> None:
        """Compare by these rules from now on."""
        self.close()
        self._ruleset = ruleset

    def close(self) -> None:
        """Stop what runs beside: the processes of comparators of the user's own."""
        for rules in self._rules.values():
            if rules is not None:
                rules.close()
        self._rules = {}

    def result(self, slot: int, suspect: Suspect, may_record: Callable[[], bool]) -> Result | None:
        """What becomes of it; None where its route is not in the rules any more.

        `may_record` is asked whether the answers of a divergence may be kept with it.
        """
        rules = self._of(suspect.observation.route)
        if rules is None:
            return None
        if suspect.kind == "read":
            return self._read(slot, suspect, rules, may_record)
        if suspect.kind == "error":
            return self._error(slot, suspect, rules, may_record)
        return self._again(slot, suspect, rules)

    def failed(self, slot: int, suspect: Suspect, detail: str) -> Result | None:
        """A comparison that was broken off."""
        rules = self._of(suspect.observation.route)
        if rules is None:
            return None
        comparison = Comparison(Outcome.COMPARATOR_FAILED, detail=detail)
        return _result(slot, suspect, comparison, rules.redactor, [], [])

    def _of(self, route: str) -> RouteRules | None:
        ruleset = self._ruleset
        if ruleset is None or route not in ruleset.routes:
            return None
        index = ruleset.routes[route]
        if index not in self._rules:
            rules = msgspec.convert(ruleset.rules[index], Rules, from_attributes=True)
            try:
                self._rules[index] = RouteRules(
                    rules, ruleset.key, ruleset.search_path, CUSTOM_PATIENCE_S
                )
            except ValueError:
                self._rules[index] = None
        return self._rules[index]

    def _read(
        self, slot: int, suspect: Suspect, rules: RouteRules, may_record: Callable[[], bool]
    ) -> Result:
        assert suspect.new is not None
        legacy, new = _answer(suspect.legacy), _answer(suspect.new)
        method = suspect.observation.method
        comparison = rules.compare(legacy, new, method)
        kept = NOTHING_KEPT
        if comparison.outcome is Outcome.DIVERGENT and are_small(legacy, new) and may_record():
            kept = _kept(legacy, new, method, comparison, rules)
        shown = _shown(comparison, legacy, new, rules.redactor)
        return _result(slot, suspect, comparison, rules.redactor, shown, [], kept)

    def _error(
        self, slot: int, suspect: Suspect, rules: RouteRules, may_record: Callable[[], bool]
    ) -> Result:
        """New alone failed, with an answer: it is worth more than legacy's, if one has to do."""
        assert suspect.new is not None
        legacy, new = _answer(suspect.legacy), _answer(suspect.new)
        kept = NOTHING_KEPT
        if are_small(new) and may_record():
            both = are_small(legacy, new)
            kept = Kept(
                recorded(legacy, rules.redactor) if both else None, recorded(new, rules.redactor)
            )
        return _result(slot, suspect, Comparison(Outcome.DIVERGENT), rules.redactor, [], [], kept)

    def _again(self, slot: int, suspect: Suspect, rules: RouteRules) -> Result:
        """Legacy beside itself and beside new, and both second answers where there are two."""
        assert suspect.legacy_again is not None
        method = suspect.observation.method
        legacy_again = _answer(suspect.legacy_again)
        control = rules.compare(_answer(suspect.legacy), legacy_again, method)
        places = [_place(each, rules.redactor) for each in control.differences]
        if control.outcome is Outcome.COMPARATOR_FAILED or suspect.new_again is None:
            result = _result(slot, suspect, control, rules.redactor, None, places)
        else:
            new_again = _answer(suspect.new_again)
            recheck = rules.compare(legacy_again, new_again, method)
            shown = _shown(recheck, legacy_again, new_again, rules.redactor)
            result = _result(slot, suspect, recheck, rules.redactor, shown, places)
        if not places or suspect.new is None:
            return result
        cross = rules.compare(legacy_again, _answer(suspect.new), method)
        if cross.outcome is Outcome.COMPARATOR_FAILED:
            return result
        crossed = [_place(each, rules.redactor) for each in cross.differences]
        return msgspec.structs.replace(result, crossed=list(dict.fromkeys(crossed)))


def _result(
    slot: int,
    suspect: Suspect,
    comparison: Comparison,
    redactor: Redactor,
    shown: list[DifferenceRecord] | None,
    control: list[tuple[str, str]],
    kept: Kept = NOTHING_KEPT,
) -> Result:
    observation = suspect.observation
    return Result(
        slot,
        suspect.id,
        suspect.kind,
        suspect.askable,
        msgspec.structs.replace(observation, target=redactor.target(observation.target)),
        comparison.outcome.value,
        shown,
        list(dict.fromkeys(control)),
        comparison.comparator,
        comparison.truncated,
        comparison.detail,
        kept.legacy,
        kept.new,
        unlike=kept.unlike,
    )


def _answer(record: AnswerRecord) -> Answer:
    return Answer(record.status, header_pairs(record.head), record.body)


def _shown(
    comparison: Comparison, legacy: Answer, new: Answer, redactor: Redactor
) -> list[DifferenceRecord]:
    return [
        DifferenceRecord(each.path, each.kind, each.legacy, each.new)
        for each in show_all(comparison.differences, legacy, new, redactor)
    ]


def _place(difference: Difference, redactor: Redactor) -> tuple[str, str]:
    shown = redactor.show(difference)
    return wildcarded(shown.path), shown.kind


def _kept(
    legacy: Answer, new: Answer, method: str, comparison: Comparison, rules: RouteRules
) -> Kept:
    """Both answers, and where they do not compare again as they did. Takes as long again."""
    redactor = rules.redactor
    try:
        kept = Kept(recorded(legacy, redactor), recorded(new, redactor))
        differing = unlike(
            places(comparison, redactor),
            kept,
            lambda one, other: rules.compare(one, other, method),
            rules.compiled.rules,
            redactor,
        )
    except OutOfTimeError:
        # What was found stands; it is only not kept.
        return NOTHING_KEPT
    return msgspec.structs.replace(kept, unlike=differing)
