"""Whether somebody can be reached on every on-call rotation, looked at once a minute and told on every page.

Nobody is reachable where the rotation covers this hour and nobody is on, or where whoever is on has no way to be told. An hour that a
rotation does not cover is no fault of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import CharField, F
from django.db.models.functions import Cast, JSONObject
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.alerts.channel_models import Unreachable
from apps.alerts.receivers import no_way, rotations_watched, ways_of
from apps.audit.registry import event_record
from apps.ownership.rotation_selectors import standing

EVENT = "alert.unreachable"
FACT = "unreachable"
"""Of every page's query of the fleet."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A rotation on which nobody can be reached now. id: the rotation's."""

    id: str
    rotation: str
    why: str


def gaps_of(organisation: Organisation, *, at: datetime | None = None) -> list[Gap]:
    """The rotations of one organisation on which nobody can be reached at a moment (default: now)."""
    found = []
    turns = standing(rotations_watched(organisation), at=at or clock.now())
    ways = ways_of([turn.user for turn in turns if turn.user], organisation)
    for turn in turns:
        name = turn.rotation.name
        if turn.user is None and turn.covered:
            found.append(Gap(str(turn.rotation.pk), name, "Nobody is on."))
        elif turn.user is not None and not ways[turn.user.pk]:
            found.append(Gap(str(turn.rotation.pk), name, no_way(turn.user)))
    return found


def reachability_watch(*, now: datetime | None = None) -> int:
    """Write down where nobody can be reached; how many rotations that are. A new one is a fact on every timeline.

    A simulated organisation is passed over: nobody has to come for it, and a first look at the demo is no place for a red banner.
    """
    now = now or clock.now()
    organisations = Organisation.objects.filter(rotations__isnull=False, simulated=False).distinct().order_by("slug")
    return sum(_watch(organisation, now) for organisation in organisations)


@transaction.atomic
def _watch(organisation: Organisation, now: datetime) -> int:
    found = {gap.id: gap for gap in gaps_of(organisation, at=now)}
    known = {str(row.pk): row for row in Unreachable.objects.select_for_update().filter(organisation=organisation)}
    Unreachable.objects.filter(pk__in=known.keys() - found.keys()).delete()
    for pk, gap in found.items():
        if pk in known:
            if known[pk].why != gap.why:
                Unreachable.objects.filter(pk=pk).update(why=gap.why[:300])
            continue
        Unreachable.objects.bulk_create(
            [Unreachable(rotation_id=pk, organisation=organisation, why=gap.why[:300], since=now)], ignore_conflicts=True
        )
        event_record(
            kind=EVENT,
            subject_kind="rotation",
            subject_id=pk,
            subject_name=gap.rotation,
            at=now,
            data={"organisation": str(organisation.pk), "why": gap.why},
        )
    return len(found)


def unreachable_fact() -> ArraySubquery:
    """Rotations on which nobody can be reached, of all organisations, for ``register_page_fact``."""
    told = JSONObject(organisation=Cast("organisation_id", CharField()), id=Cast("pk", CharField()), name=F("rotation__name"), why="why")
    return ArraySubquery(Unreachable.objects.order_by("rotation__name").annotate(told=told).values("told"))


def unreachable_told(facts: Mapping[str, Any], organisation_id: str) -> list[Gap]:
    """What the fact says of one organisation. facts: of ``apps.publishing.selectors.page_facts_of``."""
    rows = facts.get(FACT) or ()
    return [Gap(row["id"], row["name"], row["why"]) for row in rows if row["organisation"] == organisation_id]
