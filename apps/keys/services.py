"""Writes of virtual keys: atomic, audited (never a token or digest), noted for the next publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.contracts.tokens import new_token, public_id_of, token_digest
from apps.keys import rules
from apps.keys.holders import holder_of, holder_require
from apps.keys.models import KeyDigest, VirtualKey
from apps.keys.neighbours import KeyWalls, walls_set
from apps.keys.wishes import check_limits
from apps.publishing.services import section_touch
from controlplane import env

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.ownership.models import Service, Team


def key_digest(token: str) -> str:
    """Hex HMAC of a token under the installation's pepper."""
    pepper = env.secret("BULKHEAD_KEY_PEPPER", "key_pepper")
    if not pepper:
        raise ServiceError("there is no key pepper: set BULKHEAD_KEY_PEPPER, or start once with `manage.py up`, which makes one")
    return token_digest(pepper, token.encode()).hex()


class KeyFacts(TypedDict, total=False):
    """What a person decides about a key. service brings its team; team alone is for keys without a service."""

    environment: str
    feature: str
    tags: Sequence[str]
    routes: Sequence[str]
    team: Team | None
    service: Service | None
    expires_at: datetime | None
    enabled: bool
    priority: str
    explain: bool
    source: str
    addresses: Sequence[str]


@transaction.atomic
def key_create(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    reason: str = "",
    limits: Mapping[str, int] | None = None,
    budget_nano: int = 0,
    budget_window: str = "month",
    **facts: Unpack[KeyFacts],
) -> tuple[VirtualKey, str]:
    """A new key and its token. The token is not stored: this is the only time it can be shown.

    limits: kind of limit -> amount. budget_nano: a hard budget in nano-dollars per ``budget_window``, 0: none. Both hold from the key's
    first request on. Raises PermissionRefused, also for whoever makes keys inside a team's bounds only: ``request_services`` is for them.
    """
    public_id, token = new_token()
    unbounded_require(actor=actor, organisation=organisation, team=owner_of(facts))
    key = key_add(actor, organisation, name, facts, public_id, {key_digest(token): "hmac"}, reason, holder=holder_of(actor))
    wall = KeyWalls(str(key.pk), key.name, public_id, check_limits(limits or {}), budget_nano, budget_window)
    walls_set(actor=actor, organisation=organisation, walls=[wall], reason=reason)
    return key, token


@transaction.atomic
def key_import(
    *, actor: Actor, organisation: Organisation, name: str, token: str, reason: str = "", **facts: Unpack[KeyFacts]
) -> VirtualKey:
    """A key for a token that exists already, of any shape. Raises ServiceError where the token opens a key already."""
    unbounded_require(actor=actor, organisation=organisation, team=owner_of(facts))
    rules.check_token(token)
    public_id = public_id_of(token)
    if public_id is None or VirtualKey.objects.filter(public_id=public_id).exists():
        public_id, _ = new_token()
    return key_add(actor, organisation, name, facts, public_id, {key_digest(token): "hmac"}, reason)


@transaction.atomic
def key_update(*, actor: Actor, key: VirtualKey, reason: str = "", **facts: Unpack[KeyFacts]) -> VirtualKey:
    """Change what is given, leave the rest. Raises ServiceError for a revoked key: it stays as it was.

    Who gives a key to another team must be allowed to change the keys of both.
    """
    permission_require(actor=actor, action="key.change", organisation=key.organisation, team=team_of(key))
    key = _active(key)
    before, was = key_facts(key), team_of(key)
    _take(key, facts)
    _check(key)
    if team_of(key) != was:
        permission_require(actor=actor, action="key.change", organisation=key.organisation, team=team_of(key))
    after = key_facts(key)
    changed = [field for field in after if after[field] != before[field]]
    if not changed:
        return key
    key.save()
    change_record(actor, "key.update", key, {f: before[f] for f in changed}, {f: after[f] for f in changed}, reason)
    if changed != ["source"]:
        section_touch(section="keys", ids=[str(key.id)])
    return key


