"""How a window will end, how long its money lasts, and which thresholds are reached. Pure; nano-dollars and aware datetimes.

Invariants: a forecast is never below what is spent, and is what is spent once the window is over; more spent never lowers it. A runway is
None where nothing is being spent or nothing is walled in. A threshold that is reached stays reached while spend grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from apps.budgets.choices import PACE_CRITICAL, PACE_WARN

LEAST_ELAPSED = timedelta(hours=1)
"""So much of a day must have passed before its rate says anything."""


class Standing(NamedTuple):
    """A window at a moment. spent: with overruns. day_starts_at, day_spent: its present day's beginning and what it had spent by then."""

    starts_at: datetime
    ends_at: datetime
    now: datetime
    limit: int
    spent: int
    day_starts_at: datetime
    day_ends_at: datetime
    day_spent: int
    daily: bool
    hard: bool


class Reached(NamedTuple):
    """A threshold that is reached: ``share`` percent of what ``kind`` measures."""

    kind: str
    share: int
    critical: bool
    value: int


def window_forecast(standing: Standing) -> int | None:
    """Spend at the window's end at its mean rate so far. None: too early to say."""
    spent, now = standing.spent, standing.now
    if now >= standing.ends_at:
        return spent
    elapsed = now - standing.starts_at
    if elapsed < LEAST_ELAPSED:
        return None
    return spent + int(spent * ((standing.ends_at - now) / elapsed))


def day_forecast(standing: Standing) -> int | None:
    """Spend of the present day at its end, at the day's rate so far. None: too early to say."""
    today = max(0, standing.spent - standing.day_spent)
    elapsed = standing.now - standing.day_starts_at
    if standing.now >= standing.day_ends_at:
        return today
    if elapsed < LEAST_ELAPSED:
        return None
    return today + int(today * ((standing.day_ends_at - standing.now) / elapsed))


def runway_minutes(standing: Standing) -> int | None:
    """Minutes until the limit, at the present day's rate or at the window's mean one, whichever is higher; 0 where it is reached."""
    left = standing.limit - standing.spent
    if left <= 0:
        return 0
    minute = timedelta(minutes=1)
    minutes = []
    for since, spent, least in (
        (standing.starts_at, standing.spent, timedelta(0)),
        (standing.day_starts_at, standing.spent - standing.day_spent, LEAST_ELAPSED),
    ):
        elapsed = standing.now - since
        if spent > 0 and elapsed > least:
            minutes.append(int(left * (elapsed / minute) / spent))
    until_end = int((standing.ends_at - standing.now) / minute)
    lasts = min(minutes, default=until_end)
    return lasts if lasts < until_end else None


def day_share(standing: Standing) -> int:
    """What one day may spend of the limit."""
    days = max(1, round((standing.ends_at - standing.starts_at) / timedelta(days=1)))
    return standing.limit // days


def reached(standing: Standing, shares: Iterable[int]) -> list[Reached]:
    """Every threshold that is reached: ``shares`` of the limit, actual and forecast; then the day's own warning and its critical one."""
    found = []
    coming = window_forecast(standing)
    for share in sorted(set(shares)):
        if standing.spent * 100 >= share * standing.limit and standing.spent:
            found.append(Reached("actual", share, share >= 100, standing.spent))
        elif coming is not None and coming * 100 >= share * standing.limit and coming:
            found.append(Reached("forecast", share, False, coming))
    if not shares:
        return found
    value: int | None
    if standing.daily:
        value, whole = (day_forecast(standing) if standing.hard else standing.spent), standing.limit
    else:
        value, whole = max(0, standing.spent - standing.day_spent), day_share(standing)
    for share in (PACE_WARN, PACE_CRITICAL):
        if value and value * 100 >= share * whole:
            found.append(Reached("pace", share, share == PACE_CRITICAL, value))
    return found
