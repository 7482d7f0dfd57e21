"""What a day and a month will cost, by the whole days before, how sure that is, and how good such forecasts were. Pure; nano-dollars.

The level is a mean of past days that forgets (half in a week), after each day was divided by what its weekday usually is of a mean
day. Its errors are measured, not assumed: every past day is forecast from the days before it, and so are the means of past weeks. The
first says how far single days are off; what the second is off beyond that is the level's own drift, which does not average out over the
days of a month. A month's interval holds both. docs/adr/0082 has the reasons.

Invariants. low <= nano <= high. Of a month, low is never below what is spent, and a month that is over is what was spent. More spent
today never lowers a forecast. Fewer than ``LEAST_DAYS`` whole days: no forecast, rather than a guess.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import NormalDist

LEAST_DAYS = 3
"""Whole days before anything is said."""
WEEKDAY_DAYS = 14
"""Whole days before weekdays are told apart: two of each."""
MOST_DAYS = 56
"""Days looked at: eight weeks, so that a season that is over has no say."""
HALF_LIFE_DAYS = 7
SURE = 0.80
"""The probability that an interval holds."""
DRIFT_DAYS = (7, 14, 21, 28)
"""The level's drift is measured over the mean of so many coming days, as far as there are past days to measure it by; over longer times it
is taken to grow with them, as a random walk's does."""
WARM_DAYS = 7
LEAST_WINDOWS = 7
SHRINK = 0.25
"""A weekday's share is the mean of what was seen and of so many ordinary days: two Sundays are little to go by."""
LEAST_SHARE = 0.02
"""Of a mean day. A weekday that never costs anything would otherwise make any spend on it endlessly many ordinary days."""
LEAST_RECORD = 5
"""Forecasts that have come true or not before their record says anything."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected, and between what it will be with probability ``SURE``."""

    nano: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Model:
    """What past days say. level: nano-dollars of an ordinary day; shares: of each weekday (Monday first), their mean is 1; days: whole days
    looked at; day_variance: of one ordinary day around the level; level_variance: of the level itself; drifts: (days, what the mean of so
    many coming days is off by, squared, beyond what single days explain), where there was enough to measure; freedom: errors measured."""

    days: int
    level: float
    shares: tuple[float, ...]
    day_variance: float
    level_variance: float
    drifts: tuple[tuple[int, float], ...]
    freedom: int

    @property
    def weekday_aware(self) -> bool:
        """Whether weekdays are told apart."""
        return self.days >= WEEKDAY_DAYS


def history(days: Mapping[date, int], today: date) -> list[tuple[date, int]]:
    """The whole days to go by, oldest first, without holes: from the first that cost anything, at most ``MOST_DAYS``, to yesterday."""
    spent = [day for day, nano in days.items() if day < today and nano > 0]
    if not spent:
        return []
    first = max(min(spent), today - timedelta(days=MOST_DAYS))
    return [(day, days.get(day, 0)) for day in (first + timedelta(days=n) for n in range((today - first).days))]


def model_fit(past: Sequence[tuple[date, int]]) -> Model | None:
    """What past days, oldest first and without holes, say; None where they are fewer than ``LEAST_DAYS``."""
    if len(past) < LEAST_DAYS:
        return None
    shares = _shares(past)
    ordinary = [nano / shares[day.weekday()] for day, nano in past]
    levels = _levels(ordinary)
    errors = [ordinary[at] - levels[at - 1] for at in range(1, len(ordinary))]
    day_variance = sum(error * error for error in errors) / len(errors)
    weights = [_KEEP**age for age in range(len(ordinary))]
    level_variance = day_variance * sum(weight * weight for weight in weights) / sum(weights) ** 2
    drifts = []
    for ahead in DRIFT_DAYS:
        means = [sum(ordinary[at : at + ahead]) / ahead - levels[at - 1] for at in range(WARM_DAYS, len(ordinary) - ahead + 1)]
        if len(means) >= LEAST_WINDOWS:
            drifts.append((ahead, max(0.0, sum(mean * mean for mean in means) / len(means) - day_variance / ahead)))
    return Model(len(past), levels[-1], shares, day_variance, level_variance, tuple(drifts), len(errors))


