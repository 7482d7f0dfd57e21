"""Evaluation of many rules over the database of ``DATABASE_URL``: wall and CPU time of a minute, and how many queries it asks.

    DATABASE_URL=... python -m tests.bench.alerts --org SLUG [--rules 500] [--minutes 20]

The organisation should have usage (``python -m tests.bench.usage --org SLUG``). Rules of every series, scope and window are made,
minutes are judged, and everything is rolled back. The first minute learns what is usual, as a worker does every ten minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from datetime import timedelta
from typing import Any


def main() -> int:
    """Prints the figures; 0."""
    import django

    parser = argparse.ArgumentParser(description="Evaluation of many alert rules.")
    parser.add_argument("--org", required=True)
    parser.add_argument("--rules", type=int, default=500)
    parser.add_argument("--minutes", type=int, default=20)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()

    from django.db import connection, transaction
    from django.utils import timezone

    from apps.accounts.models import Organisation
    from apps.alerts.evaluation import SETTLES, evaluate, last_minute
    from apps.alerts.models import Alert, AlertEvaluation, AlertRule

    organisation = Organisation.objects.get(slug=given.org)
    with transaction.atomic():
        AlertRule.objects.filter(organisation=organisation).delete()
        AlertEvaluation.objects.filter(organisation=organisation).delete()
        AlertRule.objects.bulk_create(_rules(organisation, given.rules))
        now = last_minute(timezone.now()) - timedelta(minutes=given.minutes)
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
