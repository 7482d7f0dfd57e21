"""A model as the API gives and takes it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.catalogue.models import Entry
from apps.contracts.model_facts import CAPABILITIES, ModelFacts
from apps.providers.models import ProviderModel


class FactsSerializer(StrictSerializer):
    """What is known of a model. Numbers are tokens, 0 where not known; a capability in neither list is not known."""

    window = serializers.IntegerField(default=0, help_text="Context in tokens; 0: not known.")
    max_output = serializers.IntegerField(default=0, help_text="Tokens that it gives at most; 0: not known.")
    can = serializers.ListField(child=serializers.ChoiceField(choices=CAPABILITIES), default=list)
    cannot = serializers.ListField(child=serializers.ChoiceField(choices=CAPABILITIES), default=list)
    deprecated = serializers.BooleanField(allow_null=True, default=None, help_text="null: not known.")
    ends_on = serializers.CharField(max_length=10, allow_blank=True, default="", help_text="YYYY-MM-DD; empty: not known.")


class ModelSerializer(ReasonSerializer):
    """A provider's model and what is known of it. Writing ``own`` makes those facts a person's; an empty one hands them back."""

    id = serializers.UUIDField(read_only=True)
    provider = serializers.CharField(max_length=80)
    model = serializers.CharField(max_length=200)
    own = FactsSerializer(help_text="What a person said; it wins.")
    note = serializers.CharField(max_length=300, allow_blank=True, default="")
    known = FactsSerializer(read_only=True, help_text="What packages and the provider's own list say.")
    facts = FactsSerializer(read_only=True, help_text="What holds.")
    sources = serializers.DictField(
        child=serializers.CharField(), read_only=True, help_text="Of each fact and capability that is known: who says so."
    )

    def to_representation(self, instance: ProviderModel) -> dict[str, Any]:
        entry = getattr(instance, "entry", None) or Entry(model=instance)
        return {
            "id": str(instance.pk),
            "provider": instance.provider.name,
            "model": instance.name,
            "own": shown(entry.own_facts),
            "note": entry.note,
            "known": shown(entry.known_facts),
            "facts": shown(entry.facts),
            "sources": entry.all_sources,
        }


def shown(facts: ModelFacts) -> dict[str, Any]:
    """Every field, those too that say nothing."""
    return {
        "window": facts.window,
        "max_output": facts.max_output,
        "can": list(facts.can),
        "cannot": list(facts.cannot),
        "deprecated": facts.deprecated,
        "ends_on": facts.ends_on,
    }


def facts_given(values: dict[str, Any]) -> ModelFacts:
    """As services take them."""
    return ModelFacts(**{**values, "can": tuple(values["can"]), "cannot": tuple(values["cannot"])})
