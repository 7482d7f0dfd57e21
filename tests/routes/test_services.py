"""Routes: names, chains, deadlines; refused, changed, removed, restored."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.accounts.services import user_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import Deadlines, RouteFragment, encode_fragment
from apps.providers.models import Price
from apps.providers.rules import EndpointSpec
from apps.providers.selectors import provider_named
from apps.providers.services import provider_delete, provider_ensure, provider_update
from apps.publishing.models import TouchedFragment
from apps.routes import selectors, services, snapshot
from apps.routes.models import Route
from apps.routes.rules import TargetSpec

WEST, EAST = EndpointSpec("west", "https://api.openai.com/v1"), EndpointSpec("east", "https://api.openai.com/v1")
MINI = TargetSpec("openai", "gpt-4o-mini")


def touched(section: str = "routes") -> set[str]:
    found = set(TouchedFragment.objects.filter(section=section).values_list("object_id", flat=True))
    TouchedFragment.objects.all().delete()
    return found


@pytest.fixture
def routed(organisation: Organisation, actor: Actor) -> Organisation:
    provider_ensure(actor=actor, organisation=organisation, name="openai", kind="openai", endpoints=[WEST, EAST])
    return organisation


def test_create_again_update(routed: Organisation, actor: Actor) -> None:
    arguments: dict[str, Any] = {
        "name": "chat",
        "targets": [MINI, TargetSpec("openai", "gpt-4.1-mini", "east")],
        "fallback": [TargetSpec("openai", "gpt-4.1-nano")],
        "aliases": ["b", "a"],
    }
    route = services.route_ensure(actor=actor, organisation=routed, **arguments)
    assert touched() == {str(route.pk)}
    assert set(Price.objects.values_list("model__name", flat=True)) == {"gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1-nano"}
    services.route_ensure(actor=actor, organisation=routed, **arguments)
    assert touched() == set()
    found = snapshot.routes.build({str(route.pk)})[str(route.pk)]
    assert isinstance(found, RouteFragment)
    assert [(t.provider, t.endpoint, t.model) for t in found.targets] == [("openai", "", "gpt-4o-mini"), ("openai", "east", "gpt-4.1-mini")]
    assert found.aliases == ["a", "b"] and found.organisation == str(routed.pk)
    services.route_update(actor=actor, route=route, max_attempts=1, reason="costs")
    event = AuditEvent.objects.get(action="route.update", seq=None)
    assert (event.before, event.after, event.reason) == ({"max_attempts": 3}, {"max_attempts": 1}, "costs")
    with pytest.raises(TypeError, match="name"):
        services.route_update(actor=actor, route=route, name="other")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "has space"}, "name"),
        ({"name": "taken"}, None),
        ({"aliases": ["taken"]}, "aliases[0]"),
        ({"aliases": ["nick"]}, "aliases[0]"),
        ({"aliases": ["x", "x"]}, "aliases[1]"),
        ({"aliases": ["new"]}, "aliases[0]"),
        ({"aliases": ["a" * 121]}, "aliases[0]"),
        ({"targets": []}, "targets"),
        ({"targets": [MINI, MINI]}, "targets[1]"),
        ({"targets": [TargetSpec("nobody", "m")]}, "targets[0].provider"),
        ({"targets": [TargetSpec("openai", "m", "north")]}, "targets[0].endpoint"),
        ({"targets": [TargetSpec("openai", "")]}, "targets[0].model"),
        ({"targets": [TargetSpec("openai", "a\nb")]}, "targets[0].model"),
        ({"fallback": [TargetSpec("nobody", "m")]}, "fallback[0].provider"),
        ({"deadlines": Deadlines(connect_ms=0)}, "deadlines.connect"),
        ({"deadlines": Deadlines(total_ms=-1)}, "deadlines.total"),
        ({"deadlines": Deadlines(total_ms=10**9)}, "deadlines.total"),
        ({"deadlines": Deadlines(connect_ms=5_000, first_byte_ms=10, total_ms=4_000)}, "deadlines.connect"),
        ({"deadlines": Deadlines(first_byte_ms=5_000, total_ms=4_000)}, "deadlines.first_byte"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 11}, "max_attempts"),
        ({"unpriced": "free"}, "unpriced"),
    ],
)
def test_wrong_input_is_refused_and_changes_nothing(routed: Organisation, actor: Actor, changes: dict[str, Any], field: str | None) -> None:
    services.route_ensure(actor=actor, organisation=routed, name="taken", aliases=["nick"], targets=[MINI])
    touched()
    arguments = {"name": "new", "targets": [MINI]} | changes
    if field is None:  # an alias is as taken as a name
        arguments["name"], field = "nick", "name"
    with pytest.raises(ServiceError) as caught:
        services.route_ensure(actor=actor, organisation=routed, **arguments)
    assert caught.value.field == field
    assert touched() == set() and Route.objects.count() == 1


def test_a_provider_or_endpoint_in_use_stays(routed: Organisation, actor: Actor) -> None:
    services.route_ensure(actor=actor, organisation=routed, name="chat", targets=[TargetSpec("openai", "gpt-4o-mini", "east")])
    provider = provider_named(routed, "openai")
    with pytest.raises(ServiceError, match="chat"):
        provider_delete(actor=actor, provider=provider)
    with pytest.raises(ServiceError, match="chat"):
        provider_update(actor=actor, provider=provider, endpoints=[WEST])


def test_delete_and_restore(routed: Organisation, actor: Actor) -> None:
    route = services.route_ensure(actor=actor, organisation=routed, name="chat", aliases=["nick"], targets=[MINI], enabled=False)
    object_id = str(route.pk)
    old = snapshot.routes.build(None)[object_id]
    services.route_delete(actor=actor, route=route)
    assert snapshot.routes.build({object_id}) == {}
    services.route_ensure(actor=actor, organisation=routed, name="chat", targets=[MINI])
    snapshot.routes.restore(actor=actor, object_id=object_id, fragment=old, reason="rollback")
    assert {key: encode_fragment(value) for key, value in snapshot.routes.build(None).items()} == {object_id: encode_fragment(old)}
    snapshot.routes.restore(actor=actor, object_id=object_id, fragment=None, reason="rollback")
    assert snapshot.routes.build(None) == {}


def test_a_person_without_the_role_is_refused(routed: Organisation, actor: Actor) -> None:
    route = services.route_ensure(actor=actor, organisation=routed, name="chat", targets=[MINI])
    person = Actor.of_user(user_create(actor=actor, email="v@example.org", password="long enough one"))
    for call in (
        lambda: services.route_ensure(actor=person, organisation=routed, name="x", targets=[MINI]),
        lambda: services.route_update(actor=person, route=route, enabled=False),
        lambda: services.route_delete(actor=person, route=route),
    ):
        with pytest.raises(PermissionRefused):
            call()
    assert selectors.route_named(routed, "chat").enabled
