"""Histograms of days that are over are merged once: the same numbers as from every row, also when a record comes late."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from psycopg.types.json import Jsonb

from apps.accounts.scope import Scope
from apps.usage import merging
from apps.usage.covering import DAY, HOUR, Segment
from apps.usage.measures import COUNTS, Group, Latency, Totals, quantiles_of
from apps.usage.merging import groups_read

NOW = datetime(2026, 3, 29, 14, 37, tzinfo=UTC)
TODAY = NOW.replace(hour=0, minute=0)
SCOPE, OTHER = Scope("0190cccc-0000-7000-8000-000000000001", False), Scope("0190cccc-0000-7000-8000-000000000002", False)
MONTH = [Segment(DAY, TODAY - timedelta(days=30), TODAY + timedelta(days=1))]
Row = tuple[Scope, int, str, datetime, str, int, dict[int, int], dict[int, int]]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_kept", {})


def stored(rows: list[Row]) -> None:
    """Rows of usage_summary: (whose, seconds, dimension, bucket, value, requests, two histograms)."""
    names = ", ".join(COUNTS)
    zeros = ", ".join("%s" if name in ("requests", "attempts") else "0" for name in COUNTS)
    with connection.cursor() as cursor:
        for scope, seconds, dimension, bucket, value, requests, total, first_token in rows:
            cursor.execute(
                f"INSERT INTO usage_summary (organisation, simulated, seconds, dimension, bucket, value, {names}, h_total, h_first_token) "
                f"VALUES (%s, %s, %s, %s, %s, %s, {zeros}, %s, %s)",
                [
                    *(scope.organisation, scope.simulated, seconds, dimension, bucket, value, requests, requests),
                    *(Jsonb({str(index): count for index, count in histogram.items()}) for histogram in (total, first_token)),
                ],
            )


def counted(rows: list[Row], scope: Scope, segments: list[Segment], dimensions: tuple[str, ...], values: list[str] | None) -> object:
    """The same from every row, in plain Python."""
    sums: dict[tuple[str, str], tuple[int, Counter[int], Counter[int]]] = {}
    for owner, seconds, dimension, bucket, value, requests, total, first_token in rows:
        inside = any(seconds == one.seconds and one.start <= bucket < one.end for one in segments)
        if owner != scope or not inside or dimension not in dimensions or (values is not None and value not in values):
            continue
        before, *merged = sums.setdefault((dimension, value), (0, Counter(), Counter()))
        for histogram, more in zip(merged, (total, first_token), strict=True):
            histogram.update(more)
        sums[dimension, value] = (before + requests, merged[0], merged[1])
    groups = [
        (dimension, Group(value, Totals(requests=requests, attempts=requests), quantiles_of(total), quantiles_of(first_token)))
        for (dimension, value), (requests, total, first_token) in sums.items()
    ]
    return sorted(groups, key=lambda pair: (-pair[1].totals.requests, pair[1].value))


def made() -> list[Row]:
    """Forty days of three routes and everything, an hour's rows beside, and another organisation's."""
    rng = random.Random(7)

    def histogram() -> dict[int, int]:
        return {rng.randrange(300, 700): rng.randrange(1, 9) for _ in range(rng.randrange(12))}

    places = [(SCOPE, DAY, TODAY - timedelta(days=day)) for day in range(40)]
    places += [(SCOPE, HOUR, TODAY - timedelta(days=31, hours=hour)) for hour in range(6)] + [(OTHER, DAY, TODAY - timedelta(days=3))]
    kinds = [("", ""), *(("route", name) for name in ("a", "b", "c"))]
    return [
        (owner, seconds, dimension, at, value, rng.randrange(1, 10_000), histogram(), histogram())
        for owner, seconds, at in places
        for dimension, value in kinds
        if rng.random() < 0.9
    ]


@pytest.mark.django_db
def test_what_is_kept_says_what_the_rows_say_also_after_a_late_record() -> None:
    rows = made()
    stored(rows)
    edge = [Segment(HOUR, TODAY - timedelta(days=31, hours=5), TODAY - timedelta(days=31)), *MONTH]
    asked: list[tuple[Scope, list[Segment], tuple[str, ...], list[str] | None]] = [
        (SCOPE, edge, ("", "route"), None), (SCOPE, MONTH, ("route",), ["a", "c", "nothing"]), (SCOPE, edge[:1], ("route",), None),
        (OTHER, edge, ("", "route"), None), (SCOPE, [], ("route",), None),
    ]  # fmt: skip

    def same() -> None:
        for scope, segments, dimensions, values in asked:
            for _ in range(2):
                assert groups_read(scope, segments, dimensions, values, now=NOW) == counted(rows, scope, segments, dimensions, values)

    same()
    place = next(number for number, row in enumerate(rows) if row[0] == SCOPE and row[2] == "route" and row[3] == TODAY - timedelta(days=9))
    scope, seconds, dimension, bucket, value, requests, total, first_token = rows[place]
    rows[place] = (scope, seconds, dimension, bucket, value, requests + 5, {**total, 900: 5}, first_token)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE usage_summary SET requests = requests + 5, attempts = attempts + 5, h_total = h_total || '{\"900\": 5}' "
            "WHERE organisation = %s AND seconds = %s AND dimension = %s AND bucket = %s AND value = %s",
            [scope.organisation, seconds, dimension, bucket, value],
        )
    same()


@pytest.mark.django_db
def test_days_that_are_over_are_merged_once_and_today_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stored(made())
    merged: list[str] = []
    real = merging._merged
    monkeypatch.setattr(merging, "_merged", lambda texts: (merged.append(texts or ""), real(texts))[1])
    first = groups_read(SCOPE, MONTH, ("route",), now=NOW)
    assert len(merged) == 2 * len(first) == 6
    stored([(SCOPE, DAY, "route", TODAY, "d", 1, {400: 1}, {})])
    again = groups_read(SCOPE, MONTH, ("route",), now=NOW)
    assert len(merged) == 6 and again[:3] == first and again[3] == (
        "route", Group("d", Totals(requests=1, attempts=1), quantiles_of({400: 1}), Latency())
    )  # fmt: skip
    monkeypatch.setattr(merging, "MOST_KEPT", 3)
    groups_read(SCOPE, [Segment(DAY, TODAY - timedelta(days=20), TODAY)], ("route",), now=NOW)
    assert sum(map(len, merging._kept.values())) == 3, "what was kept before made room"
