"""Virtual keys: shown once, stored as digests, revoked for good."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.accounts.services import organisation_ensure, user_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import KeyFragment
from apps.keys import selectors, services, snapshot
from apps.keys.models import KeyDigest, VirtualKey
from apps.ownership.services import service_ensure, team_ensure
from apps.publishing.models import TouchedFragment

FOREIGN = "sk-from-another-gateway-0001"


def fragment(key: VirtualKey) -> KeyFragment:
    found = snapshot.keys.build({str(key.pk)})[str(key.pk)]
    assert isinstance(found, KeyFragment)
    return found


def touched() -> set[tuple[str, str]]:
    found = set(TouchedFragment.objects.values_list("section", "object_id"))
    TouchedFragment.objects.all().delete()
    return found


def test_create_gives_a_token_that_is_stored_nowhere(organisation: Organisation, actor: Actor) -> None:
    key, token = services.key_create(actor=actor, organisation=organisation, name="app", tags=["a"], feature="chat")
    assert token.startswith(f"bk-{key.public_id}-")
    assert fragment(key).digests == [services.key_digest(token)]
    assert touched() == {("keys", str(key.pk))}
    event = AuditEvent.objects.get(action="key.create", seq=None)
    for kept in (repr((event.before, event.after)), repr(list(VirtualKey.objects.values()))):
        assert token not in kept and token.split("-", 2)[2] not in kept and services.key_digest(token) not in kept


def test_import_keeps_a_foreign_token_and_takes_none_twice(organisation: Organisation, actor: Actor) -> None:
    key = services.key_import(actor=actor, organisation=organisation, name="old", token=FOREIGN)
    assert selectors.key_by_digest(services.key_digest(FOREIGN)) == key
    other = organisation_ensure(actor=actor, slug="other", name="Other")
    for where in (organisation, other):
        with pytest.raises(ServiceError) as caught:
            services.key_import(actor=actor, organisation=where, name="again", token=FOREIGN)
        assert caught.value.field == "secret" and FOREIGN not in caught.value.message
    assert VirtualKey.objects.count() == 1


@pytest.mark.parametrize("token", ["short", "x" * 300, "with a space in it", "bk-cut-short-xyz", "ünicode-in-the-token"])
def test_tokens_refused_without_repeating_them(organisation: Organisation, actor: Actor, token: str) -> None:
    with pytest.raises(ServiceError) as caught:
        services.key_import(actor=actor, organisation=organisation, name="k", token=token)
    assert caught.value.field == "secret" and token not in caught.value.message
    assert not VirtualKey.objects.exists() and not KeyDigest.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "No Spaces"}, "name"),
        ({"environment": "prod"}, "environment"),
        ({"feature": "a,b"}, "feature"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"tags": [str(n) for n in range(21)]}, "tags"),
        ({"routes": []}, "routes"),
        ({"routes": ["*", "a"]}, "routes"),
        ({"routes": ["a b"]}, "routes"),
        ({"expires_at": datetime(2030, 1, 1)}, "expires_at"),
    ],
)
def test_wrong_input_is_refused(organisation: Organisation, actor: Actor, changes: dict, field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        services.key_create(actor=actor, organisation=organisation, **({"name": "k"} | changes))
    assert caught.value.field == field and not VirtualKey.objects.exists()


def test_update_changes_what_is_given_and_nothing_twice(organisation: Organisation, actor: Actor) -> None:
    team = team_ensure(actor=actor, organisation=organisation, slug="platform")
    service = service_ensure(actor=actor, team=team, slug="chat")
    key, _ = services.key_create(actor=actor, organisation=organisation, name="app", feature="chat")
    touched()
    until = datetime(2030, 1, 1, tzinfo=UTC)
    services.key_update(actor=actor, key=key, service=service, expires_at=until, reason="owner found")
    assert touched() == {("keys", str(key.pk))}
    shown = fragment(key)
    assert (shown.team, shown.service, shown.feature, shown.expires_at_ms) == ("platform", "chat", "chat", 1_893_456_000_000)
    services.key_update(actor=actor, key=key, service=service, expires_at=until)
    assert touched() == set()
    services.key_update(actor=actor, key=key, service=None, expires_at=None)
    assert (fragment(key).service, fragment(key).expires_at_ms) == ("", None)


def test_a_revoked_key_is_a_tombstone_and_frees_its_name(organisation: Organisation, actor: Actor) -> None:
    key, token = services.key_create(actor=actor, organisation=organisation, name="app")
    with pytest.raises(ServiceError, match="exists"):
        services.key_create(actor=actor, organisation=organisation, name="app")
    services.key_revoke(actor=actor, key=key, reason="leaked")
    touched()
    services.key_revoke(actor=actor, key=key)
    assert touched() == set()
    assert fragment(key).state == "revoked" and fragment(key).digests == [services.key_digest(token)]
    with pytest.raises(ServiceError, match="revoked"):
        services.key_update(actor=actor, key=key, feature="x")
    with pytest.raises(ServiceError, match="was revoked with"):
        services.key_import(actor=actor, organisation=organisation, name="app", token=token)
    again, _ = services.key_create(actor=actor, organisation=organisation, name="app")
    assert again.pk != key.pk and len(snapshot.keys.build(None)) == 2
    assert snapshot.keys.restore is None


def test_a_replaced_token_closes_the_old_one(organisation: Organisation, actor: Actor) -> None:
    key, token = services.key_create(actor=actor, organisation=organisation, name="app")
    services.key_token_replace(actor=actor, key=key, token=FOREIGN)
    assert fragment(key).digests == [services.key_digest(FOREIGN)]
    assert selectors.key_by_digest(services.key_digest(token)) is None
    touched()
    services.key_token_replace(actor=actor, key=key, token=FOREIGN)
    assert touched() == set()


def test_owners_of_another_organisation_and_people_without_the_role_are_refused(organisation: Organisation, actor: Actor) -> None:
    other = organisation_ensure(actor=actor, slug="other", name="Other")
    team = team_ensure(actor=actor, organisation=other, slug="theirs")
    with pytest.raises(ServiceError, match="another organisation"):
        services.key_create(actor=actor, organisation=organisation, name="k", team=team)
    key, _ = services.key_create(actor=actor, organisation=organisation, name="k")
    person = Actor.of_user(user_create(actor=actor, email="v@example.org", password="long enough one"))
    for call in (
        lambda: services.key_create(actor=person, organisation=organisation, name="x"),
        lambda: services.key_import(actor=person, organisation=organisation, name="x", token=FOREIGN),
        lambda: services.key_update(actor=person, key=key, feature="x"),
        lambda: services.key_token_replace(actor=person, key=key, token=FOREIGN),
        lambda: services.key_revoke(actor=person, key=key),
    ):
        with pytest.raises(PermissionRefused):
            call()


def test_no_pepper_names_its_setting(organisation: Organisation, actor: Actor, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("BULKHEAD_KEY_PEPPER")
    monkeypatch.setenv("BULKHEAD_DATA_DIR", str(tmp_path))
    with pytest.raises(ServiceError, match="BULKHEAD_KEY_PEPPER"):
        services.key_create(actor=actor, organisation=organisation, name="k")
