"""A record is found in the journal by how it begins, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import OpenRecord, UsageRecord, decode_record, encode_record, full_record_start
from apps.proxy.journal import Journal
from apps.proxy.segments import FIND_WINDOW


def full(id: bytes, route: str) -> UsageRecord:
    return UsageRecord(
        id=id,
        started_us=1,
        organisation="o",
        key_id="k",
        kind="chat",
        route=route,
        requested_model="m",
        stream=False,
        outcome="ok",
        status=200,
    )


def opened(id: bytes) -> OpenRecord:
    return OpenRecord(
        id=id,
        started_us=1,
        organisation="o",
        key_id="k",
        kind="chat",
        route="r",
        requested_model="m",
        stream=False,
        provider="p",
        endpoint="e",
        model="m",
    )


def test_the_full_record_is_found_and_not_its_open(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, boot_id=str(uuid4()), name="p", max_bytes=64 << 20, segment_bytes=1 << 20)
    ids = [uuid7_bytes(n) for n in range(9000)]
    for number, id in enumerate(ids):
        assert journal.admit()
        journal.append(encode_record(opened(id)))
        if number != 4321:
            journal.append(encode_record(full(id, f"route-{number}")))
        journal.retire()
        journal.upkeep()
    assert sum(path.stat().st_size for path in journal.directory.glob("*.seg")) > 4 * FIND_WINDOW
    for number in (8999, 8998, 7000, 6001):
        payload = journal.find(full_record_start(ids[number]))
        assert payload is not None
        record = decode_record(payload)
        assert isinstance(record, UsageRecord) and record.route == f"route-{number}"
    assert journal.find(full_record_start(ids[4321])) is None
    assert journal.find(full_record_start(uuid7_bytes(1))) is None
    journal.close()
