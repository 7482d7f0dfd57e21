"""Whose rules about two persons a flag takes: of the team that owns it, and of the team that owns what it is about.

So a new flag under another team's name switches nothing that a team guards. Who owned the target within the last day counts too, as a
rule that is removed holds on for a day: nobody gives a route away, flips alone and takes it back.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.utils import timezone as clock

from apps.flags.change_rules import LOOSENING
from apps.flags.choices import SWITCHES
from apps.flags.models import Flag
from apps.ownership.models import Team
from apps.ownership.owned import owned_kinds, owners_lately, owning_team


def teams_concerned(flag: Flag, *, now: datetime | None = None) -> frozenset[str]:
    """Ids of those teams; empty where nobody owns the flag or its target. At most two queries beside the flag.

    A degradation of a team's requests is that team's matter. Models, features and regions, and what is about the whole organisation, belong
    to no team: a rule that is to hold for them names no owner.
    """
    own = {str(flag.owner_id)} if flag.owner_id is not None else set()
    return frozenset(own | target_teams(flag, now=now))


def answering(flag: Flag) -> list[UUID | None]:
    """The team that answers for what a flag switches, None where only the organisation does; empty for a release, which switches nothing.

    Whoever makes a flag act on something must be allowed to change flags there: of that team, or of the whole organisation.
    """
    if flag.kind not in SWITCHES:
        return []
    if flag.subject_kind == "team":
        return [Team.objects.filter(organisation_id=flag.organisation_id, slug=flag.subject_id).values_list("pk", flat=True).first()]
    if flag.subject_kind not in owned_kinds():
        return [None]
    return [owning_team(flag.organisation, kind=flag.subject_kind, object_id=flag.subject_id)]


def target_teams(flag: Flag, *, now: datetime | None = None) -> set[str]:
    """Ids of the teams that own what a flag is about, or did within a day."""
    if flag.subject_kind == "team":
        rows = Team.objects.filter(organisation_id=flag.organisation_id, slug=flag.subject_id)
        return {str(pk) for pk in rows.values_list("pk", flat=True)}
    if flag.subject_kind not in owned_kinds():
        return set()
    since = (now or clock.now()) - LOOSENING
    return {str(pk) for pk in owners_lately(flag.organisation, kind=flag.subject_kind, object_id=flag.subject_id, since=since)}
