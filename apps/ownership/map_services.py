"""Changing regions, layers, and who answers for a cell."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record, change_record
from apps.ownership import checks, choices
from apps.ownership.models import Cell, Layer, Region, Team

MOST = 200
"""Regions of an organisation, and layers, that a map can show."""


@transaction.atomic
def region_set(*, actor: Actor, organisation: Organisation, name: str, title: str | None = None, reason: str = "") -> Region:
    """The region with this name, created where missing; ``title`` None keeps. Raises ServiceError."""
    permission_require(actor=actor, action="ownership.change", organisation=organisation)
    name = checks.check_region(name)
    wanted = {} if title is None else {"title": checks.check_line(title, what="a title", field="title", required=False)}
    region = Region.objects.select_for_update().filter(organisation=organisation, name=name).first()
    if region is None:
        if Region.objects.filter(organisation=organisation).count() >= MOST:
            raise ServiceError(f"There are {MOST} regions already: remove one first.", field="name")
        region = Region.objects.create(organisation=organisation, name=name, **wanted)
        change_record(actor, "region.create", region, {}, {"name": name, **wanted}, reason)
        return region
    return _updated(actor, "region.update", region, wanted, reason)


@transaction.atomic
def region_delete(*, actor: Actor, region: Region, reason: str = "") -> None:
    """Take a region off the map, with who answered for its cells."""
    permission_require(actor=actor, action="ownership.change", organisation=region.organisation)
    owners = dict(region.cells.values_list("layer__name", "team__slug"))
    change_record(actor, "region.delete", region, {"name": region.name, "title": region.title, "cells": owners}, {}, reason)
    region.delete()


@transaction.atomic
def layer_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    title: str | None = None,
    help: str | None = None,
    position: int | None = None,
    reason: str = "",
) -> Layer:
    """The layer with this name, created (last) where missing; None keeps. Raises ServiceError."""
    permission_require(actor=actor, action="ownership.change", organisation=organisation)
    checks.check_slug("Layer", name, "name")
    wanted: dict[str, Any] = {}
    if title is not None:
        wanted["title"] = checks.check_line(title or name, what="a title", field="title")
    if help is not None:
        wanted["help"] = checks.check_line(help, what="a help text", field="help", longest=300, required=False)
    if position is not None:
        if not 0 <= position <= 1000:
            raise ServiceError("A layer's position is between 0 and 1000.", field="position")
        wanted["position"] = position
    layer = Layer.objects.select_for_update().filter(organisation=organisation, name=name).first()
    if layer is None:
        rows = Layer.objects.filter(organisation=organisation)
        if rows.count() >= MOST:
            raise ServiceError(f"There are {MOST} layers already: remove one first.", field="name")
        wanted.setdefault("title", name)
        wanted.setdefault("position", (rows.aggregate(last=Max("position"))["last"] or 0) + 1 if rows.exists() else 0)
        layer = Layer.objects.create(organisation=organisation, name=name, **wanted)
        change_record(actor, "layer.create", layer, {}, {"name": name, **wanted}, reason)
        return layer
    return _updated(actor, "layer.update", layer, wanted, reason)


@transaction.atomic
def layers_usual(*, actor: Actor, organisation: Organisation, reason: str = "") -> list[Layer]:
    """The layers that most installations begin with; those that are there stay as they are."""
    permission_require(actor=actor, action="ownership.change", organisation=organisation)
    there = set(Layer.objects.filter(organisation=organisation).values_list("name", flat=True))
    return [
        layer_set(actor=actor, organisation=organisation, name=name, title=title, help=help_text, position=at, reason=reason)
        for at, (name, title, help_text) in enumerate(choices.LAYERS)
        if name not in there
    ]


@transaction.atomic
def layer_delete(*, actor: Actor, layer: Layer, reason: str = "") -> None:
    """Take a layer off the map, with who answered for its cells."""
    permission_require(actor=actor, action="ownership.change", organisation=layer.organisation)
    owners = dict(layer.cells.values_list("region__name", "team__slug"))
    change_record(actor, "layer.delete", layer, {"name": layer.name, "title": layer.title, "cells": owners}, {}, reason)
    layer.delete()


@transaction.atomic
def cell_set(*, actor: Actor, organisation: Organisation, region: str, layer: str, team: Team | None, reason: str = "") -> Cell | None:
    """Give a layer in a region to a team; None: nobody answers for it. The same again changes nothing.

    A region that endpoints name and nobody declared is declared by this. A team's own manager may give the team's cells away, not
    take others'. Raises ServiceError for a layer that is not there and a team of another organisation.
    """
    found = Layer.objects.filter(organisation=organisation, name=layer).first()
    if found is None:
        raise ServiceError(f"There is no layer {layer!r}: add it first.", field="layer")
    if team is not None and team.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", field="team")
    cell = Cell.objects.select_for_update(of=("self",)).select_related("team").filter(
        region__organisation=organisation, region__name=region, layer=found
    ).first()  # fmt: skip
    permission_require(actor=actor, action="ownership.change", organisation=organisation, team=cell.team_id if cell else None)
    before = cell.team.slug if cell else ""
    if (team.slug if team else "") == before:
        return cell
    where = Region.objects.filter(organisation=organisation, name=region).first()
    if where is None:
        where = region_set(actor=actor, organisation=organisation, name=region, reason=reason)
    if team is None:
        Cell.objects.filter(region=where, layer=found).delete()
        cell = None
    else:
        cell, _ = Cell.objects.update_or_create(region=where, layer=found, defaults={"team": team})
    audit_record(
        actor=actor,
        action="cell.update",
        subject_kind="cell",
        subject_id=f"{where.pk}/{found.pk}",
        subject_name=f"{found.name} in {where.name}",
        before={"team": before},
        after={"team": team.slug if team else ""},
        reason=reason,
    )
    return cell


def _updated(actor: Actor, action: str, row: Any, wanted: dict[str, Any], reason: str) -> Any:
    """Set what differs, audited; nothing where nothing does."""
    before = {field: getattr(row, field) for field, value in wanted.items() if getattr(row, field) != value}
    if before:
        after = {field: wanted[field] for field in before}
        for field, value in after.items():
            setattr(row, field, value)
        row.save(update_fields=list(after))
        change_record(actor, action, row, before, after, reason)
    return row
