"""Reads of requests for flips: who waits for whom, what is open, what became of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone as clock

from apps.accounts.rules import roles_for, team_roles_for
from apps.flags import change_choices as choices
from apps.flags.models import ChangeRequest, Flag, TwoPersonRule

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.accounts.scope import Choice

VIEWS = ("open", "mine", "reviews", "history")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests each tab has. mine: those that wait for this person, reviews they can close among them."""

    open: int
    mine: int
    reviews: int
    history: int


def changes_of(organisation: Organisation) -> QuerySet[ChangeRequest]:
    """An organisation's requests with their flags and teams, the newest first."""
    return ChangeRequest.objects.filter(organisation=organisation).select_related("flag", "flag__owner", "team")


def change_get(organisation: Organisation, change_id: UUID) -> ChangeRequest | None:
    """One request with what its page shows."""
    return changes_of(organisation).select_related("organisation").filter(pk=change_id).first()


def changes_shown(choice: Choice, user_id: object, show: str) -> QuerySet[ChangeRequest]:
    """The requests of one tab (``VIEWS``)."""
    return changes_of(choice.organisation).filter(_tab(choice, user_id, show))


def change_counts(choice: Choice, user_id: object) -> Counts:
    """All tabs' counts: one query."""
    found: dict[str, Any] = ChangeRequest.objects.filter(organisation=choice.organisation).aggregate(
        **{show: Count("pk", filter=_tab(choice, user_id, show)) for show in VIEWS}
    )
    return Counts(**found)


def open_changes_of(flag: Flag) -> QuerySet[ChangeRequest]:
    """What waits or is scheduled for one flag: for its own page."""
    return ChangeRequest.objects.filter(flag=flag, state__in=choices.OPEN_STATES).order_by("at", "asked_at")


def two_person_rules_of(organisation: Organisation, *, now: datetime | None = None) -> QuerySet[TwoPersonRule]:
    """The rules that hold now, also those that end within a day."""
    holds = Q(ends_at=None) | Q(ends_at__gt=now or clock.now())
    return TwoPersonRule.objects.filter(holds, organisation=organisation).select_related("team").order_by("created_at")


def flags_resting(organisation: Organisation, *, now: datetime | None = None) -> list[Flag]:
    """Flags that were not exercised for as long as they say, the most neglected first."""
    now = now or clock.now()
    rows = Flag.objects.filter(organisation=organisation, stale_after_days__gt=0).select_related("owner")
    return sorted((flag for flag in rows if flag.stale(now)), key=lambda flag: flag.exercised_at or flag.created_at)


def flags_expiring(organisation: Organisation) -> QuerySet[Flag]:
    """Flags that have an expiry, the one that passed first or comes next on top."""
    return Flag.objects.filter(organisation=organisation, expires_at__isnull=False).select_related("owner").order_by("expires_at")


def _tab(choice: Choice, user_id: object, show: str) -> Q:
    if show == "mine":
        return _decidable(choice, user_id, "change.approve", Q(state=choices.WAITING)) | _decidable(
            choice, user_id, "breakglass.review", Q(review=choices.OPEN)
        )
    if show == "reviews":
        return Q(review=choices.OPEN)
    return Q(state__in=choices.OPEN_STATES) if show == "open" else ~Q(state__in=choices.OPEN_STATES)


def _decidable(choice: Choice, user_id: object, action: str, which: Q) -> Q:
    """Requests of others that this person may decide: in the whole organisation, or of flags that their teams own."""
    which &= ~Q(asked_kind="user", asked_id=str(user_id))
    if choice.role in roles_for(action):
        return which
    teams = [team for team, role in choice.teams.items() if role in team_roles_for(action)]
    return which & Q(flag__owner_id__in=teams) if teams else Q(pk__in=[])
