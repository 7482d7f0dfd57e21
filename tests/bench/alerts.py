"""Evaluation of many rules over the database of ``DATABASE_URL``: wall and CPU time of a minute, and how many queries it asks.

    DATABASE_URL=... python -m tests.bench.alerts --org SLUG [--rules 500] [--slos 50] [--minutes 20] [--until 2026-03-04T12:00:00Z]

The organisation should have usage (``python -m tests.bench.usage --org SLUG``). Rules of every series, scope and window are made, of SLOs
as many as said, of every indicator and of the busiest routes, keys and models; minutes are judged, the last of them at ``--until`` (the
newest usage that there is), and everything is rolled back. The first minute learns what is usual, as a worker does every ten minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any


def main() -> int:
    """Prints the figures; 0."""
    import django

    parser = argparse.ArgumentParser(description="Evaluation of many alert rules.")
    parser.add_argument("--org", required=True)
    parser.add_argument("--rules", type=int, default=500)
    parser.add_argument("--slos", type=int, default=50, help="so many of the rules belong to an SLO")
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--until", type=datetime.fromisoformat, default=None)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()

    from django.db import connection, transaction

    from apps.accounts.models import Organisation
    from apps.alerts.evaluation import SETTLES, evaluate, last_minute
    from apps.alerts.models import Alert, AlertEvaluation, AlertRule

    organisation = Organisation.objects.get(slug=given.org)
    with transaction.atomic():
        AlertRule.objects.filter(organisation=organisation).delete()
        AlertEvaluation.objects.filter(organisation=organisation).delete()
        AlertRule.objects.bulk_create(_rules(organisation, given.rules - given.slos))
        AlertRule.objects.bulk_create(_slo_rules(organisation, given.slos))
        now = last_minute(given.until or _newest(organisation)) - timedelta(minutes=given.minutes - 1)
        walls, cpus, asked = [], [], []
        for minute in range(given.minutes):
            queries: list[str] = []

            def count(execute: Any, query: str, params: Any, many: bool, context: Any, said: list[str] = queries) -> Any:
                said.append(query)
                return execute(query, params, many, context)

            wall, cpu = time.perf_counter(), time.process_time()
            with connection.execute_wrapper(count):
                done = evaluate(now + timedelta(minutes=minute) + SETTLES, organisations=[organisation])
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            asked.append(len(queries))
            assert done.failed == 0 and done.minutes == 1
        rules = AlertEvaluation.objects.get(organisation=organisation).rules
        alerts = Alert.objects.filter(organisation=organisation).count()
        transaction.set_rollback(True)
    later = walls[1:]
    print(f"{rules} rules, {len(walls)} minutes, {alerts} alerts raised on the way")
    print(f"first minute (learns what is usual): wall {walls[0]:.2f} s, CPU {cpus[0]:.2f} s, {asked[0]} queries")
    print(
        f"a minute: wall p50 {statistics.median(later):.2f} s, max {max(later):.2f} s; CPU p50 {statistics.median(cpus[1:]):.2f} s; "
        f"queries p50 {statistics.median(asked[1:]):.0f}, max {max(asked)}"
    )
    return 0


def _newest(organisation: Any) -> datetime:
    """The end of the last minute with usage."""
    from apps.usage.selectors import rows_of

    [[newest]] = rows_of(
        "SELECT max(bucket) FROM usage_summary WHERE organisation = %s AND seconds = 60 AND dimension = ''", [str(organisation.pk)]
    )
    assert newest is not None, "the organisation has no usage: python -m tests.bench.usage --org SLUG"
    found: datetime = newest.astimezone(UTC) + timedelta(minutes=2)
    return found


def _slo_rules(organisation: Any, number: int) -> list[Any]:
    """Rules of so many SLOs, which are made, too."""
    from apps.alerts.choices import AVAILABILITY, INDICATORS, SLO_SERIES, SLO_WINDOWS
    from apps.alerts.models import AlertRule, Slo
    from apps.usage.selectors import rows_of

    subjects = [("", "")]
    for by, column in (("route", "route"), ("key", "key_id"), ("provider", "provider"), ("model", "model")):
        rows = rows_of(
            "SELECT value FROM usage_summary WHERE organisation = %s AND seconds = 86400 AND dimension = %s GROUP BY value "
            "ORDER BY sum(requests) DESC LIMIT 10",
            [str(organisation.pk), column],
        )
        subjects += [(by, value) for (value,) in rows]
    indicators, days = list(INDICATORS), list(SLO_WINDOWS)
    slos = []
    for place in range(number):
        (by, subject), indicator = subjects[place % len(subjects)], indicators[place % len(indicators)]
        slos.append(
            Slo(
                organisation=organisation,
                name=f"bench-slo-{place}",
                title=f"bench {place}",
                indicator=indicator,
                objective=99_900 if indicator == AVAILABILITY else 95_000,
                threshold_ms=None if indicator == AVAILABILITY else 2_000,
                window_days=days[place % len(days)],
                by=by,
                subject=subject,
            )
        )
    Slo.objects.bulk_create(slos)
    return [
        AlertRule(
            organisation=organisation,
            name=f"slo-{slo.name}",
            title=slo.title,
            series=SLO_SERIES,
            scope={"by": slo.by, "values": [slo.subject] if slo.subject else []},
            warn=1.0,
            critical=6.0,
            slo=slo,
        )
        for slo in slos
    ]


def _rules(organisation: Any, number: int) -> list[Any]:
    """So many rules, of all series that can be told apart by something, with default rules' thresholds out of reach for most."""
    from apps.alerts.choices import ABOVE, SLO_SERIES, TIMES_BASELINE, WINDOWS
    from apps.alerts.models import AlertRule
    from apps.alerts.series import SERIES, SUMMED_SCOPES

    kinds = [
        (series, by, window, comparison)
        for series in SERIES.values()
        if series.name != SLO_SERIES and not series.installation
        for by in series.scopes
        for window in WINDOWS
        if window <= 21_600
        for comparison in ((ABOVE, TIMES_BASELINE) if series.baseline and by in SUMMED_SCOPES else (ABOVE,))
    ]
    step = max(1, len(kinds) // number)
    chosen = (kinds[::step] * (number // max(1, len(kinds[::step])) + 1))[:number]
    return [
        AlertRule(
            organisation=organisation,
            name=f"bench-{place}",
            title=f"bench {place}",
            series=series.name,
            scope={"by": by},
            comparison=comparison,
            warn=1e15 if comparison == ABOVE else 20.0,
            window_s=window,
        )
        for place, (series, by, window, comparison) in enumerate(chosen)
    ]


if __name__ == "__main__":
    sys.exit(main())
