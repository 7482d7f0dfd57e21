"""What teams own of the apps above: providers, routes, keys, budgets, flags. ``controlplane/owned.py`` lists them by dotted path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Protocol
from uuid import UUID

from django.db import models, transaction
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils.module_loading import import_string

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.audit.services import change_record
from apps.ownership.attainment import MonthMeasured
from apps.ownership.models import Holding, Runbook, Service, Sla, Team

MOST_AT_ONCE = 1000
"""Objects that one call may give to a team."""


class Assign(Protocol):
    def __call__(self, *, actor: Actor, row: Any, team: Team | None, reason: str) -> None:
        """Give one row to a team, audited, asking for the permission. Raises ServiceError."""


@dataclass(frozen=True)
class Owned:
    """One kind of thing that a team may own.

    kind: the audit's ``subject_kind``. label: of many. icon: of the rail. url: name of its page.
    rows: (organisation) -> its rows with ``held_by``, the id of the owning team, and ``name``. assign: gives one row to a team.
    argument: the column that the page's address takes.
    """

    kind: str
    label: str
    icon: str
    url: str
    rows: Callable[[Organisation], models.QuerySet[Any]]
    assign: Assign
    argument: str = "pk"


@dataclass(frozen=True, slots=True)
class Thing:
    """One object, as a page lists it."""

    kind: str
    id: str
    name: str
    url: str

    @property
    def key(self) -> str:
        """``route:<id>``: how a form names it."""
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True)
class About:
    """Rows that are about a team or a service, whoever owns them. name: a column, or what all of them are called. argument: the column that
    the page's address takes; empty: it takes none."""

    kind: str
    url: str
    rows: models.QuerySet[Any]
    name: str | models.Value = "name"
    argument: str = "pk"


@dataclass(frozen=True, slots=True)
class Holdings:
    """Things of one kind. more: there are others beside ``things``."""

    owned: Owned
    things: Sequence[Thing]
    more: bool


@cache
def owned_kinds() -> Mapping[str, Owned]:
    """Every kind, in the order in which pages show them."""
    from controlplane.owned import OWNED

    return {kind: import_string(path) for kind, path in OWNED.items()}


def things_of(organisation: Organisation, *, team: Team | None, most: int) -> list[Holdings]:
    """What a team owns (None: what nobody does), by kind and name, ``most`` of each kind: one query."""
    found: dict[str, list[Thing]] = {kind: [] for kind in owned_kinds()}
    for kind, pk, name, argument in _lines(organisation, team, most + 1):
        found[kind].append(Thing(kind, pk, name, reverse(owned_kinds()[kind].url, args=[argument])))
    return [Holdings(owned, found[kind][:most], len(found[kind]) > most) for kind, owned in owned_kinds().items()]


def _lines(organisation: Organisation, team: Team | None, most: int) -> models.QuerySet[Any, tuple[str, str, str, str]]:
    """(kind, id, name, what its page's address takes) of every kind at once, ``most`` of each."""
    parts = []
    for kind, owned in owned_kinds().items():
        rows = owned.rows(organisation).filter(held_by=team.pk if team else None)
        of = {
            "of_kind": models.Value(kind, output_field=models.CharField()),
            "of_id": Cast("pk", models.CharField()),
            "of_name": models.F("name"),
            "of_page": Cast(owned.argument, models.CharField()),
        }
        parts.append(rows.select_related(None).order_by("name").annotate(**of).values_list(*of)[:most])
    return parts[0].union(*parts[1:], all=True).order_by("of_kind", "of_name")


def things_about(team: Team, *, most: int) -> list[Thing]:
    """What is about a team and would be left without it, ``most`` of each kind: one query."""
    from controlplane.owned import ABOUT_TEAM

    return _about([one for path in ABOUT_TEAM for one in import_string(path)(team)], most)


