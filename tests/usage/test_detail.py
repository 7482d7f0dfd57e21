"""What dashboards read: totals equal to the requests', quantiles within 2% of exact, failures by class, few values told apart of many."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from msgspec import structs

from apps.accounts.scope import Scope
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.usage import batch, detail, features, rollups, services
from apps.usage.detail import traffic_busiest, traffic_detail, traffic_grouped
from apps.usage.measures import QUANTILES, Latency
from apps.usage.selectors import rows_of
from apps.usage.summaries import DIMENSIONS

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
SCOPE = Scope("0190bbbb-0000-7000-8000-000000000001", False)
VALUE = {"endpoint": "CASE provider WHEN '' THEN '' ELSE provider || '/' || endpoint END"}
"""What a dimension is of a request, where it is no column."""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests share an organisation's id, but no database."""
    monkeypatch.setattr(detail, "_known_steps", {})


def made(rng: random.Random, number: int, *, within: timedelta) -> UsageRecord:
    """A request of the time before NOW: answered, failed, refused, cancelled, or answered by another target after a failed attempt."""
    at = NOW - timedelta(seconds=rng.random() * within.total_seconds() + 30)
    total = int(rng.lognormvariate(13, 1.2)) + 1
    outcome = rng.choices(("ok", "error", "refused", "cancelled"), (20, 3, 1, 1))[0]
    code = {"error": rng.choice(("http_500", "upstream_timeout")), "refused": "budget_exceeded"}.get(outcome, "")
    tokens = Tokens(input=rng.randrange(1, 5_000), output=rng.randrange(2, 300), cache_read=rng.randrange(2))
    attempts: list[Attempt] = []
    if outcome != "refused":
        targets = [("east", "a", "large"), ("west", "a", "large"), ("west", "b", "small")]
        rng.shuffle(targets)
        spare = {
            "provider": "north",
            "endpoint": "a",
            "model": "large",
            "outcome": "error",
            "error_code": "http_429",
            "ended_us": total // 3,
        }
        attempts = [Attempt(**spare)] if rng.random() < 0.2 else []  # type: ignore[arg-type]
        provider, endpoint, model = targets[0]
        end = "error" if outcome == "error" else outcome
        attempts.append(
            Attempt(
                provider=provider,
                endpoint=endpoint,
                model=model,
                outcome=end,
                error_code=code,
                tokens=tokens,
                ended_us=total,
                cost_nano=tokens.input * 7,
            )
        )  # type: ignore[arg-type]
    stream = rng.random() < 0.6
    return UsageRecord(
        id=uuid7_bytes(int(at.timestamp() * 1_000)), started_us=int(at.timestamp() * 1_000_000), organisation=SCOPE.organisation,
        key_id=f"key-{number % 7}", team=f"team-{number % 3}", kind="chat", route=f"route-{number % 2}", requested_model="r", stream=stream,
        outcome=outcome, status=200, error_code=code, attempts=attempts, tokens=tokens if attempts else Tokens(),
        cost_nano=sum(one.cost_nano for one in attempts), total_us=total, first_token_us=total // 4 if stream and outcome == "ok" else -1,
    )  # type: ignore[arg-type]  # fmt: skip


def settle(records: Iterable[UsageRecord]) -> None:
    found = list(records)
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=sorted({services.record_day(record) for record in found}))
        for at in range(0, len(found), 120):
            services.usage_settle(cursor=cursor, records=found[at : at + 120])


@pytest.fixture
def traffic() -> None:
    rng = random.Random(7)
    settle(made(rng, number, within=timedelta(hours=3)) for number in range(240))


def near(found: Latency, values: list[float]) -> bool:
    """Whether each quantile is within 2% of the exact one, by nearest rank."""
    ordered = sorted(values)
    exact = [ordered[math.ceil(q * len(ordered)) - 1] for q in QUANTILES]
    told = (found.p50, found.p95, found.p99)
    return found.count == len(ordered) and all(
        one is not None and abs(one - other) <= 0.02 * other for one, other in zip(told, exact, strict=True)
    )


def test_a_dashboard_says_what_the_requests_say(traffic: None) -> None:
    """Every value of every dimension, over an odd range: totals, three quantiles of three durations, by step and as a whole."""
    for dimension in ("", *DIMENSIONS):
        compare(dimension)