_KEEP = 0.5 ** (1 / HALF_LIFE_DAYS)


def _levels(ordinary: Sequence[float]) -> list[float]:
    """The level after each day."""
    found, total, weight = [], 0.0, 0.0
    for nano in ordinary:
        total, weight = total * _KEEP + nano, weight * _KEEP + 1
        found.append(total / weight)
    return found


def _shares(past: Sequence[tuple[date, int]]) -> tuple[float, ...]:
    mean = sum(nano for _, nano in past) / len(past)
    if len(past) < WEEKDAY_DAYS or not mean:
        return (1.0,) * 7
    found = []
    for weekday in range(7):
        own = [nano / mean for day, nano in past if day.weekday() == weekday]
        found.append(max(LEAST_SHARE, (sum(own) + SHRINK) / (len(own) + SHRINK)))
    return tuple(share * 7 / sum(found) for share in found)


def day_forecast(model: Model, day: date) -> Forecast:
    """What a whole day will cost, as it begins."""
    return _forecast(model, 0, [model.shares[day.weekday()]])


def month_forecast(model: Model, *, today: date, spent: int, spent_today: int, elapsed: float) -> Forecast:
    """What the month of ``today`` will have cost. spent: of it before today. elapsed: of today, 0..1: what is left of today costs what the
    model says of such a part of a day."""
    last = calendar.monthrange(today.year, today.month)[1]
    later = [model.shares[today.replace(day=day).weekday()] for day in range(today.day + 1, last + 1)]
    left = min(1.0, max(0.0, 1.0 - elapsed))
    return _forecast(model, spent + spent_today, [model.shares[today.weekday()] * left, *later])


def _forecast(model: Model, spent: int, shares: Sequence[float]) -> Forecast:
    """``spent`` and what days with these shares of an ordinary day will cost. Days err each by themselves, the level errs for all."""
    ordinary = sum(shares)
    level_variance = max(model.level_variance, *(moved * max(1.0, len(shares) / ahead) for ahead, moved in model.drifts), 0.0)
    variance = model.day_variance * sum(share * share for share in shares) + level_variance * ordinary * ordinary
    coming = round(model.level * ordinary)
    off = round(_quantile(model.freedom) * math.sqrt(variance))
    return Forecast(spent + coming, spent + max(0, coming - off), spent + coming + off)


def _quantile(freedom: int) -> float:
    """Of Student's t, for an interval of ``SURE`` around the middle: few measured errors make it wider (Cornish and Fisher's expansion)."""
    z = NormalDist().inv_cdf((1 + SURE) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


@dataclass(frozen=True, slots=True)
class Kept:
    """A forecast that was made, beside what came of it. of: the day, or the month's first day. actual None: it is not over yet."""

    made_on: date
    of: date
    forecast: Forecast
    actual: int | None

    @property
    def held(self) -> bool | None:
        """Whether the interval held; None: nobody knows yet."""
        return None if self.actual is None else self.forecast.low <= self.actual <= self.forecast.high

    @property
    def off(self) -> float | None:
        """How far it was off, in percent of what came, signed; None where nothing came or nobody knows yet."""
        return 100 * (self.forecast.nano - self.actual) / self.actual if self.actual else None


@dataclass(frozen=True, slots=True)
class Record:
    """How good forecasts were. known: those whose end is known; held: of them, those whose interval held; mape: mean of how far they were
    off, in percent, None where nothing was ever spent."""

    known: int
    held: int
    mape: float | None

    @property
    def enough(self) -> bool:
        """Whether there are enough to say anything."""
        return self.known >= LEAST_RECORD

    @property
    def missing(self) -> int:
        """How many more it takes."""
        return max(0, LEAST_RECORD - self.known)


def record_of(kept: Sequence[Kept]) -> Record:
    """The record of forecasts; those that are not over yet have no say."""
    known = [one for one in kept if one.held is not None]
    offs = [abs(one.off) for one in known if one.off is not None]
    return Record(len(known), sum(bool(one.held) for one in known), sum(offs) / len(offs) if offs else None)
