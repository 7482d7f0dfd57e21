"""Writes of the usage app: settling records, keeping partitions, dropping what is past its retention."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from django.db import DataError, OperationalError, connection, transaction

from apps.contracts.usage import UsageRecord
from apps.usage import batch, features, rollups, rows, summaries

LIVE_ROLLUP_HOURS = 48
"""How long the ten-second rollup is kept."""
DAY_US = 86_400_000_000
LOCK_SECONDS = 2
"""How long a partition's removal waits for readers; the next run tries again."""
MINUTE_DAYS = 8
"""How long summaries of a minute and of ten minutes are kept; older ranges begin and end at whole hours."""
HOUR_WIDTHS = (3_600, 10_800)
"""Widths of summaries that go with the totals by the hour; those of a day are kept for good."""
FOLD_ROWS = 200
"""Pending batches folded at once."""
STALE_SECONDS = 30
"""Pending batches this old have no shipper: one that runs folds within seconds."""
COMPACT_ROWS = 20_000
"""Rows deleted in one transaction: short locks, and vacuum keeps up."""


def usage_settle(*, cursor: Any, records: Sequence[UsageRecord]) -> None:
    """Store each record once and add it to the rollups and summaries, in the cursor's open transaction.

    The shipper calls the parts: ``requests_store``, then ``rollups_fold``, or under load ``cells_keep`` and a fold later on.
    """
    rollups_fold(cursor=cursor, cells=requests_store(cursor=cursor, records=records))


def requests_store(*, cursor: Any, records: Iterable[UsageRecord]) -> rollups.Cells:
    """Store each record once, in the cursor's open transaction; returns their sums, for the rollups. They are asked for one by one.

    ``cursor``: of a psycopg connection (Django's wrapper will do). The days of the records must have their partitions
    (``partitions_ensure``). Raises psycopg's or Django's DataError or IntegrityError, OverflowError or ValueError where a row cannot
    be stored; nothing is committed here.
    """
    cells: rollups.Cells = {}
    if records:
        with cursor.copy(rows.COPY) as copy:
            for piece in batch.encoded(records, cells):
                copy.write(piece)
    return cells


def cells_keep(*, cursor: Any, cells: rollups.Cells) -> None:
    """Keep sums in ``usage_rollup_pending`` for the next ``rollups_fold``: a busy shipper adds those of many batches at once."""
    if cells:
        cursor.execute("INSERT INTO usage_rollup_pending (cells) VALUES (%b)", [rollups.cells_encode(cells)])


@transaction.atomic
def rollups_catch_up(*, older_seconds: int = STALE_SECONDS) -> int:
    """Fold what a shipper that will not come back has left pending; returns how many batches. A running one leaves nothing that old."""
    total = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM usage_rollup_pending WHERE at < now() - make_interval(secs => %s))", [older_seconds])
        if cursor.fetchone()[0]:
            total = rollups_fold(cursor=cursor)
    return total


def rollups_fold(*, cursor: Any, cells: rollups.Cells | None = None, hold_from: dt.datetime | None = None) -> int:
    """Add ``cells`` and all pending sums to the rollups and summaries, in the cursor's open transaction; returns how many were pending.

    Each pending row is deleted in the transaction that adds it, so it counts once, whoever folds it: any shipper, or a task
    where its shipper is gone. Rows that another one folds at this moment are passed over.

    hold_from: sums of minutes that begin then or later are added to the narrow totals alone (by ten seconds, and the summaries up to ten
    minutes) and stay pending for the wide ones, which a later call without it, or with a later moment, adds. None: nothing is held.
    """
    cells = {} if cells is None else cells
    held: rollups.Cells = {}
    cursor.execute(
        "DELETE FROM usage_rollup_pending WHERE id = ANY (ARRAY(SELECT id FROM usage_rollup_pending "
        "WHERE minute IS NULL OR minute < %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING cells, minute IS NOT NULL",
        [hold_from or "infinity", FOLD_ROWS],
    )
    pending = cursor.fetchall()
    for encoded, narrow_added in pending:
        rollups.cells_add(held if narrow_added else cells, bytes(encoded))
    if cells or held:
        cells = features.features_bound(cells, cursor=cursor)
        wide = _hold(cursor, cells, int(hold_from.timestamp() * 1_000_000)) if hold_from else cells
        if held:
            rollups.cells_merge(held, iter(wide.items()))
            wide = held
        narrow_tiers, wide_tiers = rollups.narrow_tiers(cells), rollups.wide_tiers(wide)
        summed = summaries.delta_json(narrow_tiers, wide_tiers)
        cursor.execute(rollups.CREATE_DELTA)
        cursor.execute(rollups.CLEAR_DELTA)  # at COMMIT it is empty anyway; a second call in this transaction must not add twice
        with cursor.copy(rollups.COPY_DELTA) as copy:
            copy.write("".join(rollups.delta_lines({"10s": narrow_tiers["10s"], "1m": wide_tiers["1m"], "1h": wide_tiers["1h"]})))
        cursor.execute("SAVEPOINT usage_fold")
        try:
            _deltas_add(cursor, summed, lambda statement: statement)
        except (DataError, psycopg.DataError):
            cursor.execute("ROLLBACK TO SAVEPOINT usage_fold")
            _deltas_add(cursor, summed, rollups.saturated)
        cursor.execute("RELEASE SAVEPOINT usage_fold")
    return len(pending)


