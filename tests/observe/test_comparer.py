"""A comparer as a process: what it says of pairs, what it survives, and what it never lets out."""

import asyncio
import gzip
import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from proxy.core.messages import AnswerRecord, Suspect
from proxy.core.model import Compare
from proxy.observe.recording import MAX_RECORDED_BYTES
from tests.harness.comparer import Comparer, answer, observation, suspect

RULES = {"a": Compare(ignore=("$.at",))}


async def test_it_says_what_differs_and_where(tmp_path: Path) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(
            7,
            suspect(1, answer(b'{"at": 1, "price": 5}'), answer(b'{"at": 2, "price": 5}')),
            suspect(2, answer(b'{"at": 1, "price": 5}'), answer(b'{"at": 2, "price": 6}')),
        )
        equal, divergent = await comparer.result(0), await comparer.result(1)
        await comparer.changes.until(lambda: comparer.judged == [7])
    assert (equal.id, equal.outcome, equal.differences) == (1, "equal", [])
    assert (divergent.id, divergent.outcome) == (2, "divergent")
    assert divergent.differences is not None
    shown = [(d.path, d.kind, d.legacy, d.new) for d in divergent.differences]
    assert shown == [("$.price", "value", "5", "6")]
    assert divergent.legacy_answer is not None
    assert divergent.legacy_answer.body is not None


async def test_legacy_asked_twice_shows_what_differs_by_itself(tmp_path: Path) -> None:
    one, two = answer(b'{"id": 1, "x": 1}'), answer(b'{"id": 2, "x": 1}')
    new = answer(b'{"id": 3, "x": 2}')
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(
            1,
            Suspect(1, "control", False, observation(), one, None, two),
            Suspect(2, "again", False, observation(), one, None, two, new),
        )
        control, again = await comparer.result(0), await comparer.result(1)
    assert control.control == again.control == [("$.id", "value")]
    assert control.differences is None
    assert again.differences is not None
    assert [each.path for each in again.differences] == ["$.id", "$.x"]


async def test_asked_again_legacy_is_compared_with_what_new_had_said(tmp_path: Path) -> None:
    one, two = answer(b'{"ad": 1, "x": 1}'), answer(b'{"ad": 2, "x": 1}')
    new = answer(b'{"ad": 2, "x": 2}')
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(
            1,
            Suspect(1, "again", False, observation(), one, new, two, new),
            Suspect(2, "again", False, observation(), one, new, two),
            Suspect(3, "again", False, observation(), one, new, one, new),
        )
        both, alone, agreed = [await comparer.result(number) for number in range(3)]
    assert both.crossed == alone.crossed == [("$.x", "value")]
    assert agreed.crossed is None  # legacy said the same: nothing to ask


async def test_no_secret_leaves_it(tmp_path: Path) -> None:
    body = b'{"user": {"password": "hunter2-%d", "card": "4111 1111 1111 1111"}, "n": %d}'
    cookie = "Set-Cookie: session=s3cr3t-cookie"
    async with Comparer(tmp_path, {"a": Compare(headers=("set-cookie",))}) as comparer:
        await comparer.connect()
        comparer.send(
            1,
            suspect(
                1,
                answer(body % (1, 1), "application/json", 200, cookie),
                answer(body % (2, 2), "application/json", 200, cookie + "2"),
                target="/cards/4111111111111111",
            ),
        )
        result = await comparer.result()
    assert result.outcome == "divergent"
    assert result.legacy_answer is not None
    for secret in (b"hunter2", b"4111", b"s3cr3t"):
        assert secret not in comparer.raw


async def test_an_error_of_new_is_kept_like_other_answers(tmp_path: Path) -> None:
    def error(number: int, legacy: bytes, new: bytes) -> Suspect:
        pair = suspect(number, answer(legacy), answer(new, status=500))
        return msgspec.structs.replace(pair, kind="error", askable=False)

    said = b'{"error": "no such table", "token": "hunter2"}'
    async with Comparer(tmp_path, {"a": Compare()}) as comparer:
        await comparer.connect()
        comparer.send(
            1,
            error(1, b"{}", said),
            error(2, b"[%s]" % (b"1," * MAX_RECORDED_BYTES), said),
            error(3, b"{}", b'"%s"' % (b"x" * MAX_RECORDED_BYTES)),
        )
        both, alone, large = [await comparer.result(number) for number in range(3)]
    assert (both.kind, both.legacy_answer is not None) == ("error", True)
    for kept in (both, alone):
        assert kept.new_answer is not None
        assert kept.new_answer.status == 500
        assert "no such table" in str(kept.new_answer.body)
    assert alone.legacy_answer is large.legacy_answer is large.new_answer is None
    assert b"hunter2" not in comparer.raw


