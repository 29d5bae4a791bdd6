"""Comparators of the user's own in their processes: whatever they do, it is an answer in time."""

import os
import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import orjson
import pytest

from comparators import ABSENT, Answer, Difference, Kind, Outcome, Rules
from proxy.observe.custom_host import CustomComparator

ROOT = Path(__file__).parents[2]
LEGACY, NEW = Answer(200, (("A", "b"),), b"1"), Answer(200, (), b"2")
MINE = """
    import ctypes, os, re, sys, time
    from comparators import Difference, Kind

    def good(legacy, new, rules):
        yield Difference("$.a", Kind.VALUE, {"n": [1, None]}, legacy.body.decode())
        yield Difference("$.b", Kind.MISSING, rules.status)

    def equal(legacy, new, rules):
        return ()

    def raising(legacy, new, rules):
        raise RuntimeError("secret-in-the-text")

    def sleeping(legacy, new, rules):
        time.sleep(60)

    def looping(legacy, new, rules):
        while True:
            pass

    def hanging_in_c(legacy, new, rules):
        re.match("(a+)+$", "a" * 60 + "b")

    def forking(legacy, new, rules):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        with open(os.path.join(os.path.dirname(__file__), "forked"), "w") as file:
            file.write(str(pid))
        time.sleep(60)

    def exiting(legacy, new, rules):
        os._exit(0)

    def crashing(legacy, new, rules):
        ctypes.string_at(0)

    def nothing(legacy, new, rules):
        return None

    def numbers(legacy, new, rules):
        return [1]

    def printing(legacy, new, rules):
        sys.stdout.write("x" * 10_000_000)
        sys.stdout.flush()
        os.write(2, b"y" * 100_000)
        return ()

    def huge(legacy, new, rules):
        yield Difference("$", Kind.VALUE, "x" * 100_000_000, 1)

    def reading(legacy, new, rules):
        yield Difference("$", Kind.VALUE, sys.stdin.read(), 1)

    def doubling(legacy, new, rules):
        body = b"\\x95\\x01\\xa5equal\\x90\\xc2\\xa0"
        os.write(int(sys.argv[2]), len(body).to_bytes(4, "big") + body)
        yield Difference("$", Kind.VALUE, 1, 2)

    def honest(legacy, new, rules):
        if legacy.body.startswith(b"slow"):
            time.sleep(0.5)
        if legacy.body != new.body:
            yield Difference("$", Kind.VALUE, legacy.body.decode(), new.body.decode())

    not_callable = 5
"""
FAILING = {
    "raising": "raised RuntimeError",
    "sleeping": "took too long",
    "looping": "took too long",
    "hanging_in_c": "took too long",
    "exiting": "its process ended",
    "crashing": "its process ended",
    "nothing": "raised TypeError",
    "numbers": "raised TypeError",
    "huge": "",
    "not_callable": "raised TypeError",
    "missing": "cannot be imported",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(textwrap.dedent(MINE))
    return tmp_path


@pytest.fixture
def made(folder: Path) -> Iterator["Maker"]:
    maker = Maker(folder)
    before = set(os.listdir("/proc/self/fd"))
    yield maker
    for each in maker.all:
        each.close()
    assert len(os.listdir("/proc/self/fd")) <= len(before)


class Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[CustomComparator] = []

    def __call__(
        self, name: str, timeout_s: float = 1.0, patience_s: float = 20.0
    ) -> CustomComparator:
        self.all.append(CustomComparator(name, timeout_s, str(self.folder), patience_s))
        return self.all[-1]


def test_what_it_says_arrives_as_it_was_said(made: Maker) -> None:
    found = made("mine:good").compare(LEGACY, NEW, Rules(status="class"))
    assert found.outcome is Outcome.DIVERGENT
    assert found.comparator == "mine:good"
    assert found.differences == (
        Difference("$.a", Kind.VALUE, {"n": [1, None]}, "1"),
        Difference("$.b", Kind.MISSING, "class", ABSENT),
    )
    assert made("mine:equal").compare(LEGACY, NEW, Rules()).outcome is Outcome.EQUAL


@pytest.mark.parametrize("name", FAILING)
def test_a_comparator_that_fails_says_how_and_never_that_answers_are_equal(
    made: Maker, name: str
) -> None:
    comparator = made(f"mine:{name}", 0.5)
    begun = time.monotonic()
    found = comparator.compare(LEGACY, NEW, Rules())
    assert found.outcome is Outcome.COMPARATOR_FAILED
    assert FAILING[name] in found.detail
    assert found.detail.startswith(f"mine:{name}: ")
    assert "secret" not in found.detail
    assert time.monotonic() - begun < 10


def test_what_it_starts_itself_ends_with_it(made: Maker) -> None:
    found = made("mine:forking", 0.5).compare(LEGACY, NEW, Rules())
    assert found.outcome is Outcome.COMPARATOR_FAILED
    pid = int((made.folder / "forked").read_text())
    until = time.monotonic() + 5
    while _lives(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_printing_and_reading_disturb_nothing(made: Maker) -> None:
    assert made("mine:printing", 5.0).compare(LEGACY, NEW, Rules()).outcome is Outcome.EQUAL
    found = made("mine:reading").compare(LEGACY, NEW, Rules())
    assert found.differences == (Difference("$", Kind.VALUE, "", 1),)


def test_a_module_that_is_not_there_and_one_that_breaks_are_told(made: Maker) -> None:
    (made.folder / "broken.py").write_text("1 / 0")
    for name in ("no_such_module:x", "broken:x"):
        found = made(name).compare(LEGACY, NEW, Rules())
        assert found.outcome is Outcome.COMPARATOR_FAILED
        assert "cannot be imported" in found.detail


def test_after_a_failure_it_is_started_again_but_not_at_once(made: Maker) -> None:
    comparator = made("mine:exiting")
    first = comparator.compare(LEGACY, NEW, Rules())
    second = comparator.compare(LEGACY, NEW, Rules())
    assert second.outcome is Outcome.COMPARATOR_FAILED
    assert "started again in a moment" in second.detail
    assert "its process ended" in first.detail
    (made.folder / "mine.py").write_text("def exiting(legacy, new, rules):\n    return ()\n")
    deadline = time.monotonic() + 10
    while comparator.compare(LEGACY, NEW, Rules()).outcome is not Outcome.EQUAL:
        assert time.monotonic() < deadline


class BrokenOffError(BaseException):
    """What whoever runs a comparison raises into it."""


def test_an_answer_to_a_comparison_broken_off_is_never_taken_for_another_one(made: Maker) -> None:
    def break_off(_: int, __: FrameType | None) -> None:
        raise BrokenOffError

    comparator = made("mine:honest", 20.0)
    ask_until_answered(comparator, 0)
    before = signal.signal(signal.SIGALRM, break_off)
    try:
        for number in range(1, 4):
            with pytest.raises(BrokenOffError):
                compare_for_a_moment(comparator)
            ask_until_answered(comparator, number)
    finally:
        signal.signal(signal.SIGALRM, before)


def compare_for_a_moment(comparator: CustomComparator) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    comparator.compare(Answer(200, (), b"slow"), Answer(200, (), b"slow"), Rules())


def ask_until_answered(comparator: CustomComparator, number: int) -> None:
    """Two pairs, of which the first differs: whatever is answered is of the pair asked about."""
    legacy, new = f"legacy{number}", f"new{number}"
    differing = Answer(200, (), legacy.encode()), Answer(200, (), new.encode())
    until = time.monotonic() + 20
    while (found := comparator.compare(*differing, Rules())).outcome is Outcome.COMPARATOR_FAILED:
        assert time.monotonic() < until, found.detail
    assert found.differences == (Difference("$", Kind.VALUE, legacy, new),)
    found = comparator.compare(differing[0], differing[0], Rules())
    assert found.outcome is Outcome.EQUAL


def test_what_takes_long_to_import_is_waited_for_by_nobody_and_then_there(made: Maker) -> None:
    slow = "import time\ntime.sleep(2)\n" + textwrap.dedent(MINE)
    (made.folder / "mine.py").write_text(slow)
    comparator = made("mine:honest", patience_s=0.05)
    begun = time.monotonic()
    found = comparator.compare(LEGACY, LEGACY, Rules())
    assert found.outcome is Outcome.COMPARATOR_FAILED
    assert "still being imported" in found.detail
    assert time.monotonic() - begun < 2
    ask_until_answered(comparator, 1)


def test_an_answer_that_nobody_asked_for_is_the_end_of_it(made: Maker) -> None:
    comparator = made("mine:doubling")
    comparator.compare(LEGACY, NEW, Rules())
    found = comparator.compare(LEGACY, NEW, Rules())
    assert found.outcome is Outcome.COMPARATOR_FAILED
    assert "answered another question" in found.detail


def test_the_example_of_the_demo_compares_receipts() -> None:
    def receipt(order: object, number: str, at: str) -> Answer:
        body = {"receipt": number, "printed_at": at, "order": order}
        return Answer(200, (), orjson.dumps(body))

    one = receipt({"id": 1}, "6f1f1f5e-2f6c-4bd5-8ca2-0f5e1ad5a0b1", "2026-01-01T00:00:00+00:00")
    other = receipt({"id": 1}, "0b5e1ad5-a0b1-4bd5-8ca2-6f1f1f5e2f6c", "2026-01-02T00:00:01+00:00")
    wrong = receipt({"id": 2}, "0b5e1ad5-a0b1-4bd5-8ca2-6f1f1f5e2f6c", "yesterday")
    comparator = CustomComparator("demo.receipts:compare_receipts", 5.0, str(ROOT))
    try:
        assert comparator.compare(one, other, Rules()).outcome is Outcome.EQUAL
        found = comparator.compare(one, wrong, Rules())
        assert [each.path for each in found.differences] == ["$.order", "$.printed_at"]
    finally:
        comparator.close()
