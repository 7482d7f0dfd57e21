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


IN_PRODUCTION = {
    "strategies": [{"name": "default", "constraints": [{"contextName": "environment", "operator": "IN", "values": ["production"]}]}]
}


def test_everything_a_flag_says_is_checked_kept_and_published(organisation: Organisation, actor: Actor) -> None:
    expires = datetime(2031, 1, 1, tzinfo=UTC)
    good: dict[str, Any] = {
        "name": "slow", "kind": "degrade", "subject_kind": "team", "subject_id": "search", "level": "limited", "rules": IN_PRODUCTION,
        "runbook": "https://example.org/slow", "expires_at": expires, "stale_after_days": 7, "on": True, "share": 5, "simulated_only": True,
    }  # fmt: skip
    for changes, field in (
        ({"level": "full"}, "level"),
        ({"level": "broken"}, "level"),
        ({"kind": "kill", "subject_kind": "route", "subject_id": SUBJECT}, "level"),
        ({"subject_id": " "}, "subject_id"),
        ({"subject_kind": "organisation", "subject_id": str(uuid4())}, "subject_id"),
        ({"subject_kind": "provider", "subject_id": str(uuid4())}, "subject_kind"),
        ({"rules": {"strategies": [{"name": "sometimes"}]}}, "rules"),
        ({"rules": {"variants": [{"name": "a", "weight": 1}]}}, "rules"),
        (
            {"rules": {"strategies": [{"name": "default", "constraints": [{"contextName": "x", "operator": "REGEX", "value": "a"}]}]}},
            "rules",
        ),
        ({"rules": {"dependencies": [{"feature": "nobody"}]}}, "rules"),
        ({"rules": {"dependencies": [{"feature": "slow"}]}}, "rules"),
        ({"default": "minimal"}, "default"),
        ({"runbook": "javascript:alert(1)"}, "runbook"),
        ({"expires_at": datetime(2031, 1, 1)}, "expires_at"),
        ({"stale_after_days": -1}, "stale_after_days"),
        ({"share": 101}, "share"),
    ):
        with pytest.raises(ServiceError) as caught:
            services.flag_set(actor=actor, organisation=organisation, **(good | changes))
        assert caught.value.field == field, changes
    assert not Flag.objects.exists()
    flag = services.flag_set(actor=actor, organisation=organisation, **good)
    assert flag.exercised_at is not None and not flag.stale() and flag.stale(expires) and flag.expired(expires)
    fragment = snapshot.flags.build(None)[str(flag.pk)]
    assert isinstance(fragment, FlagFragment)
    assert (fragment.level, fragment.rules, fragment.share, fragment.simulated_only) == ("limited", IN_PRODUCTION, 5, True)
    services.flag_flip(actor=actor, organisation=organisation, name="slow", on=False, reason="enough")
    flag.refresh_from_db()
    assert (flag.share, flag.simulated_only, flag.acknowledged) == (100, False, False), "a drill goes with its flip"
    snapshot.flags.restore(actor=actor, object_id=str(flag.pk), fragment=fragment, reason="rollback")
    assert snapshot.flags.build(None)[str(flag.pk)] == fragment
    flag.refresh_from_db()
    assert (flag.runbook, flag.expires_at, flag.stale_after_days) == (good["runbook"], expires, 7), "what proxies are not told stays"


def test_flags_depend_on_flags_that_depend_on_none(organisation: Organisation, actor: Actor) -> None:
    def made(name: str, *parents: str, kind: str = "kill") -> Flag:
        about = ("feature", name) if kind == "kill" else ("organisation", str(organisation.pk))
        return services.flag_set(
            actor=actor, organisation=organisation, name=name, kind=kind, subject_kind=about[0], subject_id=about[1],
            rules={"dependencies": [{"feature": parent} for parent in parents]},
        )  # fmt: skip

    parent, release = made("parent"), made("release", kind="release")
    made("child", "parent")
    for name, parents, said in (
        ("grandchild", ["child"], "depends on 'parent' itself"),
        ("parent", ["child"], "wait for each other"),
        ("other", ["release"], "proxies do not evaluate"),
    ):
        with pytest.raises(ServiceError, match=said):
            made(name, *parents)
    made("second")
    with pytest.raises(ServiceError, match="'child' depends on it"):
        made("parent", "second")
    with pytest.raises(ServiceError, match="'child' depends on it"):
        services.flag_delete(actor=actor, flag=parent)
    assert [made("app", "release", kind="release").kind, release.kind] == ["release", "release"]
