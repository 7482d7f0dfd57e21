"""What machines measure of themselves (queues, waits, breakers, lag), sampled into Postgres and kept by the minute: for plots and alerts.

Requests are never looked at here and pay nothing for it: proxies tell their gauges with heartbeats that they send anyway, and one task
samples all sources every ten seconds (``apps.usage.sampling``).

A gauge is kept for the installation (organisation ``""``) and for each organisation it concerns; of either, the subject ``""`` is the
whole. A minute keeps the lowest, the highest, the last and the mean of its samples. Minutes in which a gauge was not sampled are unknown,
never zero; a subject without a row in a sampled minute was zero, which is why nothing is stored for what does not wait.

Subjects: ``route:<name>``, ``target:<provider>/<endpoint>/<model>``, ``proxy:<name>``; of ``breaker_open`` the target alone (for the
installation with the organisation's id before it), of ``celery_queue_depth`` the queue, of ``journal_lag_s`` the host. At most
``MAX_SUBJECTS`` of a gauge are told apart, the largest; the rest is ``other``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.db import connection, transaction
from django.utils import timezone as clock

from apps.usage.selectors import rows_of

BUCKET_SECONDS = 60
KEPT_DAYS = 30
MAX_SUBJECTS = 50
OTHER = "other"
"""The subject that what is not told apart is added to."""
FRESH_SECONDS = 150
"""A gauge whose last sample is older says nothing about now."""
DELETE_ROWS = 20_000

Taken = Literal["high", "low", "last", "mean"]
_TAKEN: dict[Taken, str] = {
    "high": "max(coalesce(part.high, 0))",
    "low": "min(coalesce(part.low, 0))",
    "last": "(array_agg(coalesce(part.last, 0) ORDER BY whole.bucket DESC))[1]",
    "mean": "sum(coalesce(part.total, 0)) / sum(whole.samples)",
}


@dataclass(frozen=True, slots=True)
class Gauge:
    """unit: of its values. added: whether the whole is the sum of its subjects, as of queues; else it is the highest, as of waits."""

    name: str
    unit: str
    label: str
    added: bool = True


GAUGES: dict[str, Gauge] = {
    gauge.name: gauge
    for gauge in (
        Gauge("running", "requests", "Requests being answered"),
        Gauge("queue_depth", "requests", "Requests that wait for a place"),
        Gauge("queue_wait_ms", "milliseconds", "Wait for a place, p95 of the last minute", added=False),
        Gauge("breaker_open", "proxies", "Proxies in which a target's breaker is not closed"),
        Gauge("journal_fill", "ratio", "Journal on disk as a share of its bound", added=False),
        Gauge("journal_lag_s", "seconds", "How far settlement is behind the proxies", added=False),
        Gauge("lease_room_nano", "nano-dollars", "Budget that proxies hold and have not used"),
        Gauge("config_behind", "proxies", "Proxies that do not run the newest config"),
        Gauge("proxies_ready", "proxies", "Proxies that take requests"),
        Gauge("celery_queue_depth", "jobs", "Jobs that wait in a queue of Celery"),
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a gauge. organisation: ``""`` for the installation; subject: ``""`` for the whole."""

    organisation: str
    subject: str
    value: float


Samples = Mapping[str, Iterable[Sample]]
"""By the gauge's name. A name without any sample was measured and is zero everywhere; a missing name was not measured."""


def gauge_series(
    *,
    organisation: str | None,
    name: str,
    subject: str = "",
    since: datetime,
    until: datetime,
    step_s: int,
    take: Taken = "high",
) -> list[tuple[datetime, float | None]]:
    """A gauge from ``since`` to ``until`` (excluded), one value for each step: None where it was not sampled. One query.

    organisation: an id; None: the whole installation. step_s: seconds, at least ``BUCKET_SECONDS``, to which less is raised; steps begin
    at its multiples since the epoch. take: which of a step's samples: the highest, the lowest, the last, or their mean. Raises KeyError
    for a name that is none.
    """
    GAUGES[name]
    step = max(BUCKET_SECONDS, step_s)
    first, end = int(since.timestamp()) // step * step, math.ceil(until.timestamp())
    rows = rows_of(
        f"SELECT (floor(extract(epoch FROM whole.bucket) / %(step)s) * %(step)s)::bigint AS at, {_TAKEN[take]} "
        "FROM usage_gauge whole LEFT JOIN usage_gauge part ON part.name = whole.name AND part.organisation = %(organisation)s "
        "AND part.subject = %(subject)s AND part.bucket = whole.bucket "
        "WHERE whole.name = %(name)s AND whole.organisation = '' AND whole.subject = '' "
        "AND whole.bucket >= %(first)s AND whole.bucket < %(until)s GROUP BY at",
        {
            "step": step,
            "organisation": organisation or "",
            "subject": subject,
            "name": name,
            "first": datetime.fromtimestamp(first, UTC),
            "until": until,
        },
    )
    found = dict(rows)
    return [(datetime.fromtimestamp(at, UTC), found.get(at)) for at in range(first, end, step)]


