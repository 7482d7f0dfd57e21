"""The settling transaction on real Postgres: rows, rollups, charges and watermark are one."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from django.db.models import Sum

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.journal import NEW_PREFIX, segment_name
from apps.contracts.usage import Attempt, Charge, Tokens, encode_record
from apps.proxy.journal import MIN_SEGMENT_BYTES, Journal
from apps.settlement import services, tail
from apps.settlement.choices import DRAINED, WRITTEN_OFF
from apps.settlement.models import SettlementJournal, SettlementOpen, SettlementReject
from apps.settlement.shipper import STALE_NEW_SECONDS, Shipper
from apps.usage.models import UsageRequest, UsageRollup1h, UsageRollup1m, UsageRollup10s
from tests.settlement.records import Traffic

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_usage")]


@pytest.fixture
def charged(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """What was charged, by lease; the budgets' own side is tested with them."""
    total: dict[int, int] = {}
    real = services.budgets.charges_settle

    def spy(*, cursor: object, costs: dict[int, int], ending: tuple[object, ...] = ()) -> None:
        assert list(costs) == sorted(costs)
        for lease, cost in costs.items():
            total[lease] = total.get(lease, 0) + cost
        real(cursor=cursor, costs=costs, ending=ending)

    monkeypatch.setattr(services.budgets, "charges_settle", spy)
    return total


def create(root: Path) -> tuple[Journal, Traffic]:
    boot = Traffic.boot()
    journal = Journal.create(
        root, boot_id=boot, name="p1", max_bytes=400 * MIN_SEGMENT_BYTES, segment_bytes=MIN_SEGMENT_BYTES, fsync_ms=1000
    )
    return journal, Traffic(boot, leases=(3, 1))


def write(journal: Journal, *records: object) -> None:
    for record in records:
        journal.append(encode_record(record))  # type: ignore[arg-type]
        journal.upkeep()


def settle(root: Path) -> None:
    """Rounds until a forced one finds nothing: what ``shipper --once`` does."""
    shipper = Shipper(root)
    while any(shipper.round(force=True)):
        pass
    shipper.close()


def rollups_equal_rows() -> None:
    counters = (
        "tokens_input",
        "tokens_output",
        "tokens_cache_read",
        "tokens_cache_write",
        "tokens_reasoning",
        "cost_nano",
        "total_us",
        "bytes_out",
    )
    rows = UsageRequest.objects.aggregate(**{name: Sum(name, default=0) for name in counters})
    count = UsageRequest.objects.count()
    for model in (UsageRollup10s, UsageRollup1m, UsageRollup1h):
        assert model.objects.aggregate(**{name: Sum(name, default=0) for name in counters}) == rows
        assert model.objects.aggregate(n=Sum("requests", default=0))["n"] == count
        outcomes = model.objects.aggregate(**{name: Sum(name, default=0) for name in ("ok", "error", "cancelled", "refused", "unknown")})
        assert outcomes == {name: UsageRequest.objects.filter(outcome=name).count() for name in outcomes}


