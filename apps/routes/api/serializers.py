"""Routes as the API shows and takes them. What resilience, targets and deadlines are is the contract's; the names are the same."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer, struct_serializer
from apps.contracts.snapshot import Deadlines, Resilience, Target
from apps.routes import choices, selectors
from apps.routes.models import Route
from apps.routes.resilience import TargetSpec

TargetSerializer = struct_serializer(Target)
DeadlinesSerializer = struct_serializer(Deadlines)
ResilienceSerializer = struct_serializer(Resilience)


class RouteSerializer(ReasonSerializer):
    """What apps name as ``model``."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=120)
    aliases = serializers.ListField(child=serializers.CharField(max_length=120), default=list)
    targets = TargetSerializer(many=True)
    fallback = TargetSerializer(many=True, required=False, default=list)
    deadlines = DeadlinesSerializer(required=False, default=lambda: msgspec.to_builtins(Deadlines()))
    resilience = ResilienceSerializer(required=False, default=dict, help_text="What is left out is as the defaults say.")
    max_output_tokens = serializers.IntegerField(default=4096)
    max_attempts = serializers.IntegerField(default=3)
    unpriced = serializers.ChoiceField(choices=choices.UNPRICED, default="refuse")
    default_price = serializers.CharField(max_length=281, allow_blank=True, default="", help_text="<provider>/<model>, or empty.")
    owner = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="A team's slug.")
    runbook = serializers.CharField(max_length=300, allow_blank=True, default="", help_text="A URL, or the id of a runbook.")
    enabled = serializers.BooleanField(default=True)

    def to_representation(self, instance: Route) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "aliases": selectors.aliases(instance),
            "targets": [_shown(spec) for spec in selectors.target_specs(instance)],
            "fallback": [_shown(spec) for spec in selectors.target_specs(instance, choices.FALLBACK)],
            "deadlines": _whole(selectors.deadlines(instance)),
            "resilience": _whole(selectors.resilience(instance)),
            "max_output_tokens": instance.max_output_tokens,
            "max_attempts": instance.max_attempts,
            "unpriced": instance.unpriced,
            "default_price": instance.default_price,
            "owner": instance.owner.slug if instance.owner else "",
            "runbook": instance.runbook,
            "enabled": instance.enabled,
        }


class PlaceSerializer(StrictSerializer):
    """One of a route's targets, by where it is."""

    provider = serializers.CharField(max_length=80)
    model = serializers.CharField(max_length=200)
    endpoint = serializers.CharField(max_length=80, allow_blank=True, default="")


class SwitchSerializer(ReasonSerializer):
    """Send all of a route's traffic to one of its targets."""

    target = PlaceSerializer()
    until = serializers.DateTimeField(allow_null=True, default=None, help_text="When it ends by itself; null: when somebody switches back.")
    failover = serializers.BooleanField(default=True, help_text="Whether its other targets follow when this one fails.")


class BreakerSerializer(ReasonSerializer):
    """Hold a target's breaker in every proxy, or let it go."""

    target = PlaceSerializer()
    state = serializers.ChoiceField(
        choices=["open", "closed", "auto"], help_text="open: nothing goes there; closed: all does; auto: let go."
    )
    until = serializers.DateTimeField(allow_null=True, default=None)


def spec_of(given: dict[str, Any]) -> TargetSpec:
    """A target as services take it."""
    capabilities = given.get("capabilities")
    return TargetSpec(**{**given, **({"capabilities": tuple(capabilities)} if capabilities is not None else {})})


def _shown(spec: TargetSpec) -> dict[str, Any]:
    return {**spec._asdict(), "capabilities": None if spec.capabilities is None else list(spec.capabilities)}


def _whole(struct: msgspec.Struct) -> dict[str, Any]:
    """Every field, defaults too: a program that reads must not have to know them."""
    found: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        found[name] = _whole(value) if isinstance(value, msgspec.Struct) else list(value) if isinstance(value, tuple) else value
    return found
