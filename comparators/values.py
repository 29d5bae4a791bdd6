"""Comparing two trees of values under the rules: which places differ, and how.

The walk goes through both trees at once and beside them through the automaton of the rules. Equal
subtrees are left at once where no rule can match below. It keeps its own stack, so depth costs
memory and no recursion, and writes the path of a place only where it differs. Strict where Python
is not: 1, 1.0, true and "1" are four values.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from comparators.alignment import (
    MAX_NEAREST_WORK,
    TOO_MUCH,
    Matched,
    align,
    by_place,
    match_by_key,
    match_equal,
)
from comparators.model import ABSENT, MAX_DIFFERENCES, Difference, Kind
from comparators.numeric import NUMBERS, number_of, same_number, within
from comparators.paths import render_step
from comparators.renaming import renamed
from comparators.repeated import Repeated
from comparators.rules import CompiledRules, Place, place_of
from comparators.sameness import FORM_WORK, Form, Forms, Where, strictly_equal

# A walk ends after so many values, truncated: a pair that differs everywhere. A second or two.
MAX_NODES: Final = 1_500_000
# So many more to find which items of unordered arrays are equal.
MAX_PAIRED: Final = 300_000

_WALK_WORK: Final = 4  # that a walk takes before its first value
MAX_INNER: Final = 16  # walks inside each other
# In arrays and objects nested deeper, no shortcuts: each looks at all that is below it.
MAX_LEVELS: Final = 64

# A place: the one around it, and the step from there. Of the root, nothing and its whole path.
Spot = tuple[Any, str | int]
Node = tuple[Any, Any, Where, Spot]
ItemOf = Callable[[int], Where]  # the rules for the item with this index


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison of two trees came to. Equal: no differences, and not truncated."""

    differences: tuple[Difference, ...] = ()
    truncated: bool = False
    detail: str = ""


def compare_values(legacy: Any, new: Any, rules: CompiledRules, base: str = "$") -> Found:
    """The places in which two trees differ, at most MAX_DIFFERENCES. `base` is the root's path.

    Trees consist of dict, list, str, int, float, Decimal, bool, None and, in place of a value,
    Repeated. Never raises.
    """
    if rules.renames:
        new = renamed(new, legacy, rules.renames)
    walk = _Walk(rules, MAX_NODES, MAX_PAIRED)
    walk.go(legacy, new, rules.places.start, base)
    return walk.result()


