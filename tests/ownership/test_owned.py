"""Who owns what of the apps above: what nobody owns, giving it away, and what follows for whom it belongs to."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused, Role
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.services import budget_set
from apps.flags.services import flag_set
from apps.keys.models import VirtualKey
from apps.keys.services import key_create
from apps.ownership.models import Team
from apps.ownership.owned import Thing, owner_assign, owner_of, regions_in_use, things_of
from apps.ownership.services import service_ensure
from apps.providers.models import Provider
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure, provider_update
from apps.routes.breakers import breaker_force
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_disable, route_ensure, route_switch
from tests.ownership.conftest import COMMAND, actor_of

pytestmark = pytest.mark.django_db
TARGET = TargetSpec("p", "m")


@pytest.fixture
def things(organisation: Organisation) -> dict[str, str]:
    """One thing of each kind that nobody owns: kind -> id."""
    given = {"actor": COMMAND, "organisation": organisation}
    endpoint = EndpointSpec("a", "https://api.example.com/v1", region="eu-west")
    provider = provider_ensure(**given, name="p", kind="openai", endpoints=[endpoint])  # type: ignore[arg-type]
    route = route_ensure(**given, name="chat", targets=[TARGET])  # type: ignore[arg-type]
    key, _ = key_create(**given, name="app")  # type: ignore[arg-type]
    budget = budget_set(**given, name="wall", scope="organisation", scope_id=organisation.pk, window="day", limit_nano=10**9)  # type: ignore[arg-type]
    flag = flag_set(**given, name="fallback", kind="fallback", subject_kind="route", subject_id=route.pk)  # type: ignore[arg-type]
    return {"provider": str(provider.pk), "route": str(route.pk), "key": str(key.pk), "budget": str(budget.pk), "flag": str(flag.pk)}


def listed(organisation: Organisation, team: Team | None) -> list[Thing]:
    return [thing for held in things_of(organisation, team=team, most=10) for thing in held.things]


def test_everything_is_given_at_once_and_audited_each(organisation: Organisation, payments: Team, things: dict[str, str]) -> None:
    assert {thing.kind: thing.id for thing in listed(organisation, None)} == things
    given = list(things.items())
    for _ in range(2):
        assert owner_assign(actor=COMMAND, organisation=organisation, things=given, team=payments, reason="the split") == 5
    assert listed(organisation, None) == []
    assert {thing.kind for thing in listed(organisation, payments)} == things.keys()
    for kind, object_id in things.items():
        event = AuditEvent.objects.get(action=f"{kind}.update", subject_id=object_id)
        assert (event.reason, event.after) == ("the split", {"team" if kind == "key" else "owner": "payments"})
    assert owner_of(kind="provider", object_id=things["provider"]) == payments.pk
    owner_assign(actor=COMMAND, organisation=organisation, things=given, team=None)
    assert len(listed(organisation, None)) == 5 and owner_of(kind="budget", object_id=things["budget"]) is None


def test_all_or_none(organisation: Organisation, payments: Team, things: dict[str, str]) -> None:
    service = service_ensure(actor=COMMAND, team=payments, slug="checkout")
    VirtualKey.objects.filter(pk=things["key"]).update(service=service)
    for wrong, match in [
        (("key", things["key"]), "belongs to the service 'checkout': change its service"),
        (("route", things["key"]), "not there any more"), (("pool", things["key"]), "nothing that a team owns"), (("route", "x"), "no id"),
    ]:  # fmt: skip
        with pytest.raises(ServiceError, match=match):
            owner_assign(
                actor=COMMAND,
                organisation=organisation,
                things=[("route", things["route"]), wrong],
                team=None if wrong[0] == "key" else payments,
            )
    assert Route.objects.get().owner is None
    with pytest.raises(ServiceError, match="Tick"):
        owner_assign(actor=COMMAND, organisation=organisation, things=[], team=payments)


def test_nobody_reaches_into_another_organisation(organisation: Organisation, payments: Team, things: dict[str, str]) -> None:
    other = Organisation.objects.create(name="Other", slug="other")
    with pytest.raises(ServiceError, match="another organisation"):
        owner_assign(actor=COMMAND, organisation=other, things=list(things.items()), team=payments)
    with pytest.raises(ServiceError, match="not there"):
        owner_assign(actor=COMMAND, organisation=other, things=list(things.items()), team=None)


def test_what_follows_for_those_in_the_owning_team(
    organisation: Organisation, payments: Team, search: Team, things: dict[str, str]
) -> None:
    oncall, admin, lead = actor_of(payments, Role.ONCALL), actor_of(payments, Role.ADMIN), actor_of(payments, Role.MANAGER)
    route, provider = Route.objects.get(), Provider.objects.get()
    with pytest.raises(PermissionRefused, match=r"route\.switch.*on-call in the team that owns it"):
        route_switch(actor=oncall, route=route, target=TARGET, reason="slow")
    with pytest.raises(PermissionRefused, match=r"ownership\.change"):
        owner_assign(actor=lead, organisation=organisation, things=list(things.items()), team=payments)
    owner_assign(actor=COMMAND, organisation=organisation, things=list(things.items()), team=payments)
    route.refresh_from_db()
    route_switch(actor=oncall, route=route, target=TARGET, reason="slow")
    breaker_force(actor=oncall, route=route, target=TARGET, state="closed", reason="flapping")
    with pytest.raises(PermissionRefused, match=r"route\.change"):
        route_disable(actor=oncall, route=route, reason="x")
    route_disable(actor=admin, route=route, reason="x")
    provider_update(actor=admin, provider=provider, enabled=False)
    with pytest.raises(PermissionRefused):
        provider_update(actor=lead, provider=provider, enabled=True)
    wall = {"actor": lead, "organisation": organisation, "scope": "organisation", "scope_id": organisation.pk, "limit_nano": 10**9}
    assert budget_set(**wall, name="wall", window="week").name == "wall", "another window is another budget, and still the team's"  # type: ignore[arg-type]
    assert budget_set(**wall | {"limit_nano": 2 * 10**9}, name="wall", window="week").limit_nano == 2 * 10**9  # type: ignore[arg-type]
    with pytest.raises(PermissionRefused, match=r"budget\.change"):
        budget_set(**wall, name="another", window="day")  # type: ignore[arg-type]
    with pytest.raises(PermissionRefused):
        route_switch(actor=actor_of(search, Role.ADMIN), route=route, target=TARGET, reason="not mine")
    given = owner_assign(actor=lead, organisation=organisation, things=[("route", things["route"])], team=search)
    assert given == 1 and Route.objects.get().owner == search, "a lead gives away what the team owns"


def test_regions_that_endpoints_run_in(organisation: Organisation, things: dict[str, str]) -> None:
    assert regions_in_use(organisation) == {"eu-west"}
