"""Traffic by the minute for tests of alerts, settled as the shipper does, and evaluation by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import connection

from apps.accounts.models import Organisation
from apps.alerts.evaluation import SETTLES, Evaluated, evaluate
from apps.alerts.models import Alert, AlertRule
from apps.alerts.seeds import defaults_ensure
from apps.contracts.usage import Outcome, UsageRecord
from tests.budgets.performance_usage import request, settle

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
"""A Wednesday."""


def minute(n: int) -> datetime:
    """The end of the n-th minute after noon."""
    return NOON + timedelta(minutes=n)


def requests(
    organisation: Organisation, first: int, last: int, *, ok: int = 0, failed: int = 0, route: str = "chat", us: int = 400_000
) -> Iterator[UsageRecord]:
    """So many in each of the minutes that end from ``minute(first)`` to ``minute(last)``."""
    for n in range(first, last + 1):
        for place in range(ok + failed):
            outcome: Outcome = "ok" if place < ok else "error"
            at = minute(n) - timedelta(seconds=59 - place * 58 / max(1, ok + failed))
            yield request(organisation, at, route=route, outcome=outcome, first_token_us=us, gap_us=0, tokens=2)


def traffic(
    organisation: Organisation, first: int, last: int, *, ok: int = 0, failed: int = 0, route: str = "chat", us: int = 400_000
) -> None:
    """The same, settled."""
    settle(requests(organisation, first, last, ok=ok, failed=failed, route=route, us=us))


def only(organisation: Organisation, *names: str, **terms: object) -> None:
    """The default rules, of which only those named look at anything, with other terms where given: a minute then costs a test little."""
    defaults_ensure(organisation)
    rules = AlertRule.objects.filter(organisation=organisation)
    rules.filter(is_default=True).exclude(name__in=names).update(enabled=False)
    if terms:
        rules.filter(name__in=names).update(**terms)


def judged(organisation: Organisation, until: int) -> Evaluated:
    """Evaluate up to the end of ``minute(until)``."""
    return evaluate(minute(until) + SETTLES, organisations=[organisation])


def told(alert: Alert) -> list[str]:
    """What people are told of an alert, in order."""
    return list(alert.events.filter(muted=False).order_by("id").values_list("kind", flat=True))


@contextmanager
def postgres_clock(at: datetime) -> Iterator[Callable[[datetime], None]]:
    """What Postgres says when it is asked for the time by name, until it is told another one; in this connection."""

    def to(now: datetime) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('replay.now', %s, false)", [now.isoformat()])

    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA replay")
        cursor.execute(
            "CREATE FUNCTION replay.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            "$$ SELECT current_setting('replay.now')::timestamptz $$"
        )
        cursor.execute("SET search_path = replay, pg_catalog, public")
    to(at)
    try:
        yield to
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO DEFAULT")


def happened(alert: Alert) -> list[tuple[int, str]]:
    """(minute, what happened) of an alert."""
    return [(int((event.at - NOON).total_seconds() // 60), event.kind) for event in alert.events.order_by("id")]