class _Walk:
    """One walk through two trees; `inner` walks that it starts only ask whether two are equal.

    Such a one ends at its first difference, or bound, and starts walks itself, to a limit: they
    call each other.
    """

    def __init__(self, rules: CompiledRules, most: int, most_paired: int, inner: int = 0) -> None:
        self.rules = rules
        self.found: list[Difference] = []
        self.nodes = 0
        self.most = most
        self.most_paired = most_paired
        self.inner = inner
        self.most_nearest = 0 if inner else MAX_NEAREST_WORK  # which are alike: not asked
        self.truncated = ""
        # What is still to be compared, the innermost last.
        self.stack: list[Iterator[Node]] = []
        self.written: dict[int, tuple[Spot, str]] = {}  # paths, by the identity of their spots

    def go(self, legacy: Any, new: Any, state: Where, base: str) -> None:
        """Compare until there are enough differences."""
        most = 1 if self.inner else MAX_DIFFERENCES
        stack = self.stack
        stack.append(iter([(legacy, new, state, (None, base))]))
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            if len(self.found) >= most:
                self.truncated = self.truncated or f"more than {most} differences"
                return
            if self.nodes > self.most:
                self.truncated = f"more than {self.most} values"
                return
            if self.inner and self.truncated:
                return
            self._compare(*node)

    def result(self) -> Found:
        if len(self.found) > MAX_DIFFERENCES:
            self.truncated = self.truncated or f"more than {MAX_DIFFERENCES} differences"
        return Found(tuple(self.found[:MAX_DIFFERENCES]), bool(self.truncated), self.truncated)

    def _compare(self, legacy: Any, new: Any, state: Where, spot: Spot) -> None:
        self.nodes += 1
        place = None
        if state is None:
            try:
                if len(self.stack) <= MAX_LEVELS and strictly_equal(legacy, new):
                    return
            except RecursionError:
                pass  # deeper than == goes: this walk does not mind
        elif state.matches:
            place = place_of(state.matches)
            if place is not None and place.ignored:
                return
        kind = legacy.__class__
        if kind is dict and new.__class__ is dict:
            self._objects(legacy, new, state, spot)
        elif kind is list and new.__class__ is list:
            self._arrays(legacy, new, state, spot, place)
        elif not self._same_scalar(legacy, new, place) and not self._same_repeated(
            legacy, new, state
        ):
            self._tell(spot, _kind(legacy, new), legacy, new)

    def _objects(
        self, legacy: dict[str, Any], new: dict[str, Any], state: Where, spot: Spot
    ) -> None:
        later: list[Node] = []
        for key, value in legacy.items():
            below = state.key(key) if state is not None else None
            other = new.get(key, ABSENT)
            if other is ABSENT:
                if not self._may_lack_key(value, below):
                    self._tell((spot, key), Kind.MISSING, value, ABSENT)
            elif below is None and value.__class__ in _PLAIN and value.__class__ is other.__class__:
                self.nodes += 1
                if value != other:
                    self._tell((spot, key), Kind.VALUE, value, other)
            else:
                later.append((value, other, below, (spot, key)))
        if len(new) != len(legacy) or new.keys() != legacy.keys():
            for key, value in new.items():
                below = state.key(key) if state is not None else None
                if key not in legacy and not self._may_lack_key(value, below):
                    self._tell((spot, key), Kind.ADDED, ABSENT, value)
        if later:
            self.stack.append(iter(later))

    def _may_lack_key(self, value: Any, below: Where) -> bool:
        """Whether one side may be without this key."""
        return (value is None and self.rules.null_absent) or _is_ignored(below)

    def _arrays(
        self, legacy: list[Any], new: list[Any], state: Where, spot: Spot, place: Place | None
    ) -> None:
        item = state.item if state is not None else None
        if place is not None and place.unordered:
            matched = self._unordered(legacy, new, state, place.key)
            # Which of its items comes first says nothing: rules for a certain one do not hold.
            any_item = _any_item(state)
            item = (lambda index: any_item) if any_item is not None else None
        elif len(legacy) != len(new):
            matched = self._aligned(legacy, new, state)
        else:
            pairs = zip(range(len(legacy)), legacy, new, strict=True)
            self.stack.append(self._items(pairs, item, spot))
            return
        self.truncated = self.truncated or matched.detail
        self._some(matched.missing, matched.added, item, spot)
        self.stack.append(self._items(matched.pairs, item, spot))

    def _aligned(self, legacy: list[Any], new: list[Any], state: Where) -> Matched:
        if len(self.stack) > MAX_LEVELS:
            return by_place(legacy, new)
        below = _any_item(state)
        forms = Forms(self.rules, self.most - self.nodes)

        def form(value: Any) -> Form:
            return forms.of(value, below, near=True)

        matched = align(legacy, new, form, (self.most - self.nodes) // FORM_WORK)
        self.nodes += forms.work
        return matched

    def _unordered(
        self, legacy: list[Any], new: list[Any], state: Where, key: str | None
    ) -> Matched:
        below = _any_item(state)
        matched = match_by_key(legacy, new, key, below, self.rules)
        if matched is not None:
            return matched
        most = self.most - self.nodes
        if len(self.stack) > MAX_LEVELS or len(legacy) + len(new) > most // FORM_WORK:
            return by_place(legacy, new)
        forms = Forms(self.rules, most)

        def form(value: Any) -> Form:
            return forms.of(value, below)

        def equal(one: Any, other: Any) -> bool:
            # What is the same in them is passed over, but not for nothing.
            self.most_paired -= forms.work // (2 * (len(legacy) + len(new)))
            return self._are_equal(one, other, below)

        matched = match_equal(legacy, new, form, equal, self.most_nearest)
        self.nodes += forms.work
        self.most_nearest -= matched.nearest_work
        if self.most_paired <= 0:
            matched.detail = matched.detail or TOO_MUCH
        return matched

    def _are_equal(self, one: Any, other: Any, state: Where) -> bool:
        """Whether two values are equal under the rules, as far as this walk may still look."""
        if self.most_paired <= 0 or self.inner == MAX_INNER:
            return False
        walk = _Walk(self.rules, self.most_paired, self.most_paired, self.inner + 1)
        walk.go(one, other, state, "$")
        self.most_paired = walk.most_paired - walk.nodes - _WALK_WORK
        return not walk.found and not walk.truncated

    def _items(
        self, pairs: Iterable[tuple[int, Any, Any]], item: ItemOf | None, spot: Spot
    ) -> Iterator[Node]:
        """Items that are still to be compared; the index is that of legacy."""
        for number, (index, one, other) in enumerate(pairs):
            below = item(index) if item is not None else None
            if (
                below is None
                and one.__class__ in _PLAIN
                and one.__class__ is other.__class__
                and one == other
            ):
                self.nodes += not number & 7  # eight take the time of one
            else:
                yield one, other, below, (spot, index)

    def _some(
        self,
        missing: list[tuple[int, Any]],
        added: list[tuple[int, Any]],
        item: ItemOf | None,
        spot: Spot,
    ) -> None:
        """Items that one side has and the other lacks."""
        for items, kind in ((missing, Kind.MISSING), (added, Kind.ADDED)):
            for index, value in items:
                if item is not None and _is_ignored(item(index)):
                    continue
                sides = (value, ABSENT) if kind is Kind.MISSING else (ABSENT, value)
                self._tell((spot, index), kind, *sides)

    def _same_scalar(self, legacy: Any, new: Any, place: Place | None) -> bool:
        one, other = legacy.__class__, new.__class__
        rules = self.rules
        if rules.number_text and str in (one, other) and one is not other:
            legacy, new = number_of(legacy), number_of(new)
            if legacy is None or new is None:
                return False
            one, other = legacy.__class__, new.__class__
            if same_number(legacy, new):
                return True
        if one in NUMBERS and other in NUMBERS:
            if place is not None and place.tolerance is not None:
                return within(legacy, new, place.tolerance)
            if (one is int) != (other is int) and not rules.int_float:
                return False
            return same_number(legacy, new)
        return bool(one is other and legacy == new)

    def _same_repeated(self, legacy: Any, new: Any, state: Where) -> bool:
        """Whether a key stands as often on both sides, with the same values."""
        return (
            isinstance(legacy, Repeated)
            and isinstance(new, Repeated)
            and len(legacy.values) == len(new.values)
            and all(
                self._are_equal(one, other, state)
                for one, other in zip(legacy.values, new.values, strict=True)
            )
        )

    def _tell(self, spot: Spot, kind: Kind, legacy: Any, new: Any) -> None:
        if len(self.found) <= MAX_DIFFERENCES:  # one more says that there are more
            self.found.append(Difference(self._path(spot), kind, legacy, new))

    def _path(self, spot: Spot) -> str:
        """The path of a place; those around it are written once."""
        steps = []
        at = spot
        while at[0] is not None and id(at) not in self.written:
            steps.append(at)
            at = at[0]
        text = self.written[id(at)][1] if at[0] is not None else str(at[1])
        if len(steps) > 1:
            text += "".join(render_step(step) for _, step in reversed(steps[1:]))
            self.written[id(steps[1])] = steps[1], text
        return text + render_step(steps[0][1]) if steps else text


_PLAIN: Final = frozenset((str, int, bool))


def _any_item(state: Where) -> Where:
    """The rules for any item of an array: not those for the item with a certain number."""
    return state.item(-1) if state is not None else None


def _is_ignored(state: Where) -> bool:
    place = place_of(state.matches) if state is not None and state.matches else None
    return place is not None and place.ignored


def _kind(legacy: Any, new: Any) -> Kind:
    one, other = legacy.__class__, new.__class__
    if Repeated in (one, other):
        return Kind.DUPLICATE_KEY
    if one is other or {one, other} <= {float, Decimal}:
        return Kind.VALUE
    return Kind.TYPE
