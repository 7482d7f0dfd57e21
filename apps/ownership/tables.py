"""The lists of teams, rotations and runbooks: what their URLs ask for, their rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Count, Q
from django.urls import reverse
from django.utils import timezone

from apps.accounts.scope import Choice
from apps.ownership import choices
from apps.ownership.models import Runbook
from apps.ownership.rotation_selectors import OnCall, on_call_now, rotations_of, standing
from apps.ownership.selectors import teams
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build


def _asked(query: Mapping[str, str]) -> str:
    return query.get("q", "").replace("\x00", "").strip()[:200]


def _chips(asked: str) -> list[Chip]:
    return [Chip("Search", asked, "q")] if asked else []


_TEAMS: tuple[Column[Any], ...] = (
    Column("Team", "name", value=lambda row: row.name),
    Column("On call now", value=lambda row: ", ".join(found.user.email if found.user else "nobody" for found in row.on_call)),
    Column("Services", "services", numeric=True, order=("service_count",), value=lambda row: row.service_count),
    Column("Contacts", "contacts", numeric=True, order=("contact_count",), value=lambda row: row.contact_count),
    Column(
        "Cells",
        "cells",
        numeric=True,
        order=("cell_count",),
        value=lambda row: row.cell_count,
        help="Layers in regions that it answers for.",
    ),
    Column("E-mail", "email", extra=True, order=("contact_email",), value=lambda row: row.contact_email),
)


def teams_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Any]:
    """One page of the organisation's teams, each with ``on_call`` (``OnCall`` of its rotations): five queries."""
    asked = _asked(query)
    counts = {
        f"{name}_count": Count(path, distinct=True) for name, path in (("service", "services"), ("contact", "contacts"), ("cell", "cells"))
    }
    rows = teams(organisation=choice.organisation).annotate(**counts)
    if asked:
        rows = rows.filter(Q(name__icontains=asked) | Q(slug__icontains=asked) | Q(services__name__icontains=asked)).distinct()
    listing: Listing[Any] = listing_build(
        query,
        label="teams",
        columns=_TEAMS,
        rows=list(rows) if csv else rows,
        default_sort="name",
        nothing_yet=Empty(
            "nothing-yet",
            "No team yet",
            "A team answers for routes, keys, budgets and flags, and for its own services.",
            reverse("ownership:team_create") if choice.may("team.change") else "",
            "Add a team",
        ),
        chips=_chips(asked),
    )
    on_call: dict[Any, list[OnCall]] = {}
    for found in on_call_now(organisation=choice.organisation):
        on_call.setdefault(found.rotation.team_id, []).append(found)
    for row in listing.everything if csv else listing.rows:
        row.on_call = on_call.get(row.pk, [])
    return listing


def _person(found: OnCall) -> str:
    return found.user.email if found.user else found.status.label


_ROTATIONS: tuple[Column[OnCall], ...] = (
    Column("Rotation", "name", value=lambda row: row.rotation.name),
    Column("For", "team", value=lambda row: row.rotation.team.name if row.rotation.team else "the whole organisation"),
    Column("Now", "now", value=_person),
    Column("Until", "until", value=lambda row: row.until.isoformat(timespec="minutes") if row.until else ""),
    Column("Next", "next", value=lambda row: row.next_user.email if row.next_user else ""),
    Column("Kind", "kind", extra=True, value=lambda row: choices.ROTATION_KINDS[row.rotation.kind]),
)


def rotations_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[OnCall]:
    """The organisation's rotations with who is on now; those where nobody is stand first unless sorted otherwise: three queries."""
    asked, kind = _asked(query), query.get("kind", "")
    rows = rotations_of(choice.organisation)
    chips = _chips(asked)
    if kind in choices.ROTATION_KINDS:
        rows = rows.filter(kind=kind)
        chips.append(Chip("Kind", choices.ROTATION_KINDS[kind], "kind"))
    if asked:
        rows = rows.filter(
            Q(name__icontains=asked) | Q(team__name__icontains=asked) | Q(member_rows__user__email__icontains=asked)
        ).distinct()
    found = standing(list(rows), at=timezone.now())
    if not query.get("sort"):
        found.sort(key=lambda row: (row.status is not choices.GAP, row.rotation.name))
    return listing_build(
        query,
        label="rotations",
        columns=_ROTATIONS,
        rows=found,
        default_sort="",
        nothing_yet=Empty(
            "nothing-yet",
            "Nobody is on call yet",
            "A rotation says who is on call now and next, hands over by the clock of its time zone, and shows its gaps.",
            reverse("ownership:rotation_create") if choice.may("rotation.change") else "",
            "Add a rotation",
        ),
        chips=chips,
    )


def runbook_status(book: Runbook) -> Status:
    """Whether a runbook can be trusted."""
    if book.overdue():
        return choices.OVERDUE if book.reviewed_at else choices.UNREVIEWED
    return choices.REVIEWED


_RUNBOOKS: tuple[Column[Any], ...] = (
    Column("Runbook", "title", value=lambda row: row.title),
    Column("Owner", "owner", order=("owner__name",), value=lambda row: row.owner.name if row.owner else ""),
    Column("State", value=lambda row: runbook_status(row).label),
    Column(
        "Reviewed",
        "reviewed",
        order=("reviewed_at",),
        value=lambda row: row.reviewed_at.isoformat(timespec="seconds") if row.reviewed_at else "",
    ),
    Column("By", extra=True, value=lambda row: row.reviewed_by),
)


def runbooks_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Any]:
    """One page of the organisation's runbooks, found by title or text: two queries."""
    asked = _asked(query)
    rows = Runbook.objects.filter(organisation=choice.organisation).select_related("owner").defer("text")
    if asked:
        rows = rows.filter(Q(title__icontains=asked) | Q(name__icontains=asked) | Q(text__icontains=asked))
    return listing_build(
        query,
        label="runbooks",
        columns=_RUNBOOKS,
        rows=rows,
        default_sort="title",
        nothing_yet=Empty(
            "nothing-yet",
            "No runbook yet",
            "What to do when something breaks, where whoever is on call finds it: flags link to it.",
            reverse("ownership:runbook_create") if choice.may("runbook.change") else "",
            "Write a runbook",
        ),
        chips=_chips(asked),
    )
