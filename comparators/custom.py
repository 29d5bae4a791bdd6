"""Comparators of one's own: `with: package.module:name`.

The name is a callable that takes both answers and the rules, and yields or returns differences:

    from comparators import Answer, Difference, Kind, Rules

    def compare_prices(legacy: Answer, new: Answer, rules: Rules) -> Iterable[Difference]:
        prices = legacy.body.count(b"EUR"), new.body.count(b"EUR")
        if prices[0] != prices[1]:
            yield Difference("$.prices", Kind.VALUE, *prices)

No difference means that the answers are equal. It is given the bodies as they were sent; `decode`
undoes their codings. It runs in a process of its own: if it raises, takes longer than a second or
dies, that is its failure, counted as `comparator_failed`, and says nothing of the answers; so are
the pairs that come while its module is still being imported. Values are redacted after it, like all
others.
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from comparators.model import MAX_DIFFERENCES, Answer, Comparison, Difference, Outcome, Rules

CustomCompare: TypeAlias = Callable[[Answer, Answer, Rules], Iterable[Difference]]

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_import_path(with_: str) -> bool:
    """Whether `with` names a comparator of the user's own."""
    return _IMPORT_PATH.fullmatch(with_) is not None


def run_custom(
    call: CustomCompare, name: str, legacy: Answer, new: Answer, rules: Rules
) -> Comparison:
    """What a comparator of the user's own says. What it raises goes through."""
    found: list[Difference] = []
    truncated = False
    for each in call(legacy, new, rules):
        if not isinstance(each, Difference):
            raise TypeError(f"it gave {type(each).__name__}, not Difference")
        if len(found) >= MAX_DIFFERENCES:
            truncated = True
            break
        found.append(each)
    outcome = Outcome.DIVERGENT if found else Outcome.EQUAL
    detail = f"more than {MAX_DIFFERENCES} differences" if truncated else ""
    return Comparison(outcome, name, tuple(found), truncated, detail)
