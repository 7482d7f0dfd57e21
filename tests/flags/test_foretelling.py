"""What previews read: since when things are as they are, what a stop gives back, and one key's part, in whole buckets."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.flags.consequences import Prediction
from apps.flags.detail import fragment_of
from apps.flags.measuring import Flip, Question, outcome_of
from apps.flags.models import Flag
from apps.flags.services import flag_flip, flag_set
from apps.keys.models import VirtualKey
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from tests.flags.conftest import Switches


def asked(switches: Switches, flag: Flag, *, on: bool, now: datetime) -> Prediction:
    scope = Scope(organisation=str(switches.organisation.pk), simulated=True)
    return Question(organisation=switches.organisation, scope=scope, flip=Flip(fragment_of(flag), on), now=now).answer()


def flipped(actor: Actor, switches: Switches, flag: Flag, *, on: bool) -> datetime:
    """Flips and publishes; the moment after it."""
    flag_flip(actor=actor, organisation=switches.organisation, name=flag.name, on=on, reason="a drill", acknowledge=True)
    publish(actor=actor, reason="a drill")
    flag.refresh_from_db()
    return timezone.now()


def test_a_route_that_was_stopped_gets_back_what_it_had(switches: Switches, actor: Actor) -> None:
    stop = flag_set(actor=actor, organisation=switches.organisation, name="stop-chat", kind="kill", subject_kind="route",
                    subject_id=switches.route.pk)  # fmt: skip
    publish(actor=actor, reason="a flag more")
    switches.work("east", 600, cost=90_000_000, ttft_ms=200)
    at = flipped(actor, switches, stop, on=True)
    for seconds in range(20, 140, 10):
        switches.work("", 10, at=at + timedelta(seconds=seconds))
    found = asked(switches, stop, on=False, now=at + timedelta(seconds=150))
    assert found.refused_then == 0 and found.refused_per_minute == pytest.approx(-60, rel=0.2)
    [east] = found.gaining
    assert east.target == "east/m" and east.then_per_minute == pytest.approx(-found.refused_per_minute)
    assert found.cost_now == 0 and found.cost_then == pytest.approx(east.then_per_minute * 60 * 150_000, rel=0.01)
    assert found.ttft_then == pytest.approx(200_000, rel=0.02) and found.gaps == []


def test_a_key_that_was_stopped_gets_back_its_part(switches: Switches, actor: Actor) -> None:
    key = VirtualKey.objects.create(organisation=switches.organisation, name="robot", public_id="robot")
    stop = flag_set(actor=actor, organisation=switches.organisation, name="stop-robot", kind="kill", subject_kind="key",
                    subject_id=key.pk)  # fmt: skip
    publish(actor=actor, reason="a flag more")
    switches.work("east", 300, cost=45_000_000, ttft_ms=200, key=str(key.pk))
    at = flipped(actor, switches, stop, on=True)
    whole = at.replace(second=0, microsecond=0) + timedelta(minutes=1)  # the minute of the flip has both in it, and says nothing
    switches.work("east", 999, at=at, key=str(key.pk))
    for minute in range(1, 3):
        switches.work("", 60, at=whole + timedelta(minutes=minute), key=str(key.pk))
    now = whole + timedelta(minutes=3, seconds=30)
    found = asked(switches, stop, on=False, now=now)
    assert found.minutes == 2 and found.refused_per_minute == -60 and found.refused_then == 0
    assert [(one.target, one.then_per_minute) for one in found.gaining] == [("east/m", 60)]
    assert found.cost_then == pytest.approx(60 * 60 * 150_000, rel=0.01) and found.ttft_then == pytest.approx(200_000, rel=0.02)
    scope = Scope(organisation=str(switches.organisation.pk), simulated=True)
    outcome = outcome_of(scope, ["chat"], whole + timedelta(minutes=1), whole + timedelta(minutes=3), whose=("key_id", str(key.pk)))
    assert outcome is not None and outcome.refused_per_minute == 60  # refused before anybody knew their route


def test_only_flips_that_change_what_a_route_does_begin_its_figures_anew(switches: Switches, actor: Actor) -> None:
    endpoint = EndpointSpec(name="main", base_url="https://north.example.test/v1")
    north = provider_ensure(
        actor=actor, organisation=switches.organisation, name="north", kind="openai", endpoints=[endpoint], simulated=True
    )
    aside = flag_set(actor=actor, organisation=switches.organisation, name="stop-north", kind="kill", subject_kind="provider",
                     subject_id=north.pk)  # fmt: skip
    publish(actor=actor, reason="a flag more")
    switches.work("east", 600, cost=90_000_000)
    at = flipped(actor, switches, aside, on=True)
    found = asked(switches, switches.fallback, on=True, now=at + timedelta(seconds=1))
    assert found.requests == 600 and found.moved_per_minute == pytest.approx(60, rel=0.1)
    at = flipped(actor, switches, switches.stop, on=True)  # east, which the route asks
    assert "a moment ago" in asked(switches, switches.fallback, on=True, now=at + timedelta(seconds=1)).gaps[0]
