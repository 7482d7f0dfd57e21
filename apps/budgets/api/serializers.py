"""Budgets, limits and performance budgets as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer
from apps.budgets import choices, limit_choices, performance_choices
from apps.budgets.limit_models import Limit
from apps.budgets.models import Budget
from apps.budgets.performance_models import PerformanceBudget
from apps.budgets.performance_rules import bound_written
from apps.budgets.selectors import BudgetStatus
from apps.budgets.services import DEFAULT_SHARES


class BudgetSerializer(ReasonSerializer):
    """A wall around spend. Another scope, window or time zone is another wall: it starts from zero, under a new id."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    scope = serializers.ChoiceField(choices=list(choices.SCOPES))
    scope_id = serializers.CharField(
        max_length=300, allow_blank=True, default="",
        help_text="Id of a team, service, key, route, provider; the user, model, feature or tag; *: each user; empty: of an organisation.",
    )  # fmt: skip
    window = serializers.CharField(max_length=20)
    timezone = serializers.CharField(max_length=64, default="UTC")
    limit_nano = serializers.IntegerField(help_text="Nano-dollars.")
    kind = serializers.CharField(max_length=10, default="hard", help_text="hard: nothing beyond it; soft: it tells.")
    open_when_away = serializers.BooleanField(default=True)
    actions = serializers.CharField(max_length=500, allow_blank=True, default="")
    owner_email = serializers.CharField(max_length=254, allow_blank=True, default="")
    alert_shares = serializers.CharField(max_length=100, allow_blank=True, default=DEFAULT_SHARES)
    standing = serializers.DictField(read_only=True, help_text="The running window, by database time; nano-dollars.")

    def to_representation(self, instance: Budget) -> dict[str, Any]:
        plain = {name: field for name, field in self.fields.items() if name not in ("scope_id", "standing", "reason")}
        shown = {name: field.to_representation(getattr(instance, name)) for name, field in plain.items()}
        shown["scope_id"] = instance.scope_id
        shown["standing"] = _standing(self.context.get("standings", {}).get(instance.pk))
        return shown


class OverrideSerializer(ReasonSerializer):
    """More money for a while."""

    id = serializers.UUIDField(read_only=True)
    amount_nano = serializers.IntegerField()
    starts_at = serializers.DateTimeField(read_only=True)
    expires_at = serializers.DateTimeField()
    approver = serializers.CharField(max_length=254, help_text="E-mail address of somebody who may change budgets.")
    ended_at = serializers.DateTimeField(read_only=True)


class LimitSerializer(ReasonSerializer):
    """So many requests or tokens in a while. Another scope or kind is another limit, under a new id."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    scope = serializers.ChoiceField(choices=list(limit_choices.SCOPES))
    scope_id = serializers.CharField(
        max_length=200,
        allow_blank=True,
        default="",
        help_text="Id of the key, team or route; the model's name. Of an organisation: leave it out.",
    )
    kind = serializers.ChoiceField(choices=list(limit_choices.KINDS))
    amount = serializers.IntegerField()

    def to_representation(self, instance: Limit) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "scope": instance.scope,
            "scope_id": instance.scope_id,
            "kind": instance.kind,
            "amount": instance.amount,
        }


class PerformanceBudgetSerializer(ReasonSerializer):
    """What one metric of a route or model may be. Another metric, route or model is another budget, under a new id."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    scope = serializers.ChoiceField(choices=list(performance_choices.SCOPES))
    scope_id = serializers.CharField(max_length=200, help_text="The route's id, or the model's name at its provider.")
    metric = serializers.ChoiceField(choices=list(performance_choices.METRICS))
    bound = serializers.CharField(max_length=40, help_text="As people write it: 1.5s, 1%, dollars 0.02, hours 120.")
    window = serializers.ChoiceField(choices=list(performance_choices.WINDOWS), default=performance_choices.DEFAULT_WINDOW)
    warn_percent = serializers.IntegerField(default=performance_choices.DEFAULT_WARN)
    min_samples = serializers.IntegerField(default=performance_choices.DEFAULT_SAMPLES)
    owner_email = serializers.CharField(max_length=254)
    state = serializers.CharField(read_only=True, help_text="Of the last look; unknown is never good.")
    evidence = serializers.DictField(read_only=True)
    evaluated_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: PerformanceBudget) -> dict[str, Any]:
        return {**super().to_representation(instance), "bound": bound_written(instance.metric, instance.bound)}


def _standing(status: BudgetStatus | None) -> dict[str, Any]:
    if status is None:
        return {}
    return {
        "state": status.state,
        "starts_at": status.starts_at,
        "ends_at": status.ends_at,
        "limit_nano": status.limit,
        "spent_nano": status.spent,
        "leased_nano": status.leased,
        "overrun_nano": status.overrun,
        "remaining_nano": status.remaining,
        "subject": status.subject,
    }