async def test_answers_are_kept_by_their_size_with_codings_undone(tmp_path: Path) -> None:
    def coded(body: bytes) -> AnswerRecord:
        packed = gzip.compress(body)
        assert len(packed) < MAX_RECORDED_BYTES / 10
        return answer(packed, "application/json", 200, "Content-Encoding: gzip")

    large = b"[%s%%d]" % (b"1," * (MAX_RECORDED_BYTES // 4))
    pairs = [
        suspect(1, coded(b"[1]"), coded(b"[2]")),
        suspect(2, coded(large % 1), coded(large % 2)),
        suspect(3, coded(large % 1), coded(large % 2)),
    ]
    pairs[2] = msgspec.structs.replace(pairs[2], kind="error", askable=False)
    async with Comparer(tmp_path, {"a": Compare()}) as comparer:
        await comparer.connect()
        comparer.send(1, *pairs)
        small, both, error = [await comparer.result(number) for number in range(3)]
    assert small.legacy_answer is not None
    assert small.legacy_answer.body == "[1]"
    assert (both.outcome, both.legacy_answer, both.new_answer) == ("divergent", None, None)
    # Of an error new's answer alone is kept, where it is small enough alone.
    assert (error.legacy_answer, error.new_answer is None) == (None, False)


async def test_without_rules_it_takes_nothing_and_then_what_waited(tmp_path: Path) -> None:
    async with Comparer(tmp_path, None) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(1, answer(b"1"), answer(b"2")))
        await comparer.changes.until(lambda: comparer._controllers, "its connection")
        assert comparer.judged == []
        comparer.send_rules(RULES)
        await comparer.changes.until(lambda: comparer.judged == [1])


async def test_a_route_without_rules_is_counted_and_not_judged(tmp_path: Path) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(1, answer(b"1"), answer(b"2"), route="unknown"))
        await comparer.changes.until(lambda: comparer.dropped == {"unknown": 1})
        assert comparer.results == []


async def test_results_wait_for_a_controller_that_is_away(tmp_path: Path) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(1, answer(b"1"), answer(b"2")))
        await comparer.result(0)
        await comparer.close_controller()
        comparer.send(2, suspect(2, answer(b"1"), answer(b"2")))
        await comparer.changes.until(lambda: comparer.judged == [1, 2])
        await comparer.open_controller()
        # What was written into the broken connection may be gone; what came after it is not.
        comparer.send(3, suspect(3, answer(b"1"), answer(b"2")))
        await comparer.changes.until(lambda: any(each.id == 3 for each in comparer.results))


async def test_what_has_come_before_sigterm_is_judged(tmp_path: Path) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(1, answer(b"1"), answer(b"2")))
        await comparer.result(0)
        comparer.signal(signal.SIGTERM)
        assert await comparer.exit_code() == 0


async def test_killed_and_started_again_it_takes_up_its_socket(tmp_path: Path) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(1, answer(b"1"), answer(b"2")))
        await comparer.result(0)
        comparer.signal(signal.SIGKILL)
        await comparer.exit_code()
        await comparer.changes.until(lambda: comparer.judged[-1:] == [-1], "the broken connection")
        await comparer.connect()
        comparer.send(2, suspect(2, answer(b"1"), answer(b"3")))
        await comparer.start()
        assert (await comparer.result(1)).id == 2


@pytest.mark.parametrize("garbage", [b"\xff" * 100, b"\x00\x00\x00\x02{}"])
async def test_a_worker_that_talks_nonsense_is_left_and_others_are_served(
    tmp_path: Path, garbage: bytes
) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send_raw(garbage)
        await comparer.changes.until(lambda: comparer.judged == [-1])
        await comparer.connect()
        comparer.send(1, suspect(1, answer(b"1"), answer(b"2")))
        await comparer.result(0)


