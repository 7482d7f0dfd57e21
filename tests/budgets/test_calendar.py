"""Windows by the budget's calendar, as Postgres computes them, against Python's zoneinfo: every day of the odd zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db

ODD_ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # clocks go back from 01:00 to midnight: midnight comes twice
    "Africa/Cairo",  # clocks jump from midnight to 01:00: midnight does not exist
    "America/Santiago",
    "Asia/Beirut",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Kathmandu",  # +05:45
    "Pacific/Apia",
    "Pacific/Kiritimati",  # +14
]


def window_at(kind: str, zone: str, at: datetime) -> tuple[datetime, datetime]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT starts_at, ends_at FROM budgets_window_at(%s, %s, %s)", [kind, zone, at])
        return cursor.fetchone()


def first_instant(day: date, zone: str) -> datetime:
    """The earliest minute at which a clock in the zone shows this date or a later one."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    low, high = 0, 30 * 60
    while low < high:  # the local date never goes back across these days' midnights in the years tested
        middle = (low + high) // 2
        if (at + timedelta(minutes=middle)).astimezone(ZoneInfo(zone)).date() >= day:
            high = middle
        else:
            low = middle + 1
    return at + timedelta(minutes=low)


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_every_day_of_three_years_starts_and_ends_at_local_midnight(zone: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d::date, f.starts_at, f.ends_at FROM generate_series(date '2024-01-01', date '2026-12-31', '1 day') AS d, "
            "LATERAL budgets_window_at('day', %s, budgets_day_start(d::date, %s) + interval '7 hours') AS f",
            [zone, zone],
        )
        rows = cursor.fetchall()
    assert len(rows) == 1096
    for (day, starts, ends), following in zip(rows, [*rows[1:], None], strict=True):
        assert starts == first_instant(day, zone), (zone, day)
        assert timedelta(hours=22) < ends - starts < timedelta(hours=26)
        assert following is None or following[1] == ends


@pytest.mark.parametrize("zone", ODD_ZONES)
@pytest.mark.parametrize("kind", ["day", "month"])
def test_every_instant_is_in_its_window_and_windows_are_consecutive(zone: str, kind: str) -> None:
    """Every 29 minutes over two months of clock changes."""
    with connection.cursor() as cursor:
        for start in ("2025-03-01", "2025-10-01"):
            cursor.execute(
                "SELECT count(*) FILTER (WHERE at < starts_at OR at >= ends_at), "
                "count(*) FILTER (WHERE starts_at < earlier_end AND starts_at <> earlier_start) FROM ("
                "SELECT at, f.starts_at, f.ends_at, lag(f.ends_at) OVER w AS earlier_end, lag(f.starts_at) OVER w AS earlier_start "
                "FROM generate_series(%s::timestamptz, %s::timestamptz + interval '62 days', '29 minutes') AS at, "
                "LATERAL budgets_window_at(%s, %s, at) AS f WINDOW w AS (ORDER BY at)) AS each",
                [start, start, kind, zone],
            )
            assert cursor.fetchone() == (0, 0)


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Berlin", "2025-03-30T12:00:00+00:00", 23),
        ("Europe/Berlin", "2025-10-26T12:00:00+00:00", 25),
        ("Africa/Cairo", "2025-04-25T12:00:00+00:00", 23),
        ("America/Havana", "2025-11-02T12:00:00+00:00", 25),
        ("Australia/Lord_Howe", "2025-04-06T00:00:00+00:00", 24.5),
        ("Pacific/Apia", "2011-12-29T20:00:00+00:00", 24),
    ],
)
def test_days_on_which_clocks_change_are_as_long_as_they_are(zone: str, at: str, hours: float) -> None:
    starts, ends = window_at("day", zone, datetime.fromisoformat(at))
    assert (ends - starts) == timedelta(hours=hours)


def test_a_day_that_was_left_out_has_no_window() -> None:
    """Samoa went from the 29th to the 31st of December 2011."""
    _, ends = window_at("day", "Pacific/Apia", datetime(2011, 12, 30, 9, 59, tzinfo=UTC))
    starts, _ = window_at("day", "Pacific/Apia", datetime(2011, 12, 30, 10, 0, tzinfo=UTC))
    assert ends == starts == datetime(2011, 12, 30, 10, 0, tzinfo=UTC)


def test_a_date_that_comes_twice_stays_in_one_sequence() -> None:
    """Newfoundland once set its clocks back at 00:01, into the day before."""
    before = window_at("day", "America/St_Johns", datetime(2010, 11, 7, 2, 29, tzinfo=UTC))
    within = window_at("day", "America/St_Johns", datetime(2010, 11, 7, 2, 45, tzinfo=UTC))
    assert before[1] == within[0] <= datetime(2010, 11, 7, 2, 45, tzinfo=UTC) < within[1]


@pytest.mark.parametrize(
    ("at", "first", "last"),
    [
        ("2024-02-29T23:59:59+00:00", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("2025-02-28T23:59:59.999+00:00", "2025-02-01T00:00:00+00:00", "2025-03-01T00:00:00+00:00"),
        ("2025-12-31T23:00:00+00:00", "2025-12-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"),
        ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"),
    ],
)
def test_months_end_where_the_next_begins(at: str, first: str, last: str) -> None:
    assert window_at("month", "UTC", datetime.fromisoformat(at)) == (datetime.fromisoformat(first), datetime.fromisoformat(last))
