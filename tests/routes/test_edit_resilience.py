"""The part of a route's form about resilience and its targets' options: kept when untouched, reshaped with their rows, errors beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from apps.audit.actors import Actor
from apps.contracts.snapshot import BreakerPolicy, Mirror, Resilience, Target
from apps.publishing.services import publish
from apps.routes import selectors, services
from apps.routes.forms import _COLUMNS
from apps.routes.models import Route
from apps.routes.resilience_form import GROUPS, PREFIX, ResilienceForm
from tests.routes.conftest import EAST, WEST
from tests.routes.test_edit import controls, fields, published

CANARY = EAST._replace(variant="canary", weight=5, capabilities=("tools",), window=8_000, reasoning=True, total_ms=20_250, idle_ms=5_000)
CHOSEN = Resilience(
    strategy="weighted",
    sticky="user",
    hedge_percent=5,
    hedge_after_ms=250,
    queue_ms=500,
    canned="Back in a minute.",
    breaker=BreakerPolicy(enabled=False, consecutive=3),
    mirror=Mirror(target=Target(provider="sim-west", model="shadow", endpoint="main"), percent=10),
)


def sent(page: Any) -> dict[str, Any]:
    """What a browser would send of the form as it was drawn."""
    form, data = page.context["form"], {}
    for field in form:
        if field.name in ("targets", "fallback"):
            for at, row in enumerate(field.value() or []):
                for name in _COLUMNS:
                    data.setdefault(f"{field.name}-{name}", []).append(row[name])
                for name in ("prefill", "reasoning", "expensive"):
                    data.setdefault(f"{field.name}-{name}", []).extend([str(at)] if row[name] else [])
        else:
            data[field.name] = "" if field.value() is None else field.value()
    return data


def test_every_setting_has_its_field_and_every_field_its_group() -> None:
    grouped = [f"{PREFIX}{name}" for group in GROUPS for name in group.names]
    assert sorted(grouped) == sorted(name for name in ResilienceForm.base_fields) and len(set(grouped)) == len(grouped)


def test_saving_untouched_changes_nothing(signed_in: Callable[..., Client], route: Route, actor: Actor) -> None:
    services.route_update(actor=actor, route=route, targets=[EAST, CANARY, WEST], resilience=CHOSEN)
    publish(actor=actor, reason="before", full=True)
    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    page = client.get(url)
    assert "<details" in page.content.decode() and not page.context["form"].resilience_open
    review = client.post(url, {**sent(page), **controls(page)})
    assert review.status_code == 200 and review.context["review"].empty, review.context["form"].errors
    published(client, url, {**sent(page), "resilience_hedge_percent": "7"})
    found = selectors.route_named(route.organisation, "demo-chat")
    assert selectors.resilience(found).hedge_percent == 7 and selectors.resilience(found).mirror == CHOSEN.mirror
    assert selectors.target_specs(found) == [EAST, CANARY, WEST]


def test_a_form_without_the_section_takes_the_defaults(signed_in: Callable[..., Client], route: Route, actor: Actor) -> None:
    services.route_update(actor=actor, route=route, resilience=CHOSEN)
    published(signed_in(), f"/routes/{route.pk}/edit/", fields(name="demo-chat"))
    assert Route.objects.get().resilience == {}


def test_options_move_with_their_row(signed_in: Callable[..., Client], route: Route, actor: Actor) -> None:
    services.route_update(actor=actor, route=route, targets=[EAST, CANARY])
    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    page = client.get(url)
    answer = client.post(url, {**sent(page), **controls(page), "reshape": "targets:up:1"})
    rows = answer.context["form"]["targets"].value()
    assert [(row["variant"], row["weight"], row["reasoning"], row["capabilities"]) for row in rows] == [
        ("canary", "5", True, "tools"),
        ("", "100", False, ""),
    ]
    answer = client.post(url, {**sent(page), **controls(page), "reshape": "targets:remove:0"})
    assert [row["variant"] for row in answer.context["form"]["targets"].value()] == ["canary"]


def test_what_is_wrong_stands_beside_its_field_and_unfolds_the_section(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}/edit/"
    page = client.get(url)
    for changes, field, words in (
        ({"resilience_hedge_percent": "101"}, "resilience_hedge_percent", "100"),
        ({"resilience_strategy": "random"}, "resilience_strategy", "random"),
        ({"resilience_strategy": "region"}, "resilience_region", "home region"),
        ({"resilience_strategy": "region", "resilience_region": "mars"}, "resilience_region", "no target is in the region"),
        ({"resilience_first_token": "500"}, "resilience_first_token", "never act"),
        (
            {"resilience_breaker_consecutive": "0", "resilience_breaker_failure_percent": "0"},
            "resilience_breaker_consecutive",
            "never open",
        ),
        ({"resilience_mirror_target": "sim-west"}, "resilience_mirror_model", "both"),
        (
            {"resilience_mirror_target": "sim-west", "resilience_mirror_model": "sim-chat"},
            "resilience_mirror_target",
            "of the route itself",
        ),
        ({"targets-weight": ["some", "1"]}, "targets", "whole number"),
        ({"targets-capabilities": ["song", ""]}, "targets", "json_schema"),
        ({"targets-total_ms": ["soon", ""]}, "targets", "takes seconds"),
        ({"targets-total_ms": ["0.0001", ""]}, "targets", "takes seconds"),
        ({"targets-first_byte_ms": ["", "80000"]}, "targets", "never act"),
        ({"targets-variant": ["a b", ""]}, "targets", "canary"),
    ):
        answer = client.post(url, {**fields(), **sent(page), **controls(page), **changes})
        errors = answer.context["form"].errors
        assert answer.status_code == 400 and words in " ".join(errors.get(field, [])), (changes, errors)
        assert answer.context["form"].resilience_open == field.startswith("resilience_")
