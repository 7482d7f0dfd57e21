"""The weekly e-mail of each owner, one row for a week."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_password_links"),
        ("budgets", "0007_performance"),
    ]

    operations = [
        migrations.CreateModel(
            name="WeeklyReport",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("owner", models.CharField(max_length=254)),
                ("week_starts", models.DateField()),
                ("made_at", models.DateTimeField(auto_now_add=True)),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("sending_at", models.DateTimeField(blank=True, null=True)),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("tries", models.IntegerField(default=0)),
                ("told", models.CharField(blank=True, default="", max_length=300)),
                ("subject", models.CharField(blank=True, default="", max_length=300)),
                ("text", models.TextField(blank=True, default="")),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="weekly_reports", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["-week_starts", "owner"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("sending_at", None), ("sent_at", None)), fields=["week_starts"], name="weekly_report_unsent"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("organisation", "owner", "week_starts"), name="weekly_report_once")],
            },
        ),
    ]
