"""The state in which pages ask most: budgets for every kind of object, nothing measured before, a proxy, a key never used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.budgets.models import Budget
from apps.keys.models import VirtualKey
from apps.ownership.models import Service, Team
from apps.providers.models import Provider
from apps.routes.models import Route
from apps.usage import selectors
from tests.dashboard.generate import usage_generate
from tests.publishing.installation import proxy_make

MOST = 12


@pytest.fixture
def key(organisation: Organisation) -> VirtualKey:
    """A key that was never used, in an organisation with a budget for one object of every kind."""
    team = Team.objects.create(organisation=organisation, name="Search", slug="search")
    service = Service.objects.create(team=team, name="API", slug="api")
    provider = Provider.objects.create(organisation=organisation, name="sim", kind="openai", simulated=True)
    route = Route.objects.create(organisation=organisation, name="chat")
    key = VirtualKey.objects.create(organisation=organisation, name="unused", public_id="p" * 16, service=service)
    for scope, row in (("team", team), ("service", service), ("provider", provider), ("route", route)):
        Budget.objects.create(
            organisation=organisation, name=f"of a {scope}", scope=scope, scope_ref=str(row.pk), window="day", limit_nano=10**9
        )
    Budget.objects.create(organisation=organisation, name="of a tag", scope="tag", scope_ref="not-an-id", window="day", limit_nano=10**9)
    Budget.objects.create(organisation=organisation, name="of a key", scope="key", key=key, window="day", limit_nano=10**9)
    proxy_make("proxy-1", 0)
    usage_generate(organisation=organisation, count=400)
    return key


@pytest.mark.parametrize(
    "path", ["/", "/spend/", "/spend/budgets/", "/budgets/", "/keys/", "/keys/{key}/", "/keys/{key}/?from=now-7d&to=now-2d"]
)
def test_no_page_asks_more_in_its_worst_state(
    page: Callable[..., str], key: VirtualKey, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = path.format(key=key.pk)
    page("/settings/profile/")  # what a session costs once
    monkeypatch.setattr(selectors, "_known_steps", {})
    with CaptureQueriesContext(connection) as queries:
        text = page(url)
    assert len(queries) <= MOST, (len(queries), [query["sql"][:160] for query in queries])
    if path in ("/", "/spend/budgets/", "/budgets/"):
        assert all(
            said in text for said in ("team search", "service search/api", "provider sim", "route chat", "tag not-an-id", "key unused")
        )
    if path.startswith("/keys/{key}/"):
        assert "Last used" in text and "key unused" not in text
