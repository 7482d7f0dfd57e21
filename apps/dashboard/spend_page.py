"""What the pages of spend know: each read is one query, made when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from apps.accounts.scope import Choice
from apps.dashboard.selectors import key_names, place
from apps.prices.selectors import corrections_of
from apps.ui.delta import Delta, delta
from apps.ui.status import Status
from apps.usage import forecast
from apps.usage.anomalies import anomalies_of
from apps.usage.choices import ANOMALY_KINDS, RUNAWAY_KEY
from apps.usage.forecast import Forecast, Kept, Model, Record
from apps.usage.forecasting import first_day, forecasts_kept, month_spent
from apps.usage.models import SpendAnomaly
from apps.usage.spend import Period, spend_days

SHOWN_ANOMALIES = 5
MOST_ANOMALIES = 200
TABS = (
    ("Overview", "dashboard:spend"),
    ("Breakdown", "dashboard:spend_breakdown"),
    ("In vain", "dashboard:spend_waste"),
    ("Forecast", "dashboard:spend_forecast"),
    ("Anomalies", "dashboard:spend_anomalies"),
    ("Daily review", "reviews:day"),
    ("Reconciliation", "costs:reconciliations"),
    ("Export", "costs:export"),
)
"""The pages about spend, of several apps; one that does not exist has no tab."""


def tabs_of(current: str, *, open_anomalies: int | None = None) -> list[tuple[str, str, bool, int | None]]:
    """For ``ui/tabs.html``. open_anomalies: their number, where the page knows it."""
    counts = {"dashboard:spend_anomalies": open_anomalies or None}
    return [(label, url, name == current, counts.get(name)) for label, name in TABS if (url := place(name))]


@dataclass(frozen=True, slots=True)
class Found:
    """An anomaly as pages show it. name: of its key, or the model."""

    row: SpendAnomaly
    status: Status
    name: str
    url: str

    @property
    def is_key(self) -> bool:
        """Whether it is about a key; else about a price."""
        return self.row.kind == RUNAWAY_KEY

    @property
    def times(self) -> float | None:
        """How many times as much as usual; None where nothing is usual."""
        usual = self.row.evidence.get("usual", 0)
        return self.row.evidence["spent"] / usual if usual else None


class SpendReads:
    """One organisation's spend as of ``now``; days are UTC."""

    def __init__(self, choice: Choice, *, now: datetime | None = None) -> None:
        self.choice = choice
        self.now = now or datetime.now(UTC)
        self.today = self.now.date()
        self.month = Period(self.today.replace(day=1), self.today)

    @cached_property
    def days(self) -> dict[date, int]:
        """Nano-dollars by day, of all that a forecast looks at and of the months that are compared with theirs."""
        return spend_days(self.choice.scope, first_day(self.today), self.today)

    @property
    def spent_today(self) -> int:
        return self.days.get(self.today, 0)

    @property
    def spent_month(self) -> int:
        return month_spent(self.days, self.today) + self.spent_today

    def same_days(self, before: timedelta) -> int:
        """What the day cost that lies so far back."""
        return self.days.get(self.today - before, 0)

    @property
    def last_month(self) -> int:
        """What the whole month before cost."""
        end = self.month.first - timedelta(days=1)
        return sum(nano for day, nano in self.days.items() if (day.year, day.month) == (end.year, end.month))

    @property
    def month_change(self) -> Delta | None:
        """The month's forecast against the whole month before; None where that is not known."""
        return delta(self.coming.nano, self.last_month) if self.coming and self.last_month else None

    @cached_property
    def model(self) -> Model | None:
        return forecast.model_fit(forecast.history(self.days, self.today))

    @property
    def known_days(self) -> int:
        """Whole days that a forecast could go by."""
        return len(forecast.history(self.days, self.today))

    @property
    def elapsed(self) -> float:
        """Of today."""
        return (self.now - self.now.replace(hour=0, minute=0, second=0, microsecond=0)) / timedelta(days=1)

    @cached_property
    def coming(self) -> Forecast | None:
        """What the month will have cost; None: too few days to say."""
        if self.model is None:
            return None
        return forecast.month_forecast(
            self.model, today=self.today, spent=month_spent(self.days, self.today), spent_today=self.spent_today, elapsed=self.elapsed
        )

    @cached_property
    def later_days(self) -> list[tuple[date, Forecast]]:
        """Each day of the month after today, forecast by itself."""
        if self.model is None:
            return []
        found, day = [], self.today + timedelta(days=1)
        while day.month == self.today.month:
            found.append((day, forecast.day_forecast(self.model, day)))
            day += timedelta(days=1)
        return found

    @cached_property
    def kept(self) -> tuple[list[Kept], list[Kept]]:
        """Forecasts that were made: of days, of months."""
        return forecasts_kept(self.choice.scope, self.days, self.today)

    @property
    def day_record(self) -> Record:
        return forecast.record_of(self.kept[0])

    @property
    def month_record(self) -> Record:
        return forecast.record_of(self.kept[1])

    @cached_property
    def correction(self) -> int:
        """What re-pricings in force add to this month."""
        return corrections_of(self.choice.scope, self.month.first, self.month.last)

    @cached_property
    def open_anomalies(self) -> list[SpendAnomaly]:
        """The newest first."""
        return list(anomalies_of(self.choice.scope).filter(acknowledged_at=None)[:MOST_ANOMALIES])


def anomalies_named(choice: Choice, rows: Sequence[SpendAnomaly]) -> list[Found]:
    """Anomalies with the names of their keys and where to look: one query, none without a key."""
    names = key_names(choice.organisation, {row.subject for row in rows if row.kind == RUNAWAY_KEY})
    return [_found(row, names) for row in rows]


def _found(row: SpendAnomaly, names: dict[str, str]) -> Found:
    return Found(row, ANOMALY_KINDS[row.kind], names.get(row.subject, row.subject), _url(row))


def _url(row: SpendAnomaly) -> str:
    """The requests behind it: a key's in its hours; a model's since its price changed."""
    requests = place("dashboard:requests")
    form = "%Y-%m-%dT%H:%MZ"
    if row.kind == RUNAWAY_KEY:
        query: dict[str, Any] = {"key": row.subject, "from": row.starts_at.strftime(form), "to": row.ends_at.strftime(form)}
        return f"{requests}?{urlencode(query | {'sort': 'costliest'})}"
    provider, _, model = row.subject.partition("/")
    return f"{requests}?{urlencode({'provider': provider, 'model': model, 'from': row.starts_at.strftime(form), 'to': 'now'})}"
