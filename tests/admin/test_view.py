"""Readiness follows from the workers and the controller's own reasons."""

import msgspec
import pytest

from proxy.admin.view import ReadyView, WorkerView
from tests.admin.estate import WORKER

SICK = WorkerView(1, None, False, None, None, restarts=4, degraded="is being restarted")
STALE = WorkerView(2, 12, True, 2, 5, degraded="still serves generation 2 of 3")


@pytest.mark.parametrize(
    ("workers", "unready", "status"),
    [
        ([WORKER], [], "ready"),
        ([WORKER, SICK], [], "degraded"),
        ([WORKER, STALE], [], "degraded"),
        ([SICK], [], "unready"),
        ([], [], "unready"),
        ([WORKER], ["the state store is out of reach"], "unready"),
    ],
)
def test_status(workers: list[WorkerView], unready: list[str], status: str) -> None:
    ready = ReadyView.of(workers, unready)
    assert ready.status == status
    assert bool(ready.unready) == (status == "unready")
    assert msgspec.json.decode(msgspec.json.encode(ready))["status"] == status
