"""The daily cost review: a day beside the same weekday of the weeks before, what changed most and whose it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.budgets.review_selectors import MOST_ROWS, day_review
from apps.ownership.models import Team
from apps.usage.counting import spend_count
from tests.people import client_of, member
from tests.usage.hours import spent_add

pytestmark = pytest.mark.django_db
DAY = date(2026, 5, 20)
DOLLAR = 10**9


@pytest.fixture
def acme() -> Organisation:
    acme = Organisation.objects.create(name="Acme", slug="acme-review")
    Team.objects.create(organisation=acme, name="Search team", slug="search")
    return acme


def add(acme: Organisation, week: int, cost: int, **facts: Any) -> None:
    spent_add(acme, DAY - timedelta(weeks=week), cost_nano=cost * DOLLAR, **facts)


def counted() -> None:
    """Spend is counted as the task does it, on the evening of the day that is reviewed."""
    assert spend_count(retention_days=60, seconds=60, now=datetime(DAY.year, DAY.month, DAY.day, 23, 59, tzinfo=UTC))


def test_a_day_beside_its_weekdays(acme: Organisation) -> None:
    for week, cost in ((0, 10), (1, 4), (3, 2)):
        add(acme, week, cost, hour=0, team="search", feature="chat")
        add(acme, week, 1, hour=23, model="o3", provider="azure")
    spent_add(acme, DAY - timedelta(days=1), cost_nano=99 * DOLLAR)  # no such weekday
    add(acme, 5, 99)  # too long ago
    add(acme, 0, 99, simulated=True)
    counted()
    found = day_review(Scope(str(acme.pk), False), DAY)
    assert (found.whole.cost, found.whole.usual, found.whole.change) == (11 * DOLLAR, 4 * DOLLAR, 7 * DOLLAR)
    assert found.weekdays == [(date(2026, 5, 13), 5 * DOLLAR), (date(2026, 4, 29), 3 * DOLLAR)]
    by = dict(found.by)
    assert [(row.name, row.change) for row in by["Team"]] == [("Search team", 7 * DOLLAR), ("(no team)", 0)]
    assert [(row.name, row.cost, row.usual) for row in by["Model"]] == [("gpt-4o", 10 * DOLLAR, 3 * DOLLAR), ("o3", DOLLAR, DOLLAR)]
    (mover,) = found.movers
    assert (mover.name, mover.who, mover.change) == ("gpt-4o at openai", "Search team · chat", 7 * DOLLAR)


def test_what_stopped_counts_as_much_as_what_began(acme: Organisation) -> None:
    add(acme, 1, 8, feature="gone")
    add(acme, 0, 5, feature="new")
    counted()
    found = day_review(Scope(str(acme.pk), False), DAY)
    assert [(row.name, row.change) for row in dict(found.by)["Feature"]] == [("gone", -8 * DOLLAR), ("new", 5 * DOLLAR)]
    assert [row.change for row in found.movers] == [-8 * DOLLAR, 5 * DOLLAR]


def test_many_values_are_cut_to_those_that_changed_most(acme: Organisation) -> None:
    for number in range(MOST_ROWS + 3):
        add(acme, 0, number + 1, feature=f"f{number:02}")
    counted()
    rows = dict(day_review(Scope(str(acme.pk), False), DAY).by)["Feature"]
    assert [row.cost // DOLLAR for row in rows] == list(range(MOST_ROWS + 3, 3, -1))


def test_page(acme: Organisation) -> None:
    client = client_of(member(acme, "viewer"))
    assert "Nothing changed" in client.get("/costs/").content.decode()
    add(acme, 0, 5, feature="<i>x</i>", team="search")
    counted()
    with CaptureQueriesContext(connection) as queries:
        shown = client.get(f"/costs/?day={DAY}").content.decode()
    assert len(queries) <= 12
    assert "Wednesday, 2026-05-20" in shown and "&lt;i&gt;x&lt;/i&gt;" in shown and "Search team" in shown and "<i>x" not in shown
    csv = b"".join(client.get(f"/costs/?day={DAY}&format=csv").streaming_content).decode()
    assert "Team,Search team,5.000000000,0" in csv.replace("\r", "")
    for wrong in ("yesterday", "2026-02-30", "1999-01-01", str(datetime.now(UTC).date() + timedelta(days=2))):
        answer = client.get("/costs/", {"day": wrong})
        assert answer.status_code == 400 and 'role="alert"' in answer.content.decode(), wrong
