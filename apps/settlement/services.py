"""The settling transaction: usage rows, rollups, watermarks, and last, in ascending id, the budget windows. All or nothing.

Invariants:

1. A record is stored, rolled up and charged in the one transaction that moves its journal's watermark over it. The watermark
   moves by compare-and-set; when another shipper was faster, everything rolls back (``WatermarkMoved``).
2. Every charge of every attempt gets that attempt's whole cost, whatever becomes of the record's row: a record that
   Postgres refuses goes to ``SettlementReject``, its money does not wait for it.
3. A dead journal ends in one transaction: its last records, its opens as ``unknown`` at their reservation, the release of
   what its leases still hold, the proxy's farewell, and the state ``drained``. Only then is the directory deleted.
4. A journal that was written off and turns up after all is settled like any other: ``budgets`` sets its costs against the write-off.
"""

from __future__ import annotations

import datetime as dt
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, connection, transaction

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.budgets import services as budgets
from apps.contracts.feedback import encode_feedback
from apps.contracts.journal import FIRST_OFFSET
from apps.contracts.usage import OpenRecord, RecordError, UsageRecord, decode_record, encode_record
from apps.publishing import services as publishing
from apps.settlement.choices import DRAINED, LIVE, WRITTEN_OFF
from apps.settlement.models import SettlementJournal, SettlementOpen, SettlementReject
from apps.settlement.tail import Ending, JournalTail, Prune, Rejected
from apps.settlement.tally import tally_add
from apps.settlement.unknown import unknown_record
from apps.usage import services as usage
from apps.usage.feedback import feedback_store
from apps.usage.rollups import Cells
from apps.usage.rows import cleaned

UNSTORABLE = (DataError, IntegrityError, ValueError, OverflowError, OSError)
"""What a record's own values can raise, in Postgres or before it (OSError: a time beyond the platform's clock)."""


class WatermarkMoved(Exception):
    """Another shipper settled this journal meanwhile: read the watermark again."""


@dataclass(slots=True)
class Settled:
    """What one transaction did. lag_ms: how long the oldest of its records had waited.
    stored: its records, for who derives more from them once they are committed."""

    records: int = 0
    unknown: int = 0
    rejected: int = 0
    lag_ms: int = 0
    stored: Sequence[UsageRecord] = ()
    feedback: int = 0
    tally: Cells = field(default_factory=dict)
    """What it counted, by (organisation, simulated, route, provider, model): for metrics."""


def journal_adopt(*, directory_name: str, name: str, started_us: int) -> SettlementJournal:
    """The journal's row, made at its first sight. Its watermark is where reading goes on."""
    now = _now()
    journal, _ = SettlementJournal.objects.get_or_create(
        boot_id=UUID(directory_name),
        defaults={
            "name": name,
            "host": socket.gethostname(),
            "segment": 1,
            "offset": FIRST_OFFSET,
            "first_segment": 1,
            "started_at": dt.datetime.fromtimestamp(started_us / 1e6, dt.UTC) if started_us else now,
            "updated_at": now,
        },
    )
    return journal


def carried_opens(*, boot_id: str) -> list[tuple[bytes, bytes]]:
    """``(request id, payload)`` of the opens whose segment is gone, in the order they were written."""
    rows = SettlementOpen.objects.filter(boot_id=boot_id).order_by("request_id", "ordinal").values_list("request_id", "payload")
    return [(request.bytes, bytes(payload)) for request, payload in rows]


More = Callable[[], Sequence[UsageRecord]]
"""Reads on in the tails of a batch; no records: there are none, or it is full."""


def batch_settle(
    *, tails: Sequence[JournalTail], ended: Sequence[JournalTail] = (), fold: bool = True, more: More | None = None
) -> Settled:
    """Settle what the tails have taken; ``ended``: those of them that are dead and read to their end.

    ``fold``: also bring the rollups up to date; else their deltas are kept beside them until a later call does
    (``apps.usage.services.rollups_fold``). ``more``: called until it finds nothing, while Postgres stores what was read before; it must
    read in these tails, and in none of the ended ones. What it finds is of this batch.
    On return everything is committed and the tails know it. On any exception nothing is, and the tails must be thrown
    away. Raises WatermarkMoved, and Django's OperationalError or InterfaceError when Postgres is away.
    """
    unknowns = {tail.boot_id: _unknown_records(tail) for tail in ended}
    records = [record for tail in tails for record in tail.taken.records]
    records += [record for found, _ in unknowns.values() for record in found]
    days = {usage.record_day(record) for record in records}
    if more is not None:
        days |= {day + 1 for day in days}  # a batch that goes on over midnight; any other day is stored carefully, once
    try:
        _partitions_ensure(days)
        plan = _settle_all(tails, unknowns, records, careful=False, fold=fold, more=more)
    except UNSTORABLE:
        plan = _settle_all(tails, unknowns, records, careful=True, fold=fold)
    for tail, prune in plan.prunes:
        tail.settled(prune)
    plan.settled.stored = records
    return plan.settled


