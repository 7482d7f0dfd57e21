"""Regions, layers and who answers for a cell."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused, Role
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.ownership import map_services as services
from apps.ownership.models import Cell, Layer, Region, Team
from apps.ownership.selectors import cell_owner
from apps.ownership.services import team_ensure
from tests.ownership.conftest import COMMAND, actor_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def layers(organisation: Organisation) -> list[Layer]:
    return services.layers_usual(actor=COMMAND, organisation=organisation)


def test_the_usual_layers_come_once_and_are_editable(organisation: Organisation, layers: list[Layer]) -> None:
    assert [layer.name for layer in layers] == ["application", "proxy", "provider", "serving", "data"]
    assert services.layers_usual(actor=COMMAND, organisation=organisation) == []
    services.layer_set(actor=COMMAND, organisation=organisation, name="proxy", title="Gateway")
    added = services.layer_set(actor=COMMAND, organisation=organisation, name="network")
    assert added.position == 5 and Layer.objects.get(name="proxy").title == "Gateway"
    services.layer_delete(actor=COMMAND, layer=layers[3])
    assert Layer.objects.count() == 5


def test_one_team_owns_a_cell_and_the_next_takes_its_place(
    organisation: Organisation, layers: list[Layer], payments: Team, search: Team
) -> None:
    where = {"organisation": organisation, "region": "eu-west", "layer": "proxy"}
    for team in (payments, payments, search):
        services.cell_set(actor=COMMAND, team=team, **where)  # type: ignore[arg-type]
    assert Cell.objects.count() == 1 and cell_owner(**where) == search  # type: ignore[arg-type]
    assert Region.objects.get().name == "eu-west", "a region that nobody declared is declared by it"
    assert AuditEvent.objects.filter(action="cell.update", subject_name="proxy in eu-west").count() == 2, "the second time changes nothing"
    services.cell_set(actor=COMMAND, team=None, **where)  # type: ignore[arg-type]
    assert cell_owner(**where) is None  # type: ignore[arg-type]


def test_who_may_give_a_cell_away(organisation: Organisation, layers: list[Layer], payments: Team, search: Team) -> None:
    where = {"organisation": organisation, "region": "eu-west", "layer": "proxy"}
    lead = actor_of(payments, Role.MANAGER)
    with pytest.raises(PermissionRefused, match=r"ownership\.change"):
        services.cell_set(actor=lead, team=payments, **where)  # type: ignore[arg-type]  # unowned: nobody's to take
    services.cell_set(actor=COMMAND, team=payments, **where)  # type: ignore[arg-type]
    assert services.cell_set(actor=lead, team=search, **where).team == search  # type: ignore[arg-type,union-attr]
    with pytest.raises(PermissionRefused):
        services.cell_set(actor=lead, team=payments, **where)  # type: ignore[arg-type]


def test_what_is_refused_says_what_to_do(organisation: Organisation, layers: list[Layer], payments: Team) -> None:
    other = Organisation.objects.create(name="Other", slug="other")
    stranger = team_ensure(actor=COMMAND, organisation=other, slug="x")
    where = {"actor": COMMAND, "organisation": organisation}
    for call, match in [
        (lambda: services.cell_set(region="eu", layer="moon", team=payments, **where), "no layer 'moon': add it first"),
        (lambda: services.cell_set(region="eu", layer="proxy", team=stranger, **where), "another organisation"),
        (lambda: services.region_set(name="eu west", **where), "without spaces"),
        (lambda: services.layer_set(name="Big Layer", **where), "a-z"),
    ]:  # fmt: skip
        with pytest.raises(ServiceError, match=match):
            call()


def test_removing_a_region_says_whose_cells_went(organisation: Organisation, layers: list[Layer], payments: Team) -> None:
    services.cell_set(actor=COMMAND, organisation=organisation, region="eu", layer="data", team=payments)
    services.region_delete(actor=COMMAND, region=Region.objects.get())
    assert AuditEvent.objects.get(action="region.delete").before == {"name": "eu", "title": "", "cells": {"data": "payments"}}
    assert not Cell.objects.exists()
