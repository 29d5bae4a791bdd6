"""What today's rules make of recorded pairs, beside what was found when they were recorded.

Noise is not learned anew: a place counts as noise where it did in the recorded pair. Everything is
counted, and of the pairs only the first few names are held, so the memory does not grow with them.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from comparators.model import Kind, Outcome, Rules
from proxy.cli.replaying import Pair, failed
from proxy.core.divergences import signature
from proxy.core.model import Route
from proxy.core.paths import PathRefusal, canonical_path, split_target
from proxy.core.routing import Match, RouteTable, rewrite
from proxy.observe.comparing import RouteRules
from proxy.observe.recording import Place, as_found, places

MAX_SIGNATURES: Final = 5_000
NAMES_KEPT: Final = 100
OTHER: Final = "(other)"

EQUAL, NOISE, DIVERGENT, FAILED = "equal", "noise", "divergent", "comparator_failed"
# Why a pair is not replayed: the names are those of what becomes of it under traffic.
LEGACY_FAILED: Final = "legacy_failed: there is nothing to hold new against"
BOTH_FAILED: Final = "both_failed: neither side gave a usable answer"
UNLIKE: Final = "what is recorded of it does not tell what these rules make of it"


class Change(msgspec.Struct):
    """How a signature's counts change; `before` is None where nothing was recorded."""

    before: int | None
    after: int = 0


class Result(msgspec.Struct):
    """What replaying came to. `changes` is by what a pair was and what it becomes."""

    pairs: int = 0
    replayed: int = 0
    signatures: dict[str, Change] = {}
    changes: Counter[tuple[str | None, str]] = Counter()
    names: dict[tuple[str | None, str], list[str]] = {}  # the first of each
    not_replayed: Counter[str] = Counter()  # by reason

    @property
    def has_new_divergences(self) -> bool:
        """Whether a pair is divergent that was not, or of which that is not known."""
        return any(
            after in (DIVERGENT, FAILED) and before != after for before, after in self.changes
        )


class Replay:
    """Compares by the rules of the routes; `only` is the route that every pair belongs to."""

    def __init__(self, routes: Mapping[str, Route], only: str | None, folder: Path) -> None:
        self.result = Result(signatures={}, changes=Counter(), names={}, not_replayed=Counter())
        self._routes = routes
        self._only = only
        self._folder = folder
        self._table = RouteTable.build(routes.values(), lambda route: route)
        self._by_route: dict[str, RouteRules | None] = {}

    def take(self, pair: Pair) -> None:
        """Compare one pair and count what it came to."""
        result = self.result
        recorded = pair.recorded
        if self._only is not None and recorded is not None and pair.route != self._only:
            return
        result.pairs += 1
        route = self._only or pair.route or self._routed(pair)
        judge = self._judge(route)
        if judge is None or pair.legacy is None or pair.new is None:
            why = pair.missing or (
                f"no route {route} in the configuration compares" if route else "no route takes it"
            )
            result.not_replayed[why] += 1
            return
        if failed(pair.legacy):
            result.not_replayed[BOTH_FAILED if failed(pair.new) else LEGACY_FAILED] += 1
            return
        assert route is not None
        if failed(pair.new):
            # Told by that alone: no comparator looks at the answers, and no rule silences it.
            self._count(pair, route, {("status", Kind.FAILURE.value)}, DIVERGENT)
            return
        found = judge.compare(pair.legacy, pair.new, pair.method)
        known = () if recorded is None else recorded.unlike
        differing = as_found(places(found, judge.redactor), known, judge.compiled)
        if differing is None:
            result.not_replayed[UNLIKE] += 1
        else:
            has_failed = found.outcome is Outcome.COMPARATOR_FAILED
            self._count(pair, route, differing, FAILED if has_failed else "")

    def new_target(self, method: str, host: str, target: str) -> str:
        """The target that new gets where legacy gets this one: that of the route's `rewrite`."""
        match = self._match(method, host, target)
        if match is None:
            return target
        path, mark, query = target.partition("?")
        return rewrite(match.payload, match.params, path) + mark + query

    def _count(self, pair: Pair, route: str, differing: set[Place], became: str) -> None:
        """`became` is what the pair becomes; empty where the places and their noise decide."""
        result, recorded = self.result, pair.recorded
        result.replayed += 1
        before = None if recorded is None else recorded.result
        seen = {} if recorded is None else {each.signature: each.noise for each in recorded.seen()}
        after = {signature(route, path, kind) for path, kind in differing}
        counted = {text for text in after if not seen.get(text, False)}
        for text in [text for text, noise in seen.items() if not noise]:
            change = self._change(text, recorded is not None)
            change.before = (change.before or 0) + 1
        for text in sorted(counted):
            self._change(text, recorded is not None).after += 1
        becomes = became or (DIVERGENT if counted else NOISE if after else EQUAL)
        result.changes[before, becomes] += 1
        names = result.names.setdefault((before, becomes), [])
        if len(names) < NAMES_KEPT:
            names.append(pair.name)

    def close(self) -> None:
        """End what runs beside."""
        for judge in self._by_route.values():
            if judge is not None:
                judge.close()

    def _change(self, text: str, was_recorded: bool) -> Change:
        if text not in self.result.signatures and len(self.result.signatures) >= MAX_SIGNATURES:
            text = OTHER
        return self.result.signatures.setdefault(text, Change(0 if was_recorded else None))

    def _match(self, method: str, host: str, target: str) -> Match[Route] | None:
        split = split_target(target, method)
        if isinstance(split, PathRefusal):
            return None
        path = canonical_path(split.path)
        return None if isinstance(path, PathRefusal) else self._table.match(method, host, path)

    def _routed(self, pair: Pair) -> str | None:
        match = self._match(pair.method, pair.host, pair.target)
        return match.payload.name if match else None

    def _judge(self, name: str | None) -> RouteRules | None:
        if name is None or name not in self._routes:
            return None
        if name not in self._by_route:
            rules = self._routes[name].compare
            # The key does not matter: hashes that have been recorded stay as they are.
            self._by_route[name] = (
                rules
                if rules is None
                else RouteRules(
                    msgspec.convert(rules, Rules, from_attributes=True),
                    b"replay",
                    str(self._folder),
                )
            )
        return self._by_route[name]
