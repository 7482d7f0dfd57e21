"""A route's resilience and its targets' options: stored, audited, published, rolled back, refused with the field's name."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import (
    BreakerPolicy,
    Mirror,
    Resilience,
    RouteFragment,
    Target,
    decode_fragment,
    encode_fragment,
)
from apps.publishing.errors import PublishError
from apps.publishing.models import TouchedFragment
from apps.publishing.preview import change_preview
from apps.publishing.rollback import rollback
from apps.publishing.services import publish
from apps.routes import resilience, selectors, services, snapshot
from apps.routes.models import Route, RouteTarget
from apps.routes.rules import TargetSpec
from tests.routes.conftest import EAST, WEST

CANARY = EAST._replace(variant="canary", weight=5, capabilities=("tools",), window=8_000, reasoning=True)
CHOSEN = Resilience(
    strategy="weighted",
    sticky="user",
    hedge_percent=5,
    queue_ms=500,
    canned="Back in a minute.",
    breaker=BreakerPolicy(consecutive=3),
    mirror=Mirror(target=Target(provider="sim-west", model="shadow"), percent=10),
)


def fragment(route: Route) -> RouteFragment:
    found = snapshot.routes.build({str(route.pk)})[str(route.pk)]
    assert isinstance(found, RouteFragment)
    return found


def test_specs_have_the_contracts_options() -> None:
    assert TargetSpec._fields == Target.__struct_fields__
    assert all(resilience.OPTIONS[name] == getattr(Target(provider="p", model="m"), name) for name in resilience.OPTIONS)
    assert resilience.spec_of_target(CANARY.target) == CANARY


def test_only_what_differs_is_stored_and_everything_reaches_the_proxies(route: Route, actor: Actor) -> None:
    assert Route.objects.get().resilience == {} and b"resilience" not in encode_fragment(fragment(route))
    assert set(RouteTarget.objects.values_list("chain", flat=True)) == {"primary"}
    TouchedFragment.objects.all().delete()
    for _ in range(2):
        services.route_update(actor=actor, route=route, targets=[EAST, CANARY, WEST], resilience=CHOSEN)
    stored = Route.objects.get()
    assert stored.resilience["breaker"] == {"consecutive": 3} and "rescue" not in stored.resilience
    assert RouteTarget.objects.get(position=1).options["capabilities"] == ["tools"]
    shown = fragment(stored)
    assert shown.resilience == CHOSEN and shown.targets[1] == CANARY.target
    assert decode_fragment("routes", encode_fragment(shown)) == shown
    assert TouchedFragment.objects.count() == 1
    event = AuditEvent.objects.get(action="route.update", seq=None)
    assert event.before["resilience.hedge_percent"] == 0 and event.after["resilience.hedge_percent"] == 5
    assert event.after["resilience.mirror"] == "sim-west/shadow, 10 %"
    assert event.after["targets"][1] == "sim-east/sim-chat (variant canary, weight 5, window 8,000 tokens, reasoning, can tools)"
    assert "resilience.rescue" not in event.after
    services.route_update(actor=actor, route=route, resilience=None)
    assert Route.objects.get().resilience == {}


def test_what_equals_the_default_is_not_stored_wherever_it_came_from() -> None:
    assert resilience.resilience_stored(Resilience(queue_ms=int("2000"), breaker=BreakerPolicy(window_ms=int("10000")))) == {}
    stored = resilience.resilience_stored(CHOSEN)
    assert resilience.resilience_read(stored) == CHOSEN and stored["mirror"] == {
        "target": {"provider": "sim-west", "model": "shadow"},
        "percent": 10,
    }


def test_a_new_route_is_audited_with_what_was_chosen_only(demo: Organisation, actor: Actor) -> None:
    services.route_ensure(actor=actor, organisation=demo, name="new", targets=[EAST], resilience={"rescue": "any"})
    after = AuditEvent.objects.get(action="route.create", seq=None).after
    assert [name for name in after if name.startswith("resilience.")] == ["resilience.rescue"]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"resilience": {"hedge_percent": 101}}, "resilience.hedge_percent", "0 to 100"),
        ({"resilience": {"hedge_percent": "many"}}, "resilience.hedge_percent", "int"),
        ({"resilience": {"hedges": 1}}, "resilience.hedges", "there are: strategy"),
        ({"resilience": {"strategy": "random"}}, "resilience.strategy", "random"),
        ({"resilience": Resilience(rescue="sometimes")}, "resilience.rescue", "same_model"),  # type: ignore[arg-type]
        ({"resilience": {"breaker": {"open_ms": 0}}}, "resilience.breaker.open_ms", "1 to 60000"),
        ({"resilience": {"breaker": {"consecutive": 0, "failure_percent": 0}}}, "resilience.breaker.consecutive", "never open"),
        ({"resilience": {"strategy": "region"}}, "resilience.region", "home region"),
        ({"resilience": {"first_token_ms": 500_000}}, "resilience.first_token_ms", "never act"),
        ({"resilience": {"canned": "a\nb"}}, "resilience.canned", "line breaks"),
        ({"resilience": {"mirror": {"target": {"provider": "gone", "model": "m"}}}}, "resilience.mirror.target.provider", "gone"),
        (
            {"resilience": {"mirror": {"target": {"provider": "sim-east", "model": "m", "endpoint": "x"}}}},
            "resilience.mirror.target.endpoint",
            "main",
        ),
        ({"resilience": {"strategy": "weighted"}, "targets": [EAST._replace(weight=0)]}, "targets", "weight"),
        ({"targets": [EAST, EAST._replace(weight=1)]}, "targets[1]", "variant"),
        ({"targets": [EAST._replace(weight=-1)]}, "targets[0].weight", "a share"),
        ({"targets": [EAST._replace(variant="a b")]}, "targets[0].variant", "canary"),
        ({"targets": [EAST._replace(capabilities=("song",))]}, "targets[0].capabilities", "json_schema"),
        ({"aliases": ["gpt-*-mini"]}, "aliases[0]", "one * at the end"),
        ({"aliases": ["*"]}, "aliases[0]", "at least one"),
    ],
)
def test_wrong_settings_name_their_field(route: Route, actor: Actor, changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ServiceError) as caught:
        services.route_update(actor=actor, route=route, **changes)
    assert caught.value.field == field and words in caught.value.message
    assert Route.objects.get().resilience == {}


def test_what_only_the_compiler_knows_names_its_field_too(route: Route, actor: Actor) -> None:
    with pytest.raises(PublishError) as caught:
        change_preview(
            actor=actor, change=lambda: services.route_update(actor=actor, route=route, resilience={"strategy": "region", "region": "mars"})
        )
    assert caught.value.field == "resilience.region" and caught.value.object_id == str(route.pk)


def test_wildcards_are_published(route: Route, actor: Actor) -> None:
    services.route_update(actor=actor, route=route, aliases=["chat", "gpt-4*"])
    publish(actor=actor, reason="wildcards")
    assert fragment(selectors.route_named(route.organisation, "demo-chat")).aliases == ["chat", "gpt-4*"]


def test_a_rollback_brings_everything_back(route: Route, actor: Actor) -> None:
    services.route_update(actor=actor, route=route, targets=[EAST, CANARY], resilience=CHOSEN)
    version = publish(actor=actor, reason="chosen", full=True)
    assert version is not None
    then = encode_fragment(fragment(route))
    services.route_update(actor=actor, route=route, targets=[WEST], resilience=None)
    publish(actor=actor, reason="away")
    rollback(actor=Actor.command("test"), to_version=version.number, reason="back")
    assert encode_fragment(fragment(route)) == then
