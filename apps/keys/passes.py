"""Using a key from the dashboard: a pass for one request, never its secret."""

from __future__ import annotations

import time

from django.db import transaction

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.contracts.passes import new_pass
from apps.keys.models import VirtualKey
from apps.keys.services import team_of
from controlplane import env

ACTION = "playground.use"


@transaction.atomic
def key_pass(*, actor: Actor, key: VirtualKey, route: str, body: bytes, dry: bool = False) -> str:
    """A pass that opens ``key`` for the one request with this body, for a minute; the audit keeps who had it and for which route, never
    what was asked. dry: only a dry run is meant. Raises PermissionRefused, ServiceError without a pepper.

    Whether the key still opens anything is the proxy's to say, as it would to an app.
    """
    permission_require(actor=actor, action=ACTION, organisation=key.organisation, team=team_of(key))
    pepper = env.secret("BULKHEAD_KEY_PEPPER", "key_pepper")
    if not pepper:
        raise ServiceError("there is no key pepper: set BULKHEAD_KEY_PEPPER, or start once with `manage.py up`, which makes one")
    audit_record(
        actor=actor, action=ACTION, subject_kind="key", subject_id=key.pk, subject_name=key.name, after={"route": route, "dry_run": dry}
    )
    return new_pass(pepper, key_id=str(key.pk), body=body, now_ms=int(time.time() * 1000))