def things_of_service(service: Service, *, most: int) -> list[Thing]:
    """What hangs on a service and would be left without it, ``most`` of each kind: one query."""
    from controlplane.owned import ABOUT_SERVICE

    return _about([one for path in ABOUT_SERVICE for one in import_string(path)(service)], most)


def _about(found: Sequence[About], most: int) -> list[Thing]:
    parts = []
    for number, about in enumerate(found):
        of = {
            "of_number": models.Value(number),
            "of_id": Cast("pk", models.CharField()),
            "of_name": Cast(about.name, models.TextField()),
            "of_page": Cast(about.argument or "pk", models.CharField()),
        }
        parts.append(about.rows.order_by("pk").annotate(**of).values_list(*of)[:most])
    things = []
    for number, pk, name, argument in parts[0].union(*parts[1:], all=True).order_by("of_number", "of_name"):
        about = found[number]
        things.append(Thing(about.kind, pk, name, reverse(about.url, args=[argument] if about.argument else None)))
    return things


def held_by(kind: str) -> models.Subquery:
    """For ``Owned.rows`` of a kind without a column of its own: the owning team's id."""
    rows = Holding.objects.filter(kind=kind, object_id=Cast(models.OuterRef("pk"), models.CharField()))
    return models.Subquery(rows.values("team_id")[:1])


def owner_of(*, kind: str, object_id: object) -> UUID | None:
    """The team that holds an object of such a kind, for permissions."""
    return Holding.objects.filter(kind=kind, object_id=str(object_id)).values_list("team_id", flat=True).first()


def owning_team(organisation: Organisation, *, kind: str, object_id: str) -> UUID | None:
    """Id of the team that owns an object of a kind; None where nobody does, and where there is no such object: one query."""
    try:
        return owned_kinds()[kind].rows(organisation).filter(pk=UUID(object_id)).values_list("held_by", flat=True).first()
    except ValueError:  # the subject of a flag is a text: no id, no object
        return None


def owners_lately(organisation: Organisation, *, kind: str, object_id: str, since: datetime) -> set[UUID]:
    """Who owns an object of a kind now, and who did at some moment since then: two queries.

    Before now it is what the audit says was so before a change: the slug under ``owner`` or, of a key, ``team``. A team that is deleted is
    in it no more.
    """
    now = owning_team(organisation, kind=kind, object_id=object_id)
    events = audit_events(subject_kind=kind, subject_id=object_id, action=f"{kind}.update").filter(at__gte=since)
    told = [before.get("owner") or before.get("team") for before in events.values_list("before", flat=True) if before]
    slugs = {slug for slug in told if slug}
    former = Team.objects.filter(organisation=organisation, slug__in=slugs).values_list("pk", flat=True) if slugs else []
    return {pk for pk in (now, *former) if pk is not None}


def holding_move(*, kind: str, before: object, after: object) -> None:
    """An object took another's place: who owned that one owns it. In the caller's transaction, which audits the change."""
    Holding.objects.filter(kind=kind, object_id=str(before)).update(object_id=str(after))


def holders_of(organisation: Organisation, kind: str) -> dict[str, str]:
    """Id of each held object of such a kind -> the slug of its team: one query."""
    return dict(Holding.objects.filter(organisation=organisation, kind=kind).values_list("object_id", "team__slug"))


@transaction.atomic
def column_assign(*, actor: Actor, row: Any, team: Team | None, reason: str) -> None:
    """``Assign`` for rows with a column ``owner`` and an ``organisation``."""
    row = type(row).objects.select_for_update(of=("self",)).select_related("owner", "organisation").get(pk=row.pk)
    _allowed(actor, row, row.owner_id, team)
    if row.owner_id == (team.pk if team else None):
        return
    before = {"owner": row.owner.slug if row.owner else ""}
    row.owner = team
    row.save(update_fields=["owner"])
    change_record(actor, f"{row._meta.model_name}.update", row, before, {"owner": team.slug if team else ""}, reason)


