"""Ownership in the document: contacts and SLAs of teams, regions, layers, rotations, runbooks; entries <-> services and rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.ownership import checks, choices
from apps.ownership.care_services import ContactSpec, contacts_set, runbook_delete, runbook_set, sla_delete, sla_set
from apps.ownership.forms import people_by_email
from apps.ownership.map_services import cell_set, layer_delete, layer_set, region_delete, region_set
from apps.ownership.models import Cell, Contact, Layer, Region, Runbook, Service, Sla, Team
from apps.ownership.owned import holding_assign
from apps.ownership.rotation_selectors import rotations_of
from apps.ownership.rotation_services import rotation_delete, rotation_set
from apps.ownership.selectors import runbook_get, service_get, team_get
from apps.ownership.service_deletion import service_delete
from controlplane.configfile import document as doc

_SLA = {
    f"{field}{part}_ms": f"{name}{part}"
    for field, name in (("ttft", "first_token"), ("latency", "latency"))
    for part in ("", "_warn", "_page")
}
_ROTATION = {"minute": "time", "from_minute": "from_time", "to_minute": "to_time"}
"""The services' names of fields that the document calls otherwise."""


def team_named(organisation: Organisation, slug: str, field: str) -> Team | None:
    """The team, None for an empty name. Raises ServiceError for one that is not there."""
    team = team_get(organisation=organisation, slug=slug) if slug else None
    if slug and team is None:
        raise ServiceError(f"there is no team {slug!r}: add it under teams", field)
    return team


def owner_apply(organisation: Organisation, row: Any, slug: str, field: str, *, actor: Actor, reason: str) -> None:
    """Who owns a provider or a budget."""
    holding_assign(actor=actor, row=row, team=team_named(organisation, slug, field), reason=reason)


def contacts_apply(team: Team, entries: list[doc.ContactEntry], *, actor: Actor, reason: str) -> None:
    """A team's contacts, in order."""
    contacts_set(actor=actor, team=team, contacts=[ContactSpec(one.kind, one.value, one.label) for one in entries], reason=reason)


def sla_apply(team: Team, service: Service | None, entry: doc.SlaEntry | None, path: str, *, actor: Actor, reason: str) -> None:
    """What a team or a service promises; no entry: nothing."""
    if entry is None:
        for row in Sla.objects.filter(team=team, service=service).select_related("team__organisation", "service"):
            sla_delete(actor=actor, sla=row, reason=reason)
        return
    with _at(path, _SLA):
        sla_set(
            actor=actor,
            team=team,
            service=service,
            availability=checks.availability_read(entry.availability),
            window_days=entry.window_days,
            warn_percent=entry.warn_percent,
            page_percent=entry.page_percent,
            **{field: getattr(entry, name) or None for field, name in _SLA.items()},
            reason=reason,
        )


def service_remove(team: Team, slug: str, path: str, *, actor: Actor, reason: str) -> None:
    """The service and what it promises, which is a part of its entry; what is gone already stays gone."""
    service = service_get(organisation=team.organisation, team_slug=team.slug, slug=slug)
    if service is not None:
        sla_apply(team, service, None, path, actor=actor, reason=reason)
        with _at(path, {"service": "name"}):
            service_delete(actor=actor, service=service, reason=reason)


def layer_apply(organisation: Organisation, entry: doc.LayerEntry, *, actor: Actor, reason: str) -> None:
    """A layer of the map."""
    layer_set(
        actor=actor, organisation=organisation, name=entry.name, title=entry.title or entry.name, help=entry.help,
        position=entry.position, reason=reason,
    )  # fmt: skip


def region_apply(organisation: Organisation, entry: doc.RegionEntry, *, actor: Actor, reason: str) -> None:
    """A region, and who answers for each layer there: exactly these."""
    region = region_set(actor=actor, organisation=organisation, name=entry.name, title=entry.title, reason=reason)
    wanted = {owner.layer: (at, owner.team) for at, owner in enumerate(entry.owners)}
    if len(wanted) != len(entry.owners):
        raise ServiceError("one team owns a layer of a region: name each layer once", "owners")
    for layer in region.cells.exclude(layer__name__in=wanted).values_list("layer__name", flat=True):
        cell_set(actor=actor, organisation=organisation, region=region.name, layer=layer, team=None, reason=reason)
    for layer, (at, slug) in wanted.items():
        with _at(f"owners[{at}]", {}):
            team = team_named(organisation, slug, "team")
            cell_set(actor=actor, organisation=organisation, region=region.name, layer=layer, team=team, reason=reason)


def rotation_apply(organisation: Organisation, entry: doc.RotationEntry, *, actor: Actor, reason: str) -> None:
    """A rotation with its members; who stands in is not the document's."""
    try:
        starts_on = date.fromisoformat(entry.starts_on) if entry.starts_on else None
    except ValueError:
        raise ServiceError(f"{entry.starts_on!r} is no day: write it as 2027-01-31", "starts_on") from None
    with _at("", _ROTATION):
        rotation_set(
            actor=actor,
            organisation=organisation,
            name=entry.name,
            kind=entry.kind,
            team=team_named(organisation, entry.team, "team"),
            zone=entry.zone,
            weekday=choices.DAY_WORDS.index(entry.weekday),
            minute=checks.clock_read(entry.time, "time"),
            every_days=entry.every_days,
            members=people_by_email(entry.members),
            days=checks.days_read(entry.days),
            from_minute=checks.clock_read(entry.from_time, "from_time"),
            to_minute=checks.clock_read(entry.to_time, "to_time", end=True),
            starts_on=starts_on,
            reason=reason,
        )


