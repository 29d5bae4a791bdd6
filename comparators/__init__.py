"""Comparing HTTP answers: which places differ, under rules that say what may.

    from comparators import Answer, Rules, compare, compile_rules

    rules = compile_rules(Rules(ignore=("$.updated_at",)))
    compare(Answer(200, (), b'{"a": 1}'), Answer(200, (), b'{"a": 2}'), rules).differences

Pure: nothing here reads a clock, a file or a socket, and nothing raises on any bytes.
"""

from comparators.compare import compare
from comparators.model import (
    ABSENT,
    Answer,
    Comparison,
    Difference,
    Kind,
    Outcome,
    Rules,
)
from comparators.rules import CompiledRules, compile_rules

__all__ = [
    "ABSENT",
    "Answer",
    "Comparison",
    "CompiledRules",
    "Difference",
    "Kind",
    "Outcome",
    "Rules",
    "compare",
    "compile_rules",
]
