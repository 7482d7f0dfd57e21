"""Limits on requests and tokens."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_password_links"),
        ("budgets", "0002_functions"),
    ]

    operations = [
        migrations.CreateModel(
            name="Limit",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("organisation", "Organisation"),
                            ("team", "Team"),
                            ("key", "Key"),
                            ("route", "Route"),
                            ("model", "Model"),
                        ],
                        max_length=20,
                    ),
                ),
                ("scope_id", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("requests_per_minute", "requests per minute"),
                            ("tokens_per_minute", "tokens per minute"),
                            ("tokens_per_day", "tokens per day"),
                            ("concurrent_requests", "requests at once"),
                        ],
                        max_length=30,
                    ),
                ),
                ("amount", models.BigIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="limits", to="accounts.organisation"),
                ),
            ],
            options={
                "ordering": ["name"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("deleted_at", None)), fields=("organisation", "name"), name="limit_name_once"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("deleted_at", None)),
                        fields=("organisation", "scope", "scope_id", "kind"),
                        name="limit_one_of_a_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gte", 1), ("amount__lte", 1000000000000)), name="limit_amount_sensible"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind__in", ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "concurrent_requests"])
                        ),
                        name="limit_kind_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("scope__in", ["organisation", "team", "key", "route", "model"]), models.Q(("scope_id", ""), _negated=True)
                        ),
                        name="limit_scope_object",
                    ),
                ],
            },
        ),
    ]
