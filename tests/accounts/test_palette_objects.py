"""Ctrl-K reaches everything that has a page: by its name or by what it is called, for its own people, in one query a source."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.limit_services import limit_set
from apps.budgets.palette import budgets_for_palette
from apps.budgets.services import budget_set
from apps.keys.request_palette import key_requests_for_palette
from apps.keys.request_services import key_request
from apps.keys.template_services import key_template_set
from apps.keys.wishes import Wish
from apps.ownership.care_services import runbook_set, sla_set
from apps.ownership.palette import ownership_for_palette
from apps.ownership.services import service_ensure, team_ensure
from apps.prices.palette import prices_for_palette
from apps.prices.services import gpu_price_set
from apps.ui import palette
from tests.people import member
from tests.test_permissions import ADDRESSES

REACHED = {
    "alerts:detail": "Open alerts",
    "audit:event": "by its number, on the audit's page",
    "budgets:detail": "Budgets and limits",
    "changes:detail": "Changes",
    "costs:reconciliation": "Exports that were compared",
    "dashboard:board": "a page of Dashboards",
    "dashboard:request": "Requests",
    "flags:detail": "Flags",
    "keys:detail": "Keys",
    "keys:handover": "one's own, once, from Keys",
    "keys:request": "Asking for keys",
    "keys:template": "Asking for keys",
    "limits:detail": "Budgets and limits",
    "ownership:rotation": "Teams and on call",
    "ownership:runbook": "Teams and on call",
    "ownership:service": "Teams and on call",
    "ownership:sla": "Teams and on call",
    "ownership:team": "Teams and on call",
    "performance:detail": "Budgets and limits",
    "postmortems:detail": "Incidents",
    "prices:discount": "Prices",
    "prices:gpu": "Prices",
    "prices:model": "Prices",
    "prices:repricing": "Prices",
    "prices:unit": "Prices",
    "providers:detail": "Providers",
    "publishing:version": "Config versions",
    "routes:detail": "Routes",
    "settings:person": "People",
}
"""Pages of one object -> the palette's source that finds them, or why none does."""


def test_every_page_of_an_object_is_found_or_says_why_not() -> None:
    """A new page of one object fails here until the palette finds it (``apps.accounts.palette_objects``) and it is named above."""
    details = {address.name for address in ADDRESSES if address.name.endswith(":detail")}
    assert not details - REACHED.keys(), sorted(details - REACHED.keys())
    known = {address.name for address in ADDRESSES}
    assert not REACHED.keys() - known, sorted(REACHED.keys() - known)
    assert not {source for source in REACHED.values() if source[0].isupper()} - palette._sources.keys()


@pytest.fixture
def things(organisation: Organisation, actor: Actor) -> dict[str, str]:
    """One of each, all called something with ``pay``; kind -> where it leads."""
    team = team_ensure(actor=actor, organisation=organisation, slug="payments", name="Payments")
    service = service_ensure(actor=actor, team=team, slug="payout", name="Payout")
    sla = sla_set(actor=actor, team=team, service=service, availability=99_000)
    book = runbook_set(actor=actor, organisation=organisation, name="pay-down", title="Payments are down")
    wall = {"organisation": organisation, "scope": "organisation", "scope_id": organisation.pk}
    budget = budget_set(actor=actor, name="pay-month", window="month", limit_nano=5, **wall)  # type: ignore[arg-type]
    limit = limit_set(actor=actor, name="pay-wall", kind="requests_per_minute", amount=5, **wall)  # type: ignore[arg-type]
    key_template_set(actor=actor, team=team, routes=["*"], environments=["staging"], most_keys=1)
    asked = key_request(actor=actor, team=team, wish=Wish(name="pay-app"), reason="a test")
    gpu = gpu_price_set(actor=actor, organisation=organisation, name="pay-gpu", gpu="H200", per_hour=1)
    return {
        "team": f"/ownership/teams/{team.pk}/", "service": f"/ownership/services/{service.pk}/", "SLA": f"/ownership/slas/{sla.pk}/",
        "runbook": f"/ownership/runbooks/{book.pk}/", "budget": f"/budgets/{budget.pk}/", "limit": f"/limits/{limit.pk}/",
        "key template": f"/keys/templates/{team.pk}/", "key request": f"/keys/requests/{asked.pk}/",
        "GPU price": f"/prices/gpus/{gpu.pk}/edit/",
    }  # fmt: skip


SOURCES = {
    "Teams and on call": (ownership_for_palette, {"team", "service", "SLA", "runbook"}),
    "Budgets and limits": (budgets_for_palette, {"budget", "limit"}),
    "Asking for keys": (key_requests_for_palette, {"key template", "key request"}),
    "Prices": (prices_for_palette, {"GPU price"}),
}


@pytest.mark.django_db
def test_objects_are_found_by_name_and_by_what_they_are_called(organisation: Organisation, things: dict[str, str]) -> None:
    admin, stranger = member(organisation), member(Organisation.objects.create(name="Other", slug="other"))
    for name, (source, kinds) in SOURCES.items():
        with CaptureQueriesContext(connection) as queries:
            found = {hit.subtitle.partition(",")[0]: hit.url for hit in source(admin, "pay", 20)}
        assert len(queries) == 1, name
        assert found == {kind: f"{things[kind]}?org={organisation.slug}" for kind in kinds}, name
        for kind in kinds:
            assert kind in {hit.subtitle.partition(",")[0] for hit in source(admin, f"{kind}s pay", 20)}, kind
        assert list(source(stranger, "pay", 20)) == [] and list(source(admin, "nothing-like-it", 20)) == []
        assert len(list(source(admin, "pay", 1))) == 1
        for odd in ("%_\\", "<script>", "١", "x" * 200):
            source(admin, odd, 6)
    assert [hit.title for hit in budgets_for_palette(admin, "limits", 20)] == ["pay-wall"], "what a kind is called lists all of it"
    viewer = member(organisation, "viewer")
    assert list(prices_for_palette(viewer, "pay", 20)) == [], "whom its page would refuse is not led there"
