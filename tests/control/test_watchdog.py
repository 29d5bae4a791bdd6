"""Who hangs is killed, and nobody else: not who waits for a processor, nor after a pause of all.

Processes are real, the time of the looks is the test's own.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.control.children import Child
from proxy.control.pulse import place, read_beat
from proxy.control.watchdog import LONGEST_LOOK_S, START_S, Watchdog, Watched
from tests.harness.backend import Backend
from tests.harness.client import Client
from tests.harness.serving import Serving
from tests.harness.waiting import asked_until, eventually

PATIENCE_S = 10.0
AT = place(1)


class Kennel:
    """One child, the page where it beats, and who watches it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.page = os.memfd_create("pulse")
        self._children: list[Child] = []

    def begin(self, kind: str, patience_s: float = PATIENCE_S) -> Child:
        arguments = [str(self.page), str(AT), kind]
        child = Child(f"worker {kind}", "tests.harness.beating", arguments, [self.page])
        self._children.append(child)
        self.watchdog = Watchdog(self.page, [Watched(child, AT, patience_s)], self.now)
        self.watchdog.forget_beats(child)
        child.start(0.0)
        return child

    def look(self, after_s: float = 1.0) -> list[float]:
        """For how long who is hung was silent."""
        self.now += after_s
        return [silent_s for _, silent_s in self.watchdog.look(self.now)]

    async def beats(self) -> None:
        before = read_beat(self.page, AT)
        await eventually(lambda: read_beat(self.page, AT) != before, "a beat")

    async def until_it_has_begun(self) -> None:
        assert self.look() == []
        await self.beats()
        assert self.look() == []

    async def stop(self, child: Child) -> None:
        """Its last beat is seen, and no other one comes."""
        await self.beats()
        await stopped(child)
        assert self.look() == []

    async def end_of(self, child: Child) -> None:
        assert child.pid is not None
        child.send(signal.SIGKILL)
        _, status = await asyncio.to_thread(os.waitpid, child.pid, 0)
        child.ended(status, 0.0)

    def end(self) -> None:
        for child in self._children:
            if child.pid is not None:
                child.send(signal.SIGKILL)
                os.waitpid(child.pid, 0)
        os.close(self.page)


@pytest.fixture
def kennel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kennel]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    made = Kennel()
    yield made
    made.end()


def stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()


async def stopped(child: Child) -> None:
    pid = child.pid
    assert pid is not None
    child.send(signal.SIGSTOP)
    await eventually(lambda: stat(pid)[0] == "T", "a stopped process")


async def until_it_has_used(child: Child, seconds: float) -> None:
    pid, ticks = child.pid, seconds * os.sysconf("SC_CLK_TCK")
    assert pid is not None

    def used() -> int:
        return int(stat(pid)[11]) + int(stat(pid)[12])

    end = used() + ticks
    await eventually(lambda: used() >= end, "processor time", 30)


async def test_who_beats_is_left_alone(kennel: Kennel) -> None:
    kennel.begin("turns")
    await kennel.until_it_has_begun()
    for _ in range(3 * int(PATIENCE_S)):
        await kennel.beats()
        assert kennel.look() == []


async def test_who_is_stopped_is_hung_after_its_patience(kennel: Kennel) -> None:
    child = kennel.begin("turns")
    await kennel.until_it_has_begun()
    await kennel.stop(child)
    looks = [kennel.look() for _ in range(int(PATIENCE_S))]
    assert looks == [*[[]] * (int(PATIENCE_S) - 1), [PATIENCE_S]]
    assert kennel.look() == []  # told once


async def test_a_beat_ends_the_silence(kennel: Kennel) -> None:
    child = kennel.begin("turns")
    await kennel.until_it_has_begun()
    for _ in range(3):
        await kennel.stop(child)
        assert not any(kennel.look() for _ in range(int(PATIENCE_S) - 1))
        child.send(signal.SIGCONT)
        await kennel.beats()
        assert kennel.look() == []


async def test_time_in_which_all_stood_still_is_nobodys_silence(kennel: Kennel) -> None:
    """A suspended machine, a paused container: the launcher does not look either."""
    child = kennel.begin("turns")
    await kennel.until_it_has_begun()
    await kennel.stop(child)
    assert kennel.look(after_s=86400.0) == []
    looks = int((PATIENCE_S - LONGEST_LOOK_S) / 1.0)
    assert [bool(kennel.look()) for _ in range(looks)] == [*[False] * (looks - 1), True]


async def test_a_look_before_it_is_due_counts_nothing(kennel: Kennel) -> None:
    child = kennel.begin("turns")
    await kennel.until_it_has_begun()
    await kennel.stop(child)
    before = kennel.now
    assert not any(kennel.look(after_s=0.3) for _ in range(3))
    assert kennel.watchdog.next_look == before + 1.0


