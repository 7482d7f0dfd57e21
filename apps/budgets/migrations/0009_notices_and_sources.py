"""Owners are told of breaches of performance budgets; a webhook keeps the reference that it came by."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("budgets", "0008_weekly")]

    operations = [
        migrations.AddField(
            model_name="budget",
            name="webhook_source",
            field=models.CharField(blank=True, db_default="", default="", max_length=1000),
        ),
        migrations.AddField(
            model_name="budget",
            name="slack_webhook_source",
            field=models.CharField(blank=True, db_default="", default="", max_length=1000),
        ),
        migrations.CreateModel(
            name="PerformanceNotice",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("breached", "breached"), ("recovered", "recovered")], max_length=10)),
                ("made_at", models.DateTimeField(auto_now_add=True)),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("told_at", models.DateTimeField(blank=True, null=True)),
                ("told", models.CharField(blank=True, default="", max_length=300)),
                ("tries", models.IntegerField(default=0)),
                (
                    "verdict",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="notice", to="budgets.performanceverdict"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [models.Index(condition=models.Q(("told_at", None)), fields=["id"], name="performance_notice_untold")],
            },
        ),
    ]
