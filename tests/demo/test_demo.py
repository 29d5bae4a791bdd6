"""`banyan demo` as a process: it shows what happens, ends when told, and leaves nothing behind."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.core.model import Phase
from tests.demo.running import WITHIN_S, RunningDemo, running, write_config
from tests.harness.ports import free_ports

PHASES = ("legacy-only", "shadow-read", "25%", "dual-write", "new-only")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the shipped routes.yaml on ports of its own."""
    write_config(tmp_path, free_ports(4))
    return tmp_path


def edit(demo: RunningDemo, old: str, new: str) -> None:
    text = demo.config.read_text()
    assert old in text
    demo.config.write_text(text.replace(old, new))


def children_of(pid: int) -> set[int]:
    """Every process below `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def assert_gone(pids: set[int]) -> None:
    """Each of the processes ends in time."""
    deadline = time.monotonic() + WITHIN_S
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            left = max(deadline - time.monotonic(), 0)
            assert select.select([descriptor], [], [], left)[0], f"{pid} is left"
        finally:
            os.close(descriptor)


def test_it_ends_by_itself_with_a_summary(place: Path) -> None:
    with running(place, "--seconds", "6") as demo:
        assert demo.process.wait(WITHIN_S) == 0, demo.output()
        said = demo.output()
    rows = {
        phase: (int(legacy), int(new))
        for phase, legacy, new in re.findall(
            r"^ ?api-\w+ +(\S+) +(\d+) +\d+ +(\d+) +\d+ ", said, re.MULTILINE
        )
    }
    assert set(rows) == set(PHASES), said
    assert rows["legacy-only"][1] == rows["new-only"][0] == 0
    for phase in ("shadow-read", "25%", "dual-write"):
        assert min(rows[phase]) > 0, said
    sent = re.search(r"The visitors sent (\d+) requests: (\d+) with 200", said)
    assert sent, said
    assert int(sent[1]) > 100
    assert int(sent[2]) > 0.8 * int(sent[1])
    assert "none went without an answer" in said
    assert "Traceback" not in said
    assert demo.is_free()
    assert list((place / "tmp").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_of_it(place: Path, number: signal.Signals) -> None:
    with running(place) as demo:
        demo.wait_for("api-products")
        children = children_of(demo.process.pid)
        assert len(children) >= 6  # shops, visitors, launcher, controller, worker
        assert demo.end(number) == 0, demo.output()
        assert "The visitors sent" in demo.output()
        assert_gone(children)
        assert demo.is_free()
        assert list((place / "tmp").iterdir()) == []


def test_a_signal_before_it_is_up_ends_it_too(place: Path) -> None:
    with running(place) as demo:
        deadline = time.monotonic() + WITHIN_S
        while not (children := children_of(demo.process.pid)):
            assert time.monotonic() < deadline
        assert demo.end(signal.SIGTERM) == 0, demo.output()
        assert_gone(children)


def test_nothing_outlives_a_demo_that_is_killed(place: Path) -> None:
    with running(place) as demo:
        demo.wait_for("api-products")
        children = children_of(demo.process.pid)
        demo.process.kill()
        demo.process.wait()
        assert_gone(children)


def test_an_edit_is_shown_when_it_takes_hold_and_when_it_is_refused(place: Path) -> None:
    with running(place) as demo:
        demo.wait_for("api-products")
        edit(demo, "/api/legacy/*: legacy-only", "/api/legacy/*: shadow-read")
        demo.wait_for("/api/legacy/* from legacy-only to shadow-read")
        edit(demo, "/api/legacy/*: shadow-read", "/api/legacy/*: shadow-raed")
        demo.wait_for("is refused, the table before it stays in force.")
        demo.wait_for("shadow-raed")
        edit(demo, "/api/legacy/*: shadow-raed", f"/api/legacy/*: {Phase(101)}")
        demo.wait_for("/api/legacy/* from shadow-read to new-only")
        assert demo.end() == 0


def test_a_child_that_dies_is_named_and_ends_the_demo(place: Path) -> None:
    with running(place) as demo:
        demo.wait_for("api-products")
        for pid in children_of(demo.process.pid):
            if b"demo.shop\0new" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        assert demo.process.wait(WITHIN_S) == 1
        said = demo.output()
    assert "The last lines of new shop:\n  new shop on http://127.0.0.1:" in said
    assert "new shop ended by itself with exit code -9" in said
    assert "Traceback" not in said
    assert demo.is_free()


def test_a_worker_that_dies_is_told_and_started_again(place: Path) -> None:
    with running(place) as demo:
        demo.wait_for("api-products")
        for pid in children_of(demo.process.pid):
            if b"proxy.edge.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        demo.wait_for("launcher: child died, restarting it child=worker 0")
        assert demo.end() == 0, demo.output()


def test_a_port_in_use_is_told_in_one_paragraph(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        proxy = taken.getsockname()[1]
        write_config(place, [proxy, *free_ports(3)])
        with running(place) as demo:
            assert demo.process.wait(WITHIN_S) == 1
            said = demo.output()
    assert f"127.0.0.1:{proxy} (listen) is in use" in said
    assert "Traceback" not in said


def test_a_missing_file_is_told_in_one_paragraph(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy.cli.main", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "routes.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_gets_a_live_table(place: Path) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "110", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.cli.main", "demo", "--seconds", "4"],
        cwd=place,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], WITHIN_S)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            said += piece
            if not piece:
                break
        assert process.wait(WITHIN_S) == 0, said.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert said.count(b"api-search") > 3
    assert b"\x1b[" in said
    assert b"The visitors sent" in said
