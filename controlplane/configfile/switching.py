"""Flags in the document: entries -> the service."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.flags.models import Flag
from apps.flags.selectors import flags_of
from apps.flags.services import flag_set
from apps.keys.selectors import key_named
from apps.providers.selectors import provider_named
from apps.routes.selectors import route_named
from controlplane.configfile.document import FlagEntry
from controlplane.configfile.finding import fields_of, team_of
from controlplane.configfile.ownership import runbook_id, team_named
from controlplane.configfile.standing import flag_standing


def flag_apply(organisation: Organisation, entry: FlagEntry, *, actor: Actor) -> Flag:
    """Make a flag what the entry says; how it stands only where the entry says that."""
    subjects = ("route", "provider", "key", "model", "feature", "team", "region")
    named = [kind for kind in subjects if getattr(entry, kind)]
    if len(named) > 1 or (not named and entry.kind not in ("degrade", "release")):
        said = "of route, provider, key, model and feature" if entry.kind == "kill" else f"of {', '.join(subjects)}"
        raise ServiceError(f"name exactly one {said}", named[1] if named else "kind")
    subject = named[0] if named else "organisation"
    find: dict[str, Callable[[], object]] = {
        "route": lambda: route_named(organisation, entry.route).pk,
        "provider": lambda: provider_named(organisation, entry.provider).pk,
        "key": lambda: key_named(organisation, entry.key).pk,
        "team": lambda: team_of(organisation, entry.team).slug,
        "organisation": lambda: organisation.pk,
    }
    subject_id = find[subject]() if subject in find else getattr(entry, subject)
    field = named[0] if named else "kind"
    standing = flags_of(organisation).filter(name=entry.name).first() if entry.on is None else None
    if standing is not None:  # what on-call did in an emergency is no document's to undo unless it says so
        entry = msgspec.structs.replace(entry, **flag_standing(standing))
    with fields_of({"subject_kind": field, "subject_id": field, "expires_at": "expires", "acknowledged": "acknowledge"}):
        flag = flag_set(
            actor=actor,
            organisation=organisation,
            name=entry.name,
            kind=entry.kind,
            subject_kind=subject,
            subject_id=str(subject_id),
            level=entry.level,
            rules=entry.rules,
            default=entry.default,
            on=bool(entry.on),
            reason=entry.reason,
            until=entry.until,
            share=entry.share,
            simulated_only=entry.simulated_only,
            acknowledge=entry.acknowledge,
            owner=team_named(organisation, entry.owner, "owner"),
            purpose=entry.purpose,
            runbook=runbook_id(organisation, entry.runbook),
            expires_at=entry.expires,
            stale_after_days=entry.stale_after_days,
        )
    return flag
