"""``manage.py flag``: flipped and published in one go, or refused with what to do."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.flags.models import ChangeRequest, Flag, FlagFlip
from apps.flags.services import flag_set
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.managed import Listed, managed_set
from apps.publishing.selectors import head_number
from apps.publishing.services import publish
from tests.flags.conftest import Switches


def flag(*words: str, **options: Any) -> str:
    said = StringIO()
    call_command("flag", *words, stdout=said, **options)
    return said.getvalue()


@pytest.fixture
def stop(organisation: Organisation, actor: Actor) -> Flag:
    """A kill switch for a provider, off, published as v1."""
    endpoint = EndpointSpec("a", "https://api.example.com/v1")
    provider = provider_ensure(actor=actor, organisation=organisation, name="east", kind="openai", endpoints=[endpoint])
    made = flag_set(
        actor=actor, organisation=organisation, name="stop-east", kind="kill", subject_kind="provider", subject_id=str(provider.pk)
    )
    publish(actor=actor, reason="first")
    return made


def test_on_and_off_are_published_at_once_and_the_second_time_changes_nothing(stop: Flag) -> None:
    assert flag("on", "stop-east", "--reason", "east burns", "--for", "30m").endswith("UTC, from v2 on.\n")
    stop.refresh_from_db()
    assert stop.on and stop.reason == "east burns" and stop.until is not None
    assert flag("off", "stop-east", "--reason", "east is back") == "The flag stop-east is off, from v3 on.\n"
    assert flag("off", "stop-east", "--reason", "again") == "The flag stop-east is off; it was so already.\n"
    stop.refresh_from_db()
    assert not stop.on and stop.until is None and head_number() == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("on", "stop-west", "--reason", "x"), "no flag 'stop-west'"),
        (("on", "stop-east", "--reason", " "), "say why"),
        (("on", "stop-east", "--reason", "x", "--organisation", "elsewhere"), "--organisation"),
        (("on", "stop-east", "--reason", "x", "--for", "0m"), "--for"),
        (("on", "stop-east", "--reason", "x", "--for", "366d"), "--for"),
        (("on", "stop-east", "--reason", "x", "--share", "101"), "0 to 100"),
        (("off", "stop-east", "--reason", "x", "--for", "5"), "unrecognized"),
        (("on", "stop-east"), "--reason"),
        (("set", "stop-east", "--reason", "x", "--kind", "stop"), "kind"),
        (("set", "stop-east", "--reason", "x", "--rules", '{"strategies": [{"name": "soon"}]}'), "soon"),
        (("set", "stop-east", "--reason", "x", "--rules", "{"), "JSON"),
        (("show", "stop-west"), "flag list"),
    ],
)
def test_a_refusal_says_what_to_do_and_changes_nothing(stop: Flag, words: tuple[str, ...], said: str) -> None:
    before = Flag.objects.values().get()
    with pytest.raises(CommandError, match=said):
        flag(*words)
    assert Flag.objects.values().get() == before and head_number() == 1


def test_flags_are_listed_shown_made_and_changed(stop: Flag) -> None:
    assert flag("list") == "stop-east: kill of the provider east: off\n"
    assert "No flag is on" in flag("list", "--on")
    rules = '{"strategies": [{"name": "userWithId", "parameters": {"userIds": "u-1"}}]}'
    flag("set", "stop-east", "--reason", "for one user", "--rules", rules, "--purpose", "East is out.", "--stale-after-days", "7")
    stop.refresh_from_db()
    assert (stop.on, stop.stale_after_days, stop.rules["strategies"][0]["name"]) == (False, 7, "userWithId")
    shown = flag("show", "stop-east")
    for line in ("provider: east", "purpose: East is out.", "stale_after_days: 7", "now: off"):
        assert line in shown
    flag("on", "stop-east", "--reason", "drill", "--share", "5", "--simulated", "--for", "1h")
    assert "for 5 percent, simulated routes only" in flag("list", "--on")
    assert "is set, from v" in flag("set", "slow", "--reason", "new", "--kind", "degrade", "--level", "limited")
    made = Flag.objects.get(name="slow")
    assert (made.subject_kind, made.subject_id, made.on) == ("organisation", str(made.organisation_id), False)


def test_what_leaves_a_route_without_a_target_is_refused_unless_one_says_so(switches: Switches) -> None:
    words = ("on", switches.stop.name, "--organisation", switches.organisation.slug, "--reason", "east burns")
    with pytest.raises(CommandError, match="'chat' would have no target left: the flag 'stop-east'"):
        flag(*words)
    switches.stop.refresh_from_db()
    assert not switches.stop.on and head_number() == 1
    assert flag(*words, "--acknowledge") == "The flag stop-east is on, from v2 on.\n"
    switches.stop.refresh_from_db()
    assert switches.stop.on and switches.stop.acknowledged


def test_a_preview_does_nothing_and_a_flip_keeps_what_was_foretold(switches: Switches) -> None:
    where = ("--organisation", switches.organisation.slug)
    switches.work("east", 600, cost=6_000_000)
    words = ("on", switches.fallback.name, *where, "--reason", "east burns")
    said = flag(*words, "--preview")
    assert "requests/min more to west/m" in said and "600 requests" in said and said.endswith("Nothing was done.\n")
    assert not FlagFlip.objects.exists() and head_number() == 1
    flag(*words)
    kept = FlagFlip.objects.get()
    assert (kept.turn_on, kept.version, kept.by, kept.predicted["requests"]) == (True, 2, "flag", 600)
    flag(*words)
    assert FlagFlip.objects.count() == 1, "the second time nothing was flipped"


def test_the_next_apply_is_told_where_a_document_manages_the_flag(stop: Flag) -> None:
    managed_set(
        actor=Actor.command("apply"), organisation=stop.organisation, document="bulkhead.yaml", by="ops", version=1,
        listed=[Listed("flag", str(stop.pk), "flags", stop.name, {"on": False})],
    )  # fmt: skip
    said = flag("on", "stop-east", "--reason", "east burns")
    assert said.endswith("bulkhead.yaml says off: its next apply turns the flag off again, unless that is changed there.\n")
    assert "next apply" not in flag("off", "stop-east", "--reason", "east is back")


def test_a_flip_is_scheduled_from_the_command_line(stop: Flag) -> None:
    day = (timezone.now() + timedelta(days=3)).date()
    said = flag("on", "stop-east", "--reason", "they move", "--at", f"{day}T12:00", "--zone", "Asia/Tokyo", "--for", "2h")
    assert said == f"The flag stop-east goes on at {day} 03:00 UTC, scheduled: a worker does it.\n"
    row = ChangeRequest.objects.get()
    assert row.until is not None and row.at is not None and row.until - row.at == timedelta(hours=2) and row.zone == "Asia/Tokyo"
    for words, says in (
        (("--at", "tomorrow"), "is no time"),
        (("--at", "2020-01-01T00:00"), "the time has passed"),
        (("--at", f"{day}T12:00", "--zone", "Mars"), "is no time zone"),
    ):
        with pytest.raises(CommandError, match=says):
            flag("on", "stop-east", "--reason", "x", *words)
    assert not Flag.objects.get(pk=stop.pk).on
