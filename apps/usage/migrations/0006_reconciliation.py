"""Providers' exports that were imported to be compared with what was recorded."""

import django.db.models.deletion
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_password_links"),
        ("usage", "0005_spend"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProviderExport",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=80)),
                ("simulated", models.BooleanField()),
                ("shape", models.CharField(max_length=40)),
                ("file_name", models.CharField(max_length=200)),
                ("digest", models.CharField(max_length=64)),
                ("size", models.BigIntegerField()),
                ("rows", models.IntegerField()),
                ("first_day", models.DateField()),
                ("last_day", models.DateField()),
                ("part", models.BooleanField(default=False)),
                ("actor", models.CharField(max_length=300)),
                ("imported_at", models.DateTimeField(auto_now_add=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="provider_exports", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["-imported_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="ProviderExportLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("model", models.CharField(blank=True, max_length=200)),
                ("requests", models.BigIntegerField(null=True)),
                ("tokens_input", models.BigIntegerField(null=True)),
                ("tokens_output", models.BigIntegerField(null=True)),
                ("cost_nano", models.BigIntegerField(null=True)),
                ("export", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="usage.providerexport")),
            ],
            options={
                "ordering": ["day", "model"],
            },
        ),
        migrations.AddConstraint(
            model_name="providerexport",
            constraint=models.UniqueConstraint(fields=("organisation", "simulated", "digest"), name="provider_export_once"),
        ),
        migrations.AddConstraint(
            model_name="providerexport",
            constraint=models.CheckConstraint(condition=models.Q(("first_day__lte", models.F("last_day"))), name="provider_export_days"),
        ),
        migrations.AddConstraint(
            model_name="providerexportline",
            constraint=models.UniqueConstraint(fields=("export", "day", "model"), name="provider_export_line_once"),
        ),
    ]
