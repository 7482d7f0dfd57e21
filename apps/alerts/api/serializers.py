"""Alerts, rules, SLOs, silences and channels as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone as clock
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.alerts import channel_choices, choices
from apps.alerts.models import Alert, AlertRule, Slo
from apps.alerts.series import SERIES, threshold_written

_THRESHOLD = "With its unit, such as 1%, 800ms, 30s, 1000 or 2x; empty: no such severity."
_OWNER = "A team's slug; empty: whoever owns what it is about."


class AlertSerializer(StrictSerializer):
    """One episode: from the minute in which a rule first held for a subject to the one in which it was over."""

    id = serializers.UUIDField(read_only=True)
    rule = serializers.CharField(read_only=True, source="rule.name")
    title = serializers.CharField(read_only=True, source="rule.title")
    series = serializers.CharField(read_only=True, source="rule.series")
    unit = serializers.SerializerMethodField(help_text="Of value and threshold.")
    subject_kind = serializers.CharField(read_only=True, source="by")
    subject = serializers.CharField(read_only=True, help_text="Empty: everything.")
    state = serializers.ChoiceField(choices=list(choices.STATES), read_only=True)
    severity = serializers.ChoiceField(choices=list(choices.SEVERITIES), read_only=True)
    value = serializers.FloatField(read_only=True, allow_null=True)
    threshold = serializers.FloatField(read_only=True, allow_null=True)
    evidence = serializers.DictField(read_only=True)
    owner = serializers.SerializerMethodField(help_text="The slug of the rule's team; null: none.")
    started_at = serializers.DateTimeField(read_only=True)
    fired_at = serializers.DateTimeField(read_only=True, allow_null=True)
    resolved_at = serializers.DateTimeField(read_only=True, allow_null=True)
    acknowledged_by = serializers.CharField(read_only=True, source="acked_by")
    acknowledged_at = serializers.DateTimeField(read_only=True, source="acked_at", allow_null=True)
    silenced_until = serializers.DateTimeField(read_only=True, allow_null=True)
    explained_by = serializers.UUIDField(read_only=True, source="inhibited_by_id", allow_null=True, help_text="The worse alert, if any.")

    def get_unit(self, row: Alert) -> str:
        return SERIES[row.rule.series].unit

    def get_owner(self, row: Alert) -> str | None:
        return row.rule.owner.slug if row.rule.owner else None


class SilenceOneSerializer(StrictSerializer):
    """Until when nobody is told, and why."""

    until = serializers.DateTimeField()
    reason = serializers.CharField(max_length=2000)


class RuleSerializer(ReasonSerializer):
    """When somebody is to be told of a series."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    title = serializers.CharField(max_length=200)
    series = serializers.CharField(max_length=40, help_text=f"One of {', '.join(name for name in SERIES)}.")
    by = serializers.CharField(max_length=20, required=False, allow_blank=True, default="", help_text="What it looks at one by one.")
    values = serializers.ListField(child=serializers.CharField(max_length=300), required=False, default=list, help_text="Empty: all.")
    comparison = serializers.CharField(max_length=20, required=False, default=choices.ABOVE)
    warn = serializers.CharField(max_length=40, required=False, allow_blank=True, default="", help_text=_THRESHOLD)
    critical = serializers.CharField(max_length=40, required=False, allow_blank=True, default="", help_text=_THRESHOLD)
    window_s = serializers.IntegerField(required=False, default=300)
    for_s = serializers.IntegerField(required=False, default=60)
    hold_s = serializers.IntegerField(required=False, default=300)
    min_samples = serializers.IntegerField(required=False, default=0)
    on_missing = serializers.CharField(max_length=10, required=False, default="hold")
    labels = serializers.DictField(child=serializers.CharField(max_length=200), required=False, default=dict)
    owner = serializers.CharField(max_length=60, required=False, allow_blank=True, default="", help_text=_OWNER)
    runbook = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")
    opens_incident = serializers.ChoiceField(
        choices=list(choices.INCIDENTS), required=False, allow_blank=True, default="", help_text="Severity; empty: it opens none."
    )
    enabled = serializers.BooleanField(required=False, default=True)
    is_default = serializers.BooleanField(read_only=True)
    slo = serializers.CharField(read_only=True, help_text="The short name of the SLO that it belongs to; empty: none.")

    def to_representation(self, instance: AlertRule) -> dict[str, Any]:
        series = SERIES[instance.series]
        plain = ("name", "title", "series", "by", "comparison", "window_s", "for_s", "hold_s", "min_samples", "on_missing", "runbook")
        return {
            "id": str(instance.pk),
            **{name: getattr(instance, name) for name in plain},
            "values": list(instance.values),
            "warn": threshold_written(series, instance.comparison, instance.warn),
            "critical": threshold_written(series, instance.comparison, instance.critical),
            "labels": dict(instance.labels),
            "owner": instance.owner.slug if instance.owner else "",
            "opens_incident": instance.opens_incident,
            "enabled": instance.enabled,
            "is_default": instance.is_default,
            "slo": instance.slo.name if instance.slo else "",
        }