@transaction.atomic
def key_token_replace(*, actor: Actor, key: VirtualKey, token: str, reason: str = "") -> VirtualKey:
    """From the next publish on, only this token opens the key; the same token again changes nothing.

    For a token that exists already and is kept elsewhere; ``key_rotate`` makes a new one.
    """
    permission_require(actor=actor, action="key.change", organisation=key.organisation, team=team_of(key))
    rules.check_token(token)
    key = _active(key)
    digest = key_digest(token)
    if {(row.digest, row.expires_at) for row in key.digest_rows.all()} == {(digest, None)}:
        return key
    key.digest_rows.exclude(digest=digest).delete()
    if not key.digest_rows.exists():
        _digests_add(key, {digest: "hmac"})
    key.digest_rows.update(expires_at=None)
    _held(key, "")
    change_record(actor, "key.rotate", key, {}, {"value_changed": True}, reason)
    section_touch(section="keys", ids=[str(key.id)])
    return key


@transaction.atomic
def key_rotate(*, actor: Actor, key: VirtualKey, old_until: datetime | None = None, reason: str = "") -> tuple[VirtualKey, str]:
    """A new token for a key, and the only time it can be shown; the public id stays.

    old_until: until when the present token opens the key too; None: it opens nothing from the next publish on. Tokens that were
    replaced earlier never live longer than they were given. Who may not change the key may do this where they hold its secret
    (``holders``). Raises ServiceError for a key that is kept in a file or variable.
    """
    key = _active(key)
    holder_require(actor=actor, key=key, team=team_of(key), action="key.change", own="own_key.rotate")
    now = timezone.now()
    rules.check_old_until(old_until, now=now)
    if key.source:
        raise ServiceError(f"this key's secret is read from {key.source}: change it there and apply the document", "source")
    if old_until is None:
        key.digest_rows.all().delete()
    else:
        key.digest_rows.filter(expires_at__lte=now).delete()
        key.digest_rows.filter(expires_at=None).update(expires_at=old_until)
        if key.digest_rows.count() >= rules.MAX_TOKENS:
            raise ServiceError("too many replaced secrets are still valid: let the present one end at once, or wait", "old_until")
    _, token = new_token(key.public_id)
    _digests_add(key, {key_digest(token): "hmac"})
    _held(key, holder_of(actor))
    change_record(actor, "key.rotate", key, {}, {"value_changed": True, "old_valid_until": old_until}, reason)
    section_touch(section="keys", ids=[str(key.id)])
    return key, token


def key_disable(*, actor: Actor, key: VirtualKey, reason: str = "") -> VirtualKey:
    """From the next publish on, apps that use the key get ``key_disabled``; a second time changes nothing."""
    return key_update(actor=actor, key=key, enabled=False, reason=reason)


def key_enable(*, actor: Actor, key: VirtualKey, reason: str = "") -> VirtualKey:
    """Undo ``key_disable``."""
    return key_update(actor=actor, key=key, enabled=True, reason=reason)


@transaction.atomic
def key_revoke(*, actor: Actor, key: VirtualKey, reason: str = "") -> VirtualKey:
    """Revoke for good: the key stays as a tombstone, its name becomes free. A second time changes nothing. Whoever holds its secret may
    (``holders``), too."""
    key = _locked(key)
    holder_require(actor=actor, key=key, team=team_of(key), action="key.revoke", own="own_key.revoke")
    if key.state == "revoked":
        return key
    key.state, key.revoked_at = "revoked", timezone.now()
    key.save()
    change_record(actor, "key.revoke", key, {"state": "active"}, {"state": "revoked"}, reason)
    section_touch(section="keys", ids=[str(key.id)])
    return key


def key_facts(key: VirtualKey) -> dict[str, Any]:
    """What the audit keeps of a key: every field, neither token nor digest."""
    team = key.service.team if key.service else key.team
    return {
        "environment": key.environment,
        "feature": key.feature,
        "tags": list(key.tags),
        "routes": list(key.routes),
        "team": team.slug if team else "",
        "service": key.service.slug if key.service else "",
        "expires_at": key.expires_at,
        "enabled": key.enabled,
        "priority": key.priority,
        "explain": key.explain,
        "source": key.source,
        "addresses": list(key.addresses),
    }


