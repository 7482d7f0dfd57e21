"""Which shippers there are and how far behind they are, as they say in Postgres: for gauges, metrics and who scrapes them."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from apps.accounts.models import Organisation
from apps.settlement.choices import LIVE
from apps.settlement.models import SettlementJournal, SettlementShipper
from apps.usage.gauges import Sample, Samples

SEEN_SECONDS = 10
"""How often a shipper says that it is there."""
SILENT_SECONDS = 30
"""Not heard of for so long: what is behind grows with time."""
FORGET_DAYS = 1

_SAY = """
INSERT INTO settlement_shipper (id, host, pid, metrics_url, state, lag_ms, records, seen_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, metrics_url = excluded.metrics_url, state = excluded.state, lag_ms = excluded.lag_ms,
    records = excluded.records, seen_at = excluded.seen_at
"""


def shipper_say(*, directory: str, pid: int, metrics_url: str, state: str, lag_ms: int, records: int) -> None:
    """One shipper's word, in a transaction of its own; those that said nothing for a day are forgotten."""
    host = socket.gethostname()
    with connection.cursor() as cursor:
        cursor.execute(_SAY, [f"{host}:{directory}", host, pid, metrics_url, state, lag_ms, records])
        cursor.execute("DELETE FROM settlement_shipper WHERE seen_at < clock_timestamp() - make_interval(days => %s)", [FORGET_DAYS])


def shippers_heard(*, now: datetime) -> list[SettlementShipper]:
    """Those that were heard of in the last ``SILENT_SECONDS``."""
    return list(SettlementShipper.objects.filter(seen_at__gte=now - timedelta(seconds=SILENT_SECONDS)))


def lags_read(*, now: datetime) -> dict[str, float]:
    """Seconds that settlement is behind, by host with a shipper or a journal that is not settled to its end. Two queries."""
    journals: dict[str, datetime] = {}
    for host, at in SettlementJournal.objects.filter(state=LIVE).values_list("host", "updated_at"):
        journals[host] = min(at, journals.get(host, at))
    shippers: dict[str, tuple[datetime, int]] = {}
    for host, at, lag_ms in SettlementShipper.objects.order_by("seen_at").values_list("host", "seen_at", "lag_ms"):
        shippers[host] = (at, lag_ms)
    return lags(journals, shippers, now=now)


def lags(journals: Mapping[str, datetime], shippers: Mapping[str, tuple[datetime, int]], *, now: datetime) -> dict[str, float]:
    """journals: when the one that waits longest was settled last, by host. shippers: (heard of, milliseconds behind then).

    A shipper that is not heard of any more is behind by all the time since, as long as its host has a journal to settle: what the
    proxies wrote meanwhile is unknown, and unknown is not zero. A host without one never had a shipper that reached Postgres.
    """
    found: dict[str, float] = {}
    for host in journals.keys() | shippers.keys():
        seen = shippers.get(host)
        if seen is not None and (now - seen[0]).total_seconds() <= SILENT_SECONDS:
            found[host] = seen[1] / 1000
        elif host in journals:
            since, behind = seen if seen is not None else (journals[host], 0)
            found[host] = max(0.0, (now - since).total_seconds()) + behind / 1000
    return found


def lag_samples(now: datetime) -> Samples:
    """The gauge ``journal_lag_s``."""
    return {"journal_lag_s": [Sample("", host, seconds) for host, seconds in sorted(lags_read(now=now).items())]}


def metrics_targets(shippers: Sequence[SettlementShipper]) -> list[tuple[str, str]]:
    """(host, URL) of each that serves metrics."""
    return [(shipper.host, shipper.metrics_url) for shipper in shippers if shipper.metrics_url]


def organisation_name(id: str) -> str:
    """An organisation's short name; its id where there is none any more. One query."""
    try:
        slug = Organisation.objects.filter(pk=UUID(id)).values_list("slug", flat=True).first()
    except ValueError:
        slug = None
    return slug or id
