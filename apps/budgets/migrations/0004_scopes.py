"""Budgets for more than organisations and keys, soft ones, users' own windows, overrides."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_password_links"),
        ("budgets", "0003_limits"),
        ("keys", "0003_priority_and_explain"),
    ]

    operations = [
        migrations.CreateModel(
            name="BudgetOverride",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("amount_nano", models.BigIntegerField()),
                ("starts_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.CharField(max_length=500)),
                ("approver", models.CharField(max_length=254)),
            ],
            options={
                "ordering": ["-starts_at"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="budget",
            name="budget_scope_object",
        ),
        migrations.RemoveConstraint(
            model_name="budget",
            name="budget_window_known",
        ),
        migrations.RemoveConstraint(
            model_name="budgetwindow",
            name="budget_window_once",
        ),
        migrations.AddField(
            model_name="budget",
            name="kind",
            field=models.CharField(
                choices=[("hard", "Hard: refuse"), ("soft", "Soft: count and alert")], db_default="hard", default="hard", max_length=10
            ),
        ),
        migrations.AddField(
            model_name="budget",
            name="open_when_away",
            field=models.BooleanField(db_default=True, default=True),
        ),
        migrations.AddField(
            model_name="budget",
            name="scope_ref",
            field=models.CharField(blank=True, db_default="", default="", max_length=256),
        ),
        migrations.AddField(
            model_name="budgetwindow",
            name="subject",
            field=models.CharField(blank=True, db_default="", default="", max_length=160),
        ),
        migrations.AlterField(
            model_name="budget",
            name="scope",
            field=models.CharField(
                choices=[
                    ("organisation", "Organisation"),
                    ("team", "Team"),
                    ("service", "Service"),
                    ("user", "User"),
                    ("key", "Key"),
                    ("route", "Route"),
                    ("model", "Model"),
                    ("provider", "Provider"),
                    ("feature", "Feature"),
                    ("tag", "Tag"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="budget",
            name="window",
            field=models.CharField(choices=[("day", "day"), ("week", "week"), ("month", "month"), ("quarter", "quarter")], max_length=10),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("key", None), ("scope", "organisation"), ("scope_ref", "")),
                    models.Q(("key__isnull", False), ("scope", "key"), ("scope_ref", "")),
                    models.Q(
                        ("key", None),
                        ("scope__in", ["team", "service", "user", "route", "model", "provider", "feature", "tag"]),
                        models.Q(("scope_ref", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="budget_scope_object",
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(condition=models.Q(("kind__in", ["hard", "soft"])), name="budget_kind_known"),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("window__in", ["day", "week", "month", "quarter"])), name="budget_window_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="budgetwindow",
            constraint=models.UniqueConstraint(fields=("budget", "subject", "starts_at", "ends_at"), name="budget_window_once"),
        ),
        migrations.AddField(
            model_name="budgetoverride",
            name="budget",
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="overrides", to="budgets.budget"),
        ),
        migrations.AddIndex(
            model_name="budgetoverride",
            index=models.Index(condition=models.Q(("ended_at", None)), fields=["budget", "expires_at"], name="override_in_force"),
        ),
        migrations.AddConstraint(
            model_name="budgetoverride",
            constraint=models.CheckConstraint(condition=models.Q(("amount_nano__gt", 0)), name="override_amount_above_zero"),
        ),
        migrations.AddConstraint(
            model_name="budgetoverride",
            constraint=models.CheckConstraint(condition=models.Q(("starts_at__lt", models.F("expires_at"))), name="override_has_length"),
        ),
        migrations.AddConstraint(
            model_name="budgetoverride",
            constraint=models.CheckConstraint(
                condition=models.Q(models.Q(("reason", ""), _negated=True), models.Q(("approver", ""), _negated=True)),
                name="override_reasoned_and_approved",
            ),
        ),
    ]
