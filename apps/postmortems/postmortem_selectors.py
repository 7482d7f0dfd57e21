"""Reading postmortems, templates and factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone as clock

from apps.accounts.models import Organisation, User
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.models import Factor, Incident, Postmortem, PostmortemEvidence, PostmortemSign, PostmortemTemplate, PostmortemText
from apps.postmortems.postmortem_rules import signs_lacking


@dataclass(frozen=True, slots=True)
class Template:
    """What postmortems are made of now. version: 0 while the organisation has written none of its own. row: None then."""

    version: int
    sections: tuple[choices.Section, ...]
    due_days: int
    sign_offs: int
    row: PostmortemTemplate | None = None


def template_now(organisation: Organisation) -> Template:
    """The template that holds: one query."""
    rows = PostmortemTemplate.objects.filter(organisation=organisation).select_related("draft_key", "tracker")
    row = rows.order_by("-version").first()
    if row is None:
        return Template(0, choices.SECTIONS, choices.DUE_DAYS, 1)
    sections = tuple(choices.Section(one["key"], one["title"], one["help"], one["required"]) for one in row.sections)
    return Template(row.version, sections, row.due_days, row.sign_offs, row)


def postmortems(organisation: Organisation) -> QuerySet[Postmortem]:
    """An organisation's postmortems with incident, owner, and ``open_actions``."""
    rows = Postmortem.objects.filter(organisation=organisation).select_related("incident", "owner", "organisation")
    return rows.annotate(open_actions=Count("actions", filter=Q(actions__state="open")))


def postmortem_get(organisation: Organisation, postmortem_id: UUID | str) -> Postmortem | None:
    """One with its incident, owner and whoever has it open."""
    rows = Postmortem.objects.filter(organisation=organisation, pk=postmortem_id)
    return rows.select_related("incident__organisation", "owner", "held_by", "organisation").first()


def incidents_lacking(organisation: Organisation, levels: Sequence[str]) -> QuerySet[Incident]:
    """Incidents of some severities that are over and have no postmortem yet, the oldest first."""
    rows = Incident.objects.filter(organisation=organisation, severity__in=levels, state__in=("resolved", "closed"))
    return rows.filter(postmortem=None).order_by("number")


def factors(organisation: Organisation, *, retired: bool = False) -> QuerySet[Factor]:
    """The vocabulary, by title; ``used``: in how many postmortems."""
    rows = Factor.objects.filter(organisation=organisation).annotate(used=Count("postmortems"))
    return rows if retired else rows.filter(retired_at=None)


def evidence_of(postmortem: Postmortem, take: int | None = None) -> dict[str, PostmortemEvidence]:
    """By query, of one taking; None: of the one that is shown."""
    rows = PostmortemEvidence.objects.filter(postmortem=postmortem, take=postmortem.take if take is None else take)
    return {row.query: row for row in rows}


def signs_of(postmortem: Postmortem) -> list[PostmortemSign]:
    """Sign-offs of the text as it stands."""
    return list(PostmortemSign.objects.filter(postmortem=postmortem, revision=postmortem.revision))


def lacking_signs(postmortem: Postmortem, signs: Sequence[PostmortemSign] | None = None) -> int:
    """How many sign-offs of the text as it stands are still missing."""
    found = signs_of(postmortem) if signs is None else signs
    owner = str(postmortem.owner_id or "")
    return signs_lacking(postmortem.sign_offs_needed, [row.person for row in found], owner=owner, authors=postmortem.authors)


def versions_of(postmortem: Postmortem, *, most: int = 50) -> list[PostmortemText]:
    """Earlier texts and those that were set aside, the latest first."""
    return list(PostmortemText.objects.filter(postmortem=postmortem).defer("texts")[:most])


def holder_of(postmortem: Postmortem) -> User | None:
    """Who has the editor open now."""
    return postmortem.held_by if postmortem.held_until is not None and postmortem.held_until > clock.now() else None
