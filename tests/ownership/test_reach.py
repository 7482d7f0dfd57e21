"""Whom to ask about a thing: the same answer as the rotations give, in one query, as one panel for every kind of thing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Organisation, User
from apps.budgets.limit_services import limit_set
from apps.ownership.care_services import ContactSpec, contacts_set, runbook_set
from apps.ownership.models import Team
from apps.ownership.owned import owned_kinds, owner_assign, owner_of
from apps.ownership.reach import reach_of
from apps.ownership.rotation_selectors import on_call_now
from apps.ownership.rotation_services import rotation_override_add, rotation_set
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.ownership.conftest import COMMAND
from tests.people import client_of, member

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(organisation: Organisation) -> list[User]:
    return [member(organisation, "on-call", email=f"{name}@example.test") for name in ("ada", "bo", "cy")]


@pytest.mark.parametrize("case", ["plain", "stands in", "left", "nobody", "two rotations"])
def test_one_query_says_what_the_rotations_say(case: str, payments: Team, people: list[User]) -> None:
    organisation = payments.organisation
    given = {"actor": COMMAND, "organisation": organisation, "team": payments, "zone": "Europe/Berlin"}
    members = [] if case == "nobody" else people
    row = rotation_set(name="payments", members=members, **given)  # type: ignore[arg-type]
    rotation_set(name="chaos", kind="chaos-lead", members=people, **given)  # type: ignore[arg-type]
    if case == "stands in":
        starts = timezone.now() + timedelta(minutes=1)
        rotation_override_add(actor=COMMAND, rotation=row, user=people[2], starts_at=starts, ends_at=starts + timedelta(hours=2))
    elif case == "left":
        User.objects.filter(pk=people[0].pk).update(is_active=False)
    elif case == "two rotations":
        rotation_set(name="again", members=people[1:], every_days=1, days=31, from_minute=540, to_minute=1020, **given)  # type: ignore[arg-type]
    contacts_set(actor=COMMAND, team=payments, contacts=[ContactSpec("chat", "#pay", "day"), ContactSpec("email", "pay@example.test")])
    for later in (timedelta(0), timedelta(hours=1), timedelta(days=8)):
        at = timezone.now() + later
        wanted = on_call_now(organisation=organisation, team=payments, at=at)
        with CaptureQueriesContext(connection) as queries:
            found = reach_of(organisation, team=payments.pk, at=at)
        assert len(queries) == 1 and found.team == payments and found.first == {"kind": "chat", "value": "#pay", "label": "day"}
        assert len(found.on_call) == len(wanted) > 0
        for mine, theirs in zip(found.on_call, wanted, strict=True):
            assert (mine.rotation, mine.user, mine.until) == (theirs.rotation, theirs.user, theirs.until)
            assert (mine.next_user, mine.next_at, mine.stands_in, mine.status) == (
                theirs.next_user, theirs.next_at, theirs.stands_in, theirs.status,
            )  # fmt: skip


def test_nobody_and_another_organisations_team(payments: Team, organisation: Organisation) -> None:
    other = Organisation.objects.create(name="Other", slug="other")
    assert not reach_of(organisation).owned and not reach_of(other, team=payments.pk).owned


def test_the_panel_of_everything_that_teams_own(organisation: Organisation, payments: Team, people: list[User]) -> None:
    rotation_set(actor=COMMAND, organisation=organisation, name="payments", team=payments, members=people)
    endpoint = EndpointSpec("a", "https://api.example.com/v1")
    provider = provider_ensure(actor=COMMAND, organisation=organisation, name="upstream", kind="openai", endpoints=[endpoint])
    book = runbook_set(actor=COMMAND, organisation=organisation, name="down", title="When it is down")
    route = route_ensure(
        actor=COMMAND, organisation=organisation, name="chat", targets=[TargetSpec("upstream", "m")], owner=payments, runbook="down"
    )
    assert route.runbook == str(book.pk), "a short name becomes the id of the runbook"
    limit = limit_set(
        actor=COMMAND, organisation=organisation, name="wall", scope="route", scope_id=route.pk, kind="requests_per_minute", amount=5
    )
    owner_assign(actor=COMMAND, organisation=organisation, things=[("limit", str(limit.pk))], team=payments)
    changed = limit_set(
        actor=COMMAND, organisation=organisation, name="wall", scope="route", scope_id=route.pk, kind="concurrent_requests", amount=5
    )
    assert owner_of(kind="limit", object_id=changed.pk) == payments.pk, "what takes a limit's place has its owner"
    client = client_of(member(organisation, "viewer"))
    for kind, row, owned in (("route", route, True), ("limit", changed, True), ("provider", provider, False), ("runbook", book, False)):
        url = f"/ownership/of/{kind}/{row.pk}/"
        client.get(url, headers={"HX-Request": "true"})
        with CaptureQueriesContext(connection) as queries:
            response = client.get(url, headers={"HX-Request": "true"})
        text = response.content.decode()
        assert response.status_code == 200 and len(queries) <= 9, [query["sql"][:90] for query in queries]
        assert ("Payments" in text and "ada@example.test" in text) if owned else "Nobody answers for it" in text
        assert "Give it to a team" not in text, "a viewer gives nothing away"
        assert ("When it is down" in text) == (kind == "route")
        assert "<html" in client.get(url).content.decode(), "a page of its own without scripts"
        assert client.get(url, headers={"HX-Request": "true", "HX-PTag": response["HX-PTag"]}).status_code == 304
    assert client.get(f"/ownership/of/moon/{route.pk}/").status_code == 404
    assert client.get(f"/ownership/of/provider/{route.pk}/").status_code == 404
    assert {"provider", "route", "key", "budget", "limit", "flag"} <= owned_kinds().keys()