class SloSerializer(ReasonSerializer):
    """A promise about a share of requests over some days."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    title = serializers.CharField(max_length=200)
    indicator = serializers.ChoiceField(choices=list(choices.INDICATORS))
    objective = serializers.CharField(max_length=10, help_text="Percent, such as 99.9.")
    threshold_ms = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="Of ttft and latency.")
    window_days = serializers.IntegerField(required=False, default=30)
    by = serializers.CharField(max_length=20, required=False, allow_blank=True, default="")
    subject = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")
    min_requests = serializers.IntegerField(required=False, default=100)
    owner = serializers.CharField(max_length=60, required=False, allow_blank=True, default="", help_text="A team's slug; empty: nobody.")
    runbook = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")
    budget = serializers.DictField(read_only=True, help_text="The error budget now: counted, bad, used (1 is all of it), burn rate.")

    def to_representation(self, instance: Slo) -> dict[str, Any]:
        plain = ("name", "title", "indicator", "threshold_ms", "window_days", "by", "subject", "min_requests", "runbook")
        budget = self.context.get("budgets", {}).get(instance.pk)
        return {
            "id": str(instance.pk),
            **{name: getattr(instance, name) for name in plain},
            "objective": instance.objective_text,
            "owner": instance.owner.slug if instance.owner else "",
            "budget": {}
            if budget is None
            else {
                "counted": budget.counted.total,
                "bad": budget.counted.bad,
                "used": budget.used,
                "burn_rate_1h": budget.burns,
                "state": budget.status.value,
            },
        }


class SilenceSerializer(StrictSerializer):
    """Nobody is told of some alerts until a time; they fire and resolve all the same."""

    id = serializers.UUIDField(read_only=True)
    alert = serializers.UUIDField(read_only=True, source="alert_id", allow_null=True)
    matcher = serializers.DictField(help_text='Such as {"rule": "errors", "subject": "chat-*", "labels": {"layer": "provider"}}.')
    starts_at = serializers.DateTimeField(read_only=True)
    until = serializers.DateTimeField()
    reason = serializers.CharField(max_length=2000)
    by = serializers.CharField(read_only=True)
    holds = serializers.SerializerMethodField(help_text="It is in force now.")

    def get_holds(self, row: Any) -> bool:
        return bool(row.holds(clock.now()))


class ChannelSerializer(ReasonSerializer):
    """One way to tell somebody. Its address and secret are kept under the master key and never shown."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    kind = serializers.ChoiceField(choices=list(channel_choices.KINDS))
    address = serializers.CharField(max_length=1000, write_only=True, required=False, allow_blank=True, default="")
    secret = serializers.CharField(max_length=500, write_only=True, required=False, allow_blank=True, default="")
    sends_to = serializers.CharField(read_only=True, source="shown")
    team = serializers.CharField(max_length=60, required=False, allow_blank=True, default="", help_text="A team's slug; empty: none's.")
    own = serializers.BooleanField(required=False, default=False, help_text="Yours, for when you are paged.")
    allow_private = serializers.BooleanField(required=False, default=False)
    enabled = serializers.BooleanField(required=False, default=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "kind": instance.kind,
            "sends_to": instance.shown,
            "team": instance.team.slug if instance.team else "",
            "own": instance.person_id is not None and str(instance.person_id) == self.context.get("person", ""),
            "allow_private": instance.allow_private,
            "enabled": instance.enabled,
        }
