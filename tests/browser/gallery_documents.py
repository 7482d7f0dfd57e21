"""Things that documents manage, as their documents say and otherwise, for the gallery."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from django.utils import timezone

from apps.accounts.models import Organisation


def documents_seed(organisation: Organisation, document: str, *, by: str, most: int = 12) -> None:
    """The first routes, flags and limits of an organisation are managed; every third was edited by hand since."""
    from apps.publishing.models import ManagedThing
    from controlplane.configfile.managed import THINGS
    from controlplane.configfile.writing import entry_of

    now = timezone.now()
    for section in ("routes", "flags", "limits"):
        kind, ids = THINGS[section]
        for at, (name, object_id) in enumerate(sorted(ids(organisation).items())[:most]):
            said = msgspec.to_builtins(entry_of(organisation, section, name)) or {}
            if at % 3 == 0 and "enabled" in said:
                said["enabled"] = not said["enabled"]
            ManagedThing.objects.create(
                organisation=organisation, kind=kind, object_id=object_id, section=section, name=name, document=document[:200],
                line=12 + at, said=said, applied_at=now - timedelta(hours=at), applied_by=by[:300], version=1,
                edited_at=now if at % 3 == 0 else None, edited_by=by if at % 3 == 0 else "",
            )  # fmt: skip
