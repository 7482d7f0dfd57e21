"""``models`` of an organisation: what is known of each model that it uses."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers

from apps.audit.errors import ServiceError
from apps.catalogue.api.serializers import ModelSerializer, facts_given
from apps.catalogue.services import override_set
from apps.providers.models import Provider, ProviderModel
from apps.providers.selectors import provider_named
from apps.publishing.api.resources import CreatableView, EditableView, Resource


class ModelResource(Resource):
    permission: ClassVar[str] = "provider.view"
    serializer_class = ModelSerializer
    kind, object_name, argument, ordering = "model", "model", "model_id", ("name", "pk")
    shown_as = "model"

    def rows(self) -> QuerySet[ProviderModel]:
        rows = ProviderModel.objects.filter(provider__organisation=self.organisation)
        return rows.select_related("provider__organisation", "entry")

    def said(self, provider: Provider, values: dict[str, Any]) -> ProviderModel:
        override_set(
            actor=self.actor,
            provider=provider,
            model=values["model"],
            facts=facts_given(values["own"]),
            note=values["note"],
            reason=self.reason,
        )
        return self.rows().get(provider=provider, name=values["model"])


class ModelsView(ModelResource, CreatableView):
    """Every model that a route targets, or of which a person said something, with what is known of it."""

    def create(self, values: dict[str, Any]) -> ProviderModel:
        provider = provider_named(self.organisation, values["provider"])
        if self.rows().filter(provider=provider, name=values["model"]).exists():
            raise ServiceError(f"{values['model']!r} is known already: change it with PUT", "model")
        return self.said(provider, values)


class ModelView(ModelResource, EditableView):
    """One model."""

    def change(self, row: ProviderModel, values: dict[str, Any]) -> ProviderModel:
        if (values["provider"], values["model"]) != (row.provider.name, row.name):
            raise serializers.ValidationError({"model": ["A model's provider and name never change."]})
        return self.said(row.provider, values)
