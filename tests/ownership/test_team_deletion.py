"""Deleting a team: refused with what it still answers for and what is about it, else gone with what was its alone, audited."""

from __future__ import annotations

from html import unescape

import pytest

from apps.accounts.models import Organisation, TeamMembership
from apps.accounts.rules import PermissionRefused, Role
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.services import budget_set
from apps.flags.two_person_rules import two_person_rule_add
from apps.keys.models import VirtualKey
from apps.keys.services import key_create, key_revoke
from apps.ownership.care_services import runbook_set, sla_set
from apps.ownership.map_services import cell_set, layer_set
from apps.ownership.models import Rotation, Service, Sla, Team
from apps.ownership.rotation_services import rotation_set
from apps.ownership.services import service_ensure
from apps.ownership.team_deletion import team_delete
from tests.ownership.conftest import COMMAND, actor_of, person_of
from tests.people import client_of, member

pytestmark = pytest.mark.django_db


def test_what_it_answers_for_is_named_and_stays(organisation: Organisation, payments: Team) -> None:
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout")
    key_create(actor=COMMAND, organisation=organisation, name="app", service=service)
    layer_set(actor=COMMAND, organisation=organisation, name="proxy")
    cell_set(actor=COMMAND, organisation=organisation, region="eu", layer="proxy", team=payments)
    runbook_set(actor=COMMAND, organisation=organisation, name="down", title="Down", owner=payments)
    with pytest.raises(ServiceError, match="still answers for 1 key, 1 runbook, 1 cell: give them"):
        team_delete(actor=COMMAND, team=payments, reason="merged")
    assert Team.objects.filter(pk=payments.pk).exists() and Service.objects.exists() and VirtualKey.objects.get().service == service


@pytest.mark.parametrize("about", ["budget", "rule"])
def test_what_is_about_it_is_named_and_stays(about: str, organisation: Organisation, payments: Team) -> None:
    if about == "budget":
        service = service_ensure(actor=COMMAND, team=payments, slug="checkout")
        wall = {"name": "wall", "scope": "service", "scope_id": service.pk, "window": "month", "limit_nano": 5}
        budget_set(actor=COMMAND, organisation=organisation, **wall)  # type: ignore[arg-type]
    else:
        two_person_rule_add(actor=COMMAND, organisation=organisation, team=payments)
    with pytest.raises(ServiceError, match="budget wall would be left" if about == "budget" else "rule about two persons would be left"):
        team_delete(actor=COMMAND, team=payments)
    assert Team.objects.filter(pk=payments.pk).exists()


def test_it_goes_with_what_was_its_alone(organisation: Organisation, payments: Team) -> None:
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout")
    key, _ = key_create(actor=COMMAND, organisation=organisation, name="old", service=service)
    key_revoke(actor=COMMAND, key=key)
    lead = person_of(payments, Role.MANAGER)
    rotation_set(actor=COMMAND, organisation=organisation, name="pay", team=payments, members=[lead])
    sla_set(actor=COMMAND, team=payments, availability=99_900)
    team_delete(actor=COMMAND, team=payments, reason="merged")
    assert not Team.objects.filter(pk=payments.pk).exists()
    assert not any(model.objects.exists() for model in (Service, Rotation, Sla, TeamMembership))
    key.refresh_from_db()
    assert (key.state, key.team, key.service) == ("revoked", None, None), "the tombstone stays and belongs to nobody"
    told = AuditEvent.objects.get(action="team.delete", subject_id=str(payments.pk))
    assert (told.before["services"], told.before["rotations"], told.reason) == (["checkout"], ["pay"], "merged")
    assert told.before["people"] == {lead.email: "manager"}


def test_its_own_manager_does_not_delete_it(payments: Team, search: Team) -> None:
    with pytest.raises(PermissionRefused, match=r"team\.delete"):
        team_delete(actor=actor_of(payments, Role.ADMIN), team=payments)
    team_delete(actor=Actor.of_user(member(payments.organisation, "manager")), team=payments)


def test_the_page_leads_to_giving_it_away_and_then_deletes(organisation: Organisation, payments: Team, search: Team) -> None:
    book = runbook_set(actor=COMMAND, organisation=organisation, name="down", title="Down", owner=payments)
    layer_set(actor=COMMAND, organisation=organisation, name="proxy")
    cell_set(actor=COMMAND, organisation=organisation, region="eu", layer="proxy", team=payments)
    client, url = client_of(member(organisation)), f"/ownership/teams/{payments.pk}/"
    assert "Delete this team?" in client.get(url).content.decode()
    sent = {"reason": "merged", "confirmation": "Payments"}
    assert client.post(f"{url}delete/", {"reason": "merged", "confirmation": "Pay"})["Location"] == f"{url}?tab=owns"
    assert client.post(f"{url}delete/", sent)["Location"] == f"{url}?tab=owns"
    text = unescape(client.get(f"{url}?tab=owns").content.decode())
    assert "still answers for 1 runbook, 1 cell" in text and f'value="runbook:{book.pk}"' in text and 'value="cell:proxy:eu"' in text
    given = {"things": [f"runbook:{book.pk}", "cell:proxy:eu"], "team": str(search.pk), "from": f"team:{payments.pk}"}
    assert client.post("/ownership/assign/", given)["Location"] == f"{url}?tab=owns"
    assert "Owns nothing" in client.get(f"{url}?tab=owns").content.decode()
    assert client.post(f"{url}delete/", sent)["Location"] == "/ownership/teams/"
    assert client.get(url).status_code == 404 and client.post(f"{url}delete/", sent).status_code == 404
    assert "Delete this team?" not in client_of(member(organisation, "viewer")).get(f"/ownership/teams/{search.pk}/").content.decode()
