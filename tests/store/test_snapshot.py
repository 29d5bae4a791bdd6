"""The snapshot: what it says is given up only for what is durable, on whatever disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.core.model import DUAL_WRITE, LEGACY_ONLY, ZERO, Side
from proxy.store import slots
from proxy.store.records import Latch, Record, Stored
from proxy.store.snapshot import LastKnown, read_snapshot, snapshot_path, write_snapshot
from proxy.store.state import StoreError
from tests.harness.disks import Disk, small_disk

RECORD = Record("users", 1, "d", LEGACY_ONLY, LEGACY_ONLY, Side.LEGACY)
BEFORE = Stored(starts=1, records={"users": RECORD})
AFTER = Stored(starts=2, records={"users": RECORD})
LATCH = Latch(1.0, DUAL_WRITE, ZERO, "guard", "divergence", "37 of 40 comparisons " * 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return snapshot_path(tmp_path / "folder" / "state.db")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("known")
    yield descriptor
    os.close(descriptor)


def of_routes(count: int, latch: Latch | None = None) -> Stored:
    records = (msgspec.structs.replace(RECORD, name=f"r{n}", latch=latch) for n in range(count))
    return Stored(starts=1, records={record.name: record for record in records})


def test_it_is_read_as_it_was_written(path: Path) -> None:
    assert read_snapshot(path) is None
    for stored in (BEFORE, AFTER, of_routes(2000), BEFORE, of_routes(1)):
        write_snapshot(path, stored)
        assert read_snapshot(path) == stored
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_damaged_one_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        read_snapshot(path)


def test_one_of_before_there_were_slots_is_read_and_replaced(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode({"schema": 1, "stored": BEFORE}))
    assert read_snapshot(path) == BEFORE
    write_snapshot(path, AFTER)
    assert read_snapshot(path) == AFTER


def test_one_of_a_newer_banyan_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode({"schema": 2, "stored": BEFORE}))
    with pytest.raises(StoreError, match="newer"):
        read_snapshot(path)


def test_one_that_cannot_be_replaced_stays(path: Path) -> None:
    """It was removed: a disk that took no writes cost what was known as well."""
    write_snapshot(path, BEFORE)
    path.with_name(path.name + ".new").mkdir()
    with pytest.raises(StoreError):
        write_snapshot(path, of_routes(2000))
    assert read_snapshot(path) == BEFORE


@pytest.mark.parametrize("written", [0, 1, 40, 66, 67, 90])
def test_a_write_that_is_cut_off_leaves_what_it_said(path: Path, written: int) -> None:
    write_snapshot(path, BEFORE)
    write_snapshot(path, AFTER)
    whole = path.read_bytes()
    write_snapshot(path, of_routes(3))  # over BEFORE, in its slot
    torn = path.read_bytes()[:written] + whole[written:]
    path.write_bytes(torn)
    assert read_snapshot(path) == AFTER
    write_snapshot(path, of_routes(3))
    assert read_snapshot(path) == of_routes(3)


def test_a_full_disk_takes_reverts(disk: Disk) -> None:
    path = disk.path / "state.snapshot.json"
    write_snapshot(path, of_routes(50))
    disk.fill()
    for latched in range(1, 51):
        known = of_routes(50)
        records = {**known.records, **of_routes(latched, LATCH).records}
        stored = msgspec.structs.replace(known, records=records)
        write_snapshot(path, stored)
        assert read_snapshot(path) == stored


def test_a_full_disk_gets_back_what_a_larger_one_took(disk: Disk) -> None:
    path = disk.path / "state.snapshot.json"
    write_snapshot(path, BEFORE)
    disk.fill()
    with pytest.raises(StoreError, match="No space left"):
        write_snapshot(path, of_routes(2000))
    assert read_snapshot(path) == BEFORE
    assert not path.with_name(path.name + ".new").exists()


def test_memory_has_what_no_disk_takes(disk: Disk, memory: int) -> None:
    path = disk.path / "state.snapshot.json"
    write_snapshot(path, BEFORE)
    disk.lock()
    assert LastKnown(path, memory).read() == BEFORE
    with pytest.raises(StoreError, match="cannot be written"):
        LastKnown(path, memory).keep(AFTER)
    assert LastKnown(path).read() == BEFORE
    assert LastKnown(path, memory).read() == AFTER
    LastKnown(path, memory).remember(of_routes(5000))
    assert LastKnown(path, memory).read() == of_routes(5000)


def test_memory_that_is_full_is_said_and_the_file_is_written(path: Path, memory: int) -> None:
    reading = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)
    try:
        with pytest.raises(StoreError, match="memory cannot be written"):
            LastKnown(path, reading).keep(AFTER)
    finally:
        os.close(reading)
    assert read_snapshot(path) == AFTER


def test_the_older_slot_is_written_and_the_newest_whole_one_read(memory: int) -> None:
    last = None
    for number in range(5):
        slots.put(memory, 200, b"text %d" % number, last)
        last = slots.newest(memory, 200)
        assert last == (number + 1, number % 2, b"text %d" % number)
    os.pwrite(memory, b"?", last.slot * 200 + 70)  # type: ignore[union-attr]  # it is there
    found = slots.newest(memory, 200)
    assert found is not None
    assert found.text == b"text 3"
