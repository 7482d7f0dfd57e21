"""Finding requests: every filter finds what it names and nothing else, nonsense is said, every order pages through all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.accounts.scope import Scope
from apps.usage.models import UsageRequest
from apps.usage.narrowing import CONDITIONS, FilterError, condition
from apps.usage.requests import SORTS, request_page
from tests.dashboard.generate import usage_generate


def window() -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - timedelta(hours=2), now


def test_each_filter_finds_exactly_what_it_names(organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=400)
    rows = list(UsageRequest.objects.all())
    expected: dict[tuple[str, str], Callable[[UsageRequest], bool]] = {
        ("route", "demo-chat"): lambda row: row.route == "demo-chat",
        ("outcome", "error"): lambda row: row.outcome == "error",
        ("error_code", "budget_exceeded"): lambda row: row.error_code == "budget_exceeded",
        ("status", "429"): lambda row: row.status == 429,
        ("status", "5xx"): lambda row: 500 <= row.status < 600,
        ("stream", "yes"): lambda row: row.stream,
        ("stream", "no"): lambda row: not row.stream,
        ("feature", "search"): lambda row: row.feature == "search",
        ("user", "user-7"): lambda row: row.user == "user-7",
        ("tag", "beta"): lambda row: "beta" in row.tags,
        ("model", "sim-model"): lambda row: "sim-model" in (row.model, row.requested_model),
        ("model", "summaries"): lambda row: row.requested_model == "summaries",
        ("min_ms", "1500"): lambda row: row.total_us >= 1_500_000,
    }
    for (name, value), wanted in expected.items():
        page = request_page(Scope(str(organisation.pk), True), *window(), filters={name: value}, limit=400)
        found = {row.id for row in page.rows}
        assert found == {row.id for row in rows if wanted(row)} and (found or name == "error_code"), (name, value)
    assert request_page(Scope(str(organisation.pk), True), *window(), filters={"user": "nobody"}).rows == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "99999"), ("status", "9xx"), ("status", "²"), ("stream", "1"), ("min_ms", "fast"), ("min_ms", "nan"), ("min_ms", "-1")],
)
def test_a_value_without_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(FilterError):
        condition({name: value})


def test_a_name_that_is_no_filter_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="one of route, provider"):
        condition({"colour": "red"})
    assert "min_ms" in CONDITIONS


@pytest.mark.parametrize("sort", list(SORTS))
def test_every_order_pages_through_all_and_back(organisation: Organisation, sort: str) -> None:
    usage_generate(organisation=organisation, count=130)
    scope, (start, end) = Scope(str(organisation.pk), True), window()
    seen, pages, after = [], [], ""
    while True:
        page = request_page(scope, start, end, after=after, limit=40, sort=sort)
        pages.append(page)
        seen += page.rows
        if page.after is None:
            break
        after = page.after
    values = [getattr(row, SORTS[sort]) for row in seen]
    assert len({row.id for row in seen}) == len(seen) == 130 and values == sorted(values, reverse=True)
    back = request_page(scope, start, end, before=pages[2].before or "", limit=40, sort=sort)
    assert [row.id for row in back.rows] == [row.id for row in pages[1].rows]


def test_a_rare_thing_is_searched_for_in_parts_that_leave_nothing_out(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.usage.requests.LOOKED_AT", 30)
    usage_generate(organisation=organisation, count=200)
    scope, (start, end) = Scope(str(organisation.pk), True), window()
    found, after, rounds = [], "", 0
    while rounds < 20:
        page = request_page(scope, start, end, filters={"user": "user-3"}, after=after, limit=50)
        found += [row.id for row in page.rows]
        rounds += 1
        if page.after is None:
            break
        assert page.looked_back_to is not None
        after = page.after
    assert sorted(found) == sorted(UsageRequest.objects.filter(user="user-3").values_list("id", flat=True)) and 5 < rounds < 10


def test_the_page_says_what_makes_no_sense_and_goes_on_searching(
    page: Callable[..., str], organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_generate(organisation=organisation, count=80)
    assert "is no status" in page("/requests/?status=teapot")
    assert "is no status" in page("/requests/?status=teapot&format=csv")
    assert "1500 ms" in page("/requests/?min_ms=1500")
    monkeypatch.setattr("apps.usage.requests.LOOKED_AT", 20)
    assert "Search further back" in page("/requests/?user=nobody")


def test_a_request_leads_to_the_one_before_and_after(client: Client, person: User, organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=5)
    client.force_login(person)
    ids = list(UsageRequest.objects.order_by("started_at").values_list("id", flat=True))
    text = client.get(f"/requests/{ids[2]}/").content.decode()
    assert f'rel="prev" href="/requests/{ids[1]}/"' in text and f'rel="next" href="/requests/{ids[3]}/"' in text
    assert 'rel="prev"' not in client.get(f"/requests/{ids[0]}/").content.decode()
    assert 'rel="next"' not in client.get(f"/requests/{ids[4]}/").content.decode()