def team_of(key: VirtualKey) -> UUID | None:
    """Id of the team that owns a key, by itself or by its service."""
    return key.service.team_id if key.service is not None else key.team_id


def owner_of(facts: KeyFacts) -> UUID | None:
    """The same of a key that is to be made."""
    service, team = facts.get("service"), facts.get("team")
    return service.team_id if service is not None else team.pk if team is not None else None


def unbounded_require(*, actor: Actor, organisation: Organisation, team: UUID | None) -> None:
    """Raises unless the actor may make any key for the team (None: for nobody). A member of the team makes keys inside its bounds, and is
    told where."""
    permission_require(actor=actor, action="key.create", organisation=organisation, team=team)
    if not permitted(actor=actor, action="key.change", organisation=organisation, team=team):
        raise ServiceError(
            "your role makes keys inside the bounds of your team: use Ask for a key, which makes them at once where the bounds allow it",
            "service",
        )


def key_add(
    actor: Actor,
    organisation: Organisation,
    name: str,
    facts: KeyFacts,
    public_id: str,
    digests: Mapping[str, str],
    reason: str,
    *,
    holder: str = "",
) -> VirtualKey:
    """A row and its digests (hex digest -> kind), for services that have asked for the permission, in their transaction. holder: whoever
    is shown its secret."""
    rules.check_name(name)
    if VirtualKey.objects.filter(organisation=organisation, name=name, state="active").exists():
        raise ServiceError(f"a key named {name!r} exists: choose another name, or revoke that one first", "name")
    key = VirtualKey(organisation=organisation, name=name, public_id=public_id, holder_id=holder)
    _take(key, facts)
    _check(key)
    key.save(force_insert=True)
    _digests_add(key, digests)
    change_record(actor, "key.create", key, {}, {"public_id": public_id, **key_facts(key)}, reason)
    section_touch(section="keys", ids=[str(key.id)])
    return key


def _take(key: VirtualKey, facts: KeyFacts) -> None:
    """Set what is given. A service given brings its team."""
    unknown = facts.keys() - KeyFacts.__annotations__.keys()
    if unknown:
        raise TypeError(f"a key has no {', '.join(sorted(unknown))}")
    for field, value in facts.items():
        setattr(key, field, list(value) if field in ("tags", "routes", "addresses") else value)  # type: ignore[call-overload]
    if facts.get("service") is not None:
        key.team = None


def _digests_add(key: VirtualKey, digests: Mapping[str, str]) -> None:
    for taken in KeyDigest.objects.select_related("key").filter(digest__in=list(digests)):
        if taken.key.organisation_id != key.organisation_id:
            raise ServiceError("this secret opens another key of this installation already: use a new one", "secret")
        state = "was revoked with" if taken.key.state == "revoked" else "opens"
        raise ServiceError(f"this secret {state} the key {taken.key.name!r}: use a new one", "secret")
    KeyDigest.objects.bulk_create([KeyDigest(key=key, digest=digest, kind=kind) for digest, kind in digests.items()])


def _held(key: VirtualKey, holder: str) -> None:
    if key.holder_id != holder:
        key.holder_id = holder
        key.save(update_fields=["holder_id"])


def _locked(key: VirtualKey) -> VirtualKey:
    rows = VirtualKey.objects.select_for_update(of=("self",)).select_related("team", "service", "service__team", "organisation")
    return rows.get(pk=key.pk)


def _active(key: VirtualKey) -> VirtualKey:
    key = _locked(key)
    if key.state != "active":
        raise ServiceError(f"the key {key.name!r} was revoked and stays so: create a new one", "key")
    return key


def _check(key: VirtualKey) -> None:
    rules.check_environment(key.environment)
    rules.check_priority(key.priority)
    rules.check_feature(key.feature)
    rules.check_tags(key.tags)
    rules.check_routes(key.routes)
    rules.check_expiry(key.expires_at)
    key.addresses = rules.check_addresses(key.addresses)
    for owner, field in ((key.team, "team"), (key.service.team if key.service else None, "service")):
        if owner is not None and owner.organisation_id != key.organisation_id:
            raise ServiceError(f"the {field} belongs to another organisation", field)