def test_records_are_stored_rolled_up_and_charged_once(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    pairs = [traffic.pair() for _ in range(300)]
    for pair in pairs:
        write(journal, *pair)
    settle(tmp_path)
    settle(tmp_path)
    cost = sum(record.cost_nano for _, record in pairs)
    assert UsageRequest.objects.count() == 300
    assert charged == {1: cost, 3: cost}
    rollups_equal_rows()
    row = SettlementJournal.objects.get()
    assert (row.segment, row.offset) == journal.position and row.records == 300
    stored = UsageRequest.objects.get(id=pairs[0][1].id.hex())
    wire = pairs[0][1]
    assert (stored.key_id, stored.route, stored.tags, stored.metadata) == (wire.key_id, wire.route, wire.tags, wire.metadata)
    assert stored.attempts[0]["tokens"]["input"] == wire.attempts[0].tokens.input
    assert stored.attempts[0]["charges"] == [
        {"lease_id": 3, "reserved_nano": wire.cost_nano * 2},
        {"lease_id": 1, "reserved_nano": wire.cost_nano * 2},
    ]
    assert int(stored.started_at.timestamp() * 1_000_000) == pytest.approx(wire.started_us, abs=1)
    journal.close()


def test_a_dead_journal_is_settled_to_its_end_and_deleted(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    closed, unclosed = traffic.pair(), traffic.pair()[0]
    write(journal, *closed, unclosed, msgspec.structs.replace(unclosed, endpoint="second", attempt=1))
    settle(tmp_path)
    assert UsageRequest.objects.count() == 1  # it lives: its open may still be closed
    journal.close()
    settle(tmp_path)
    unknown = UsageRequest.objects.get(outcome="unknown")
    assert unknown.cost_nano == 2 * unclosed.reserved_nano and unknown.estimated and unknown.attempt_count == 2
    assert charged[1] == closed[1].cost_nano + 2 * unclosed.reserved_nano
    assert SettlementJournal.objects.get().state == DRAINED and SettlementJournal.objects.get().unknown == 1
    assert list(tmp_path.iterdir()) == []
    assert Event.objects.filter(kind="journal.unknown").count() == 1
    rollups_equal_rows()


def test_failovers_and_hedges_count_each_target_once(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    chance = random.Random(5)
    for _ in range(40):
        _, record = traffic.pair()
        attempts = [
            Attempt(
                provider="simulated",
                endpoint=chance.choice(["sim-east", "sim-west"]),
                model="m",
                outcome=chance.choice(["ok", "error"]),
                tokens=Tokens(input=chance.randrange(100)),
                cost_nano=chance.randrange(1000),
                charges=[Charge(number, 1)],
            )
            for number in range(chance.randrange(0, 4))
        ]
        # the record's own total need not be its attempts' sum: it is the one that counts
        write(journal, msgspec.structs.replace(record, attempts=attempts, outcome=chance.choice(["ok", "error", "refused"])))
    settle(tmp_path)
    rollups_equal_rows()
    assert UsageRollup1m.objects.aggregate(n=Sum("attempts"))["n"] == UsageRequest.objects.aggregate(n=Sum("attempt_count"))["n"]
    journal.close()


@pytest.mark.parametrize(
    "text", ["tab\there", "line\nend", "back\\slash", "quote\"'", "nul\0nul", "\\N", "ünï 漢字 🚢", "\r", "\\.", "\u2028\x7f"]
)
def test_any_text_of_an_app_is_stored(tmp_path: Path, charged: dict[int, int], text: str) -> None:
    journal, traffic = create(tmp_path)
    _, record = traffic.pair()
    write(journal, msgspec.structs.replace(record, feature=text, user=text, tags=[text], metadata={text: text}, requested_model=text))
    settle(tmp_path)
    row = UsageRequest.objects.get()
    kept = text.replace("\0", "")
    assert (row.feature, row.user, row.tags, row.metadata, row.requested_model) == (kept, kept, [kept], {kept: kept}, kept)
    assert UsageRollup1h.objects.get().feature == kept
    assert not SettlementReject.objects.exists()
    journal.close()


def test_impossible_numbers_are_clamped_and_their_neighbours_unharmed(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    good = traffic.pair()[1]
    write(
        journal,
        good,
        msgspec.structs.replace(traffic.pair()[1], tokens=Tokens(input=2**63), status=2**40),
        msgspec.structs.replace(traffic.pair()[1], started_us=2**62),
        msgspec.structs.replace(traffic.pair()[1], started_us=-1),
    )
    settle(tmp_path)
    assert UsageRequest.objects.count() == 4 and not SettlementReject.objects.exists()
    assert UsageRequest.objects.filter(tokens_input=2**63 - 1, status=2**31 - 1).exists()
    journal.close()


def test_what_cannot_be_stored_is_kept_and_charged(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    one, two = traffic.pair()[1], traffic.pair()[1]
    write(journal, one, one, two)  # the same id twice: no proxy does that
    journal.append(b"\xc1 not a record")
    settle(tmp_path)
    assert UsageRequest.objects.count() == 2
    assert sorted("duplicate key" in error for error in SettlementReject.objects.values_list("error", flat=True)) == [False, True]
    assert charged[1] == 2 * one.cost_nano + two.cost_nano
    assert Event.objects.filter(kind="journal.rejected").count() == 2
    rollups_equal_rows()
    journal.close()


def test_a_lost_race_changes_nothing(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    write(journal, *traffic.pair())
    slow = Shipper(tmp_path)
    slow._discover()
    (late,) = slow._tails.values()
    late.take(rows=10, frames=10)
    settle(tmp_path)
    once = dict(charged)
    with pytest.raises(services.WatermarkMoved):
        services.batch_settle(tails=[late])
    assert charged == once and UsageRequest.objects.count() == 1
    rollups_equal_rows()
    slow.close()
    journal.close()


def test_opens_of_long_requests_are_carried_so_that_segments_can_go(
    tmp_path: Path, charged: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "RETAINED_SEGMENTS", 2)
    journal, traffic = create(tmp_path)
    closed_late, never_closed = traffic.pair(), traffic.pair()[0]
    write(journal, closed_late[0], never_closed)
    written = 0
    while journal.position[0] < 6:
        write(journal, *traffic.pair())
        written += 1
        if written % 40 == 0:
            settle(tmp_path)
    settle(tmp_path)
    assert SettlementOpen.objects.count() == 2
    assert not (journal.directory / segment_name(1)).exists() and not (journal.directory / segment_name(2)).exists()
    write(journal, closed_late[1])
    settle(tmp_path)
    assert SettlementOpen.objects.count() == 1
    journal.close()
    settle(tmp_path)
    assert SettlementOpen.objects.count() == 0
    assert UsageRequest.objects.filter(outcome="unknown").count() == 1
    assert UsageRequest.objects.count() == written + 2
    rollups_equal_rows()


def test_a_torn_dead_journal_is_settled_up_to_the_tear_and_reported(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    write(journal, traffic.pair()[1])
    _, offset = journal.position
    write(journal, traffic.pair()[1], traffic.pair()[1])
    journal.close()
    path = journal.directory / segment_name(1)
    data = bytearray(path.read_bytes())
    data[offset + 40] ^= 0xFF
    path.write_bytes(data)
    settle(tmp_path)
    row = SettlementJournal.objects.get()
    assert row.records == 1 and row.state == DRAINED and row.lost_bytes > 400
    assert Event.objects.get(kind="journal.torn").data["offset"] == offset


def test_pages_that_a_power_loss_left_empty_do_not_hide_what_follows(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    write(journal, traffic.pair()[1])
    _, offset = journal.position
    while journal.position[0] == 1:
        write(journal, traffic.pair()[1])
    journal.close()
    path = journal.directory / segment_name(1)
    data = bytearray(path.read_bytes())
    data[offset : offset + 8192] = bytes(8192)
    path.write_bytes(data)
    settle(tmp_path)
    assert SettlementJournal.objects.get().lost_bytes > 40_000
    assert Event.objects.filter(kind="journal.torn").exists()


def test_a_write_off_is_audited_and_done_once(tmp_path: Path) -> None:
    journal, traffic = create(tmp_path)
    write(journal, *traffic.pair())
    settle(tmp_path)
    actor = Actor.command("journal_write_off")
    with pytest.raises(ServiceError, match="not a boot id"):
        services.journal_write_off(actor=actor, boot_id="nonsense", reason="lost")
    with pytest.raises(ServiceError, match="say why"):
        services.journal_write_off(actor=actor, boot_id=traffic.boot_id, reason=" ")
    with pytest.raises(ServiceError):
        services.journal_write_off(actor=actor, boot_id=Traffic.boot(), reason="lost")
    services.journal_write_off(actor=actor, boot_id=traffic.boot_id, reason="the disk is lost")
    assert SettlementJournal.objects.get().state == WRITTEN_OFF
    assert AuditEvent.objects.get(action="journal.write_off").reason == "the disk is lost"
    with pytest.raises(ServiceError, match="already"):
        services.journal_write_off(actor=actor, boot_id=traffic.boot_id, reason="again")
    journal.close()


def test_an_app_reads_its_own_request_only(tmp_path: Path, charged: dict[int, int]) -> None:
    journal, traffic = create(tmp_path)
    _, record = traffic.pair()
    write(journal, record)
    settle(tmp_path)
    with connection.cursor() as cursor:
        cursor.execute("SELECT proxy_api.request_record(%s, %s)", [record.id.hex(), record.key_id])
        found = cursor.fetchone()[0]
        found = json.loads(found) if isinstance(found, str) else found
        assert (found["id"], found["cost_nano"], found["attempts"][0]["provider"]) == (
            str(UUID(bytes=record.id)),
            record.cost_nano,
            "simulated",
        )
        cursor.execute("SELECT proxy_api.request_record(%s, %s) IS NULL", [record.id.hex(), "another key"])
        assert cursor.fetchone()[0]
    journal.close()


def test_what_a_proxy_left_that_died_while_it_made_its_journal_is_no_journal(tmp_path: Path) -> None:
    """It is not read; old and free, it is swept. Locked (its maker lives) or young (it may not have its lock yet), it stays."""
    journals = [create(tmp_path)[0] for _ in range(3)]
    young, old, locked = (tmp_path / f"{NEW_PREFIX}{journal.directory.name}" for journal in journals)
    for journal, directory in zip(journals, (young, old, locked), strict=True):
        journal.directory = journal.directory.rename(directory)
    journals[0].close()
    journals[1].close()
    for directory in (old, locked):
        past = directory.stat().st_mtime - 2 * STALE_NEW_SECONDS
        os.utime(directory, (past, past))
    settle(tmp_path)
    assert not SettlementJournal.objects.exists()
    assert (young.exists(), old.exists(), locked.exists()) == (True, False, True)
    journals[2].close()
