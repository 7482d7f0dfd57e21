"""What dashboards say beside SQL on the requests themselves: totals must be equal, quantiles within two percent.

    DATABASE_URL=... python -m tests.bench.accuracy [--org generated] [--hours 1 6 24 168 720]

Of each range: everything, and the busiest route, key and provider. Ranges end at the last whole hour, so that nothing is on its way
meanwhile. Exits with 1 where a total differs or a quantile is further off.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

MOST_PERCENT = 2.0
COUNTED = ("requests", "ok", "error", "cancelled", "refused", "unknown", "attempts", "tokens_input", "tokens_output", "cost_nano")
TARGETED = ("requests", "ok", "error", "cancelled", "refused", "unknown")
"""Of a provider: its requests are those that it answered or was tried last for; attempts and cost count where they were made."""
_OUTCOMES = ", ".join(f"count(*) FILTER (WHERE outcome = '{name}')" for name in ("ok", "error", "cancelled", "refused", "unknown"))
_GAPS = "stream AND outcome = 'ok' AND NOT estimated AND first_token_us >= 0 AND tokens_output - tokens_reasoning > 1"


def _quantiles(value: str, where: str) -> str:
    return f"percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY {value}) FILTER (WHERE {where})"


_MEASURED = ", ".join(
    (
        _quantiles("total_us", "outcome IN ('ok', 'error')"),
        _quantiles("first_token_us", "first_token_us >= 0"),
        _quantiles("(total_us - first_token_us)::float8 / (tokens_output - tokens_reasoning - 1)", _GAPS),
    )
)
_SQL = (
    f"SELECT count(*), {_OUTCOMES}, sum(attempt_count)::bigint, sum(tokens_input)::bigint, sum(tokens_output)::bigint, "
    f"sum(cost_nano)::bigint, {_MEASURED} "
    "FROM usage_request WHERE organisation = %s AND simulated = %s AND started_at >= %s AND started_at < %s"
)


def main() -> int:
    """Prints a line for each range and value."""
    import django

    parser = argparse.ArgumentParser(description="Dashboards beside SQL on the requests.")
    parser.add_argument("--org", default="generated")
    parser.add_argument("--hours", type=int, nargs="*", default=[1, 6, 24, 168, 720])
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()

    from apps.accounts.models import Organisation
    from apps.accounts.scope import Scope
    from apps.usage.covering import HOUR, floor
    from apps.usage.detail import traffic_detail
    from apps.usage.selectors import Dimension, rows_of, traffic_by

    organisation = Organisation.objects.get(slug=given.org)
    scope, now = Scope(str(organisation.pk), organisation.simulated), datetime.now(UTC)
    end = floor(now, HOUR)
    dimensions: tuple[Dimension, ...] = ("route", "key_id", "provider")
    differing, furthest = 0, 0.0
    print(f"{'range':>7} {'of':40} {'requests':>11} {'totals':>8} {'furthest quantile':>18}")
    for hours in given.hours:
        start = end - timedelta(hours=hours)
        busiest = {name: found[0].value for name, found in traffic_by(scope, start, end, dimensions, now=now).items() if found and name}
        for dimension, value in (("", ""), *busiest.items()):
            series = traffic_detail(scope, start, end, dimension=dimension, values=(value,), now=now)
            assert (series.start, series.end) == (start, end)
            asked = f"{_SQL} AND {dimension} = %s" if dimension else _SQL
            [row] = rows_of(asked, [scope.organisation, scope.simulated, start, end, *([value] if dimension else [])])
            exact = dict(zip(COUNTED, row, strict=False))
            wrong = [name for name in (TARGETED if dimension == "provider" else COUNTED) if exact[name] != getattr(series.totals, name)]
            off = max(_off(series, row[len(COUNTED) :]), default=0.0)
            differing, furthest = differing + bool(wrong), max(furthest, off)
            said = "equal" if not wrong else f"WRONG: {', '.join(wrong)}"
            print(
                f"{hours:5} h {dimension + ' ' + value if dimension else 'everything':40} {row[0]:11,} {said:>8} {off:16.3f} %", flush=True
            )
    print(f"{differing} ranges with another total; the furthest quantile is {furthest:.3f}% off")
    return 1 if differing or furthest > MOST_PERCENT else 0


def _off(series: Any, exact: Any) -> list[float]:
    """By how many percent each of nine quantiles differs."""
    said = [(which.p50, which.p95, which.p99) for which in (series.total, series.first_token, series.gap)]
    pairs = ((told, real) for told3, real3 in zip(said, exact, strict=True) if real3 for told, real in zip(told3, real3, strict=True))
    return [abs(told - real) / real * 100 for told, real in pairs if real]


if __name__ == "__main__":
    sys.exit(main())