@transaction.atomic
def rollups_fold(*, hold_from: dt.datetime | None = None) -> int:
    """Bring the rollups up to date in a transaction of its own; returns how many batches were waiting for it.

    hold_from: the wide totals of minutes that begin then or later are left for a later call (``apps.usage.services.rollups_fold``).
    """
    with connection.cursor() as cursor, connection.wrap_database_errors:
        return usage.rollups_fold(cursor=cursor, hold_from=hold_from)


@dataclass(slots=True)
class _Plan:
    settled: Settled
    prunes: list[tuple[JournalTail, Prune]]


_Unknowns = dict[str, tuple[list[UsageRecord], list[Rejected]]]


@transaction.atomic
def _settle_all(
    tails: Sequence[JournalTail],
    unknowns: _Unknowns,
    records: list[UsageRecord],
    *,
    careful: bool,
    fold: bool,
    more: More | None = None,
) -> _Plan:
    """``records`` grows by what ``more`` finds, so that a second call stores all that the first one read."""
    settled = Settled(lag_ms=_lag_ms(tails))
    with connection.cursor() as cursor:
        rejected: list[tuple[UsageRecord, str]] = []
        cells = None
        if careful:
            rejected = _store_carefully(cursor, records, settled.tally)
        else:
            cells = _store(cursor, records if more is None else _growing(records, more), keep=not fold)
            tally_add(settled.tally, cells)  # now: a fold adds to them what other batches have left
        if fold:
            with connection.wrap_database_errors:
                usage.rollups_fold(cursor=cursor, cells=cells)
        prunes = [(tail, tail.prune()) for tail in tails]  # now: until here the tails read on
        for tail, prune in prunes:
            found, unreadable = unknowns.get(tail.boot_id, ([], []))
            _watermark_advance(cursor, tail, prune, settled.lag_ms, unknown=len(found), ended=tail.boot_id in unknowns)
            _opens_carry(tail, prune)
            unsaid = _feedback_store(cursor, tail)
            _reject(tail.boot_id, [*tail.taken.rejected, *unreadable, *unsaid])
            settled.feedback += len(tail.taken.feedback) - len(unsaid)
            settled.records += len(tail.taken.records) + len(found)
            settled.unknown += len(found)
            settled.rejected += len(tail.taken.rejected) + len(unreadable) + len(unsaid)
        for tail, _ in prunes if rejected else ():
            mine = {id(record) for record in (*tail.taken.records, *unknowns.get(tail.boot_id, ((), ()))[0])}
            _reject(tail.boot_id, [Rejected(*tail.start, encode_record(record), error) for record, error in rejected if id(record) in mine])
        settled.rejected += len(rejected)
        for tail, _ in prunes:
            if tail.boot_id in unknowns:
                _end_record(tail, tail.ending(), len(unknowns[tail.boot_id][0]))
        for boot_id in sorted(unknowns):
            publishing.proxy_gone(boot_id=UUID(boot_id))
        # Last, because budget windows are the rows that every shipper and every grant wants.
        costs = _costs(records)
        if costs or unknowns:
            budgets.charges_settle(cursor=cursor, costs=costs, ending=[UUID(boot_id) for boot_id in sorted(unknowns)])
    return _Plan(settled, prunes)


def _growing(records: list[UsageRecord], more: More) -> Iterator[UsageRecord]:
    """The records, and what ``more`` finds when they are at their end; found ones are added to them."""
    yield from tuple(records)
    while found := more():
        records += found
        yield from found


