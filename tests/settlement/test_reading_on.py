"""A journal of more than a batch is read while Postgres stores what was read before; each record is settled once all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import OperationalError

from apps.contracts.usage import UsageRecord
from apps.settlement import services, shipper
from apps.settlement.models import SettlementJournal, SettlementReject
from apps.settlement.shipper import Shipper
from apps.usage.models import UsageRequest
from tests.settlement.test_services import create, rollups_equal_rows, write

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_usage")]


@pytest.fixture
def charged(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """What transactions that came to their end charged, by lease."""
    total: Counter[int] = Counter()

    def settle(*, cursor: Any, costs: dict[int, int], ending: Any = ()) -> None:
        total.update(costs)

    monkeypatch.setattr(services.budgets, "charges_settle", settle)
    return total


@pytest.fixture
def read_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small batches; the list gets how many records each reading on has found."""
    for name, value in {"BATCH_ROWS": 60, "FIRST_ROWS": 20, "NEXT_ROWS": 14}.items():
        monkeypatch.setattr(shipper, name, value)
    found: list[int] = []
    real = Shipper._read_on

    def counted(self: Shipper, tails: Any) -> list[UsageRecord]:
        records = real(self, tails)
        found.append(len(records))
        return records

    monkeypatch.setattr(Shipper, "_read_on", counted)
    return found


def backlog(root: Path, records: int) -> list[UsageRecord]:
    """Two closed journals; every fifth request of theirs is still open."""
    made: list[UsageRecord] = []
    for _ in range(2):
        journal, traffic = create(root)
        for number in range(records):
            opened, record = traffic.pair()
            write(journal, opened)
            if number % 5:
                write(journal, record)
                made.append(record)
        journal.close()
    return made


def settle_on(settling: Shipper) -> None:
    while any(settling.round(force=True)):
        pass
    settling.close()


def test_what_is_read_on_is_settled_once(tmp_path: Path, read_on: list[int], charged: Counter[int]) -> None:
    made = backlog(tmp_path, 150)
    settling = Shipper(tmp_path)
    settling.round()
    assert read_on == [] and UsageRequest.objects.count() == 60
    settling.round()
    assert sum(read_on) == 40 and max(read_on) <= 14 and UsageRequest.objects.count() == 120
    settle_on(settling)
    assert UsageRequest.objects.exclude(outcome="unknown").count() == len(made)
    assert UsageRequest.objects.filter(outcome="unknown").count() == 60
    cost = sum(UsageRequest.objects.values_list("cost_nano", flat=True))
    assert charged == {1: cost, 3: cost}
    assert set(SettlementJournal.objects.values_list("records", "state")) == {(150, "drained")}
    rollups_equal_rows()


def test_postgres_away_while_reading_on_loses_nothing_and_doubles_nothing(
    tmp_path: Path, read_on: list[int], charged: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backlog(tmp_path, 100)
    settling = Shipper(tmp_path)
    settling.round()
    real = services._watermark_advance

    def away(*args: Any, **given: Any) -> None:
        raise OperationalError("the server closed the connection unexpectedly")

    monkeypatch.setattr(services, "_watermark_advance", away)
    with pytest.raises(OperationalError) as lost:
        settling.round()
    assert sum(read_on) == 40 and UsageRequest.objects.count() == 60
    monkeypatch.setattr(services, "_watermark_advance", real)
    settling._failed(lost.value)
    settle_on(settling)
    assert UsageRequest.objects.exclude(outcome="unknown").count() == len(made)
    cost = sum(UsageRequest.objects.values_list("cost_nano", flat=True))
    assert charged == {1: cost, 3: cost}
    rollups_equal_rows()


def test_what_postgres_cannot_store_is_found_among_what_was_read_on(
    tmp_path: Path, read_on: list[int], charged: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text with NUL is stored without it; a record that cannot be stored at all is set aside; its money does not wait for it."""
    journal, traffic = create(tmp_path)
    made = [traffic.pair()[1] for _ in range(110)]
    made[100] = msgspec.structs.replace(made[100], user="a\0b")
    made[101] = msgspec.structs.replace(made[101], id=made[7].id, started_us=made[7].started_us)  # again
    write(journal, *made)
    journal.close()
    settle_on(Shipper(tmp_path))
    assert read_on, "it was read while the batch was stored"
    assert UsageRequest.objects.count() == 109 and SettlementReject.objects.count() == 1
    assert UsageRequest.objects.get(id=made[100].id.hex()).user == "ab"
    cost = sum(record.cost_nano for record in made)
    assert charged == {1: cost, 3: cost}
    rollups_equal_rows()
