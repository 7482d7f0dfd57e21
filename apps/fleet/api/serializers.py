"""Deployments and workers as the API shows and takes them. Bytes for memory; what an artifact is is the contract's."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer, struct_serializer
from apps.contracts.fleet import Artifact
from apps.fleet import choices, rules
from apps.fleet.models import Deployment, Worker
from apps.fleet.performance import performance_of
from apps.fleet.selectors import WorkerLine

ArtifactSerializer = struct_serializer(Artifact)
_PLAIN = (
    "enabled", "engine", "recipe", "engine_version", "model", "gpus", "memory", "exclusive", "vendor", "context", "concurrency", "region",
    "pool", "priority", "spot_allowed", "least", "most", "wanted", "strategy", "surge", "drain_seconds", "max_waiting", "scaling_mode",
)  # fmt: skip


class DeploymentSerializer(ReasonSerializer):
    """A model that workers serve; routes target it as the provider ``deployment:<name>``."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    enabled = serializers.BooleanField(default=True)
    engine = serializers.ChoiceField(choices=choices.ENGINES)
    recipe = serializers.CharField(max_length=200, allow_blank=True, default="")
    engine_version = serializers.CharField(max_length=200, allow_blank=True, default="")
    model = serializers.CharField(max_length=200, help_text="What requests name at the engine.")
    artifact = ArtifactSerializer(required=False, default=lambda: msgspec.to_builtins(Artifact()))
    arguments = serializers.DictField(
        child=serializers.CharField(allow_null=True, allow_blank=True), default=dict, help_text="The engine's own; null: a flag."
    )
    environment = serializers.ListField(child=serializers.CharField(), default=list)
    tasks = serializers.ListField(child=serializers.ChoiceField(choices=[(task, task) for task in rules.TASKS]), default=lambda: ["chat"])
    gpus = serializers.IntegerField(default=0, help_text="Of one replica; 0: the host's processors.")
    memory = serializers.IntegerField(default=0, allow_null=True, help_text="Bytes of each GPU; null: estimated from config.")
    exclusive = serializers.BooleanField(default=True)
    vendor = serializers.CharField(max_length=20, allow_blank=True, default="")
    context = serializers.IntegerField(default=8192)
    concurrency = serializers.IntegerField(default=16)
    config = serializers.DictField(default=dict, help_text="The model's config.json.")
    region = serializers.CharField(max_length=200, allow_blank=True, default="")
    pool = serializers.CharField(max_length=63, default="default")
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True), default=dict)
    priority = serializers.IntegerField(default=0)
    spot_allowed = serializers.BooleanField(default=False)
    least = serializers.IntegerField(default=1)
    most = serializers.IntegerField(default=1)
    wanted = serializers.IntegerField(default=None, allow_null=True, help_text="Replicas now; null: as it is, within the bounds.")
    strategy = serializers.ChoiceField(choices=choices.STRATEGIES, default="auto")
    surge = serializers.IntegerField(default=1)
    drain_seconds = serializers.IntegerField(default=60)
    warm_up = serializers.DictField(default=dict)
    health = serializers.DictField(default=dict)
    max_waiting = serializers.IntegerField(default=None, allow_null=True)
    scaling = serializers.DictField(default=dict)
    scaling_mode = serializers.ChoiceField(choices=choices.SCALING, default="off")
    owner = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="A team's slug.")
    performance_budget = serializers.CharField(
        max_length=80, allow_blank=True, default="", help_text="The name of the one that it must keep, beside those of its model."
    )
    performance = serializers.ListField(
        child=serializers.DictField(), read_only=True, help_text="What its performance budgets say, the worst first: name, verdict, why."
    )
    revision = serializers.IntegerField(read_only=True)
    provider = serializers.CharField(read_only=True)

    def to_representation(self, instance: Deployment) -> dict[str, Any]:
        known = self.context.get("performance") or []
        return {
            "id": str(instance.pk),
            "name": instance.name,
            **{name: getattr(instance, name) for name in _PLAIN},
            "artifact": msgspec.structs.asdict(msgspec.convert(instance.artifact, Artifact)),
            **{name: dict(getattr(instance, name)) for name in ("arguments", "config", "labels", "warm_up", "health", "scaling")},
            "environment": list(instance.environment),
            "tasks": list(instance.tasks),
            "owner": instance.owner.slug if instance.owner else "",
            "performance_budget": next((one.name for one in known if one.id == instance.performance_budget), ""),
            "performance": [{"name": one.name, "verdict": one.verdict, "why": one.why} for one in performance_of(instance, known)],
            "revision": instance.revision,
            "provider": instance.provider.name,
        }


class ScaleSerializer(ReasonSerializer):
    """How many replicas are wanted."""

    wanted = serializers.IntegerField(min_value=0)
    expected = serializers.IntegerField(default=None, allow_null=True, help_text="How many were wanted when this was decided.")


class WorkerSerializer(serializers.Serializer[Any]):
    """A machine that joined."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(read_only=True)
    state = serializers.ChoiceField(choices=list(choices.WORKER_STATES), read_only=True)
    mode = serializers.ChoiceField(choices=choices.MODES, read_only=True)
    pool = serializers.CharField(read_only=True)
    region = serializers.CharField(read_only=True)
    spot = serializers.BooleanField(read_only=True)
    labels = serializers.DictField(read_only=True)
    last_seen_at = serializers.DateTimeField(read_only=True, allow_null=True)
    agent_version = serializers.CharField(read_only=True)
    replicas = serializers.IntegerField(read_only=True)
    gpus = serializers.ListField(child=serializers.DictField(), read_only=True, help_text="As its agent told last, and what is promised.")

    def to_representation(self, instance: Worker) -> dict[str, Any]:
        line: WorkerLine = self.context["lines"][instance.pk]
        return {
            "id": str(instance.pk),
            **{name: getattr(instance, name) for name in ("name", "mode", "pool", "region", "spot", "labels", "agent_version")},
            "state": line.state,
            "last_seen_at": instance.last_seen_at,
            "replicas": line.replicas,
            "gpus": [
                {**(one.fact.plain() if one.fact else {"uuid": one.gpu.uuid, "name": one.gpu.name}), "memory_promised": one.gpu.claimed}
                for one in line.gpus
            ],
        }


class ModeSerializer(ReasonSerializer):
    """Cordon, drain, take into maintenance, return to service."""

    mode = serializers.ChoiceField(choices=choices.MODES)
