"""Feedback in Postgres: it finds its request before or after it, is nobody else's, and adds up by route and variant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from django.db import connection

from apps.accounts.scope import Scope
from apps.contracts.feedback import FeedbackRecord
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import UsageRecord
from apps.usage import services
from apps.usage.feedback import WAIT_DAYS, feedback_match, feedback_store
from apps.usage.feedback_selectors import Waits, feedback_by_route, feedback_told, waits_of_route
from apps.usage.requests import request_get

pytestmark = pytest.mark.django_db

ORG, OTHER_ORG = "0190aaaa-0000-7000-8000-000000000001", "0190aaaa-0000-7000-8000-000000000002"
AT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
AT_US = int(AT.timestamp() * 1_000_000)


def request(number: int = 0, *, variant: str = "", **more: object) -> UsageRecord:
    record = UsageRecord(
        id=uuid7_bytes(AT_US // 1000 + number), started_us=AT_US + number * 1000, organisation=ORG, key_id="k1", kind="chat", route="chat",
        requested_model="chat", stream=True, outcome="ok", status=200, team="search", total_us=2_000_000,
        flags=[f"variant:{variant}"] if variant else [],
    )  # fmt: skip
    return msgspec.structs.replace(record, **more)


def settle(*records: UsageRecord) -> None:
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=sorted({services.record_day(record) for record in records}))
        services.usage_settle(cursor=cursor, records=records)


def say(about: UsageRecord, *, after_s: int = 1, key: str = "k1", organisation: str = ORG, team: str = "search", **said: object) -> None:
    record = FeedbackRecord(request=about.id, at_us=AT_US + after_s * 1_000_000, organisation=organisation, key_id=key, team=team, **said)  # type: ignore[arg-type]
    with connection.cursor() as cursor:
        feedback_store(cursor=cursor, records=[record])


def told(about: UsageRecord) -> list[tuple[str, float | None, str | None, int | None]]:
    row = request_get(UUID(bytes=about.id))
    assert row is not None
    return [(each.key_id, each.score, each.outcome, each.client_ms) for each in feedback_told(row.feedback_told)]  # type: ignore[attr-defined]


def states() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM usage_feedback ORDER BY state")
        return [row[0] for row in cursor.fetchall()]


def test_a_thumb_and_a_later_outcome_are_one_row_said_twice_or_not() -> None:
    asked = request()
    settle(asked)
    say(asked, score=1.0, tags=["blue"], reason="good")
    say(asked, after_s=60, outcome="refunded", client_ms=2_500)
    say(asked, score=1.0, tags=["blue"], reason="good")  # settled twice
    say(asked, after_s=30, outcome="resolved")  # late: a proxy was away
    assert told(asked) == [("k1", 1.0, "refunded", 2500)]
    row = request_get(UUID(bytes=asked.id))
    assert row is not None
    [said] = feedback_told(row.feedback_told)  # type: ignore[attr-defined]
    assert (said.reason, list(said.tags), said.said_at) == ("good", ["blue"], AT + timedelta(seconds=60))


def test_it_waits_for_its_request() -> None:
    asked = request()
    say(asked, score=-1.0)
    assert states() == ["waiting"]
    settle(asked)
    assert told(asked) == []
    assert feedback_match(retention_days=90, now=AT) == 1
    assert told(asked) == [("k1", -1.0, None, None)] and feedback_match(retention_days=90, now=AT) == 0


def test_only_the_keys_own_team_may_speak() -> None:
    asked, teamless = request(), request(1, team="", key_id="k9")
    settle(asked, teamless)
    say(asked, key="k2", score=1.0)  # of the same team
    say(asked, key="k3", team="billing", score=-1.0)
    say(asked, key="k4", organisation=OTHER_ORG, score=-1.0)  # a team of the same name elsewhere
    say(teamless, key="k5", team="", score=-1.0)  # nobody's team is no team
    assert told(asked) == [("k2", 1.0, None, None)] and told(teamless) == []
    assert states() == ["foreign", "foreign", "foreign", "kept"]
    for organisation in (ORG, OTHER_ORG):
        rows = feedback_by_route(Scope(organisation, False), AT - timedelta(hours=1), AT + timedelta(hours=1))
        assert [row.bad for row in rows] == ([0] if organisation == ORG else [])


def test_by_route_and_variant() -> None:
    asked = [request(n, variant="b" if n % 2 else "a", simulated=n == 9) for n in range(10)]
    settle(*asked)
    for n, one in enumerate(asked):
        say(one, score=1.0 if n % 2 else -0.5, outcome="resolved" if n < 4 else None, client_ms=2_600 if n == 3 else None)
    say(asked[0], key="k2", reason="no score")
    a, b = feedback_by_route(Scope(ORG, False), AT, AT + timedelta(seconds=1))
    assert (a.route, a.variant, a.given, a.scored, a.good, a.bad, a.score) == ("chat", "a", 6, 5, 0, 5, -0.5)
    assert (a.waits, a.client_us, a.total_us, a.outcomes) == (0, None, None, {"resolved": 2})
    assert (b.variant, b.given, b.good, b.score, b.waits, b.client_us, b.total_us) == ("b", 4, 4, 1.0, 1, 2_600_000.0, 2_000_000.0)
    assert feedback_by_route(Scope(ORG, False), AT, AT + timedelta(seconds=1), route="nothing") == []
    assert waits_of_route(Scope(ORG, False), "chat", AT, AT + timedelta(seconds=1)) == Waits(1, 2_600_000.0, 2_000_000.0)
    assert waits_of_route(Scope(ORG, True), "chat", AT, AT + timedelta(seconds=1)) is None
    [simulated] = feedback_by_route(Scope(ORG, True), AT, AT + timedelta(seconds=1))
    assert simulated.given == 1, "simulated requests are another total"


def test_what_is_over_goes() -> None:
    kept, lost, foreign = request(), request(1), request(2)
    settle(kept, foreign)
    say(kept, score=1.0)
    say(lost, score=1.0)
    say(foreign, team="billing", key="k3", score=1.0)
    now = datetime.now(UTC)  # a row's age is the database's business
    feedback_match(retention_days=100_000, now=now + timedelta(days=WAIT_DAYS) - timedelta(minutes=5))
    assert states() == ["foreign", "kept", "waiting"]
    feedback_match(retention_days=100_000, now=now + timedelta(days=WAIT_DAYS) + timedelta(minutes=5))
    assert states() == ["kept"]
    feedback_match(retention_days=30, now=AT + timedelta(days=30, minutes=1))
    assert states() == []


def test_outcomes_beyond_the_first_ten_are_other() -> None:
    asked = [request(n) for n in range(13)]
    settle(*asked)
    for n, one in enumerate(asked):
        say(one, outcome=f"outcome-{min(n, 11)}")
    [row] = feedback_by_route(Scope(ORG, False), AT, AT + timedelta(seconds=1))
    assert len(row.outcomes) == 11 and row.outcomes["outcome-11"] == 2 and row.outcomes["other"] == 2
    assert sum(row.outcomes.values()) == 13
