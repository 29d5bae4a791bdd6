"""The private directory: private, gone afterwards, and cleaned up after the dead only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.control.runtime import LINK_NAME, LONGEST_SOCKET_PATH_BYTES, private_directory

HOLD = """
import sys
from proxy.control.runtime import private_directory
with private_directory() as made:
    print(made, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_it_is_private_and_gone_afterwards() -> None:
    with private_directory() as made:
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "first.yaml").write_text("x")
    assert not made.exists()


def test_its_paths_fit_into_a_socket_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with private_directory() as made:
        assert len(os.fsencode(made / LINK_NAME)) <= LONGEST_SOCKET_PATH_BYTES


def test_what_a_killed_launcher_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        path = Path(holder.stdout.readline().strip())
        with private_directory():
            assert path.exists()
        holder.kill()
        holder.wait()
        assert path.exists()
        with private_directory():
            assert not path.exists()
