"""Restarts: how long they wait, and what is said of a death."""

import os
import signal

import pytest

from proxy.control.children import LONGEST_BACK_OFF_S, Child, back_off_s, exit_reason


def test_back_off_doubles_up_to_a_limit() -> None:
    assert [back_off_s(failures) for failures in range(5)] == [0.1, 0.1, 0.2, 0.4, 0.8]
    assert back_off_s(1000) == LONGEST_BACK_OFF_S


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exited with 0"),
        (3, "exited with 3"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL (out of memory?)"),
        (-63, "was killed by signal 63"),
    ],
)
def test_a_death_is_told_in_words(code: int, said: str) -> None:
    assert exit_reason(code) == said


def test_a_child_that_we_kill_has_not_run_out_of_memory() -> None:
    child = Child("worker 0", "http.server", ["--bind", "127.0.0.1", "0"], [])
    child.start(0.0)
    assert child.pid is not None
    child.stay_down()
    child.kill("the drain was cut short")
    _, status = os.waitpid(child.pid, 0)
    assert child.ended(status, 1.0) == "was killed by SIGKILL (since the drain was cut short)"


def test_a_child_that_keeps_dying_early_waits_longer_and_a_long_life_forgives() -> None:
    child = Child("worker 0", "proxy.no_such_module", [], [])
    now, waits = 0.0, []
    for lived_s in (1.0, 1.0, 1.0, 60.0):
        child.start(now)
        assert child.pid is not None
        _, status = os.waitpid(child.pid, 0)
        now += lived_s
        assert child.ended(status, now) == "exited with 1"
        assert child.restart_at is not None
        waits.append(round(child.restart_at - now, 3))
    assert waits == [0.1, 0.2, 0.4, 0.1]
    child.stay_down()
    assert child.restart_at is None