def test_steps_that_are_known_are_read_anew_when_anything_came_to_them(traffic: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late records, and attempts alone, which no request of the step tells of."""

    def told() -> Any:
        return [traffic_detail(SCOPE, NOW - timedelta(hours=3), NOW, dimension=name, values=(value,), now=NOW) for name, value in PLACES]

    measured: list[Any] = []
    real = detail._point
    monkeypatch.setattr(detail, "_point", lambda at, *rest: measured.append(at) or real(at, *rest))
    before = told()
    first = len(measured)
    assert told() == before and len(measured) - first == len(PLACES), "the whole of each range, and no step"
    rng = random.Random(8)
    late = structs.replace(made(rng, 1, within=timedelta(minutes=1)), outcome="ok", total_us=9_000_000_000, error_code="")
    spare = Attempt(provider="north", endpoint="a", model="large", outcome="error", error_code="http_429")
    moved = structs.replace(late, id=uuid7_bytes(int(NOW.timestamp() * 1_000) - 90_000), attempts=[spare, *late.attempts[-1:]])
    settle([late, moved])
    count = len(measured)
    after = told()
    assert 0 < len(measured) - count - len(PLACES) <= 2 * len(PLACES), "the steps of two requests"
    monkeypatch.setattr(detail, "_known_steps", {})
    assert after == told() != before


PLACES: tuple[tuple[Any, str], ...] = (("", ""), ("provider", "north"), ("route", "route-1"))


def compare(dimension: Any) -> None:
    start, end = NOW - timedelta(hours=2, minutes=43), NOW
    column = VALUE.get(dimension, dimension) or "''"
    where = "organisation = %s AND NOT simulated AND started_at >= %s AND started_at < %s"
    values = [value for (value,) in rows_of(f"SELECT DISTINCT {column} FROM usage_request WHERE {where}", [SCOPE.organisation, start, end])]
    assert values
    for value in values:
        series = traffic_detail(SCOPE, start, end, dimension=dimension, values=[value], now=NOW)
        rows = rows_of(
            "SELECT outcome, tokens_input, cost_nano, total_us, first_token_us, tokens_output - tokens_reasoning - 1, stream "
            f"FROM usage_request WHERE {where} AND {column} = %s",
            [SCOPE.organisation, series.start, series.end, value],
        )
        assert (
            series.totals.requests == len(rows) == series.totals.ok + series.totals.error + series.totals.refused + series.totals.cancelled
        )
        if dimension not in ("endpoint", "model", "provider"):  # those share a request's tokens and cost with its other targets
            assert (series.totals.tokens_input, series.totals.cost_nano) == (sum(row[1] for row in rows), sum(row[2] for row in rows))
        timed = [float(row[3]) for row in rows if row[0] in ("ok", "error")]
        assert not timed or near(series.total, timed)
        first = [float(row[4]) for row in rows if row[4] >= 0]
        assert not first or near(series.first_token, first)
        gaps = [(row[3] - row[4]) / row[5] for row in rows if row[4] >= 0 and row[0] == "ok" and row[6] and row[5] > 0]
        assert not gaps or near(series.gap, gaps)
        inside = [point for point in series.points if point.at >= series.start]
        assert (
            sum(point.totals.requests for point in inside)
            <= series.totals.requests
            <= sum(point.totals.requests for point in series.points)
        )


def test_failures_are_counted_by_class_of_requests_and_of_attempts(traffic: None) -> None:
    whole = traffic_detail(SCOPE, NOW - timedelta(hours=10), NOW, now=NOW)
    requests = Counter(dict(rows_of("SELECT error_code, count(*) FROM usage_request WHERE outcome IN ('error', 'refused') GROUP BY 1", [])))
    attempts = Counter(
        dict(
            rows_of(
                "SELECT a ->> 'error_code', count(*) FROM usage_request r CROSS JOIN LATERAL jsonb_array_elements(usage_attempts(r)) a "
                "WHERE a ->> 'outcome' = 'error' GROUP BY 1",
                [],
            )
        )
    )
    assert requests and attempts["http_429"]
    assert whole.classes == requests | {f"~{code}": count for code, count in attempts.items()}
    north = traffic_detail(SCOPE, NOW - timedelta(hours=10), NOW, dimension="provider", values=["north"], now=NOW)
    assert north.classes == {"~http_429": attempts["http_429"]} and north.totals.requests == 0
    steps = sum((Counter(point.classes) for point in whole.points), Counter())
    assert steps == whole.classes


def test_what_is_rebuilt_is_what_was_kept(traffic: None) -> None:
    text = (
        "SELECT seconds, dimension, bucket, value, requests, ok, error, attempts, attempt_errors, cost_nano, h_total, h_first_token, "
        "classes{} FROM usage_summary WHERE organisation = %s {} ORDER BY 1, 2, 3, 4"
    )
    hours = text.format(", h_gap", "AND seconds >= 3600")  # totals of a minute have no gaps but those of the last two days' tens of seconds
    before = [rows_of(sql, [SCOPE.organisation]) for sql in (text.format("", ""), hours)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_summary_rebuild()")
    assert [rows_of(sql, [SCOPE.organisation]) for sql in (text.format("", ""), hours)] == before


def test_of_many_values_few_are_told_apart_and_the_rest_says_so(traffic: None) -> None:
    window = (NOW - timedelta(hours=10), NOW)
    whole = traffic_detail(SCOPE, *window, now=NOW).totals
    few = traffic_busiest(SCOPE, *window, "key_id", most=3, now=NOW)
    assert len(few.groups) == 3 and few.others == 4
    assert sum((group.totals for group in few.groups), few.rest) == whole
    assert min(group.totals.requests for group in few.groups) * 4 >= few.rest.requests
    every = traffic_busiest(SCOPE, *window, "key_id", by="spend", now=NOW)
    costs = [group.totals.cost_nano for group in every.groups]
    assert len(costs) == 7 and costs == sorted(costs, reverse=True) and every.others == 0 == every.rest.requests
    regions = traffic_grouped(SCOPE, *window, "endpoint", {"east/a": "eu", "west/a": "us", "west/b": "us"}, now=NOW)
    assert {group.value for group in regions} == {"eu", "us"}
    west = traffic_detail(SCOPE, *window, dimension="provider", values=["west"], now=NOW)
    us = next(group for group in regions if group.value == "us")
    assert (us.totals, us.total) == (west.totals, west.total)


def test_more_classes_than_can_be_told_apart_are_one() -> None:
    classes: dict[str, int] = {}
    for number in range(100):
        rollups.failure_count(classes, f"code-{number}")
        rollups.failure_count(classes, "~code-0")
    assert len(classes) <= rollups.MOST_CLASSES + 2 and sum(classes.values()) == 200
    assert classes[rollups.OTHER_CLASS] and classes["~code-0"] == 100


def test_sums_keep_their_classes_while_they_wait() -> None:
    cells: rollups.Cells = {}
    for _ in batch.encoded([made(random.Random(number), number, within=timedelta(hours=1)) for number in range(60)], cells):
        pass
    read: rollups.Cells = {}
    rollups.cells_add(read, rollups.cells_encode(cells))
    assert read == cells and any(cell[4] for cell in cells.values())


def test_features_that_an_app_makes_up_are_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new feature with each request: the rollups tell the first of a day apart, in whatever batches they come; the rest is one."""
    monkeypatch.setattr(features, "MOST_FEATURES", 5)
    monkeypatch.setattr(features, "_known", {})
    rng = random.Random(3)
    records = [structs.replace(made(rng, number, within=timedelta(hours=2)), feature=f"made-up-{number:03}") for number in range(80)]
    settle(records)
    monkeypatch.setattr(features, "_known", {})  # another process
    settle(structs.replace(made(rng, number, within=timedelta(hours=2)), feature=f"made-up-{number:03}") for number in range(200, 220))
    for table in ("usage_rollup_1m", "usage_rollup_1h"):
        told = dict(rows_of(f"SELECT feature, sum(requests)::bigint FROM {table} GROUP BY 1", []))
        assert len(told) == 6 and sum(told.values()) == 100, "made-up names and the rest"
        assert told[features.OTHER_FEATURE] == 95
    assert rows_of("SELECT count(DISTINCT feature), sum(cost_nano) FROM usage_request", []) == [
        (100, rows_of("SELECT sum(cost_nano) FROM usage_rollup_1h", [])[0][0])
    ]
