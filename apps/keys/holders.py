"""Whoever holds a key's secret: the one person to whom it was shown. They may replace it and revoke the key without being allowed to change
keys, while they have a role in the team that owns it and the key lies inside what that team's members make by themselves.

A manager who replaces the secret takes the key out of its holder's hands, and one who widens the key beyond the team's template does,
too: nobody gets at more by a new secret than they could have made.
"""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys.models import KeyTemplate, VirtualKey
from apps.keys.template_services import bounds_of
from apps.keys.wishes import Wish, outgrown


def holder_of(actor: Actor) -> str:
    """Whom a secret is shown to that the actor makes; nobody in particular where a command makes it."""
    return actor.id if actor.kind == "user" else ""


def outgrown_by(key: VirtualKey, team: UUID | None) -> list[str]:
    """What of a key lies outside its team's bounds now, in words: one query. team: the team that owns it."""
    wish = Wish(key.name, environment=key.environment, routes=tuple(key.routes), expires_at=key.expires_at)
    template = KeyTemplate.objects.filter(team=team).first() if team is not None else None
    return outgrown(bounds_of(template), wish, now=timezone.now())


def holder_require(*, actor: Actor, key: VirtualKey, team: UUID | None, action: str, own: str) -> None:
    """Raises unless the actor may do ``action`` to the key, or ``own`` to a key of their own. key: locked by the caller."""
    organisation = key.organisation
    mine = actor.kind == "user" and bool(key.holder_id) and key.holder_id == actor.id
    if not mine or permitted(actor=actor, action=action, organisation=organisation, team=team):
        permission_require(actor=actor, action=action, organisation=organisation, team=team)
        return
    permission_require(actor=actor, action=own, organisation=organisation, team=team)
    reasons = outgrown_by(key, team)
    if reasons:
        raise ServiceError(f"you hold this key's secret, but the key is more than you may make alone: {'; '.join(reasons)}. Ask a manager.")
