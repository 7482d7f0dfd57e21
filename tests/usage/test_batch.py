"""One pass over a batch: its sums are those of its records one by one, whatever came before it or went wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest

from apps.contracts.usage import UsageRecord
from apps.usage import batch, rows
from apps.usage.rollups import Cells, cells_merge
from tests.settlement.records import Traffic


def mixed(count: int, seed: int) -> list[UsageRecord]:
    """Failures, refusals, several attempts, answers without a first token, more than one bucket of ten seconds."""
    chance, traffic = random.Random(seed), Traffic(Traffic.boot(), keys=3, routes=2, seed=seed, leases=(1, 2))
    made = []
    for number in range(count):
        record = traffic.pair(started_us=1_800_000_000_000_000 + number % 7 * 4_000_000)[1]
        record.first_token_us = chance.choice((-1, 0, 900))
        record.stream, record.estimated = chance.random() < 0.7, chance.random() < 0.2
        kind = chance.randrange(5)
        if kind == 0:
            record.outcome, record.error_code, record.attempts[0].outcome = "error", f"code-{chance.randrange(60)}", "error"
        elif kind == 1:
            record.outcome, record.error_code, record.attempts = "refused", "budget_exceeded", []
        elif kind == 2:
            failed = msgspec.structs.replace(record.attempts[0], endpoint="other", outcome="error", error_code="upstream_timeout")
            record.attempts = [failed, *record.attempts]
        made.append(record)
    return made


def summed(records: list[UsageRecord]) -> Cells:
    cells: Cells = {}
    for _ in batch.encoded(records, cells):
        pass
    return cells


def one_by_one(records: list[UsageRecord]) -> Cells:
    cells: Cells = {}
    for record in records:
        cells_merge(cells, iter(summed([record]).items()))
    return cells


def test_a_batchs_sums_are_those_of_its_records_one_by_one() -> None:
    records = mixed(300, seed=1)
    cells = summed(records)
    assert cells == one_by_one(records)
    assert sum(cell[0][0] for cell in cells.values()) == 300
    assert sum(cell[0][14] for cell in cells.values()) == sum(r.cost_nano for r in records)
    assert sum(cell[0][9] for cell in cells.values()) == sum(r.tokens.input for r in records)


def test_a_batch_that_was_given_up_leaves_nothing_to_the_next() -> None:
    records = mixed(60, seed=2)

    def torn() -> Iterator[UsageRecord]:
        yield from records[:40]
        raise ConnectionError("the connection was lost")

    cells: Cells = {}
    with pytest.raises(ConnectionError):
        list(batch.encoded(torn(), cells))
    assert cells == {}
    assert summed(records) == one_by_one(records)


@pytest.mark.parametrize("wrong", [{"id": b"short"}, {"total_us": 2**63}, {"status": 2**31}])
def test_what_no_column_holds_is_said_before_postgres_sees_it(wrong: dict[str, object]) -> None:
    record = mixed(3, seed=3)[0]
    with pytest.raises(OverflowError):
        list(batch.encoded([msgspec.structs.replace(record, **wrong)], {}))


def test_texts_of_any_length_are_stored_whole() -> None:
    record = mixed(3, seed=4)[0]
    for length in (0, 1, 1023, 1024, 5000):
        text = "ü" * length
        packed = rows.row(msgspec.structs.replace(record, user=text), rows.NO_ATTEMPT, b"", single=True)
        assert (len(text.encode()).to_bytes(4, "big") + text.encode()) in packed
