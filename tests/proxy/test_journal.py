"""The proxy's journal: a model test with a reader in lockstep, admission, bounds, locking."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.contracts.identifiers import uuid7
from apps.contracts.journal import FIRST_OFFSET, LOCK_NAME, MAX_OPEN_PAYLOAD, MAX_PAYLOAD, frame_size, is_sealed, read_frames, segment_name
from apps.proxy import journal as module
from apps.proxy.journal import (
    MIN_SEGMENT_BYTES,
    REQUEST_BYTES,
    RESERVED_OPENS,
    Journal,
    JournalClosed,
    JournalOverrun,
    JournalUnusable,
    RecordTooLarge,
)
from tests.scale import examples

SEGMENT = MIN_SEGMENT_BYTES


def create(root: Path, *, max_bytes: int = 64 * SEGMENT, fsync_ms: int = 1) -> Journal:
    return Journal.create(root, boot_id=str(uuid7()), name="test", max_bytes=max_bytes, fsync_ms=fsync_ms, segment_bytes=SEGMENT)


class Reader:
    """Follows a journal as the shipper does, by the contract's functions only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.segment, self.offset = 1, FIRST_OFFSET

    def read(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            data = (self.directory / segment_name(self.segment)).read_bytes()
            for payload, following in read_frames(data, self.offset):
                found.append(bytes(payload))
                self.offset = following
            if not is_sealed(data, self.offset) or not (self.directory / segment_name(self.segment + 1)).exists():
                return found
            self.segment, self.offset = self.segment + 1, FIRST_OFFSET

    def delete_passed(self) -> None:
        for number in range(1, self.segment):
            (self.directory / segment_name(number)).unlink(missing_ok=True)


class JournalModel(RuleBasedStateMachine):
    """Appends, admissions, upkeep, deletions and the end in any order: what is read is what was appended."""

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="bulkhead-journal-"))
        self.max_bytes = 6 * SEGMENT
        self.journal = create(self.root, max_bytes=self.max_bytes)
        self.reader = Reader(self.journal.directory)
        self.written: list[bytes] = []
        self.seen: list[bytes] = []
        self.shares: list[list[int]] = []  # of each admitted request: the payload bytes it may still write
        self.closed = False

    @precondition(lambda self: not self.closed)
    @rule()
    def admit(self) -> None:
        if self.journal.admit():
            self.shares.append([MAX_OPEN_PAYLOAD] * RESERVED_OPENS + [MAX_PAYLOAD])

    @precondition(lambda self: not self.closed and self.shares)
    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        share = data.draw(st.sampled_from(self.shares))
        if share:
            size = data.draw(st.integers(1, share[0]) | st.just(share[0]))
            share.pop(0)
            payload = bytes([len(self.written) % 251]) * size
            self.journal.append(payload)  # an admitted append never fails
            self.written.append(payload)

    @precondition(lambda self: not self.closed and self.shares)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        self.shares.remove(data.draw(st.sampled_from(self.shares)))
        self.journal.retire()

    @precondition(lambda self: not self.closed)
    @rule()
    def upkeep(self) -> None:
        self.journal.upkeep()

    @precondition(lambda self: not self.closed)
    @rule()
    def delete(self) -> None:
        self.reader.delete_passed()
        self.journal._measured_at = 0.0  # the next upkeep counts again

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        self.journal.close()
        self.closed = True

    @precondition(lambda self: self.closed)
    @rule()
    def closed_refuses(self) -> None:
        assert not self.journal.admit()
        with pytest.raises(JournalClosed):
            self.journal.append(b"late")

    @invariant()
    def reads_what_was_written(self) -> None:
        self.seen += self.reader.read()
        assert self.seen == self.written

    @invariant()
    def bounded(self) -> None:
        assert sum(path.stat().st_size for path in self.journal.directory.glob("*.seg")) <= self.max_bytes
        assert 0.0 <= self.journal.fill <= 1.0

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            shutil.rmtree(self.root)


