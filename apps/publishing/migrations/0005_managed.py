"""Things that config documents manage."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("publishing", "0004_proxies_live"),
    ]

    operations = [
        migrations.CreateModel(
            name="ManagedThing",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40)),
                ("object_id", models.CharField(max_length=200)),
                ("section", models.CharField(max_length=40)),
                ("name", models.CharField(max_length=400)),
                ("document", models.CharField(max_length=200)),
                ("line", models.PositiveIntegerField(default=0)),
                ("said", models.JSONField()),
                ("applied_at", models.DateTimeField()),
                ("applied_by", models.CharField(max_length=300)),
                ("version", models.BigIntegerField(null=True)),
                ("edited_at", models.DateTimeField(null=True)),
                ("edited_by", models.CharField(blank=True, default="", max_length=500)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="managed_things", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "db_table": "publishing_managed",
                "ordering": ["document", "section", "name"],
                "indexes": [models.Index(fields=["organisation", "document"], name="publishing_managed_document")],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "kind", "object_id"), name="publishing_managed_once"),
                ],
            },
        ),
    ]