async def test_who_waits_for_a_processor_is_not_hung(kennel: Kennel) -> None:
    child = kennel.begin("spins", patience_s=60.0)
    await kennel.until_it_has_begun()
    await until_it_has_used(child, 0.1)
    kennel.look()
    # Hours pass between these looks, and it has had next to nothing of them.
    assert not any(kennel.look(after_s=2.0) for _ in range(1000))


async def test_who_spins_is_hung_once_it_has_had_its_time(kennel: Kennel) -> None:
    child = kennel.begin("spins", patience_s=1.0)
    await kennel.until_it_has_begun()
    await until_it_has_used(child, 0.1)
    kennel.look()
    await until_it_has_used(child, 1.1)
    assert kennel.look(after_s=2.0)


async def test_who_has_begun_before_the_first_look_has_no_more_than_its_patience(
    kennel: Kennel,
) -> None:
    child = kennel.begin("turns")
    await kennel.stop(child)
    looks = [bool(kennel.look()) for _ in range(int(PATIENCE_S))]
    assert looks == [*[False] * (int(PATIENCE_S) - 1), True]


async def test_what_the_one_before_said_is_not_a_beginning(kennel: Kennel) -> None:
    child = kennel.begin("turns")
    await kennel.beats()
    await kennel.end_of(child)
    assert read_beat(kennel.page, AT) != 0
    kennel.watchdog.forget_beats(child)
    child.start(0.0)
    child.send(signal.SIGSTOP)  # before it has loaded what it is to run
    await eventually(lambda: child.pid is not None and stat(child.pid)[0] == "T", "a stop")
    assert read_beat(kennel.page, AT) == 0
    kennel.look()
    looks = [bool(kennel.look()) for _ in range(int(START_S))]
    assert looks == [*[False] * (int(START_S) - 1), True]


async def test_who_has_not_begun_gets_longer(kennel: Kennel) -> None:
    child = kennel.begin("never")
    await stopped(child)
    kennel.look()
    looks = [bool(kennel.look()) for _ in range(int(START_S))]
    assert looks == [*[False] * (int(START_S) - 1), True]


CONFIG = """
listen: 127.0.0.1:0
workers: 2
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
backends: {{legacy: {legacy}, new: {legacy}}}
routes:
  /a/*: legacy-only
"""


def pulse_of(launcher: int) -> Callable[[int], int]:
    """Reads the beats of the children of a launcher, by their number."""
    folder = Path(f"/proc/{launcher}/fd")
    page = next(each for each in folder.iterdir() if "banyan-pulse" in os.readlink(each))

    def beat(number: int) -> int:
        with page.open("rb") as file:
            return read_beat(file.fileno(), place(number))

    return beat


async def test_every_child_says_that_its_loop_turns(tmp_path: Path) -> None:
    async with Serving(tmp_path, CONFIG.format(legacy="http://127.0.0.1:9")) as serving:
        beat = pulse_of(serving.pid)
        everybody = range(len(serving.children()))
        assert len(everybody) == 4
        before = [beat(number) for number in everybody]
        await eventually(
            lambda: all(beat(number) not in (0, before[number]) for number in everybody),
            f"a beat of all but {before}",
        )


async def test_a_hung_controller_is_killed_and_the_next_one_judges(tmp_path: Path) -> None:
    """Traffic flowed, and nobody judged, for ever."""
    async with Backend() as legacy:
        text = CONFIG.format(legacy=legacy.url)
        async with Serving(tmp_path, text) as serving:
            before = serving.children()
            serving.signal_child("controller", signal.SIGSTOP)
            told = await serving.says("child is hung, killing it", within_s=60)
            assert (told["child"], told["pid"]) == ("controller", before["controller"])
            died = await serving.says("child died, restarting it", child="controller")
            assert died["reason"] == "was killed by SIGKILL (since it was hung for 10 s)"
            await serving.says("worker connected", 4, within_s=30)
            await serving.until_ready()
            async with await Client.to(serving.address) as client:
                assert (await client.get("/a/1")).status == 200

            async def counted() -> bool:
                return 'banyan_hung_total{child="controller"} 1\n' in await serving.metrics()

            await asked_until(counted, bool)
            after = serving.children()
            assert {name for name in after if after[name] != before[name]} == {"controller"}
            assert len(serving.said("child is hung, killing it")) == 1


@pytest.mark.extended
async def test_a_hung_worker_and_a_hung_comparer_are_replaced(tmp_path: Path) -> None:
    async with Serving(tmp_path, CONFIG.format(legacy="http://127.0.0.1:9")) as serving:
        before = serving.children()
        for name in ("worker 1", "comparer 0"):
            serving.signal_child(name, signal.SIGSTOP)
        await serving.says("child is hung, killing it", 2, within_s=90)
        await serving.until_ready(within_s=30)
        await asyncio.wait_for(serving.says("child started", 6), 30)
        after = serving.children()
        assert {name for name in after if after[name] != before[name]} == {"worker 1", "comparer 0"}
        metrics = await serving.metrics()
        for kind in ("worker", "comparer"):
            assert f'banyan_hung_total{{child="{kind}"}} 1\n' in metrics
