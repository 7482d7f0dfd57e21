"""Forcing breakers: services, what a rollback brings back, the page's dialog, wrong person, second time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.identifiers import uuid7
from apps.contracts.reports import TargetReport
from apps.contracts.snapshot import ForcedBreaker, RouteFragment, Target, encode_fragment
from apps.publishing.models import FragmentRow, ProxyProcess
from apps.publishing.rollback import rollback
from apps.publishing.services import publish
from apps.routes import breakers, selectors, services, snapshot
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from tests.routes.conftest import EAST, WEST

PLACE = Target(provider="sim-east", model="sim-chat")


def fragment(route: Route) -> RouteFragment:
    found = snapshot.routes.build({str(route.pk)})[str(route.pk)]
    assert isinstance(found, RouteFragment)
    return found


def test_a_forced_breaker_is_a_fragment_an_audit_event_and_a_fact(route: Route, actor: Actor) -> None:
    until = timezone.now() + timedelta(hours=1)
    for _ in range(2):
        held = breakers.breaker_force(actor=actor, route=route, target=EAST, state="open", reason="it lies", until=until)
    assert held.target == EAST and held.by == actor.name
    assert fragment(route).forced == [ForcedBreaker(target=PLACE, state="open", until_ms=int(until.timestamp() * 1000))]
    assert AuditEvent.objects.filter(action="route.breaker_force").count() == 1 == Event.objects.filter(kind="route.breaker").count()
    event = AuditEvent.objects.get(action="route.breaker_force", seq=None)
    assert event.after["breaker of sim-east/sim-chat: state"] == "open"
    breakers.breaker_force(actor=actor, route=route, target=WEST, state="closed", reason="it is well")
    assert [each.state for each in fragment(route).forced] == ["open", "closed"]
    for _ in range(2):
        breakers.breaker_release(actor=actor, route=route, target=EAST)
    assert [each.target.provider for each in fragment(route).forced] == ["sim-west"]
    assert AuditEvent.objects.filter(action="route.breaker_release").count() == 1
    later = timezone.now() + timedelta(hours=2)
    assert len(selectors.held_breakers(Route.objects.get(), now=later)) == 1


def test_wrong_ones_are_refused(route: Route, actor: Actor) -> None:
    now = timezone.now()
    for target, more, field in (
        (TargetSpec("sim-east", "other"), {"state": "open", "reason": "r"}, "target"),
        (EAST, {"state": "ajar", "reason": "r"}, "state"),
        (EAST, {"state": "open", "reason": " "}, "reason"),
        (EAST, {"state": "open", "reason": "a\nb"}, "reason"),
        (EAST, {"state": "open", "reason": "r", "until": now - timedelta(seconds=1)}, "until"),
    ):
        with pytest.raises(ServiceError) as caught:
            breakers.breaker_force(actor=actor, route=route, target=target, **more)  # type: ignore[arg-type]
        assert caught.value.field == field
    assert Route.objects.get().forced == []


def test_it_goes_with_its_target_and_stays_otherwise(route: Route, actor: Actor) -> None:
    breakers.breaker_force(actor=actor, route=route, target=EAST, state="open", reason="it lies")
    services.route_update(actor=actor, route=route, targets=[WEST, EAST._replace(weight=1)])
    assert len(fragment(route).forced) == 1
    services.route_update(actor=actor, route=route, targets=[WEST])
    assert fragment(route).forced == []


def test_rollbacks_bring_it_back_also_when_its_time_is_over(route: Route, actor: Actor) -> None:
    organisation_ensure(actor=actor, slug="main", name="Main")
    publish(actor=actor, reason="before", full=True)
    breakers.breaker_force(actor=actor, route=route, target=EAST, state="open", reason="r", until=timezone.now() + timedelta(hours=1))
    services.route_switch(actor=actor, route=route, target=WEST, reason="r", until=timezone.now() + timedelta(hours=1))
    version = publish(actor=actor, reason="forced")
    assert version is not None
    # as if an hour had passed since that version
    row = FragmentRow.objects.get(version=version.number, section="routes")
    ended = fragment(route)
    assert ended.switch is not None
    ended = msgspec.structs.replace(
        ended,
        forced=[ForcedBreaker(target=PLACE, state="open", until_ms=1_000)],
        switch=msgspec.structs.replace(ended.switch, until_ms=1_000),
    )
    snapshot.routes.restore(actor=actor, object_id=str(route.pk), fragment=ended, reason="an hour later")
    assert encode_fragment(fragment(route)) == encode_fragment(ended) and bytes(row.body) != encode_fragment(ended)
    assert selectors.held_breakers(Route.objects.get(), now=timezone.now()) == []
    rollback(actor=actor, to_version=version.number, reason="back")
    assert encode_fragment(fragment(route)) == bytes(row.body)
    rollback(actor=actor, to_version=1, reason="before it all")
    assert fragment(route).forced == [] and fragment(route).switch is None


def heartbeat(route: Route, **report: Any) -> None:
    """A proxy that reports the first target."""
    key = f"{route.organisation_id}/sim-east/main/sim-chat"
    now = timezone.now()
    detail = {"targets": [TargetReport(key=key, **report).plain()]}
    ProxyProcess.objects.create(boot_id=uuid7(), name="p", host="h", pid=1, registered_at=now, last_seen_at=now, detail=detail)


def test_the_page_shows_live_breakers_and_forces_them(signed_in: Callable[..., Client], route: Route, actor: Actor) -> None:
    publish(actor=actor, reason="before", full=True)
    heartbeat(route, state="open", since_ms=1_800_000_000_000)
    client, url = signed_in(), f"/routes/{route.pk}/"
    for headers in ({}, {"HX-Request": "true"}):
        text = client.get(url, headers=headers).content.decode()
        assert "Breaker open" in text and "on 1 of 1 proxy" in text
    assert client.get(f"{url}breaker/").status_code == 405
    sent = {"target": "0:sim-east/sim-chat", "state": "open", "minutes": "15", "reason": "it lies"}
    answer = client.post(f"{url}breaker/", sent)
    assert answer.status_code == 302 and "?version=" in answer["Location"]
    text = client.get(answer["Location"]).content.decode()
    assert "sim-east/sim-chat is forced open" in text and "it lies" in text and 'data-opens="force-0"' not in text
    for _ in range(2):
        assert client.post(f"{url}breaker/release/", {"target": "sim-east/sim-chat"}).status_code == 302
    assert Route.objects.get().forced == []
    assert AuditEvent.objects.filter(action="route.breaker_release").count() == 1


def test_the_page_refuses_what_is_not_as_it_was_shown(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}/breaker/"
    good = {"target": "0:sim-east/sim-chat", "state": "open", "minutes": "", "reason": "r"}
    for wrong in ({"target": "1:sim-east/sim-chat"}, {"target": ""}, {"state": "ajar"}, {"minutes": "7"}, {"reason": ""}):
        answer = client.post(url, good | wrong, follow=True)
        assert "toast tone-bad" in answer.content.decode() and Route.objects.get().forced == [], wrong


def test_wrong_person(signed_in: Callable[..., Client], route: Route) -> None:
    viewer, stranger = signed_in("viewer"), signed_in("admin", Organisation.objects.create(name="Other", slug="other-tests"))
    for path in ("breaker", "breaker/release"):
        sent = {"target": "0:sim-east/sim-chat", "state": "open", "minutes": "", "reason": "r"}
        assert viewer.post(f"/routes/{route.pk}/{path}/", sent).status_code == 403
        assert stranger.post(f"/routes/{route.pk}/{path}/", sent).status_code == 404
    assert Route.objects.get().forced == []