@transaction.atomic
def holding_assign(*, actor: Actor, row: Any, team: Team | None, reason: str) -> None:
    """``Assign`` for rows whose owner is a ``Holding``; they have a ``name`` and an ``organisation``."""
    kind = str(row._meta.model_name)
    now = Holding.objects.select_for_update(of=("self",)).select_related("team").filter(kind=kind, object_id=str(row.pk)).first()
    _allowed(actor, row, now.team_id if now else None, team)
    if (now.team_id if now else None) == (team.pk if team else None):
        return
    if team is None:
        Holding.objects.filter(kind=kind, object_id=str(row.pk)).delete()
    else:
        Holding.objects.update_or_create(kind=kind, object_id=str(row.pk), defaults={"organisation_id": row.organisation_id, "team": team})
    before = {"owner": now.team.slug if now else ""}
    change_record(actor, f"{kind}.update", row, before, {"owner": team.slug if team else ""}, reason)


@transaction.atomic
def owner_assign(
    *, actor: Actor, organisation: Organisation, things: Sequence[tuple[str, str]], team: Team | None, reason: str = ""
) -> int:
    """Give things, each (kind, id), to a team, or to nobody: all or none. Returns how many there were.

    Whoever gives away what a team owns must be allowed to (``ownership.change`` in the organisation or in that team). Raises
    ServiceError for a kind or an object that is not there, and what the object's own service says.
    """
    if team is not None and team.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", field="team")
    if not things:
        raise ServiceError("Tick what to give.", field="things")
    if len(things) > MOST_AT_ONCE:
        raise ServiceError(f"Give at most {MOST_AT_ONCE} things at once.", field="things")
    count = 0
    for kind, owned in owned_kinds().items():
        ids = {object_id for of, object_id in things if of == kind}
        rows = list(owned.rows(organisation).filter(pk__in=[_uuid(object_id) for object_id in ids])) if ids else []
        if len(rows) != len(ids):
            raise ServiceError(f"Some of the {owned.label.lower()} are not there any more: look again.", field="things")
        for row in rows:
            owned.assign(actor=actor, row=row, team=team, reason=reason)
        count += len(rows)
    unknown = {kind for kind, _ in things} - owned_kinds().keys()
    if unknown:
        raise ServiceError(f"{sorted(unknown)[0]!r} is nothing that a team owns.", field="things")
    return count


def regions_in_use(organisation: Organisation) -> set[str]:
    """Names of the regions that endpoints run in, declared or not: one query."""
    from controlplane.owned import REGIONS

    return set(import_string(REGIONS)(organisation))


def months_of_requests(scope: Scope, months: Sequence[date], *, team: str, service: str = "") -> list[MonthMeasured]:
    """The requests of a team, or of one of its services, by month: one query. months: first days, in a row; team, service: short names."""
    from controlplane.owned import MONTHS_OF_REQUESTS

    return list(import_string(MONTHS_OF_REQUESTS)(scope, months, team=team, service=service))


def runbook_uses(runbook: Runbook) -> Sequence[Thing]:
    """What names a runbook: one query for each kind that can."""
    from controlplane.owned import RUNBOOK_USES

    return [thing for path in RUNBOOK_USES for thing in import_string(path)(runbook)]


def _allowed(actor: Actor, row: Any, owner: UUID | None, team: Team | None) -> None:
    permission_require(actor=actor, action="ownership.change", organisation=row.organisation, team=owner)
    if team is not None and team.organisation_id != row.organisation_id:
        raise ServiceError("The team belongs to another organisation.", field="owner")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ServiceError(f"{text!r} is no id.", field="things") from None


def _runbooks(organisation: Organisation) -> models.QuerySet[Runbook]:
    return Runbook.objects.filter(organisation=organisation).annotate(held_by=models.F("owner_id"))


def about_service(service: Service) -> list[About]:
    """What it promises."""
    return [About("SLA", "ownership:sla", Sla.objects.filter(service=service), models.Value("of this service"))]


RUNBOOKS = Owned("runbook", "Runbooks", "history", "ownership:runbook", _runbooks, column_assign)
