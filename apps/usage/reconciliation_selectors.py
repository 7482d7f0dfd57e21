"""Imported exports beside what was recorded of the same provider and days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.reconciliation_models import ProviderExport
from apps.usage.reconciliation_reading import Figures
from apps.usage.reconciliation_rules import Compared, compare, total
from apps.usage.selectors import rows_of, values_seen

_RECORDED = (
    "SELECT (bucket AT TIME ZONE 'UTC')::date, model, sum(attempts)::bigint, sum(tokens_input)::bigint, sum(tokens_output)::bigint, "
    "sum(cost_nano)::bigint FROM usage_rollup_1h WHERE organisation = %s AND simulated = %s AND provider = %s "
    "AND bucket >= %s AND bucket < %s GROUP BY 1, 2"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An export beside what was recorded. ``whole``: all lines in one."""

    export: ProviderExport
    lines: list[Compared]
    whole: Compared | None

    @property
    def off(self) -> list[Compared]:
        """The lines that do not agree."""
        return [line for line in self.lines if line.state != "equal"]


def exports_of(organisation: Organisation, *, simulated: bool) -> QuerySet[ProviderExport]:
    """An organisation's imports, the latest first."""
    return ProviderExport.objects.filter(organisation=organisation, simulated=simulated).order_by("-imported_at", "-id")


def recorded(scope: Scope, provider: str, first: date, last: date) -> dict[tuple[date, str], Figures]:
    """What the proxies' requests used of a provider, by day (UTC) and model: attempts, tokens, booked cost. One query."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    rows = rows_of(_RECORDED, [scope.organisation, scope.simulated, provider, start, end])
    return {(day, model): Figures(requests, tokens_in, tokens_out, cost) for day, model, requests, tokens_in, tokens_out, cost in rows}


def comparison(export: ProviderExport) -> Comparison:
    """Two queries: the export's lines and what was recorded."""
    theirs = {
        (line.day, line.model): Figures(line.requests, line.tokens_input, line.tokens_output, line.cost_nano) for line in export.lines.all()
    }
    scope = Scope(str(export.organisation_id), export.simulated)
    lines = compare(theirs, recorded(scope, export.provider, export.first_day, export.last_day))
    return Comparison(export, lines, total(lines))


PROVIDER_DAYS = 400
_UNRECONCILED = (
    "SELECT value FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = 86400 AND dimension = 'provider' "
    "AND bucket >= %s AND bucket < %s AND value <> '' AND NOT EXISTS (SELECT 1 FROM usage_providerexport AS known "
    "WHERE known.organisation_id = %s::uuid AND known.simulated = %s AND known.provider = value AND known.first_day <= %s "
    "AND known.last_day >= %s) GROUP BY value HAVING sum(cost_nano) > 0 ORDER BY value"
)


def providers_seen(scope: Scope, *, now: datetime) -> list[str]:
    """Names of providers that requests went to within a year or so."""
    return values_seen(scope, now - timedelta(days=PROVIDER_DAYS), now)["provider"]


def unreconciled(scope: Scope, *, now: datetime) -> list[str]:
    """Providers that cost something in the last calendar month (UTC) and of which no export reaches to its end: one query."""
    this_month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last_day = this_month.date() - timedelta(days=1)
    before = this_month - timedelta(days=last_day.day)
    place = [scope.organisation, scope.simulated, before, this_month, scope.organisation, scope.simulated, last_day, last_day]
    return [value for (value,) in rows_of(_UNRECONCILED, place)]
