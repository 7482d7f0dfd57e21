"""Performance budgets and the verdicts on them."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_password_links"),
        ("budgets", "0006_alerts_and_actions"),
    ]

    operations = [
        migrations.CreateModel(
            name="PerformanceBudget",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("scope", models.CharField(choices=[("route", "Route"), ("model", "Model")], max_length=20)),
                ("scope_id", models.CharField(max_length=200)),
                (
                    "metric",
                    models.CharField(
                        choices=[
                            ("ttft_p95", "Time to first token, p95"),
                            ("inter_token_p95", "Inter-token latency, p95"),
                            ("error_rate", "Error rate"),
                            ("cost_per_1k_tokens", "Cost per 1,000 tokens"),
                            ("cost_per_request", "Cost per request"),
                            ("gpu_hours", "GPU hours"),
                        ],
                        max_length=30,
                    ),
                ),
                ("bound", models.BigIntegerField()),
                (
                    "window",
                    models.CharField(
                        choices=[
                            ("hour", "the last hour"),
                            ("6h", "the last 6 hours"),
                            ("day", "the last 24 hours"),
                            ("week", "the last 7 days"),
                            ("28d", "the last 28 days"),
                        ],
                        max_length=10,
                    ),
                ),
                ("warn_percent", models.IntegerField(default=80)),
                ("min_samples", models.IntegerField(default=100)),
                ("owner_email", models.CharField(max_length=254)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                ("state", models.CharField(default="unknown", max_length=10)),
                ("evidence", models.JSONField(default=dict)),
                ("evaluated_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="performance_budgets", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="PerformanceVerdict",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[("ok", "OK"), ("warning", "Warning"), ("breached", "Breached"), ("unknown", "Unknown")], max_length=10
                    ),
                ),
                ("at", models.DateTimeField()),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("evidence", models.JSONField(default=dict)),
                (
                    "budget",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="verdicts", to="budgets.performancebudget"),
                ),
            ],
            options={
                "ordering": ["-at", "-id"],
            },
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None)), fields=("organisation", "name"), name="performance_name_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.UniqueConstraint(
                condition=models.Q(("deleted_at", None)),
                fields=("organisation", "scope", "scope_id", "metric"),
                name="performance_metric_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.CheckConstraint(condition=models.Q(("bound__gt", 0)), name="performance_bound_positive"),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("metric__in", ["ttft_p95", "inter_token_p95", "error_rate", "cost_per_1k_tokens", "cost_per_request", "gpu_hours"])
                ),
                name="performance_metric_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.CheckConstraint(
                condition=models.Q(("window__in", ["hour", "6h", "day", "week", "28d"])), name="performance_window_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.CheckConstraint(
                condition=models.Q(("scope__in", ["route", "model"]), models.Q(("scope_id", ""), _negated=True)),
                name="performance_scope_object",
            ),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.CheckConstraint(
                condition=models.Q(("warn_percent__gte", 1), ("warn_percent__lte", 100)), name="performance_warn_sensible"
            ),
        ),
        migrations.AddConstraint(
            model_name="performancebudget",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["ok", "warning", "breached", "unknown"])), name="performance_state_known"
            ),
        ),
        migrations.AddIndex(
            model_name="performanceverdict",
            index=models.Index(fields=["budget", "-at"], name="performance_verdict_of"),
        ),
        migrations.AddIndex(
            model_name="performanceverdict",
            index=models.Index(fields=["until"], name="performance_verdict_over"),
        ),
        migrations.AddConstraint(
            model_name="performanceverdict",
            constraint=models.UniqueConstraint(
                condition=models.Q(("until", None)), fields=("budget",), name="performance_verdict_holds_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="performanceverdict",
            constraint=models.CheckConstraint(
                condition=models.Q(("until", None), ("until__gte", models.F("at")), _connector="OR"), name="performance_verdict_in_order"
            ),
        ),
    ]
