"""Rules, degradations, releases, drills; how often a flag was met; overrides made on a proxy's host."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("flags", "0001_initial"),
        ("ownership", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="FlagExposure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("value", models.CharField(max_length=80)),
                ("minute", models.DateTimeField()),
                ("count", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="FlagExposureMark",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("boot_id", models.UUIDField()),
                ("value", models.CharField(max_length=80)),
                ("count", models.BigIntegerField(default=0)),
                ("taken_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="HostOverride",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=200)),
                ("by", models.CharField(max_length=200)),
                ("flag_name", models.CharField(blank=True, default="", max_length=80)),
                (
                    "kind",
                    models.CharField(
                        choices=[("fallback", "Fallback"), ("kill", "Kill switch"), ("degrade", "Degradation"), ("release", "Release")],
                        max_length=10,
                    ),
                ),
                (
                    "subject_kind",
                    models.CharField(
                        choices=[
                            ("provider", "Provider"),
                            ("model", "Model"),
                            ("route", "Route"),
                            ("key", "Key"),
                            ("feature", "Feature"),
                            ("team", "Team"),
                            ("region", "Region"),
                            ("organisation", "Organisation"),
                        ],
                        max_length=12,
                    ),
                ),
                ("subject_id", models.CharField(max_length=256)),
                ("subject_name", models.CharField(max_length=256)),
                (
                    "level",
                    models.CharField(
                        choices=[("full", "Full"), ("limited", "Limited"), ("cached", "Cached"), ("minimal", "Minimal")],
                        default="full",
                        max_length=8,
                    ),
                ),
                ("on", models.BooleanField(default=True)),
                ("reason", models.CharField(max_length=300)),
                ("made_at", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("proxies", models.JSONField(default=list)),
                ("seen_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-made_at"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="flag",
            name="flag_fallback_of_route",
        ),
        migrations.AddField(
            model_name="flag",
            name="acknowledged",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="flag",
            name="default",
            field=models.CharField(db_default="off", default="off", max_length=80),
        ),
        migrations.AddField(
            model_name="flag",
            name="exercised_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="flag",
            name="expires_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="flag",
            name="level",
            field=models.CharField(
                choices=[("full", "Full"), ("limited", "Limited"), ("cached", "Cached"), ("minimal", "Minimal")],
                db_default="full",
                default="full",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="flag",
            name="rules",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="flag",
            name="runbook",
            field=models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
        migrations.AddField(
            model_name="flag",
            name="share",
            field=models.PositiveSmallIntegerField(db_default=100, default=100),
        ),
        migrations.AddField(
            model_name="flag",
            name="simulated_only",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="flag",
            name="stale_after_days",
            field=models.PositiveSmallIntegerField(db_default=60, default=60),
        ),
        migrations.AlterField(
            model_name="flag",
            name="kind",
            field=models.CharField(
                choices=[("fallback", "Fallback"), ("kill", "Kill switch"), ("degrade", "Degradation"), ("release", "Release")],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="flag",
            name="subject_id",
            field=models.CharField(max_length=256),
        ),
        migrations.AlterField(
            model_name="flag",
            name="subject_kind",
            field=models.CharField(
                choices=[
                    ("provider", "Provider"),
                    ("model", "Model"),
                    ("route", "Route"),
                    ("key", "Key"),
                    ("feature", "Feature"),
                    ("team", "Team"),
                    ("region", "Region"),
                    ("organisation", "Organisation"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddConstraint(
            model_name="flag",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "fallback"), ("subject_kind__in", ("route",))),
                    models.Q(("kind", "kill"), ("subject_kind__in", ("provider", "model", "route", "key", "feature"))),
                    models.Q(("kind", "degrade"), ("subject_kind__in", ("organisation", "region", "route", "team"))),
                    models.Q(("kind", "release"), ("subject_kind__in", ("organisation",))),
                    _connector="OR",
                ),
                name="flag_kind_subject",
            ),
        ),
        migrations.AddConstraint(
            model_name="flag",
            constraint=models.CheckConstraint(condition=models.Q(("share__gte", 0), ("share__lte", 100)), name="flag_share_percent"),
        ),
        migrations.AddField(
            model_name="flagexposure",
            name="flag",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="exposures", to="flags.flag"),
        ),
        migrations.AddField(
            model_name="flagexposuremark",
            name="flag",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="flags.flag"),
        ),
        migrations.AddField(
            model_name="hostoverride",
            name="organisation",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.organisation"),
        ),
        migrations.AddConstraint(
            model_name="flagexposure",
            constraint=models.UniqueConstraint(fields=("flag", "value", "minute"), name="flag_exposure_once"),
        ),
        migrations.AddConstraint(
            model_name="flagexposuremark",
            constraint=models.UniqueConstraint(fields=("boot_id", "flag", "value"), name="flag_exposure_mark_once"),
        ),
    ]