JournalModel.TestCase.settings = settings(
    max_examples=examples(25),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestJournalModel = pytest.mark.slow(JournalModel.TestCase)


def test_an_admitted_request_fits_although_the_disk_is_full_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = create(tmp_path)
    admitted = 0
    while admitted < 5:
        assert journal.admit()
        admitted += 1

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    while journal.admit():
        admitted += 1
    assert "No space left on device" in journal.failed and "free disk space" in journal.failed
    written = []
    for number in range(admitted):
        for size in [MAX_OPEN_PAYLOAD] * RESERVED_OPENS + [MAX_PAYLOAD]:
            payload = bytes([number % 256]) * size
            journal.append(payload)
            written.append(payload)
    assert Reader(journal.directory).read() == written
    for _ in range(admitted):
        journal.retire()
    while journal.admit():  # what the reservations had over
        journal.append(b"x" * MAX_PAYLOAD)
        journal.retire()
    assert journal.fill == 1.0

    monkeypatch.undo()
    journal.upkeep()
    assert journal.failed == "" and journal.admit()
    journal.close()


def test_a_full_journal_refuses_and_recovers_when_segments_are_deleted(tmp_path: Path) -> None:
    journal = create(tmp_path, max_bytes=4 * SEGMENT)
    reader = Reader(journal.directory)
    written = 0
    while journal.admit():
        journal.append(b"x" * MAX_PAYLOAD)
        journal.retire()
        journal.upkeep()
        written += 1
    assert "BULKHEAD_JOURNAL_MAX_BYTES" in journal.failed
    assert journal.fill == 1.0
    assert len(reader.read()) == written
    reader.delete_passed()
    journal.upkeep()
    assert journal.failed == "" and journal.fill < 0.8
    assert journal.admit()
    journal.append(b"again")
    assert reader.read() == [b"again"]
    journal.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_really_full_disk_shows_at_preparation(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("this container may not mount")
    try:
        journal = create(disk, max_bytes=1 << 30)
        written = 0
        while journal.admit():
            journal.append(bytes([written % 256]) * MAX_PAYLOAD)
            journal.retire()
            journal.upkeep()
            written += 1
        assert "No space left on device" in journal.failed
        reader = Reader(journal.directory)
        assert [payload[0] for payload in reader.read()] == [number % 256 for number in range(written)]
        reader.delete_passed()
        journal.upkeep()
        assert journal.failed == "" and journal.admit()
        journal.close()
        with pytest.raises(JournalUnusable, match="needs"):
            deque((create(disk, max_bytes=1 << 30) for _ in range(9)), maxlen=0)
    finally:
        os.system(f"umount -l {disk}")


def test_a_burst_beyond_what_is_prepared_is_admitted_at_once(tmp_path: Path) -> None:
    journal = create(tmp_path, max_bytes=256 * SEGMENT)
    burst = 3 * (3 * SEGMENT // REQUEST_BYTES)
    assert all(journal.admit() for _ in range(burst))
    journal.close()


@pytest.mark.parametrize("payload", [b"", b"x" * (MAX_PAYLOAD + 1)])
def test_records_of_no_or_too_many_bytes_are_refused(tmp_path: Path, payload: bytes) -> None:
    journal = create(tmp_path)
    journal.admit()
    with pytest.raises(RecordTooLarge, match="trim"):
        journal.append(payload)
    journal.append(b"fine")
    assert Reader(journal.directory).read() == [b"fine"]
    journal.close()


def test_appending_without_admission_is_refused_before_it_harms(tmp_path: Path) -> None:
    journal = create(tmp_path)
    for _ in range(3 * ((SEGMENT - FIRST_OFFSET) // frame_size(MAX_PAYLOAD))):
        journal.append(b"x" * MAX_PAYLOAD)
    with pytest.raises(JournalOverrun, match="admit"):
        journal.append(b"x" * MAX_PAYLOAD)
    journal.upkeep()
    journal.append(b"y")
    assert Reader(journal.directory).read()[-1] == b"y"
    journal.close()


def test_a_closed_journal_is_sealed_unlocked_and_refuses(tmp_path: Path) -> None:
    journal = create(tmp_path)
    journal.admit()
    journal.append(b"last")
    _, offset = journal.position
    journal.close()
    journal.close()
    data = (journal.directory / segment_name(1)).read_bytes()
    assert is_sealed(data, offset) and [bytes(p) for p, _ in read_frames(data, FIRST_OFFSET)] == [b"last"]
    with pytest.raises(JournalClosed):
        journal.append(b"more")
    assert not journal.admit()
    assert lock_is_free(journal.directory)


def lock_is_free(directory: Path) -> bool:
    fd = os.open(directory / LOCK_NAME, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def test_the_lock_is_held_for_life_and_by_no_child(tmp_path: Path) -> None:
    journal = create(tmp_path)
    assert not os.get_inheritable(journal._lock_fd)
    assert not lock_is_free(journal.directory)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert not lock_is_free(journal.directory)
    journal.close()
    assert lock_is_free(journal.directory)  # although the child lives
    os.write(go[1], b".")
    os.waitpid(child, 0)


def test_a_boot_id_is_used_once(tmp_path: Path) -> None:
    journal = create(tmp_path)
    with pytest.raises(JournalUnusable, match="exists already"):
        Journal.create(tmp_path, boot_id=journal.directory.name, name="again", max_bytes=64 * SEGMENT, segment_bytes=SEGMENT)
    assert sorted(os.listdir(tmp_path)) == [journal.directory.name]
    journal.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_bytes": SEGMENT}, "BULKHEAD_JOURNAL_MAX_BYTES"),
        ({"max_bytes": 64 * SEGMENT, "fsync_ms": 0}, "BULKHEAD_JOURNAL_FSYNC_MS"),
        ({"max_bytes": 64 * SEGMENT, "segment_bytes": 4096}, "too small"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(tmp_path: Path, arguments: dict[str, int], says: str) -> None:
    with pytest.raises(JournalUnusable, match=says):
        Journal.create(tmp_path, boot_id=str(uuid7()), name="x", **{"segment_bytes": SEGMENT, **arguments})


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(JournalUnusable, match="BULKHEAD_JOURNAL_DIR"):
        create(tmp_path / "file")


def test_after_a_failed_fsync_nothing_more_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = create(tmp_path)
    journal.admit()
    journal.append(b"x")

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.os, "fsync", broken)
    journal._synced_at = 0.0
    journal.upkeep()
    monkeypatch.undo()
    journal.upkeep()
    assert "replace the disk" in journal.failed and not journal.admit() and journal.fill == 1.0
    journal.append(b"admitted before: still written")
    journal.close()


async def test_run_syncs_and_prepares_in_a_thread(tmp_path: Path) -> None:
    import asyncio

    journal = create(tmp_path)
    task = asyncio.create_task(journal.run())
    journal.admit()
    for _ in range(9):
        journal.append(b"x" * MAX_OPEN_PAYLOAD)
    async with asyncio.timeout(60):
        while journal._synced_records != journal.records:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    journal.close()


def test_a_segment_that_rotates_while_it_is_synced_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop goes on appending while the upkeep's thread waits for the disk."""
    journal = create(tmp_path)

    def rotate() -> None:
        number = journal.position[0]
        while journal.position[0] == number:
            assert journal.admit()
            journal.append(b"x" * MAX_PAYLOAD)
            journal.retire()

    real, calls = os.fsync, 0

    def fsync(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            rotate()  # what was current when this sync began is retired now, and this sync will come to it
        real(fd)

    rotate()
    monkeypatch.setattr(module.os, "fsync", fsync)
    journal._sync(0.0)
    assert (journal.failed, journal.admit()) == ("", True)
    assert calls >= 2
    journal.close()
