"""Rows -> the section ``models``, and back when a version is rolled back."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.db.models import Q

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.catalogue.models import Entry
from apps.catalogue.services import entry_restore
from apps.contracts.model_facts import NOTHING
from apps.contracts.snapshot import Fragment, ModelFragment
from apps.providers.models import Provider, ProviderModel
from apps.providers.prices import price_id
from apps.publishing.registry import Section


def _models(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Entry.objects.select_related("model")
    if ids is not None:
        wanted = Q(pk__in=[])
        for object_id in ids:
            provider, _, name = object_id.partition("/")
            wanted |= Q(model__provider_id=UUID(provider), model__name=name)
        rows = rows.filter(wanted)
    return {price_id(row.model): fragment_of(row) for row in rows}


def fragment_of(row: Entry) -> ModelFragment:
    """What proxies get of a model."""
    provider = str(row.model.provider_id)
    return ModelFragment(id=price_id(row.model), provider=provider, model=row.model.name, known=row.known_facts, own=row.own_facts)


def _restore(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    provider_id, _, name = object_id.partition("/")
    then = cast(ModelFragment, fragment) if fragment is not None else None
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        if then is not None:
            raise ServiceError(f"the provider of {name!r} is gone: it has to be restored first", "provider")
        return
    if then is None and not ProviderModel.objects.filter(provider=provider, name=name).exists():
        return
    known, own = (then.known, then.own) if then is not None else (NOTHING, NOTHING)
    entry_restore(actor=actor, provider=provider, name=name, known=known, own=own, reason=reason)


models = Section(build=_models, restore=_restore)
