"""Bodies that are small on the wire and huge as values: told as truncated, never parsed."""

import gzip
import subprocess
import sys

import pytest

from comparators import Answer, Comparison, Kind, Outcome, Rules, compare, compile_rules
from comparators.json import (
    MAX_CONTAINERS,
    MAX_VALUES,
    TOO_MUCH,
    Json,
    NotJson,
    has_too_much,
    load_json,
)

JSON = "application/json"
NDJSON = "application/x-ndjson"
MANY = MAX_CONTAINERS + 1
BODIES = {
    "objects": (JSON, b"[" + b"{}," * MANY, b"1]", b"2]"),
    "arrays": (JSON, b"[" + b"[]," * MANY, b"1]", b"2]"),
    "numbers": (JSON, b"[" + b"1," * (MAX_VALUES + 1), b"1]", b"2]"),
    "one side": (JSON, b"[" + b"{}," * MANY, b"1]", b"2"),
    "objects in lines": (NDJSON, b"{}\n" * MANY, b"1", b"2"),
    "lines": (NDJSON, b"1\n" * (MAX_VALUES + 1), b"1", b"2"),
}
# What comparing 15 MB of objects takes, in a process that may not take two gigabytes.
COMPARED = """
import gzip, resource
from comparators import Answer, Rules, compare, compile_rules
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
one, other = (
    Answer(200, headers, gzip.compress(b"[" + b'{"a":1},' * 1_800_000 + end)) for end in (b"1]", b"2]")
)
print(compare(one, other, compile_rules(Rules())).outcome.value)
"""  # noqa: E501


def compared(kind: str, legacy: bytes, new: bytes) -> Comparison:
    headers = (("Content-Type", kind), ("Content-Encoding", "gzip"))
    one, other = (Answer(200, headers, gzip.compress(each, 1)) for each in (legacy, new))
    return compare(one, other, compile_rules(Rules()))


@pytest.mark.parametrize("name", BODIES)
def test_more_values_than_are_looked_at_are_no_parity(name: str) -> None:
    kind, many, one, other = BODIES[name]
    found = compared(kind, many + one, other if name == "one side" else many + other)
    assert (found.outcome, found.truncated, found.detail) == (Outcome.DIVERGENT, True, TOO_MUCH)
    assert [(each.path, each.kind) for each in found.differences] == [("$", Kind.TRUNCATED)]


def test_the_process_that_compares_them_outlives_them() -> None:
    done = subprocess.run(  # the interpreter that runs this
        [sys.executable, "-c", COMPARED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "divergent\n")  # it died of SIGSEGV


def test_as_many_as_are_looked_at_are_read() -> None:
    few = b"[" + b"{}," * (MAX_CONTAINERS - 2) + b"1]"
    assert isinstance(load_json(few), Json)
    assert not has_too_much(few)
    assert load_json(b"[" + b"{}," * MANY + b"1]") == NotJson(TOO_MUCH)
