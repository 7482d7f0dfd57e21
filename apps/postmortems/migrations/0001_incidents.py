"""Incidents, their timelines and the slash command."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.contracts.identifiers


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0005_personal_tokens"),
        ("alerts", "0004_channel_sources"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ChatCall",
            fields=[
                ("signature", models.CharField(max_length=80, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="IncidentChat",
            fields=[
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="incident_chat",
                        serialize=False,
                        to="accounts.organisation",
                    ),
                ),
                ("secret", models.CharField(max_length=300)),
                ("workspace", models.CharField(blank=True, default="", max_length=60)),
                ("enabled", models.BooleanField(default=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("title", models.CharField(max_length=200)),
                (
                    "severity",
                    models.CharField(choices=[("sev1", "SEV1"), ("sev2", "SEV2"), ("sev3", "SEV3"), ("sev4", "SEV4")], max_length=4),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("triage", "Triage"),
                            ("active", "Active"),
                            ("mitigated", "Mitigated"),
                            ("resolved", "Resolved"),
                            ("closed", "Closed"),
                            ("cancelled", "Cancelled"),
                            ("merged", "Merged"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("person", "a person"),
                            ("alert", "an alert"),
                            ("drill", "a drill"),
                            ("api", "the API"),
                            ("command", "the command line"),
                            ("chat", "a slash command"),
                        ],
                        max_length=10,
                    ),
                ),
                ("simulated", models.BooleanField()),
                ("declared_at", models.DateTimeField()),
                ("declared_by", models.CharField(max_length=500)),
                (
                    "routes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                (
                    "providers",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                (
                    "regions",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                (
                    "services",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                ("summary", models.TextField(blank=True, default="")),
                ("public_summary", models.TextField(blank=True, default="")),
                ("started_at", models.DateTimeField()),
                ("detected_at", models.DateTimeField()),
                ("acknowledged_at", models.DateTimeField(blank=True, null=True)),
                ("mitigated_at", models.DateTimeField(blank=True, null=True)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("impact_from", models.DateTimeField(blank=True, null=True)),
                ("impact_until", models.DateTimeField(blank=True, null=True)),
                ("impact_set_by", models.CharField(blank=True, default="", max_length=500)),
                ("impact", models.JSONField(blank=True, default=dict)),
                ("impact_at", models.DateTimeField(blank=True, null=True)),
                ("impact_progress", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("filled_until", models.DateTimeField(blank=True, null=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("alerts", models.ManyToManyField(blank=True, related_name="incidents", to="alerts.alert")),
                (
                    "commander",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "declarer",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "liaison",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "merged_into",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="merged", to="postmortems.incident"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="incidents", to="accounts.organisation"),
                ),
                (
                    "scribe",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["-number"],
            },
        ),
        migrations.CreateModel(
            name="IncidentSeverity",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("level", models.CharField(choices=[("sev1", "SEV1"), ("sev2", "SEV2"), ("sev3", "SEV3"), ("sev4", "SEV4")], max_length=4)),
                ("title", models.CharField(max_length=60)),
                ("meaning", models.CharField(max_length=1000)),
                ("postmortem", models.BooleanField()),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="incident_severities", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["level"],
            },
        ),
        migrations.CreateModel(
            name="IncidentUpdate",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("triage", "Triage"),
                            ("active", "Active"),
                            ("mitigated", "Mitigated"),
                            ("resolved", "Resolved"),
                            ("closed", "Closed"),
                            ("cancelled", "Cancelled"),
                            ("merged", "Merged"),
                        ],
                        max_length=10,
                    ),
                ),
                ("text", models.TextField()),
                ("public", models.BooleanField(default=False)),
                ("by", models.CharField(max_length=500)),
                (
                    "incident",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="updates", to="postmortems.incident"),
                ),
            ],
            options={
                "ordering": ["at", "id"],
            },
        ),
        migrations.CreateModel(
            name="TimelineEntry",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("recorded_at", models.DateTimeField(auto_now_add=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("note", "Notes"),
                            ("update", "Status updates"),
                            ("state", "States and times"),
                            ("role", "Roles"),
                            ("fact", "Facts"),
                            ("alert", "Alerts"),
                            ("attachment", "Attachments"),
                            ("checklist", "Runbook steps"),
                        ],
                        max_length=12,
                    ),
                ),
                ("source", models.CharField(blank=True, default="", max_length=80)),
                ("title", models.CharField(max_length=300)),
                ("text", models.TextField(blank=True, default="")),
                ("tone", models.CharField(default="neutral", max_length=10)),
                ("url", models.CharField(blank=True, default="", max_length=500)),
                ("by", models.CharField(blank=True, default="", max_length=500)),
                ("pinned", models.BooleanField(default=False)),
                ("hidden", models.BooleanField(default=False)),
                (
                    "incident",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="entries", to="postmortems.incident"),
                ),
            ],
            options={
                "ordering": ["at", "id"],
            },
        ),
        migrations.CreateModel(
            name="IncidentAttachment",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("kind", models.CharField(max_length=100)),
                ("size", models.PositiveIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("body", models.BinaryField()),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="attachment", to="postmortems.timelineentry"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="incident",
            index=models.Index(
                condition=models.Q(("state__in", ("triage", "active", "mitigated"))),
                fields=["organisation", "state"],
                name="incident_open_of",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.UniqueConstraint(fields=("organisation", "number"), name="incident_number_once"),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(("severity__in", ["sev1", "sev2", "sev3", "sev4"])), name="incident_severity_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["triage", "active", "mitigated", "resolved", "closed", "cancelled", "merged"])),
                name="incident_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("merged_into__isnull", False), ("state", "merged")),
                    models.Q(models.Q(("state", "merged"), _negated=True), ("merged_into", None)),
                    _connector="OR",
                ),
                name="incident_merged_into",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(("merged_into", None), models.Q(("merged_into", models.F("id")), _negated=True), _connector="OR"),
                name="incident_not_into_itself",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("impact_until", None),
                    models.Q(("impact_from__isnull", False), ("impact_until__gt", models.F("impact_from"))),
                    _connector="OR",
                ),
                name="incident_window",
            ),
        ),
        migrations.AddConstraint(
            model_name="incident",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("detected_at__gte", models.F("started_at")),
                    models.Q(("acknowledged_at", None), ("acknowledged_at__gte", models.F("detected_at")), _connector="OR"),
                    models.Q(("mitigated_at", None), ("mitigated_at__gte", models.F("started_at")), _connector="OR"),
                    models.Q(("resolved_at", None), ("resolved_at__gte", models.F("detected_at")), _connector="OR"),
                    models.Q(
                        ("resolved_at", None), ("mitigated_at", None), ("resolved_at__gte", models.F("mitigated_at")), _connector="OR"
                    ),
                    models.Q(("closed_at", None), ("closed_at__gte", models.F("detected_at")), _connector="OR"),
                ),
                name="incident_times_ordered",
            ),
        ),
        migrations.AddConstraint(
            model_name="incidentseverity",
            constraint=models.UniqueConstraint(fields=("organisation", "level"), name="incident_severity_once"),
        ),
        migrations.AddIndex(
            model_name="timelineentry",
            index=models.Index(fields=["incident", "at"], name="timeline_of_incident"),
        ),
        migrations.AddConstraint(
            model_name="timelineentry",
            constraint=models.UniqueConstraint(
                condition=models.Q(("source", ""), _negated=True), fields=("incident", "source"), name="timeline_source_once"
            ),
        ),
    ]
