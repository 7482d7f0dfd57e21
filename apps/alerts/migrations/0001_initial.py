"""Rules, alerts and their events, SLOs, silences, notes on providers, and how far evaluation has come."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers

EVENT_KINDS = {
    "pending": "Began",
    "fired": "Fired",
    "worsened": "Became critical",
    "eased": "Is a warning again",
    "acknowledged": "Acknowledged",
    "silenced": "Silenced",
    "unsilenced": "Silence is over, and it still fires",
    "inhibited": "Explained by a worse alert",
    "uninhibited": "No longer explained by another alert",
    "no_data": "Nothing is measured any more",
    "data_back": "Measured again",
    "resolved": "Resolved",
    "cleared": "Over before it fired",
    "note": "Note",
}


class Migration(migrations.Migration):
    initial = True
    dependencies = [("accounts", "0005_personal_tokens"), ("ownership", "0002_map_rotations_and_care"), ("providers", "0004_price_book")]

    operations = [
        migrations.CreateModel(
            name="Slo",
            fields=[
                ("id", models.UUIDField(primary_key=True, default=apps.contracts.identifiers.uuid7, editable=False, serialize=False)),
                (
                    "organisation",
                    models.ForeignKey("accounts.organisation", on_delete=django.db.models.deletion.CASCADE, related_name="slos"),
                ),
                ("name", models.SlugField(max_length=60)),
                ("title", models.CharField(max_length=200)),
                (
                    "indicator",
                    models.CharField(
                        max_length=20,
                        choices=[
                            ("availability", "Availability: requests that were answered well"),
                            ("ttft", "Time to first token within a bound"),
                            ("latency", "Answers whole within a bound"),
                        ],
                    ),
                ),
                ("objective", models.PositiveIntegerField()),
                ("threshold_ms", models.PositiveIntegerField(null=True, blank=True)),
                ("window_days", models.PositiveSmallIntegerField(default=30)),
                ("by", models.CharField(max_length=20, blank=True, default="")),
                ("subject", models.CharField(max_length=300, blank=True, default="")),
                ("min_requests", models.PositiveIntegerField(default=100)),
                (
                    "owner",
                    models.ForeignKey(
                        "ownership.team", on_delete=django.db.models.deletion.SET_NULL, null=True, blank=True, related_name="slos"
                    ),
                ),
                ("runbook", models.CharField(max_length=300, blank=True, default="")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(null=True, blank=True)),
            ],
            options={
                "ordering": ["title", "name"],
                "constraints": [
                    models.UniqueConstraint(fields=["organisation", "name"], condition=models.Q(deleted_at=None), name="slo_name_once"),
                    models.CheckConstraint(
                        condition=models.Q(indicator__in=["availability", "ttft", "latency"]), name="slo_indicator_known"
                    ),
                    models.CheckConstraint(condition=models.Q(objective__gt=0, objective__lt=100_000), name="slo_objective"),
                    models.CheckConstraint(
                        condition=models.Q(indicator="availability", threshold_ms=None)
                        | (~models.Q(indicator="availability") & models.Q(threshold_ms__gt=0)),
                        name="slo_threshold",
                    ),
                    models.CheckConstraint(condition=models.Q(window_days__in=[7, 28, 30, 90]), name="slo_window_known"),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertRule",
            fields=[
                ("id", models.UUIDField(primary_key=True, default=apps.contracts.identifiers.uuid7, editable=False, serialize=False)),
                (
                    "organisation",
                    models.ForeignKey("accounts.organisation", on_delete=django.db.models.deletion.CASCADE, related_name="alert_rules"),
                ),
                ("name", models.SlugField(max_length=60)),
                ("title", models.CharField(max_length=200)),
                ("series", models.CharField(max_length=40)),
                ("scope", models.JSONField(default=dict, blank=True)),
                (
                    "comparison",
                    models.CharField(
                        max_length=20,
                        choices=[
                            ("above", "at or above"),
                            ("below", "at or below"),
                            ("times_baseline", "times what is usual at this hour, or more"),
                        ],
                        default="above",
                    ),
                ),
                ("warn", models.FloatField(null=True, blank=True)),
                ("critical", models.FloatField(null=True, blank=True)),
                ("window_s", models.PositiveIntegerField(default=300)),
                ("for_s", models.PositiveIntegerField(default=60)),
                ("hold_s", models.PositiveIntegerField(default=300)),
                ("min_samples", models.PositiveIntegerField(default=0)),
                (
                    "on_missing",
                    models.CharField(
                        max_length=10,
                        choices=[
                            ("hold", "keep what is known, and let it go after an hour"),
                            ("alert", "warn: something should be measured here, and is not"),
                        ],
                        default="hold",
                    ),
                ),
                ("labels", models.JSONField(default=dict, blank=True)),
                (
                    "owner",
                    models.ForeignKey(
                        "ownership.team", on_delete=django.db.models.deletion.SET_NULL, null=True, blank=True, related_name="alert_rules"
                    ),
                ),
                ("runbook", models.CharField(max_length=300, blank=True, default="")),
                ("enabled", models.BooleanField(default=True)),
                ("is_default", models.BooleanField(default=False)),
                (
                    "slo",
                    models.OneToOneField(
                        "alerts.slo", on_delete=django.db.models.deletion.CASCADE, null=True, blank=True, related_name="rule"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(null=True, blank=True)),
            ],
            options={
                "ordering": ["title", "name"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["organisation", "name"], condition=models.Q(deleted_at=None), name="alert_rule_name_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(comparison__in=["above", "below", "times_baseline"]), name="alert_rule_comparison"
                    ),
                    models.CheckConstraint(condition=~models.Q(warn=None, critical=None), name="alert_rule_has_threshold"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.UUIDField(primary_key=True, default=apps.contracts.identifiers.uuid7, editable=False, serialize=False)),
                (
                    "organisation",
                    models.ForeignKey("accounts.organisation", on_delete=django.db.models.deletion.CASCADE, related_name="alerts"),
                ),
                ("rule", models.ForeignKey("alerts.alertrule", on_delete=django.db.models.deletion.CASCADE, related_name="alerts")),
                ("fingerprint", models.CharField(max_length=32)),
                ("by", models.CharField(max_length=20, blank=True, default="")),
                ("subject", models.CharField(max_length=300, blank=True, default="")),
                (
                    "state",
                    models.CharField(
                        max_length=20,
                        choices=[("pending", "Pending"), ("firing", "Firing"), ("acknowledged", "Acknowledged"), ("resolved", "Resolved")],
                    ),
                ),
                ("severity", models.CharField(max_length=20, choices=[("warning", "Warning"), ("critical", "Critical")])),
                ("value", models.FloatField(null=True, blank=True)),
                ("threshold", models.FloatField(null=True, blank=True)),
                ("evidence", models.JSONField(default=dict, blank=True)),
                ("started_at", models.DateTimeField()),
                ("fired_at", models.DateTimeField(null=True, blank=True)),
                ("judged_at", models.DateTimeField()),
                ("clear_since", models.DateTimeField(null=True, blank=True)),
                ("eased_since", models.DateTimeField(null=True, blank=True)),
                ("no_data_since", models.DateTimeField(null=True, blank=True)),
                ("resolved_at", models.DateTimeField(null=True, blank=True)),
                ("resolved_by", models.CharField(max_length=500, blank=True, default="")),
                ("acked_by", models.CharField(max_length=500, blank=True, default="")),
                ("acked_at", models.DateTimeField(null=True, blank=True)),
                ("silenced_until", models.DateTimeField(null=True, blank=True)),
                (
                    "inhibited_by",
                    models.ForeignKey(
                        "alerts.alert", on_delete=django.db.models.deletion.SET_NULL, null=True, blank=True, related_name="inhibits"
                    ),
                ),
                ("group_key", models.CharField(max_length=200, blank=True, default="")),
                ("flaps", models.PositiveSmallIntegerField(default=0)),
                ("told", models.BooleanField(default=False)),
            ],
            options={
                "ordering": ["-started_at", "-id"],
                "constraints": [
                    models.UniqueConstraint(fields=["fingerprint"], condition=~models.Q(state="resolved"), name="alert_open_once"),
                    models.CheckConstraint(
                        condition=models.Q(state__in=["pending", "firing", "acknowledged", "resolved"]), name="alert_state_known"
                    ),
                    models.CheckConstraint(condition=models.Q(severity__in=["warning", "critical"]), name="alert_severity_known"),
                    models.CheckConstraint(
                        condition=models.Q(state="resolved", resolved_at__isnull=False)
                        | (~models.Q(state="resolved") & models.Q(resolved_at=None)),
                        name="alert_resolved_has_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(state="resolved")
                        | models.Q(state="pending", fired_at=None)
                        | models.Q(state__in=("firing", "acknowledged"), fired_at__isnull=False),
                        name="alert_fired_has_time",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["organisation", "state"], condition=~models.Q(state="resolved"), name="alert_open_of"),
                    models.Index(fields=["organisation", "-started_at"], name="alert_recent_of"),
                    models.Index(fields=["fingerprint", "-resolved_at"], name="alert_before"),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("alert", models.ForeignKey("alerts.alert", on_delete=django.db.models.deletion.CASCADE, related_name="events")),
                ("at", models.DateTimeField()),
                ("kind", models.CharField(max_length=20, choices=list(EVENT_KINDS.items()))),
                ("actor", models.CharField(max_length=500, blank=True, default="")),
                ("note", models.CharField(max_length=2000, blank=True, default="")),
                ("severity", models.CharField(max_length=20, blank=True, default="")),
                ("value", models.FloatField(null=True, blank=True)),
                ("muted", models.BooleanField(default=False)),
                ("handed_at", models.DateTimeField(null=True, blank=True)),
            ],
            options={
                "ordering": ["id"],
                "indexes": [
                    models.Index(fields=["id"], condition=models.Q(handed_at=None), name="alert_event_unhanded"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Silence",
            fields=[
                ("id", models.UUIDField(primary_key=True, default=apps.contracts.identifiers.uuid7, editable=False, serialize=False)),
                (
                    "organisation",
                    models.ForeignKey("accounts.organisation", on_delete=django.db.models.deletion.CASCADE, related_name="silences"),
                ),
                (
                    "alert",
                    models.ForeignKey(
                        "alerts.alert", on_delete=django.db.models.deletion.CASCADE, null=True, blank=True, related_name="silences"
                    ),
                ),
                ("matcher", models.JSONField(default=dict, blank=True)),
                ("starts_at", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("reason", models.CharField(max_length=2000)),
                ("by", models.CharField(max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True, blank=True)),
                ("ended_by", models.CharField(max_length=500, blank=True, default="")),
            ],
            options={
                "ordering": ["-starts_at", "-id"],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(until__gt=models.F("starts_at")), name="silence_has_length"),
                    models.CheckConstraint(condition=models.Q(alert__isnull=False) | ~models.Q(matcher={}), name="silence_of_something"),
                ],
                "indexes": [
                    models.Index(fields=["organisation", "until"], condition=models.Q(ended_at=None), name="silence_running"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProviderNote",
            fields=[
                ("id", models.UUIDField(primary_key=True, default=apps.contracts.identifiers.uuid7, editable=False, serialize=False)),
                (
                    "organisation",
                    models.ForeignKey("accounts.organisation", on_delete=django.db.models.deletion.CASCADE, related_name="provider_notes"),
                ),
                ("provider", models.ForeignKey("providers.provider", on_delete=django.db.models.deletion.CASCADE, related_name="notes")),
                ("state", models.CharField(max_length=10, choices=[("degraded", "Degraded"), ("down", "Down")])),
                ("text", models.CharField(max_length=2000)),
                ("by", models.CharField(max_length=500)),
                ("at", models.DateTimeField()),
                ("until", models.DateTimeField(null=True, blank=True)),
                ("ended_at", models.DateTimeField(null=True, blank=True)),
                ("ended_by", models.CharField(max_length=500, blank=True, default="")),
            ],
            options={
                "ordering": ["-at", "-id"],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(state__in=["degraded", "down"]), name="provider_note_state"),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlertEvaluation",
            fields=[
                (
                    "organisation",
                    models.OneToOneField(
                        "accounts.organisation",
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        related_name="alert_evaluation",
                    ),
                ),
                ("judged_until", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                ("took_ms", models.PositiveIntegerField(default=0)),
                ("rules", models.PositiveIntegerField(default=0)),
                ("skipped_minutes", models.PositiveIntegerField(default=0)),
                ("error", models.CharField(max_length=500, blank=True, default="")),
            ],
            options={},
        ),
    ]
