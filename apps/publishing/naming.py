"""What the ids of a diff are called: from what this process holds anyway, then from who is an organisation, then from the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from apps.accounts.models import Organisation
from apps.audit.models import AuditEvent
from apps.publishing.preview import ObjectChange, Recorded
from apps.publishing.state import names_held
from apps.publishing.wording import ids_in

MOST_IDS = 500
"""Ids looked up for one page; what is beyond them is shown as it is."""
KINDS = ("provider", "credential", "route", "key", "budget", "limit", "discount", "organisation", "team", "service")


def names_of(changes: Iterable[ObjectChange | Recorded], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Id -> name for every id that a page of ``changes`` shows and somebody named. known: names that the caller has.

    No query where those and the config at hand name all; one or two otherwise.
    """
    ids = ids_in(changes)
    found = names_held(ids) | {key: name for key, name in (known or {}).items() if key in ids}
    if missing := set(islice(ids - found.keys(), MOST_IDS)):
        found |= {str(pk): name for pk, name in Organisation.objects.filter(pk__in=missing).values_list("pk", "name")}
    if missing := missing - found.keys():
        # What is gone, or has a name nowhere in the config: called as when it was last decided on.
        events = AuditEvent.objects.filter(subject_kind__in=KINDS, subject_id__in=missing).exclude(subject_name="")
        found |= dict(events.order_by("subject_id", "-seq").distinct("subject_id").values_list("subject_id", "subject_name"))
    return found
