"""Deleting a service alone: refused with everything that hangs on it, from the page, the API and a document; then gone, audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused, Role
from apps.alerts.services import rule_create, rule_delete, slo_create, slo_delete
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget
from apps.budgets.services import budget_delete, budget_set
from apps.flags.models import Flag
from apps.flags.services import flag_delete, flag_set
from apps.keys.services import key_create, key_revoke
from apps.ownership.care_services import sla_delete, sla_set
from apps.ownership.models import Service, Sla, Team
from apps.ownership.service_deletion import service_attached, service_delete
from apps.ownership.services import service_ensure
from controlplane.configfile.apply import apply_file
from controlplane.configfile.problems import DocumentError
from tests.ownership.conftest import COMMAND, actor_of
from tests.people import client_of, member

pytestmark = pytest.mark.django_db
RULES = {"strategies": [{"name": "default", "constraints": [{"contextName": "service", "operator": "IN", "values": ["checkout", "web"]}]}]}


def test_all_that_hangs_on_it_is_named_and_each_keeps_it(organisation: Organisation, payments: Team) -> None:
    given: dict[str, Any] = {"actor": COMMAND, "organisation": organisation}
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout", name="Checkout")
    key, _ = key_create(**given, name="app", service=service)
    budget_set(**given, name="wall", scope="service", scope_id=service.pk, window="month", limit_nano=5)
    flag = flag_set(**given, name="new", kind="release", subject_kind="organisation", subject_id=organisation.pk, rules=RULES)
    sla_set(actor=COMMAND, team=payments, service=service, availability=99_900)
    rule = rule_create(**given, name="slow", title="Slow", series="latency_p95", by="service", values=["checkout"], warn="2s")
    slo = slo_create(**given, name="well", title="Well", indicator="availability", objective="99", by="service", subject="checkout")

    lifts = {
        "key": lambda: key_revoke(actor=COMMAND, key=key),
        "budget": lambda: budget_delete(actor=COMMAND, budget=Budget.objects.get()),
        "flag": lambda: flag_delete(actor=COMMAND, flag=Flag.objects.get(pk=flag.pk)),
        "SLA": lambda: sla_delete(actor=COMMAND, sla=Sla.objects.get()),
        "alert_rule": lambda: rule_delete(actor=COMMAND, rule=rule),
        "SLO": lambda: slo_delete(actor=COMMAND, slo=slo),
    }
    assert {thing.kind for thing in service_attached(service)} == lifts.keys()
    while lifts:
        with pytest.raises(ServiceError, match=f"^{next(iter(lifts)).replace('_', ' ')} .* would be left without the service Checkout"):
            service_delete(actor=COMMAND, service=service, reason="merged")
        lifts.pop(next(iter(lifts)))()
    with pytest.raises(PermissionRefused, match=r"service\.change"):
        service_delete(actor=actor_of(payments, Role.ONCALL), service=service)
    service_delete(actor=actor_of(payments, Role.MANAGER), service=service, reason="merged")
    service_delete(actor=COMMAND, service=service, reason="again")
    key.refresh_from_db()
    assert not Service.objects.exists() and (key.service, key.team) == (None, payments), "a revoked key is its team's"
    told = AuditEvent.objects.get(action="service.delete", subject_id=str(service.pk))
    assert (told.before, told.reason) == ({"team": "payments", "slug": "checkout", "name": "Checkout"}, "merged")


def test_what_looks_at_a_short_name_stays_while_another_team_has_one(organisation: Organisation, payments: Team, search: Team) -> None:
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout")
    rule_create(
        actor=COMMAND, organisation=organisation, name="slow", title="S", series="error_rate", by="service", values=["checkout"], warn="1%"
    )
    assert [thing.kind for thing in service_attached(service)] == ["alert_rule"]
    service_ensure(actor=COMMAND, team=search, slug="checkout")
    assert service_attached(service) == []


def test_the_page_says_what_is_in_the_way_and_asks_for_the_name(organisation: Organisation, payments: Team) -> None:
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout", name="Checkout")
    sla = sla_set(actor=COMMAND, team=payments, service=service, availability=99_900)
    client, url = client_of(member(organisation)), f"/ownership/services/{service.pk}/"
    assert "of this service" in client.get(url).content.decode()
    for sent, says in (({}, "Type the service"), ({"confirmation": "Checkout"}, "SLA of this service would be left")):
        text = client.post(f"{url}delete/", {"reason": "merged", **sent}, follow=True).content.decode()
        assert says in text and Service.objects.exists()
    sla_delete(actor=COMMAND, sla=sla)
    response = client.post(f"{url}delete/", {"reason": "merged", "confirmation": "Checkout"})
    assert response["Location"] == f"/ownership/teams/{payments.pk}/" and not Service.objects.exists()
    assert client.get(url).status_code == 404


def test_a_document_takes_it_out_with_what_it_promises(organisation: Organisation, payments: Team, tmp_path: Path) -> None:
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout")
    sla_set(actor=COMMAND, team=payments, service=service, availability=99_900)
    key, _ = key_create(actor=COMMAND, organisation=organisation, name="app", service=service)
    path = tmp_path / "bulkhead.yaml"
    path.write_text("teams: [{name: payments, services: [{name: checkout, absent: true}, {name: never, absent: true}]}]", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"teams\[0\]\.services\[0\]\.name: key app would be left"):
        apply_file(actor=COMMAND, path=path, organisation="main")
    assert Sla.objects.exists(), "all or nothing"
    key_revoke(actor=COMMAND, key=key)
    lines = apply_file(actor=COMMAND, path=path, organisation="main").lines
    assert any("services[checkout]" in line for line in lines) and not Service.objects.exists() and not Sla.objects.exists()
    assert apply_file(actor=COMMAND, path=path, organisation="main").lines == []