def _costs(records: Iterable[UsageRecord]) -> dict[int, int]:
    """Cost by lease, ascending; each charge of an attempt gets the attempt's whole cost."""
    costs: defaultdict[int, int] = defaultdict(int)
    for record in records:
        for attempt in record.attempts:
            cost = attempt.cost_nano
            if cost:
                for charge in attempt.charges:
                    costs[charge.lease_id] += cost
    return dict(sorted(costs.items()))


def _lag_ms(tails: Sequence[JournalTail]) -> int:
    ends = [r.started_us + max(0, r.total_us) for tail in tails for r in tail.taken.records[:1]]
    return max(0, (time.time_ns() // 1000 - min(ends)) // 1000) if ends else 0


_known_days: set[int] = set()


def _partitions_ensure(days: set[int]) -> None:
    """In transactions of their own; remembered, because a partition is dropped only long after its last record."""
    missing = {day for day in days if 0 <= day < 100_000} - _known_days
    if missing:
        with connection.cursor() as cursor:
            usage.partitions_ensure(cursor=cursor, days=sorted(missing))
        _known_days.update(missing)


def _store(cursor: Any, records: Iterable[UsageRecord], *, keep: bool) -> Cells:
    """Store all records, or raise. ``keep``: their sums too, for a later fold; else that is the caller's to do now."""
    with connection.wrap_database_errors:  # COPY bypasses Django's wrapping
        cells = usage.requests_store(cursor=cursor, records=records)
        if keep:
            usage.cells_keep(cursor=cursor, cells=cells)
    return cells


def _store_carefully(cursor: Any, records: list[UsageRecord], tally: Cells) -> list[tuple[UsageRecord, str]]:
    """Store what can be stored, cleaned of what Postgres has no form for, and add it to ``tally``; returns the rest with its errors."""
    pairs = [(record, cleaned(record)) for record in records]
    _known_days.clear()
    usage.partitions_ensure(cursor=cursor, days=sorted({usage.record_day(clean) for _, clean in pairs}))
    failed: list[tuple[UsageRecord, str]] = []

    def store(part: list[tuple[UsageRecord, UsageRecord]]) -> None:
        try:
            with transaction.atomic():
                cells = _store(cursor, [clean for _, clean in part], keep=True)
        except UNSTORABLE as error:
            if len(part) == 1:
                failed.append((part[0][0], str(error).strip()))
                return
            middle = len(part) // 2
            store(part[:middle])
            store(part[middle:])
        else:
            tally_add(tally, cells)

    store(pairs)
    return failed


def _feedback_store(cursor: Any, tail: JournalTail) -> list[Rejected]:
    """Keep what apps said; returns what Postgres has no form for: it must not hold up anybody's records."""
    said, rejected = tail.taken.feedback, []
    if not said:
        return []
    try:
        with transaction.atomic():
            feedback_store(cursor=cursor, records=said)
    except UNSTORABLE:
        for record in said:
            try:
                with transaction.atomic():
                    feedback_store(cursor=cursor, records=[record])
            except UNSTORABLE as error:
                rejected.append(Rejected(*tail.start, encode_feedback(record), str(error).strip()))
    return rejected


def _watermark_advance(cursor: Any, tail: JournalTail, prune: Prune, lag_ms: int, *, unknown: int, ended: bool) -> None:
    """Compare-and-set from ``tail.start`` to ``tail.position``, the count checked."""
    cursor.execute(
        'UPDATE settlement_journal SET segment = %s, "offset" = %s, first_segment = %s, records = records + %s, unknown = unknown + %s, '
        "lag_ms = %s, updated_at = clock_timestamp(), state = CASE WHEN %s THEN 'drained' ELSE state END "
        'WHERE boot_id = %s AND segment = %s AND "offset" = %s AND state <> %s',
        [
            *tail.position,
            prune.first_segment,
            len(tail.taken.records) + unknown,
            unknown,
            lag_ms,
            ended,
            tail.boot_id,
            *tail.start,
            DRAINED,
        ],
    )
    if cursor.rowcount != 1:
        raise WatermarkMoved(f"the journal {tail.boot_id} is no longer at {tail.start[0]}:{tail.start[1]}")


def _opens_carry(tail: JournalTail, prune: Prune) -> None:
    if prune.carried:
        SettlementOpen.objects.bulk_create(
            SettlementOpen(boot_id=UUID(tail.boot_id), request_id=UUID(bytes=request), ordinal=ordinal, payload=payload)
            for request, ordinal, payload in prune.carried
        )
    if tail.taken.closed_carried:
        closed = [UUID(bytes=request) for request in tail.taken.closed_carried]
        SettlementOpen.objects.filter(boot_id=tail.boot_id, request_id__in=closed).delete()


def _unknown_records(tail: JournalTail) -> tuple[list[UsageRecord], list[Rejected]]:
    """The records of a dead journal's unclosed opens, and the opens that cannot be read."""
    records: list[UsageRecord] = []
    rejected: list[Rejected] = []
    for opens in tail.opens.values():
        readable: list[OpenRecord] = []
        for segment, payload in opens:
            try:
                record = decode_record(payload)
            except RecordError as error:
                rejected.append(Rejected(segment, 0, payload, str(error)))
                continue
            if isinstance(record, OpenRecord):
                readable.append(record)
        if readable:
            records.append(unknown_record(readable, proxy=tail.boot_id))
    return records, rejected


def _reject(boot_id: str, rejected: Sequence[Rejected]) -> None:
    if not rejected:
        return
    now = _now()
    SettlementReject.objects.bulk_create(
        SettlementReject(
            boot_id=UUID(boot_id), segment=r.segment, offset=r.offset, payload=r.payload, error=r.error.replace("\0", "")[:2000], at=now
        )
        for r in rejected
    )
    event_record(
        kind="journal.rejected",
        subject_kind="proxy",
        subject_id=boot_id,
        data={"records": len(rejected), "error": rejected[0].error[:300]},
    )


def _end_record(tail: JournalTail, ending: Ending, unknown: int) -> None:
    boot_id = tail.boot_id
    SettlementOpen.objects.filter(boot_id=boot_id).delete()
    if ending.lost_bytes:
        SettlementJournal.objects.filter(boot_id=boot_id).update(lost_bytes=ending.lost_bytes)
        event_record(
            kind="journal.torn",
            subject_kind="proxy",
            subject_id=boot_id,
            data={"lost_bytes": ending.lost_bytes, "segment": tail.position[0], "offset": tail.position[1]},
        )
    if unknown:
        event_record(kind="journal.unknown", subject_kind="proxy", subject_id=boot_id, data={"requests": unknown})


@transaction.atomic
def journal_write_off(*, actor: Actor, boot_id: str, reason: str) -> int:
    """Give up a journal whose disk is lost: all that its proxy's leases still hold counts as spent. Returns those nano-dollars.

    For an operator who knows that the proxy is dead and its journal will not come back: nothing can prove it any more. Raises
    ServiceError for an unknown boot id, a journal that is settled already, or a missing reason.
    """
    try:
        boot = UUID(boot_id)
    except ValueError:
        raise ServiceError(f"{boot_id!r} is not a boot id: copy it from the list of proxies", field="boot_id") from None
    if not reason.strip():
        raise ServiceError("say why the journal is written off: the audit keeps it", field="reason")
    now = _now()
    journal = SettlementJournal.objects.select_for_update().filter(boot_id=boot).first()
    if journal is not None and journal.state != LIVE:
        raise ServiceError(
            f"the journal of {boot} is {journal.state.replace('_', ' ')} already: nothing is left to write off", field="boot_id"
        )
    try:
        spent = budgets.lease_write_off(actor=actor, boot_id=boot, reason=reason)
    except ServiceError as error:
        if journal is None or error.field != "boot_id":
            raise
        spent = 0  # its leases are settled; its journal still has to be given up
    SettlementJournal.objects.update_or_create(
        boot_id=boot,
        defaults={"state": WRITTEN_OFF, "updated_at": now},
        create_defaults={
            "name": "",
            "host": "",
            "state": WRITTEN_OFF,
            "segment": 1,
            "offset": FIRST_OFFSET,
            "first_segment": 1,
            "started_at": now,
            "updated_at": now,
        },
    )
    publishing.proxy_gone(boot_id=boot)
    audit_record(
        actor=actor,
        action="journal.write_off",
        subject_kind="proxy",
        subject_id=str(boot),
        subject_name=journal.name if journal else "",
        before={"state": journal.state if journal else ""},
        after={"state": WRITTEN_OFF, "spent_nano": spent},
        reason=reason,
    )
    event_record(kind="journal.written_off", subject_kind="proxy", subject_id=boot, data={"spent_nano": spent, "reason": reason[:300]})
    return spent


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
