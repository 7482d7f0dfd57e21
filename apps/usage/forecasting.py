"""Keeping forecasts as they were made, and reading them beside what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.forecast import MOST_DAYS, Forecast, Kept, Model, day_forecast, history, model_fit, month_forecast
from apps.usage.models import SpendForecast
from apps.usage.spend import spend_days

LATE_HOURS = 6
"""A day's forecast is made in its first hours; later that day nobody would believe that it was one."""


def forecasts_keep(*, now: datetime | None = None) -> int:
    """Make today's forecasts, of every organisation with enough whole days; returns how many. Once a day each, however often this runs."""
    now = now or datetime.now(UTC)
    if now.hour >= LATE_HOURS:
        return 0
    today = now.date()
    known = set(SpendForecast.objects.filter(made_on=today).values_list("organisation_id", "simulated"))
    rows = []
    for organisation in Organisation.objects.all():
        for simulated in (False, True):
            if (organisation.pk, simulated) in known:
                continue
            days = spend_days(Scope(str(organisation.pk), simulated), first_day(today), today)
            model = model_fit(history(days, today))
            if model is not None:
                rows.append(_row(organisation, simulated, today, days, model))
    return len(SpendForecast.objects.bulk_create(rows, ignore_conflicts=True))


def first_day(today: date) -> date:
    """From when on days are read: all that a forecast looks at, and the months that are compared with theirs."""
    return min(today - timedelta(days=MOST_DAYS), (today.replace(day=1) - timedelta(days=62)).replace(day=1))


def _row(organisation: Organisation, simulated: bool, today: date, days: Mapping[date, int], model: Model) -> SpendForecast:
    spent = month_spent(days, today)
    day = day_forecast(model, today)
    month = month_forecast(model, today=today, spent=spent, spent_today=0, elapsed=0.0)
    return SpendForecast(
        organisation=organisation,
        simulated=simulated,
        made_on=today,
        days=model.days,
        spent_nano=spent,
        day_nano=day.nano,
        day_low_nano=day.low,
        day_high_nano=day.high,
        month_nano=month.nano,
        month_low_nano=month.low,
        month_high_nano=month.high,
    )


def month_spent(days: Mapping[date, int], today: date) -> int:
    """Nano-dollars of the month of ``today`` before it."""
    return sum(nano for day, nano in days.items() if (day.year, day.month) == (today.year, today.month) and day < today)


def forecasts_kept(scope: Scope, days: Mapping[date, int], today: date) -> tuple[list[Kept], list[Kept]]:
    """Forecasts since ``first_day`` beside what came of them, newest first: of days, and of months by the day they were made on. One query.

    days: of ``spend_days`` since ``first_day``.
    """
    rows = SpendForecast.objects.filter(
        organisation_id=scope.organisation, simulated=scope.simulated, made_on__gte=first_day(today), made_on__lte=today
    )
    of_days, of_months = [], []
    for row in rows:
        day = Forecast(row.day_nano, row.day_low_nano, row.day_high_nano)
        of_days.append(Kept(row.made_on, row.made_on, day, days.get(row.made_on, 0) if row.made_on < today else None))
        month = row.made_on.replace(day=1)
        over = (month.year, month.month) != (today.year, today.month)
        came = sum(nano for at, nano in days.items() if (at.year, at.month) == (month.year, month.month))
        of_months.append(
            Kept(row.made_on, month, Forecast(row.month_nano, row.month_low_nano, row.month_high_nano), came if over else None)
        )
    return of_days, of_months
