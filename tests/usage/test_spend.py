"""Spend by one dimension is counted from the requests: to the token and nano-dollar, again when more came, never twice."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from django.db import connection

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.usage import counting, services
from apps.usage.choices import COMBINED, SPEND_DIMENSIONS
from apps.usage.counting import hours_due, spend_count
from apps.usage.documents import serving_attempt
from apps.usage.removal import usage_forget
from apps.usage.selectors import rows_of
from apps.usage.spend import Amounts, Period, spend_by, spend_days, waste_by

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOW = NOON + timedelta(hours=6)


@pytest.fixture
def scope(organisation: Organisation) -> Scope:
    return Scope(str(organisation.pk), False)


def record(
    scope: Scope, at: datetime, attempts: list[Attempt], *, outcome: str = "ok", user: str = "", route: str = "chat", feature: str = ""
) -> UsageRecord:
    tokens = Tokens(input=sum(a.tokens.input for a in attempts), output=sum(a.tokens.output for a in attempts))
    return UsageRecord(
        id=uuid7_bytes(),
        started_us=int(at.timestamp() * 1e6),
        organisation=scope.organisation,
        simulated=scope.simulated,
        key_id="key",
        kind="chat",
        route=route,
        requested_model=route,
        stream=False,
        outcome=outcome,  # type: ignore[arg-type]
        status=200,
        user=user,
        feature=feature,
        team="search",
        attempts=attempts,
        tokens=tokens,
        cost_nano=sum(a.cost_nano for a in attempts),
    )


def attempt(
    cost: int, *, provider: str = "east", region: str = "eu", outcome: str = "ok", role: str = "first", output: int = 10
) -> Attempt:
    return Attempt(
        provider=provider,
        endpoint="main",
        model="m",
        region=region,
        outcome=outcome,  # type: ignore[arg-type]
        role=role,  # type: ignore[arg-type]
        tokens=Tokens(input=5, output=output),
        cost_nano=cost,
    )


def settle(records: list[UsageRecord]) -> None:
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=sorted({services.record_day(one) for one in records}))
        services.usage_settle(cursor=cursor, records=records)


def count(now: datetime = NOW) -> int:
    return spend_count(retention_days=30, seconds=60, now=now)


def test_every_dimension_sums_up_to_the_requests_however_they_were_answered(scope: Scope) -> None:
    chance = Random(7)
    made = []
    for at in range(400):
        attempts = [
            attempt(
                chance.randrange(10**6),
                provider=chance.choice(("east", "west")),
                region=chance.choice(("eu", "us", "")),
                outcome=chance.choice(("ok", "error", "cancelled")),
                role=chance.choice(("first", "retry", "hedge", "rescue")),
                output=chance.randrange(50),
            )
            for _ in range(chance.randrange(4))
        ]
        outcome = chance.choice(("ok", "error", "cancelled", "unknown")) if attempts else "refused"
        when = NOON - timedelta(minutes=chance.randrange(3_000))
        route = chance.choice(("chat", "chat~mirror"))
        made.append(record(scope, when, attempts, outcome=outcome, user=f"u{at % 9}", route=route, feature=chance.choice(("", "f"))))
    settle(made)
    assert count() > 40
    period = Period((NOON - timedelta(days=5)).date(), NOON.date())
    whole = Amounts(
        len(made),
        sum(len(one.attempts) for one in made),
        sum(one.tokens.input for one in made),
        sum(one.tokens.output for one in made),
        sum(one.cost_nano for one in made),
        sum(nano for one in made for nano in wasted(one).values()),
    )
    for dimension in SPEND_DIMENSIONS:
        found = spend_by(scope, period, dimension)
        assert found.total == whole
        for name in Amounts.__slots__:
            assert sum(getattr(row.amounts, name) for row in found.rows) == getattr(whole, name), (dimension, name)
    assert sum(spend_days(scope, period.first, period.last).values()) == whole.cost_nano
    [[together]] = rows_of("SELECT sum(cost_nano) FROM usage_spend WHERE dimension = %s AND seconds = 3600", [COMBINED])
    assert together == whole.cost_nano
    values = {tuple(json.loads(value)) for [value] in rows_of("SELECT DISTINCT value FROM usage_spend WHERE dimension = %s", [COMBINED])}
    assert {values_of[2] for values_of in values} == {"", "f"} and ("search", "", "f", "key", "m", "east") in values
    by_region: Counter[str] = Counter()
    by_user: Counter[str] = Counter()
    for one in made:
        by_user[one.user] += one.cost_nano
        for each in one.attempts:
            by_region[each.region] += each.cost_nano
    assert {row.value: row.amounts.cost_nano for row in spend_by(scope, period, "user").rows} == by_user
    regions = {row.value: row.amounts.cost_nano for row in spend_by(scope, period, "region").rows}
    assert regions == by_region
    in_vain: Counter[str] = Counter()
    for one in made:
        in_vain.update(wasted(one))
    assert {why: row.amounts.cost_nano for why, row in waste_by(scope, period) if row.amounts.cost_nano} == {
        why: nano for why, nano in in_vain.items() if nano
    }


def wasted(one: UsageRecord) -> dict[str, int]:
    """What the requirements say of one record, written down a second time."""
    found: Counter[str] = Counter()
    serving = serving_attempt(one)
    for at, each in enumerate(one.attempts):
        if one.route.endswith("~mirror"):
            found["mirror"] += each.cost_nano
        elif at != serving:
            found["hedge" if each.outcome == "cancelled" else "replaced"] += each.cost_nano
        elif one.outcome in ("error", "unknown"):
            found["failed"] += each.cost_nano
        elif one.outcome == "cancelled":
            found["cancelled"] += each.cost_nano
    return found


def test_an_hour_is_counted_again_when_more_came_and_not_otherwise(scope: Scope) -> None:
    settle([record(scope, NOON, [attempt(100)], user="a")])
    assert (count(), count()) == (1, 0)
    settle([record(scope, NOON + timedelta(minutes=9), [attempt(40)], user="a")])
    assert [hour.start for hour in hours_due(retention_days=30, now=NOW + timedelta(minutes=5))] == [NOON]
    assert count(NOW + timedelta(minutes=5)) == 1
    [row] = spend_by(scope, Period(NOON.date(), NOON.date()), "user").rows
    assert (row.amounts.requests, row.amounts.cost_nano) == (2, 140)


def test_a_large_hour_is_not_counted_all_the_time(scope: Scope) -> None:
    settle([record(scope, NOON, [attempt(100)])])
    assert count() == 1
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_spend_counted SET took_ms = 30000")
    settle([record(scope, NOON, [attempt(1)])])
    assert hours_due(retention_days=30, now=NOW + timedelta(seconds=590)) == []
    assert len(hours_due(retention_days=30, now=NOW + timedelta(seconds=601))) == 1


def test_the_costliest_values_are_kept_and_the_others_are_one_row(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_HOUR_VALUES", 3)
    monkeypatch.setattr(counting, "MOST_DAY_VALUES", 4)
    settle([record(scope, NOON, [attempt(nano)], user=f"user-{nano}") for nano in range(1, 8)])
    settle([record(scope, NOON + timedelta(hours=1), [attempt(nano * 10)], user=f"late-{nano}") for nano in range(1, 8)])
    assert count() == 2
    found = spend_by(scope, Period(NOON.date(), NOON.date()), "user")
    assert [row.value for row in found.rows] == ["late-7", "late-6", "late-5", "user-7", ""]
    assert found.rows[-1].rest and not any(row.rest for row in found.rows[:-1])
    assert sum(row.amounts.cost_nano for row in found.rows) == found.total.cost_nano == 28 + 280
    few = spend_by(scope, Period(NOON.date(), NOON.date()), "user", limit=2)
    assert [row.amounts.cost_nano for row in few.rows] == [70, 60, 308 - 130]


def test_the_period_before_has_the_same_length_and_scopes_never_mix(scope: Scope, organisation: Organisation) -> None:
    settle([record(scope, NOON - timedelta(days=days), [attempt(10**days)], feature=f"f{days}") for days in range(5)])
    settle([record(Scope(scope.organisation, True), NOON, [attempt(7)])])
    assert count() == 6
    found = spend_by(scope, Period(NOON.date() - timedelta(days=1), NOON.date()), "feature")
    assert (found.total.cost_nano, found.before_nano) == (11, 1_100)
    assert {row.value: (row.amounts.cost_nano, row.before_nano) for row in found.rows} == {
        "f1": (10, 0), "f0": (1, 0), "f2": (0, 100), "f3": (0, 1_000),
    }  # fmt: skip
    assert spend_by(Scope(scope.organisation, True), Period(NOON.date(), NOON.date()), "feature").total.cost_nano == 7
    with pytest.raises(ValueError, match="no dimension"):
        spend_by(scope, Period(NOON.date(), NOON.date()), "colour")


def test_days_outlive_their_hours_and_nothing_outlives_its_organisation(scope: Scope) -> None:
    settle([record(scope, NOON, [attempt(5)])])
    assert count() == 1
    assert count(NOW + timedelta(days=40)) == 0  # the requests would be gone: the day must not be counted from what is left
    assert spend_by(scope, Period(NOON.date(), NOON.date()), "team").total.cost_nano == 5
    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM usage_spend WHERE seconds = 3600), (SELECT count(*) FROM usage_spend_counted)")
        assert cursor.fetchone() == (0, 0)
    assert usage_forget(organisation=scope.organisation)["usage_spend"] > 0
    assert spend_by(scope, Period(NOON.date(), NOON.date()), "team").total == Amounts()
