"""A key's priority and its right to explanations: stored, audited, shipped to proxies, edited in its form, refused when unknown."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import KeyFragment
from apps.keys import services, snapshot
from apps.keys.forms import KeyForm
from apps.keys.models import VirtualKey


def fragment(key: VirtualKey) -> KeyFragment:
    found = snapshot.keys.build({str(key.pk)})[str(key.pk)]
    assert isinstance(found, KeyFragment)
    return found


def test_a_change_is_audited_once_and_reaches_the_proxies(demo: Organisation, actor: Actor) -> None:
    key, _ = services.key_create(actor=actor, organisation=demo, name="app")
    assert (fragment(key).priority, fragment(key).explain) == ("normal", False)
    for _ in range(2):
        key = services.key_update(actor=actor, key=key, priority="low", explain=True)
    assert (fragment(key).priority, fragment(key).explain) == ("low", True)
    event = AuditEvent.objects.get(action="key.update", seq=None)
    assert event.before == {"priority": "normal", "explain": False} and event.after == {"priority": "low", "explain": True}
    services.key_update(actor=actor, key=key, feature="chat")
    assert (fragment(key).priority, fragment(key).explain) == ("low", True)


def test_an_unknown_priority_is_refused(demo: Organisation, actor: Actor) -> None:
    with pytest.raises(ServiceError) as caught:
        services.key_create(actor=actor, organisation=demo, name="app", priority="urgent")
    assert caught.value.field == "priority" and "high, normal, low" in caught.value.message
    assert not VirtualKey.objects.exists()


def test_the_form_gives_both_and_normal_where_nothing_was_chosen(demo: Organisation) -> None:
    sent = {"name": "app", "environment": "production", "all_routes": "on", "priority": "high", "explain": "on"}
    form = KeyForm(sent, organisation=demo, known=[])
    assert form.is_valid(), form.errors
    assert (form.facts()["priority"], form.facts()["explain"]) == ("high", True)
    bare = KeyForm({name: sent[name] for name in ("name", "environment", "all_routes")}, organisation=demo, known=[])
    assert bare.is_valid() and (bare.facts()["priority"], bare.facts()["explain"]) == ("normal", False)
    assert not KeyForm(sent | {"priority": "urgent"}, organisation=demo, known=[]).is_valid()
