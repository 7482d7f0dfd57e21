import django.db.models.deletion
from django.db import migrations, models
from django.db.models.expressions import F, OrderBy

import apps.contracts.identifiers
from apps.contracts.metering import UNITS


class Migration(migrations.Migration):
    dependencies = [
        ("prices", "0001_initial"),
        ("accounts", "0003_password_links"),
        ("providers", "0004_price_book"),
    ]

    operations = [
        migrations.CreateModel(
            name="UnitPrice",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("model", models.CharField(max_length=200)),
                ("unit", models.CharField(choices=list(UNITS.items()), max_length=40)),
                ("quality", models.CharField(blank=True, default="", max_length=40)),
                ("size", models.CharField(blank=True, default="", max_length=40)),
                ("per_thousand", models.BigIntegerField()),
                ("valid_from", models.DateTimeField(blank=True, null=True)),
                ("valid_to", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="unit_prices", to="accounts.organisation"),
                ),
                (
                    "provider",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="unit_prices", to="providers.provider"),
                ),
            ],
            options={
                "ordering": ["model", "unit", "quality", "size", OrderBy(F("valid_from"), nulls_first=True)],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "name"), name="unit_price_name_once"),
                    models.CheckConstraint(condition=models.Q(("per_thousand__gte", 0)), name="unit_price_not_negative"),
                ],
            },
        ),
    ]
