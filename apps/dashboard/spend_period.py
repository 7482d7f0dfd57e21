"""Which days a page of spend is about: ``?period=month``, or ``?from=2026-03-01&to=2026-03-14``. Days are UTC, both included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from apps.ui.timerange import TimeRangeError, parse_end
from apps.usage.spend import Period

DEFAULT = "month"
PERIODS: dict[str, str] = {
    "today": "Today", "yesterday": "Yesterday", "7d": "7 days", "month": "This month", "last-month": "Last month", "30d": "30 days",
    "90d": "90 days",
}  # fmt: skip
LONGEST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Chosen:
    """A period as its page calls it. name: of ``PERIODS``, empty where both days were typed. problem: why what the URL says was not
    used, else empty."""

    period: Period
    name: str
    problem: str = ""

    @property
    def label(self) -> str:
        """In words, with the days."""
        first, last = self.period.first, self.period.last
        days = f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
        return f"{PERIODS[self.name]}: {days}" if self.name else days

    @property
    def query(self) -> dict[str, str]:
        """The parameters that mean this period."""
        if self.name:
            return {} if self.name == DEFAULT else {"period": self.name}
        return {"from": self.period.first.isoformat(), "to": self.period.last.isoformat()}


def period_read(query: Mapping[str, str], *, today: date) -> Chosen:
    """The period that a URL asks for; this month, with the reason, where it makes no sense."""
    first, last = query.get("from", "").strip(), query.get("to", "").strip()
    if first or last:
        try:
            return Chosen(_typed(first, last, today), "")
        except (TimeRangeError, OverflowError) as error:
            return Chosen(_named(DEFAULT, today), DEFAULT, f"{error}.")
    name = query.get("period", DEFAULT)
    if name not in PERIODS:
        return Chosen(_named(DEFAULT, today), DEFAULT, f"There is no period “{name[:20]}”: one of {', '.join(PERIODS)}.")
    return Chosen(_named(name, today), name)


def _named(name: str, today: date) -> Period:
    month = today.replace(day=1)
    if name == "month":
        return Period(month, today)
    if name == "last-month":
        return Period((month - timedelta(days=1)).replace(day=1), month - timedelta(days=1))
    if name == "yesterday":
        return Period(today - timedelta(days=1), today - timedelta(days=1))
    days = {"today": 1, "7d": 7, "30d": 30, "90d": 90}[name]
    return Period(today - timedelta(days=days - 1), today)


def _typed(first_text: str, last_text: str, today: date) -> Period:
    now = datetime.combine(today, datetime.max.time(), tzinfo=UTC)
    last = _day(last_text, now, until=True) if last_text else today
    first = _day(first_text, now, until=False) if first_text else last
    if first > today:
        raise TimeRangeError("The period has not begun yet: choose an earlier day")
    if first > last:
        raise TimeRangeError("The period ends before it starts: set 'from' to an earlier day than 'to'")
    last = min(last, today)
    if (last - first).days >= LONGEST_DAYS:
        raise TimeRangeError(f"The period is longer than {LONGEST_DAYS} days: choose a shorter one")
    return Period(first, last)


def _day(text: str, now: datetime, *, until: bool) -> date:
    """The day of a text; a moment as an end means the day that it ends, so midnight is the day before."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        moment = parse_end(text, now=now)
        return (moment - timedelta(microseconds=1)).date() if until else moment.date()
