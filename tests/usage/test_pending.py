"""Sums of busy batches wait beside the rollups, and reach them once, whoever adds them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from django.db import DatabaseError, connection, transaction

from apps.contracts.usage import UsageRecord
from apps.usage import services
from apps.usage.models import UsageRequest, UsageRollup1h, UsageRollup1m, UsageRollup10s
from tests.settlement.records import Traffic

pytestmark = pytest.mark.django_db


def store(records: list[UsageRecord], *, keep: bool) -> None:
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=sorted({services.record_day(r) for r in records}))
        cells = services.requests_store(cursor=cursor, records=records)
        if keep:
            services.cells_keep(cursor=cursor, cells=cells)
        else:
            services.rollups_fold(cursor=cursor, cells=cells)


def made(count: int, seed: int) -> list[UsageRecord]:
    traffic = Traffic(Traffic.boot(), keys=3, seed=seed)
    return [traffic.pair()[1] for _ in range(count)]


def pending() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM usage_rollup_pending")
        found: int = cursor.fetchone()[0]
    return found


def sums(table: str) -> list[tuple[Any, ...]]:
    key, more = ("value, dimension, seconds", "attempts") if "summary" in table else ("dimensions", "total_us, bytes_out")
    names = f"bucket, {key}, requests, ok, tokens_input, tokens_output, cost_nano, {more}, h_total, h_first_token"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM {table} ORDER BY bucket, {key}")
        return list(cursor.fetchall())


def test_kept_sums_equal_sums_added_at_once() -> None:
    batches = [made(50, seed) for seed in range(4)]
    for batch in batches:
        store(batch, keep=True)
    assert (pending(), UsageRollup1m.objects.count(), UsageRequest.objects.count()) == (4, 0, 200)
    with connection.cursor() as cursor:
        assert services.rollups_fold(cursor=cursor) == 4
        assert services.rollups_fold(cursor=cursor) == 0
    later = {name: sums(f"usage_rollup_{name}") for name in ("10s", "1m", "1h")}
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE usage_request, usage_rollup_10s, usage_rollup_1m, usage_rollup_1h, usage_summary")
    for batch in batches:
        store(batch, keep=False)
    assert later == {name: sums(f"usage_rollup_{name}") for name in ("10s", "1m", "1h")}
    assert pending() == 0


def everything() -> dict[str, list[tuple[Any, ...]]]:
    return {name: sums(f"usage_{name}") for name in ("rollup_10s", "rollup_1m", "rollup_1h", "summary")}


def test_wide_totals_of_the_running_minute_wait_and_come_to_the_same() -> None:
    """Whatever the folds held, and in whichever order minutes ended: each sum is added once to each total."""
    minute = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
    traffic = Traffic(Traffic.boot(), keys=3, seed=5)
    start = int(minute.timestamp()) * 1_000_000
    batches = [[traffic.pair(started_us=start + (at * 40 + n) * 700_000)[1] for n in range(40)] for at in range(6)]  # nearly three minutes
    for batch in batches:
        store(batch, keep=False)
    whole = everything()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE usage_request, usage_rollup_10s, usage_rollup_1m, usage_rollup_1h, usage_summary")
        for at, batch in enumerate(batches):
            store(batch, keep=True)
            running = minute + dt.timedelta(seconds=(at * 40 + 39) * 0.7 // 60 * 60)
            services.rollups_fold(cursor=cursor, hold_from=running)
            cursor.execute("SELECT coalesce(sum(requests), 0) FROM usage_rollup_10s")
            assert cursor.fetchone() == (at * 40 + 40,), "the narrow totals have all of it"
            cursor.execute("SELECT coalesce(sum(requests), 0), count(*) FILTER (WHERE bucket >= %s) FROM usage_rollup_1m", [running])
            passed = sum(r.started_us < int(running.timestamp()) * 1_000_000 for made in batches[: at + 1] for r in made)
            assert cursor.fetchone() == (passed, 0), "a minute that is over does not wait, one that runs does"
        assert pending() > 0
        while services.rollups_fold(cursor=cursor):
            pass
    assert everything() == whole


def test_summaries_are_not_rebuilt_while_sums_are_halfway() -> None:
    store(made(20, 1), keep=True)
    with connection.cursor() as cursor:
        services.rollups_fold(cursor=cursor, hold_from=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        with pytest.raises(DatabaseError, match="on their way"), transaction.atomic():
            cursor.execute("SELECT usage_summary_rebuild()")
        services.rollups_fold(cursor=cursor)
        before = sums("usage_summary")
        cursor.execute("SELECT usage_summary_rebuild()")
    assert sums("usage_summary") == before


def test_a_fold_adds_what_was_kept_before_it() -> None:
    store(made(20, 1), keep=True)
    store(made(20, 2), keep=False)
    assert pending() == 0
    for model in (UsageRollup10s, UsageRollup1m, UsageRollup1h):
        assert sum(model.objects.values_list("requests", flat=True)) == 40


def test_what_a_lost_shipper_left_is_added_once_it_is_old() -> None:
    store(made(20, 1), keep=True)
    assert services.rollups_catch_up(older_seconds=60) == 0
    assert services.rollups_catch_up(older_seconds=-1) == 1
    assert sum(UsageRollup1m.objects.values_list("requests", flat=True)) == 20


def test_a_sum_that_reaches_the_largest_number_stops_there_and_stops_nothing() -> None:
    """256 answers with a nonsensical cost each: without the stop, no batch could be folded any more."""
    one = made(1, 1)[0]
    store([one], keep=False)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_rollup_1h SET cost_nano = 9223372036854775807")
        cursor.execute("UPDATE usage_summary SET cost_nano = 9223372036854775807 WHERE seconds = 86400")
    store([msgspec.structs.replace(one, id=b"\x01" * 16)], keep=False)
    assert UsageRollup1h.objects.get().cost_nano == 2**63 - 1
    assert UsageRollup1h.objects.get().requests == 2
    assert UsageRollup1m.objects.get().cost_nano == 2 * one.cost_nano


def test_attempts_are_whole_whether_stored_or_told_by_columns() -> None:
    plain = made(1, 1)[0]
    attempt = msgspec.structs.replace(plain.attempts[0], error_code="rate_limited", outcome="error")
    odd = msgspec.structs.replace(plain, id=b"\x02" * 16, attempts=[attempt])
    none = msgspec.structs.replace(plain, id=b"\x03" * 16, attempts=[], outcome="refused")
    two = msgspec.structs.replace(plain, id=b"\x04" * 16, attempts=[attempt, plain.attempts[0]])
    store([plain, odd, none, two], keep=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, attempts IS NULL, usage_attempts(r) FROM usage_request r ORDER BY id")
        rows = {row[0].bytes: row[1:] for row in cursor.fetchall()}
    stored = {row.id.bytes: row.attempts for row in UsageRequest.objects.all()}
    for record, null in ((plain, True), (odd, False), (none, True), (two, False)):
        is_null, by_sql = rows[record.id]
        by_sql = msgspec.json.decode(by_sql) if isinstance(by_sql, str) else by_sql
        assert is_null is null
        assert by_sql == stored[record.id]
        assert [(a["endpoint"], a["outcome"], a["error_code"], a["price_version"]) for a in by_sql] == [
            (a.endpoint, a.outcome, a.error_code, a.price_version) for a in record.attempts
        ]