def gauge_now(name: str, *, organisation: str | None = None, now: datetime | None = None) -> dict[str, float]:
    """What a gauge is, by subject, the whole under ``""``; empty where it was not sampled lately. One query.

    organisation: an id; None: the whole installation. Raises KeyError for a name that is none.
    """
    GAUGES[name]
    now = now or clock.now()
    rows = rows_of(
        "SELECT part.subject, part.last FROM usage_gauge part WHERE part.name = %(name)s AND part.organisation = %(organisation)s "
        "AND part.bucket = (SELECT max(bucket) FROM usage_gauge WHERE name = %(name)s AND organisation = '' AND subject = '' "
        "AND bucket > %(since)s AND bucket <= %(now)s)",
        {"name": name, "organisation": organisation or "", "since": now - timedelta(seconds=FRESH_SECONDS), "now": now},
    )
    return dict(rows)


@transaction.atomic
def gauges_record(*, at: datetime, samples: Samples) -> None:
    """Add what was sampled at one moment to its minute.

    Sampling the same moment twice changes no low, high or last. Subjects of this minute that have no sample now are zero now.
    Raises KeyError for a gauge that is none.
    """
    rows = [(name, *row) for name, found in samples.items() for row in folded(GAUGES[name], found)]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]
    bucket = datetime.fromtimestamp(int(at.timestamp()) // BUCKET_SECONDS * BUCKET_SECONDS, UTC)
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [bucket, *columns])
        cursor.execute(_ZERO, [bucket, list(samples), *columns[:3]])


_ADD = """
INSERT INTO usage_gauge AS kept (bucket, name, organisation, subject, low, high, last, total, samples)
SELECT %s, name, organisation, subject, value, value, value, value, 1
FROM unnest(%s::text[], %s::text[], %s::text[], %s::double precision[]) AS sampled (name, organisation, subject, value)
ORDER BY name, organisation, subject
ON CONFLICT (name, organisation, subject, bucket) DO UPDATE SET
    low = least(kept.low, excluded.low), high = greatest(kept.high, excluded.high), last = excluded.last,
    total = kept.total + excluded.total, samples = kept.samples + 1
"""
_ZERO = """
UPDATE usage_gauge kept SET low = 0, last = 0, samples = samples + 1
WHERE bucket = %s AND name = ANY (%s) AND NOT EXISTS (
    SELECT FROM unnest(%s::text[], %s::text[], %s::text[]) AS sampled (name, organisation, subject)
    WHERE (sampled.name, sampled.organisation, sampled.subject) = (kept.name, kept.organisation, kept.subject))
"""


def folded(gauge: Gauge, samples: Iterable[Sample]) -> list[tuple[str, str, float]]:
    """(organisation, subject, value) to keep: each once, bounded, without what is zero, and the installation's whole in any case.

    An organisation's whole that no sample tells follows from its subjects, as the gauge's whole does.
    """
    values: dict[str, dict[str, float]] = {"": {}}
    for sample in samples:
        mine = values.setdefault(sample.organisation, {})
        mine[sample.subject] = _joined(gauge, mine.get(sample.subject, 0.0), sample.value)
    rows: list[tuple[str, str, float]] = []
    for organisation, by_subject in values.items():
        parts = sorted(((value, subject) for subject, value in by_subject.items() if subject), key=lambda part: (-part[0], part[1]))
        told = dict.fromkeys((subject for _, subject in parts[:MAX_SUBJECTS]), 0.0)
        whole = 0.0
        for value, subject in parts:
            place = subject if subject in told else OTHER
            told[place] = _joined(gauge, told.get(place, 0.0), value)
            whole = _joined(gauge, whole, value)
        whole = by_subject.get("", whole)
        rows += [(organisation, subject, value) for subject, value in told.items() if value]
        if whole or not organisation:
            rows.append((organisation, "", whole))
    return rows


def _joined(gauge: Gauge, one: float, other: float) -> float:
    return one + other if gauge.added else max(one, other)


def gauges_forget(*, now: datetime | None = None) -> int:
    """Delete what is older than ``KEPT_DAYS``, in short transactions; returns how many rows."""
    before = (now or clock.now()) - timedelta(days=KEPT_DAYS)
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM usage_gauge WHERE ctid = ANY (ARRAY("
                "SELECT ctid FROM usage_gauge WHERE bucket < %s ORDER BY bucket LIMIT %s FOR UPDATE SKIP LOCKED))",
                [before, DELETE_ROWS],
            )
            total += cursor.rowcount
            if cursor.rowcount < DELETE_ROWS:
                return total