def _hold(cursor: Any, cells: rollups.Cells, from_us: int) -> rollups.Cells:
    """Keep the cells of minutes that begin at ``from_us`` or later, minute by minute, for the wide totals; returns the others."""
    passed: rollups.Cells = {}
    minutes: dict[int, rollups.Cells] = {}
    for key, cell in cells.items():
        minute = rollups.minute_of(key)
        (minutes.setdefault(minute, {}) if minute >= from_us else passed)[key] = cell
    for minute, kept in sorted(minutes.items()):
        cursor.execute(
            "INSERT INTO usage_rollup_pending (cells, minute) VALUES (%b, to_timestamp(%s))",
            [rollups.cells_encode(kept), minute // 1_000_000],
        )
    return passed


def _deltas_add(cursor: Any, summed: str, form: Callable[[str], str]) -> None:
    for statement in rollups.ADD:
        cursor.execute(form(statement))
    cursor.execute(form(summaries.ADD), [summed])


def record_day(record: UsageRecord) -> int:
    """The day of a record's partition, counted from the epoch."""
    return record.started_us // DAY_US


def partitions_ensure(*, cursor: Any, days: Sequence[int]) -> None:
    """Make the partitions of days counted from the epoch. Call it outside the settling transaction."""
    for day in sorted(days):
        cursor.execute("SELECT usage_partition_ensure(%s)", [dt.date(1970, 1, 1) + dt.timedelta(days=day)])


def partitions_maintain(
    *,
    days_ahead: int = 3,
    retention_days: int,
    minute_days: int | None = None,
    hour_days: int | None = None,
    today: dt.date | None = None,
) -> tuple[list[str], list[str]]:
    """Make the partitions from yesterday to ``days_ahead`` days from now, drop those older than the retention.

    minute_days, hour_days: how long totals by the minute and by the hour are kept: as long as the requests, and for good, where not given.
    Two runs at once do no harm: each step takes what the other has left.
    ``today``: the UTC day to go by, the database's where not given. Returns the names made and dropped. A partition that a
    long query holds is left for the next run. A record that comes later than its partition's end gets that day's partition again
    (``partitions_ensure``) and stays until the next run. Raises ValueError for a retention below one day.
    """
    if retention_days < 1:
        raise ValueError(f"BULKHEAD_USAGE_RETENTION_DAYS={retention_days} is too small: keep at least one day")
    with connection.cursor() as cursor:
        if today is None:
            cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
            today = cursor.fetchone()[0]
        made = []
        for offset in range(-1, days_ahead + 1):
            day = today + dt.timedelta(days=offset)
            cursor.execute("SELECT usage_partition_ensure(%s)", [day])
            if cursor.fetchone()[0]:
                made.append(partition_name(day))
        cursor.execute(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = 'usage_request'::regclass ORDER BY child.relname"
        )
        oldest = partition_name(today - dt.timedelta(days=retention_days))
        old = [name for (name,) in cursor.fetchall() if name < oldest]
    dropped = [name for name in old if _partition_drop(name)]
    _delete_in_steps("usage_rollup_1m", _midnight(today - dt.timedelta(days=minute_days or retention_days)))
    if hour_days is not None:
        oldest_hour = _midnight(today - dt.timedelta(days=hour_days))
        _delete_in_steps("usage_rollup_1h", oldest_hour)
        for seconds in HOUR_WIDTHS:
            _summaries_drop(seconds, oldest_hour)
    features.features_forget(before=today - dt.timedelta(days=features.KEPT_DAYS))
    return made, dropped


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def partition_name(day: dt.date) -> str:
    """A day's partition of ``usage_request``."""
    return f"usage_request_{day:%Y%m%d}"


def _partition_drop(name: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            cursor.execute(f"DROP TABLE {connection.ops.quote_name(name)}")
    except OperationalError:
        return False
    return True


def rollups_compact(*, keep_hours: int = LIVE_ROLLUP_HOURS) -> int:
    """Delete ten-second rows older than ``keep_hours``, and summaries past their own time; returns how many.

    Oldest first, in short transactions.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - make_interval(hours => %s), now() - make_interval(days => %s)", [keep_hours, MINUTE_DAYS])
        live, minutes = cursor.fetchone()
    _summaries_drop(10, live)
    _summaries_drop(60, minutes)
    _summaries_drop(600, minutes)
    return _delete_in_steps("usage_rollup_10s", live)


def _summaries_drop(seconds: int, before: dt.datetime) -> None:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM usage_summary WHERE ctid = ANY (ARRAY("
                "SELECT ctid FROM usage_summary WHERE seconds = %s AND bucket < %s ORDER BY bucket LIMIT %s FOR UPDATE))",
                [seconds, before, COMPACT_ROWS],
            )
            if cursor.rowcount < COMPACT_ROWS:
                return


def _delete_in_steps(table: str, before: dt.datetime) -> int:
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE (bucket, dimensions) IN "
                f"(SELECT bucket, dimensions FROM {table} WHERE bucket < %s ORDER BY bucket, dimensions LIMIT %s)",
                [before, COMPACT_ROWS],
            )
            total += cursor.rowcount
            if cursor.rowcount < COMPACT_ROWS:
                return total
