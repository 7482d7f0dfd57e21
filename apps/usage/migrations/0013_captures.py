"""Samples of requests: who is captured, what is kept of them, what is taken out."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

import apps.contracts.identifiers


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_personal_tokens"), ("usage", "0012_summaries_wider")]

    operations = [
        migrations.CreateModel(
            name="CapturePatterns",
            fields=[
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="accounts.organisation",
                    ),
                ),
                ("patterns", models.JSONField(default=list)),
                ("changed_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="CaptureRule",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("route_id", models.CharField(blank=True, default="", max_length=36)),
                ("route_name", models.CharField(blank=True, default="", max_length=120)),
                ("key_id", models.CharField(blank=True, default="", max_length=36)),
                ("key_name", models.CharField(blank=True, default="", max_length=80)),
                ("percent", models.FloatField(default=0)),
                ("wanted", models.PositiveIntegerField(default=0)),
                ("taken", models.PositiveIntegerField(default=0)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("days", models.PositiveSmallIntegerField()),
                ("reason", models.CharField(blank=True, default="", max_length=2000)),
                ("by", models.CharField(max_length=300)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.organisation"),
                ),
            ],
            options={
                "ordering": ["-created_at"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(("ended_at", None), Q(("route_id", ""), _negated=True)),
                        fields=("organisation", "route_id"),
                        name="capture_route_once",
                    ),
                    models.UniqueConstraint(
                        condition=Q(("ended_at", None), Q(("key_id", ""), _negated=True)),
                        fields=("organisation", "key_id"),
                        name="capture_key_once",
                    ),
                    models.CheckConstraint(
                        condition=Q(
                            Q(Q(("route_id", ""), _negated=True), ("key_id", "")),
                            Q(("route_id", ""), Q(("key_id", ""), _negated=True), ("until__isnull", False)),
                            _connector="OR",
                        ),
                        name="capture_of_one",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CaptureSample",
            fields=[
                ("request_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("route", models.CharField(blank=True, max_length=200)),
                ("key_id", models.CharField(blank=True, max_length=36)),
                ("at", models.DateTimeField()),
                ("status", models.IntegerField()),
                ("body", models.TextField()),
                ("size", models.IntegerField()),
                ("found", models.JSONField(default=dict)),
                ("cut", models.BooleanField(default=False)),
                ("expires_at", models.DateTimeField()),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.organisation"),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="samples", to="usage.capturerule"
                    ),
                ),
            ],
            options={
                "ordering": ["-at"],
                "indexes": [
                    models.Index(fields=["expires_at"], name="capture_sample_expires"),
                    models.Index(fields=["organisation", "at"], name="capture_sample_of"),
                ],
            },
        ),
    ]
