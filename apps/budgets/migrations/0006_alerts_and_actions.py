"""Thresholds that act, who is told of a budget, what was told, and what days began with."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_password_links"),
        ("budgets", "0005_scope_functions"),
        ("keys", "0003_priority_and_explain"),
    ]

    operations = [
        migrations.CreateModel(
            name="BudgetAlert",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("actual", "Spent"), ("forecast", "Forecast"), ("pace", "Today")], max_length=10)),
                ("share", models.IntegerField()),
                ("critical", models.BooleanField(default=False)),
                ("value_nano", models.BigIntegerField()),
                ("limit_nano", models.BigIntegerField()),
                ("raised_at", models.DateTimeField(auto_now_add=True)),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("told_at", models.DateTimeField(blank=True, null=True)),
                ("told", models.CharField(blank=True, default="", max_length=300)),
                ("tries", models.IntegerField(default=0)),
            ],
            options={
                "ordering": ["-raised_at", "-share"],
            },
        ),
        migrations.CreateModel(
            name="BudgetDay",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("starts_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("spent_nano", models.BigIntegerField()),
            ],
            options={
                "ordering": ["starts_at"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="budget",
            name="budget_kind_known",
        ),
        migrations.AddField(
            model_name="budget",
            name="actions",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="budget",
            name="alert_shares",
            field=models.CharField(blank=True, db_default="50, 80, 100", default="50, 80, 100", max_length=60),
        ),
        migrations.AddField(
            model_name="budget",
            name="owner_email",
            field=models.CharField(blank=True, db_default="", default="", max_length=254),
        ),
        migrations.AddField(
            model_name="budget",
            name="slack_webhook",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="budget",
            name="webhook",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AlterField(
            model_name="budget",
            name="kind",
            field=models.CharField(
                choices=[("hard", "Hard: refuse"), ("soft", "Soft: count and alert"), ("throttle", "Throttle: make cheaper")],
                db_default="hard",
                default="hard",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(condition=models.Q(("kind__in", ["hard", "soft", "throttle"])), name="budget_kind_known"),
        ),
        migrations.AddField(
            model_name="budgetalert",
            name="window",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="alerts", to="budgets.budgetwindow"),
        ),
        migrations.AddField(
            model_name="budgetday",
            name="window",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="days", to="budgets.budgetwindow"),
        ),
        migrations.AddIndex(
            model_name="budgetalert",
            index=models.Index(condition=models.Q(("told_at", None)), fields=["id"], name="budget_alert_untold"),
        ),
        migrations.AddConstraint(
            model_name="budgetalert",
            constraint=models.UniqueConstraint(fields=("window", "kind", "share"), name="budget_alert_once"),
        ),
        migrations.AddConstraint(
            model_name="budgetday",
            constraint=models.UniqueConstraint(fields=("window", "starts_at"), name="budget_day_once"),
        ),
    ]
