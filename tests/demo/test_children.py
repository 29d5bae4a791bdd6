"""Children end when they are told to, when they will not, and when their parent is gone."""

import asyncio
import os
import select
import signal
import subprocess
import sys

from demo.children import KEPT_CHARACTERS, KEPT_LINES, Child

PATIENCE_S = 10.0


async def started(program: str) -> tuple[Child, asyncio.Queue[str]]:
    """A child that runs `program`, and the lines it writes."""
    lines: asyncio.Queue[str] = asyncio.Queue(1000)
    child = Child("child", lambda _name, line: lines.put_nowait(line))
    await child.start([sys.executable, "-uc", program], dict(os.environ))
    return child, lines


async def test_a_child_is_heard_and_its_last_lines_are_kept() -> None:
    child, lines = await started(f"for n in range({KEPT_LINES + 5}): print('line', n)")
    await child.listen()
    assert lines.qsize() == KEPT_LINES + 5
    assert [*child.last_lines][-1] == f"line {KEPT_LINES + 4}"
    assert len(child.last_lines) == KEPT_LINES
    assert child.exit_code == 0
    assert child.is_lost


async def test_a_line_without_end_takes_no_memory() -> None:
    child, _ = await started("import sys; sys.stdout.write('x' * 1_000_000)")
    await child.listen()
    assert [len(line) for line in child.last_lines] == [KEPT_CHARACTERS]


async def test_a_child_is_told_to_stop() -> None:
    child, lines = await started("print('up'); import signal; signal.pause()")
    async with asyncio.TaskGroup() as group:
        group.create_task(child.listen())
        await lines.get()
        await child.stop(PATIENCE_S)
    assert child.exit_code == -signal.SIGTERM
    assert not child.is_lost


async def test_a_child_that_hears_no_signal_is_killed() -> None:
    child, lines = await started(
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('no'))\n"
        "print('up')\n"
        "while True: signal.pause()\n"
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(child.listen())
        assert await lines.get() == "up"
        await child.stop(0.3)
    assert child.exit_code == -signal.SIGKILL
    assert [lines.get_nowait(), lines.get_nowait()] == ["no", "no"]


PARENT = """
import asyncio, os, sys
from demo.children import Child

async def main():
    child = Child("child")
    await child.start([sys.executable, "-c", "import signal; signal.pause()"], dict(os.environ))
    print(child.pid, flush=True)
    await child.listen()

asyncio.run(main())
"""


def test_a_child_does_not_outlive_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        # The descriptor of a process is readable once it has ended.
        assert select.select([child], [], [], PATIENCE_S)[0] == [child]
    finally:
        os.close(child)