def runbook_apply(organisation: Organisation, entry: doc.RunbookEntry, *, actor: Actor, reason: str) -> None:
    """A runbook; its reviews are not the document's."""
    runbook_set(
        actor=actor, organisation=organisation, name=entry.name, title=entry.title or entry.name, text=entry.text,
        owner=team_named(organisation, entry.owner, "owner"), review_every_days=entry.review_every_days, reason=reason,
    )  # fmt: skip


def layer_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for layer in Layer.objects.select_related("organisation").filter(organisation=organisation, name=name):
        layer_delete(actor=actor, layer=layer, reason=reason)


def region_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for region in Region.objects.select_related("organisation").filter(organisation=organisation, name=name):
        region_delete(actor=actor, region=region, reason=reason)


def rotation_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for rotation in rotations_of(organisation).filter(name=name):
        rotation_delete(actor=actor, rotation=rotation, reason=reason)


def runbook_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for runbook in Runbook.objects.select_related("organisation", "owner").filter(organisation=organisation, name=name):
        runbook_delete(actor=actor, runbook=runbook, reason=reason)


def contacts_of(organisation: Organisation) -> dict[str, list[doc.ContactEntry]]:
    """Team's slug -> its contacts in order."""
    found: dict[str, list[doc.ContactEntry]] = {}
    rows = Contact.objects.filter(team__organisation=organisation).select_related("team").order_by("team_id", "position")
    for row in rows:
        found.setdefault(row.team.slug, []).append(doc.ContactEntry(kind=cast(Any, row.kind), value=row.value, label=row.label))
    return found


def slas_of(organisation: Organisation) -> dict[tuple[str, str], doc.SlaEntry]:
    """(team's slug, service's slug or empty) -> what is promised."""
    rows = Sla.objects.filter(team__organisation=organisation).select_related("team", "service")
    return {
        (row.team.slug, row.service.slug if row.service else ""): doc.SlaEntry(
            availability=row.availability_text,
            window_days=row.window_days,
            warn_percent=row.warn_percent,
            page_percent=row.page_percent,
            **{name: getattr(row, field) or 0 for field, name in _SLA.items()},
        )
        for row in rows
    }


def layers_of(organisation: Organisation) -> list[doc.LayerEntry]:
    """The map's columns."""
    rows = Layer.objects.filter(organisation=organisation)
    return [doc.LayerEntry(name=row.name, title=_title(row.title, row.name), help=row.help, position=row.position) for row in rows]


def regions_of(organisation: Organisation) -> list[doc.RegionEntry]:
    """The map's rows, with the owners of their cells."""
    owners: dict[str, list[doc.CellEntry]] = {}
    cells = Cell.objects.filter(region__organisation=organisation).select_related("region", "layer", "team")
    for cell in cells.order_by("layer__position", "layer__name"):
        owners.setdefault(cell.region.name, []).append(doc.CellEntry(layer=cell.layer.name, team=cell.team.slug))
    rows = Region.objects.filter(organisation=organisation)
    return [doc.RegionEntry(name=row.name, title=row.title, owners=owners.get(row.name, [])) for row in rows]


def rotations_written(organisation: Organisation) -> list[doc.RotationEntry]:
    """Rotations with their members."""
    return [
        doc.RotationEntry(
            name=row.name,
            kind=cast(Any, row.kind),
            team=row.team.slug if row.team else "",
            zone=row.zone,
            weekday=cast(Any, choices.DAY_WORDS[row.starts_on.weekday()]),
            time=checks.clock_written(row.minute),
            every_days=row.every_days,
            starts_on=row.starts_on.isoformat(),
            members=[member.user.email for member in row.member_rows.all()],
            days=checks.days_written(row.days),
            from_time=checks.clock_written(row.from_minute),
            to_time=checks.clock_written(row.to_minute),
        )
        for row in rotations_of(organisation)
    ]


def runbook_id(organisation: Organisation, written: str) -> str:
    """What a flag keeps of its runbook: the id where the document names one of ours, else what is written (an address, an id)."""
    row = runbook_get(organisation=organisation, reference=written) if written else None
    return str(row.pk) if row is not None else written


def runbooks_of(organisation: Organisation) -> list[doc.RunbookEntry]:
    """Runbooks with their texts."""
    return [
        doc.RunbookEntry(
            name=row.name, title=_title(row.title, row.name), owner=row.owner.slug if row.owner else "",
            review_every_days=row.review_every_days, text=row.text,
        )
        for row in Runbook.objects.filter(organisation=organisation).select_related("owner").order_by("name")
    ]  # fmt: skip


def _title(title: str, name: str) -> str:
    return "" if title == name else title


@contextmanager
def _at(path: str, names: dict[str, str]) -> Iterator[None]:
    """A service's field names become the document's, below ``path``."""
    try:
        yield
    except ServiceError as error:
        field = names.get(error.field or "", error.field) or ""
        raise ServiceError(error.message, ".".join(part for part in (path, field) if part) or None) from None
