"""Switching traffic, disabling and enabling: what services do, what a rollback brings back, what pages refuse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.snapshot import RouteFragment, encode_fragment
from apps.publishing.models import TouchedFragment
from apps.publishing.services import publish
from apps.routes import services, snapshot
from apps.routes.models import Route, RouteSwitch
from apps.routes.rules import TargetSpec
from tests.routes.conftest import EAST, WEST


def fragment(route: Route) -> RouteFragment:
    found = snapshot.routes.build({str(route.pk)})[str(route.pk)]
    assert isinstance(found, RouteFragment)
    return found


def test_a_switch_is_a_fragment_an_audit_event_and_a_fact(route: Route, actor: Actor) -> None:
    TouchedFragment.objects.all().delete()
    until = timezone.now() + timedelta(hours=1)
    services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow", until=until, failover=False)
    shown = fragment(route).switch
    assert shown is not None and shown.target.provider == "sim-west" and not shown.failover
    assert shown.until_ms == int(until.timestamp() * 1000)
    assert TouchedFragment.objects.filter(section="routes", object_id=str(route.pk)).count() == 1
    services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow", until=until, failover=False)
    assert AuditEvent.objects.filter(action="route.switch").count() == 1 == Event.objects.filter(kind="route.switch").count()
    services.route_switch_back(actor=actor, route=route, reason="well again")
    services.route_switch_back(actor=actor, route=route)
    assert fragment(route).switch is None and AuditEvent.objects.filter(action="route.switch_back").count() == 1


def test_wrong_switches_are_refused(route: Route, actor: Actor) -> None:
    now = timezone.now()
    for target, more, field in (
        (TargetSpec("sim-west", "other"), {"reason": "r"}, "target"),
        (WEST, {"reason": "  "}, "reason"),
        (WEST, {"reason": "r" * 301}, "reason"),
        (WEST, {"reason": "r", "until": now - timedelta(seconds=1)}, "until"),
    ):
        with pytest.raises(ServiceError) as caught:
            services.route_switch(actor=actor, route=route, target=target, **more)  # type: ignore[arg-type]
        assert caught.value.field == field
    assert not RouteSwitch.objects.exists()


def test_the_target_of_a_switch_stays_while_it_lasts(route: Route, actor: Actor) -> None:
    services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow")
    with pytest.raises(ServiceError, match="switch it back"):
        services.route_update(actor=actor, route=route, targets=[EAST])
    services.route_update(actor=actor, route=route, targets=[WEST, EAST])
    assert RouteSwitch.objects.count() == 1


def test_a_rollback_brings_switches_back_and_takes_them_away(route: Route, actor: Actor) -> None:
    before = fragment(route)
    services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow")
    during = fragment(route)
    snapshot.routes.restore(actor=actor, object_id=str(route.pk), fragment=before, reason="rollback")
    assert encode_fragment(fragment(route)) == encode_fragment(before)
    snapshot.routes.restore(actor=actor, object_id=str(route.pk), fragment=during, reason="rollback")
    assert encode_fragment(fragment(route)) == encode_fragment(during)
    # one whose target is gone since, and one that has run out since, come back without
    services.route_switch_back(actor=actor, route=route)
    services.route_update(actor=actor, route=route, targets=[EAST])
    snapshot.routes.restore(actor=actor, object_id=str(route.pk), fragment=during, reason="rollback")
    assert fragment(route).switch is not None


def test_the_owner_stays_where_nobody_names_one(route: Route, actor: Actor, demo: Organisation) -> None:
    from apps.ownership.services import team_ensure

    team = team_ensure(actor=actor, organisation=demo, slug="platform")
    services.route_update(actor=actor, route=route, owner=team)
    services.route_ensure(actor=actor, organisation=demo, name="demo-chat", targets=[EAST, WEST])
    assert Route.objects.get().owner == team
    other = Organisation.objects.create(name="Other", slug="other-tests")
    theirs = team_ensure(actor=actor, organisation=other, slug="theirs")
    with pytest.raises(ServiceError, match="another organisation"):
        services.route_update(actor=actor, route=route, owner=theirs)


def test_the_page_switches_publishes_and_switches_back(signed_in: Callable[..., Client], route: Route, actor: Actor) -> None:
    publish(actor=actor, reason="before", full=True)
    client, url = signed_in(), f"/routes/{route.pk}/switch/"
    sent = {"target": "1:sim-west/sim-chat", "minutes": "60", "failover": "on", "reason": "east is slow"}
    answer = client.post(url, sent)
    assert answer.status_code == 302 and "?version=" in answer["Location"]
    switch = RouteSwitch.objects.get()
    assert switch.provider.name == "sim-west" and switch.failover and switch.by == "admin-demo-tests@example.test"
    assert switch.until is not None and timedelta(minutes=59) < switch.until - timezone.now() < timedelta(minutes=61)
    text = client.get(answer["Location"]).content.decode()
    assert "All traffic goes to sim-west/sim-chat" in text and "east is slow" in text
    assert client.get(f"/routes/{route.pk}/spread/?version=2", headers={"HX-Request": "true"}).status_code == 200
    assert client.get(f"/routes/{route.pk}/spread/?version=2").status_code == 302
    client.post(f"/routes/{route.pk}/switch/back/")
    client.post(f"/routes/{route.pk}/switch/back/")
    assert not RouteSwitch.objects.exists()


def test_the_page_refuses_what_is_not_as_it_was_shown(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}/switch/"
    for sent in (
        {"target": "0:sim-west/sim-chat", "minutes": "", "reason": "r"},
        {"target": "9:sim-west/sim-chat", "minutes": "", "reason": "r"},
        {"target": "", "minutes": "", "reason": "r"},
        {"target": "1:sim-west/sim-chat", "minutes": "1e9", "reason": "r"},
        {"target": "1:sim-west/sim-chat", "minutes": "60", "reason": ""},
    ):
        answer = client.post(url, sent, follow=True)
        assert answer.status_code == 200 and not RouteSwitch.objects.exists(), sent
        assert "toast tone-bad" in answer.content.decode()


def test_disable_and_enable(signed_in: Callable[..., Client], route: Route) -> None:
    client, url = signed_in(), f"/routes/{route.pk}"
    assert client.get(f"{url}/disable/").status_code == 405
    client.post(f"{url}/disable/", {"reason": ""})
    assert Route.objects.get().enabled
    for _ in range(2):
        client.post(f"{url}/disable/", {"reason": "bad answers"})
        assert not Route.objects.get().enabled
    assert AuditEvent.objects.filter(action="route.update", reason="bad answers").count() == 1
    client.post(f"{url}/enable/")
    assert Route.objects.get().enabled


def test_wrong_person(signed_in: Callable[..., Client], route: Route) -> None:
    viewer = signed_in("viewer")
    stranger = signed_in("admin", Organisation.objects.create(name="Other", slug="other-tests"))
    for path in ("disable", "enable", "switch", "switch/back"):
        sent = {"reason": "r", "target": "1:sim-west/sim-chat", "minutes": ""}
        assert viewer.post(f"/routes/{route.pk}/{path}/", sent).status_code == 403
        assert stranger.post(f"/routes/{route.pk}/{path}/", sent).status_code == 404
        assert viewer.get(f"/routes/{route.pk}/{path}/").status_code in (403, 405)
    assert Route.objects.get().enabled and not RouteSwitch.objects.exists()