CUSTOM = """
    import os, time
    from comparators import Difference, Kind

    def good(legacy, new, rules):
        if legacy.body[:1] != new.body[:1]:
            yield Difference("$", Kind.VALUE, legacy.body.decode(), new.body.decode())

    def raising(legacy, new, rules):
        raise RuntimeError("no")

    def hanging(legacy, new, rules):
        time.sleep(60)

    def slow(legacy, new, rules):
        time.sleep(0.3)
        return ()

    def dying(legacy, new, rules):
        os._exit(3)
"""


@pytest.mark.parametrize("name", ["raising", "hanging", "dying", "missing"])
async def test_a_comparator_of_the_users_own_that_fails_is_never_parity(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "mine.py").write_text(textwrap.dedent(CUSTOM))
    rules = {"a": Compare(with_=f"mine:{name}"), "b": Compare(with_="mine:good")}
    async with Comparer(tmp_path, rules, str(tmp_path)) as comparer:
        await comparer.connect()
        comparer.send(
            1,
            suspect(1, answer(b"1"), answer(b"2")),
            suspect(2, answer(b"1x"), answer(b"1y"), route="b"),
            suspect(3, answer(b"1"), answer(b"2"), route="b"),
        )
        failed = await comparer.result(0)
        assert (failed.outcome, failed.differences) == ("comparator_failed", [])
        assert failed.detail
        assert (await comparer.result(1)).outcome == "equal"
        assert (await comparer.result(2)).outcome == "divergent"


async def test_a_route_that_takes_long_holds_up_others_for_one_comparison(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(textwrap.dedent(CUSTOM))
    rules = {"slow": Compare(with_="mine:slow"), "quick": Compare()}
    one, other = answer(b"1"), answer(b"2")
    async with Comparer(tmp_path, rules, str(tmp_path)) as comparer:
        await comparer.connect()
        comparer.send(1, *(suspect(number, one, other, route="slow") for number in range(6)))
        await comparer.result()
        comparer.send(2, *(suspect(number, one, other, route="quick") for number in range(6, 14)))
        await comparer.changes.until(lambda: len(comparer.judged) == 2)
        assert comparer.judged == [2, 1]
    assert len(comparer.seconds[1]) == 6
    assert min(comparer.seconds[1]) >= 0.3
    assert max(comparer.seconds[2]) < min(comparer.seconds[1])


async def test_an_empty_batch_is_judged(tmp_path: Path) -> None:
    async with Comparer(tmp_path, RULES) as comparer:
        await comparer.connect()
        comparer.send(1)
        await comparer.changes.until(lambda: comparer.judged == [1])


async def test_what_finds_the_nearest_items_fills_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def items(by: int) -> AnswerRecord:
        made = [
            {"a": [[n + by, [n + by, {"q": [n]}]], {"z": {"y": [n * by]}}], "b": [{"c": [n * by]}]}
            for n in range(8)
        ]
        return answer(json.dumps(made).encode())

    async with Comparer(tmp_path, {"a": Compare(unordered=("$",))}) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(1, items(1), items(5)))
        assert (await comparer.result()).outcome == "divergent"
    assert "DeepDiff" not in capfd.readouterr().err


# Uses six milliseconds of each ten.
SHARING = """
import time
while True:
    until = time.perf_counter() + 0.006
    while time.perf_counter() < until:
        pass
    time.sleep(0.004)
"""


@pytest.mark.parametrize("shed", [1000, 0])
async def test_it_rests_where_others_want_its_processor_and_nearly_all_is_shed(
    tmp_path: Path, shed: int
) -> None:
    items = [{"id": number, "name": f"item {number}"} for number in range(300)]
    legacy, new = (answer(json.dumps([*items, side]).encode()) for side in ("legacy", "new"))
    async with Comparer(tmp_path, {"a": Compare()}) as comparer:
        await comparer.connect()
        comparer.send(1, suspect(0, legacy, new))
        await comparer.changes.until(lambda: comparer.judged == [1])
        assert comparer.process is not None
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", SHARING)
        try:
            for pid in (comparer.process.pid, other.pid):
                os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
            before = pauses(comparer.process.pid)
            comparer.send(2, *(suspect(number, legacy, new) for number in range(1, 11)), shed=shed)
            await comparer.changes.until(lambda: comparer.judged == [1, 2], within_s=60)
            paused = pauses(comparer.process.pid) - before
            assert paused >= 4 if shed else paused < 4
        finally:
            other.kill()
            await other.wait()


def pauses(pid: int) -> int:
    """How often a process has given up the processor by itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
