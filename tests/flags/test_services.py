"""Flags: set, flipped with a reason, deleted, restored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.accounts.services import user_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.snapshot import FlagFragment, encode_fragment
from apps.flags import selectors, services, snapshot
from apps.flags.models import Flag
from apps.publishing.models import TouchedFragment

SUBJECT = str(uuid4())


def touched() -> set[tuple[str, str]]:
    found = set(TouchedFragment.objects.values_list("section", "object_id"))
    TouchedFragment.objects.all().delete()
    return found


@pytest.fixture
def flag(organisation: Organisation, actor: Actor) -> Flag:
    made = services.flag_set(
        actor=actor, organisation=organisation, name="chat-fallback", kind="fallback", subject_kind="route", subject_id=SUBJECT
    )
    assert touched() == {("flags", str(made.pk))}
    return made


def test_a_flip_is_audited_and_an_event_and_the_second_changes_nothing(flag: Flag, actor: Actor) -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    flip: dict[str, Any] = {
        "actor": actor,
        "organisation": flag.organisation,
        "name": flag.name,
        "on": True,
        "reason": "east is down",
        "until": until,
    }
    services.flag_flip(**flip)
    assert touched() == {("flags", str(flag.pk))}
    services.flag_flip(**flip)
    assert touched() == set()
    event = AuditEvent.objects.get(action="flag.flip", seq=None)
    assert event.reason == "east is down" and event.after["on"] is True
    fact = Event.objects.get(kind="flag.flip")
    assert fact.data["on"] is True and fact.data["reason"] == "east is down"
    fragment = snapshot.flags.build(None)[str(flag.pk)]
    assert isinstance(fragment, FlagFragment)
    assert (fragment.on, fragment.until_ms, fragment.subject_id) == (True, 1_893_456_000_000, SUBJECT)
    assert [row.name for row in selectors.flags_on(flag.organisation)] == [flag.name]
    services.flag_flip(actor=actor, organisation=flag.organisation, name=flag.name, on=False, reason="back")
    assert not selectors.flags_on(flag.organisation).exists() and Flag.objects.get().until is None


def test_a_flip_needs_a_reason_and_a_flag(flag: Flag, actor: Actor) -> None:
    for changes, field in (
        ({"reason": " "}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"name": "other"}, "name"),
        ({"until": datetime(2030, 1, 1)}, "until"),
    ):
        arguments = {"name": flag.name, "on": True, "reason": "why"} | changes
        with pytest.raises(ServiceError) as caught:
            services.flag_flip(actor=actor, organisation=flag.organisation, **arguments)
        assert caught.value.field == field
    assert touched() == set()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Not A Name"}, "name"),
        ({"kind": "pause"}, "kind"),
        ({"subject_kind": "team"}, "subject_kind"),
        ({"kind": "fallback", "subject_kind": "key"}, "subject_kind"),
        ({"subject_id": "chat"}, "subject_id"),
        ({"reason": "x" * 301}, "reason"),
        ({"purpose": "a\x00b"}, "purpose"),
    ],
)
def test_wrong_input_is_refused(organisation: Organisation, actor: Actor, changes: dict[str, Any], field: str) -> None:
    arguments = {"name": "f", "kind": "kill", "subject_kind": "route", "subject_id": SUBJECT} | changes
    with pytest.raises(ServiceError) as caught:
        services.flag_set(actor=actor, organisation=organisation, **arguments)
    assert caught.value.field == field and not Flag.objects.exists()


def test_set_again_delete_restore(flag: Flag, actor: Actor) -> None:
    organisation = flag.organisation
    arguments: dict[str, Any] = {"name": flag.name, "kind": "fallback", "subject_kind": "route", "subject_id": SUBJECT}
    services.flag_set(actor=actor, organisation=organisation, **arguments)
    assert touched() == set()
    services.flag_set(actor=actor, organisation=organisation, **arguments, on=True, reason="drill")
    old, object_id = snapshot.flags.build(None)[str(flag.pk)], str(flag.pk)
    services.flag_delete(actor=actor, flag=Flag.objects.get())
    services.flag_set(actor=actor, organisation=organisation, **arguments)
    snapshot.flags.restore(actor=actor, object_id=object_id, fragment=old, reason="rollback")
    assert {key: encode_fragment(value) for key, value in snapshot.flags.build(None).items()} == {object_id: encode_fragment(old)}
    snapshot.flags.restore(actor=actor, object_id=object_id, fragment=None, reason="rollback")
    assert not Flag.objects.exists()


def test_a_person_without_the_role_is_refused(flag: Flag, actor: Actor) -> None:
    person = Actor.of_user(user_create(actor=actor, email="v@example.org", password="long enough one"))
    organisation = flag.organisation
    for call in (
        lambda: services.flag_set(actor=person, organisation=organisation, name="x", kind="kill", subject_kind="key", subject_id=SUBJECT),
        lambda: services.flag_flip(actor=person, organisation=organisation, name=flag.name, on=True, reason="x"),
        lambda: services.flag_delete(actor=person, flag=flag),
    ):
        with pytest.raises(PermissionRefused):
            call()
