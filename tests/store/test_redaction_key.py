"""The installation's key: made once, private, and never silently another one."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.store.redaction import KEY_BYTES, NAME, redaction_key
from proxy.store.state import StoreError


def test_it_is_made_once_and_read_by_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    key = redaction_key(folder)
    assert len(key) == KEY_BYTES
    assert redaction_key(folder) == key
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
    assert [each.name for each in folder.iterdir()] == [NAME]


def test_two_that_begin_at_once_have_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: redaction_key(tmp_path), range(32)))
    assert len(set(keys)) == 1


def test_a_damaged_one_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged: remove it"):
        redaction_key(tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"short"


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        redaction_key(tmp_path / "file")
