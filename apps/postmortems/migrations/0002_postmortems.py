"""Postmortems, action items, checklists and the status page; evidence that cannot be changed."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.contracts.identifiers

FROZEN = """
CREATE FUNCTION postmortem_evidence_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'evidence is never changed: take it again' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER postmortem_evidence_frozen BEFORE UPDATE ON postmortems_postmortemevidence
    FOR EACH ROW EXECUTE FUNCTION postmortem_evidence_frozen();
"""
THAWED = """
DROP TRIGGER postmortem_evidence_frozen ON postmortems_postmortemevidence;
DROP FUNCTION postmortem_evidence_frozen();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_personal_tokens"),
        ("alerts", "0004_channel_sources"),
        ("keys", "0005_holders"),
        ("ownership", "0003_sla_latency"),
        ("postmortems", "0001_incidents"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="StatusPage",
            fields=[
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="status_page",
                        serialize=False,
                        to="accounts.organisation",
                    ),
                ),
                (
                    "audience",
                    models.CharField(
                        choices=[
                            ("off", "Nobody: the page is off"),
                            ("signed-in", "People who are signed in and belong to the organisation"),
                            ("public", "Everybody who knows its address"),
                        ],
                        default="off",
                        max_length=10,
                    ),
                ),
                ("title", models.CharField(max_length=100)),
                ("text", models.CharField(blank=True, default="", max_length=2000)),
                ("changed_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="ChecklistRun",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("title", models.CharField(max_length=200)),
                ("started_at", models.DateTimeField()),
                ("started_by", models.CharField(max_length=500)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "incident",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="checklists", to="postmortems.incident"),
                ),
                (
                    "runbook",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="ownership.runbook"
                    ),
                ),
            ],
            options={
                "ordering": ["started_at"],
            },
        ),
        migrations.CreateModel(
            name="ChecklistStep",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("position", models.PositiveSmallIntegerField()),
                ("part", models.CharField(blank=True, default="", max_length=200)),
                ("text", models.CharField(max_length=500)),
                (
                    "state",
                    models.CharField(
                        blank=True, choices=[("", "To do"), ("done", "Done"), ("skipped", "Skipped")], default="", max_length=8
                    ),
                ),
                ("note", models.CharField(blank=True, default="", max_length=500)),
                ("at", models.DateTimeField(blank=True, null=True)),
                ("by", models.CharField(blank=True, default="", max_length=500)),
                (
                    "run",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="steps", to="postmortems.checklistrun"),
                ),
            ],
            options={
                "ordering": ["position"],
            },
        ),
        migrations.CreateModel(
            name="Factor",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("slug", models.SlugField(max_length=60)),
                ("title", models.CharField(max_length=100)),
                ("help", models.CharField(blank=True, default="", max_length=300)),
                ("retired_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="factors", to="accounts.organisation"),
                ),
            ],
            options={
                "ordering": ["title", "slug"],
            },
        ),
        migrations.CreateModel(
            name="Postmortem",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[("draft", "Draft"), ("review", "In review"), ("published", "Published")], default="draft", max_length=10
                    ),
                ),
                ("template_version", models.PositiveIntegerField(default=0)),
                ("sections", models.JSONField()),
                ("sign_offs_needed", models.PositiveSmallIntegerField(default=1)),
                ("texts", models.JSONField(blank=True, default=dict)),
                ("authors", models.JSONField(blank=True, default=list)),
                ("writers", models.JSONField(blank=True, default=dict)),
                ("revision", models.PositiveIntegerField(default=0)),
                ("required", models.BooleanField(default=False)),
                ("due_at", models.DateTimeField(blank=True, null=True)),
                (
                    "trigger",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Not known yet"),
                            ("provider", "A provider failed or changed"),
                            ("deploy", "A deploy"),
                            ("config", "A change of the configuration"),
                            ("traffic", "Traffic: more, or other than usual"),
                            ("client", "A client gone wild"),
                            ("dependency", "A dependency below"),
                            ("capacity", "Capacity used up"),
                            ("expiry", "Something expired"),
                            ("hardware", "Hardware or network"),
                            ("drill", "A drill"),
                            ("other", "Something else"),
                        ],
                        default="",
                        max_length=20,
                    ),
                ),
                (
                    "detected",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "Not said yet"),
                            ("alert", "An alert"),
                            ("person", "One of us"),
                            ("user", "A user"),
                            ("provider", "The provider told us"),
                            ("drill", "A drill"),
                        ],
                        default="",
                        max_length=20,
                    ),
                ),
                ("held_until", models.DateTimeField(blank=True, null=True)),
                ("take", models.PositiveIntegerField(default=0)),
                ("taking", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("taking_error", models.CharField(blank=True, default="", max_length=500)),
                ("draft", models.TextField(blank=True, default="")),
                ("drafted_at", models.DateTimeField(blank=True, null=True)),
                ("drafted_by", models.CharField(blank=True, default="", max_length=500)),
                ("drafting", models.CharField(blank=True, choices=[("asked", "asked"), ("running", "running")], default="", max_length=7)),
                ("draft_error", models.CharField(blank=True, default="", max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("created_by", models.CharField(max_length=500)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("submitted_at", models.DateTimeField(blank=True, null=True)),
                ("published_at", models.DateTimeField(blank=True, null=True)),
                ("published_by", models.CharField(blank=True, default="", max_length=500)),
                ("factors", models.ManyToManyField(blank=True, related_name="postmortems", to="postmortems.factor")),
                (
                    "held_by",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "incident",
                    models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name="postmortem", to="postmortems.incident"),
                ),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="postmortems", to="accounts.organisation"),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="ActionItem",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("title", models.CharField(max_length=200)),
                ("outcome", models.CharField(max_length=1000)),
                ("due_on", models.DateField()),
                ("priority", models.CharField(choices=[("p1", "P1"), ("p2", "P2"), ("p3", "P3")], default="p2", max_length=2)),
                (
                    "state",
                    models.CharField(choices=[("open", "Open"), ("done", "Done"), ("declined", "Declined")], default="open", max_length=10),
                ),
                ("check_kind", models.CharField(blank=True, default="", max_length=30)),
                ("check_of", models.CharField(blank=True, default="", max_length=200)),
                ("verdict", models.CharField(blank=True, default="", max_length=10)),
                ("verdict_at", models.DateTimeField(blank=True, null=True)),
                ("verdict_why", models.CharField(blank=True, default="", max_length=500)),
                ("tracker_url", models.CharField(blank=True, default="", max_length=1000)),
                ("reopened", models.PositiveSmallIntegerField(default=0)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, default="", max_length=500)),
                ("reason", models.CharField(blank=True, default="", max_length=2000)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("created_by", models.CharField(max_length=500)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "organisation",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="action_items", to="accounts.organisation"),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="action_items", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "postmortem",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="actions",
                        to="postmortems.postmortem",
                    ),
                ),
            ],
            options={
                "ordering": ["due_on", "number"],
            },
        ),
        migrations.CreateModel(
            name="PostmortemEvidence",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("take", models.PositiveIntegerField()),
                ("query", models.CharField(max_length=40)),
                ("parameters", models.JSONField()),
                ("result", models.JSONField()),
                ("config_version", models.BigIntegerField(null=True)),
                ("url", models.CharField(blank=True, default="", max_length=1000)),
                ("taken_at", models.DateTimeField()),
                ("taken_by", models.CharField(max_length=500)),
                (
                    "postmortem",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="evidence", to="postmortems.postmortem"),
                ),
            ],
            options={
                "ordering": ["take", "query"],
            },
        ),
        migrations.CreateModel(
            name="PostmortemSign",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("revision", models.PositiveIntegerField()),
                ("person", models.CharField(max_length=80)),
                ("by", models.CharField(max_length=500)),
                ("note", models.CharField(blank=True, default="", max_length=2000)),
                ("at", models.DateTimeField()),
                (
                    "postmortem",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="signs", to="postmortems.postmortem"),
                ),
            ],
            options={
                "ordering": ["at"],
            },
        ),
        migrations.CreateModel(
            name="PostmortemTemplate",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("version", models.PositiveIntegerField()),
                ("sections", models.JSONField()),
                ("due_days", models.PositiveSmallIntegerField(default=5)),
                ("sign_offs", models.PositiveSmallIntegerField(default=1)),
                ("draft_route", models.CharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("created_by", models.CharField(max_length=500)),
                (
                    "draft_key",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="keys.virtualkey"
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="postmortem_templates", to="accounts.organisation"
                    ),
                ),
                (
                    "tracker",
                    models.ForeignKey(
                        blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="alerts.alertchannel"
                    ),
                ),
            ],
            options={
                "ordering": ["-version"],
            },
        ),
        migrations.CreateModel(
            name="PostmortemText",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("texts", models.JSONField()),
                ("by", models.CharField(max_length=500)),
                ("by_id", models.CharField(max_length=80)),
                ("begun_at", models.DateTimeField()),
                ("at", models.DateTimeField()),
                ("aside", models.BooleanField(default=False)),
                (
                    "postmortem",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="versions", to="postmortems.postmortem"),
                ),
            ],
            options={
                "ordering": ["-at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="StatusComponent",
            fields=[
                ("id", models.UUIDField(default=apps.contracts.identifiers.uuid7, editable=False, primary_key=True, serialize=False)),
                ("position", models.PositiveSmallIntegerField()),
                ("name", models.CharField(max_length=100)),
                ("help", models.CharField(blank=True, default="", max_length=300)),
                (
                    "services",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                (
                    "routes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list, size=None
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="status_components", to="accounts.organisation"
                    ),
                ),
            ],
            options={
                "ordering": ["position", "name"],
            },
        ),
        migrations.AddConstraint(
            model_name="checklistrun",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None), ("runbook__isnull", False)),
                fields=("incident", "runbook"),
                name="checklist_running_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkliststep",
            constraint=models.UniqueConstraint(fields=("run", "position"), name="checklist_step_once"),
        ),
        migrations.AddConstraint(
            model_name="checkliststep",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("at", None), ("state", "")),
                    models.Q(models.Q(("state", ""), _negated=True), ("at__isnull", False)),
                    _connector="OR",
                ),
                name="checklist_step_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="factor",
            constraint=models.UniqueConstraint(fields=("organisation", "slug"), name="factor_once"),
        ),
        migrations.AddIndex(
            model_name="postmortem",
            index=models.Index(condition=models.Q(("state", "published"), _negated=True), fields=["due_at"], name="postmortem_due"),
        ),
        migrations.AddIndex(
            model_name="postmortem",
            index=models.Index(fields=["organisation", "state"], name="postmortem_of_state"),
        ),
        migrations.AddConstraint(
            model_name="postmortem",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["draft", "review", "published"])), name="postmortem_state_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="postmortem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("published_at__isnull", False), ("state", "published")),
                    models.Q(models.Q(("state", "published"), _negated=True), ("published_at", None)),
                    _connector="OR",
                ),
                name="postmortem_published_has_time",
            ),
        ),
        migrations.AddIndex(
            model_name="actionitem",
            index=models.Index(fields=["organisation", "state", "due_on"], name="action_of_state"),
        ),
        migrations.AddIndex(
            model_name="actionitem",
            index=models.Index(condition=models.Q(("state", "open")), fields=["due_on"], name="action_due"),
        ),
        migrations.AddConstraint(
            model_name="actionitem",
            constraint=models.UniqueConstraint(fields=("organisation", "number"), name="action_number_once"),
        ),
        migrations.AddConstraint(
            model_name="actionitem",
            constraint=models.CheckConstraint(condition=models.Q(("state__in", ["open", "done", "declined"])), name="action_state_known"),
        ),
        migrations.AddConstraint(
            model_name="actionitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "open"), ("decided_at__isnull", False), _connector="OR"), name="action_end_has_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="actionitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "declined"), _negated=True), models.Q(("reason", ""), _negated=True), _connector="OR"
                ),
                name="action_declined_has_reason",
            ),
        ),
        migrations.AddConstraint(
            model_name="postmortemevidence",
            constraint=models.UniqueConstraint(fields=("postmortem", "take", "query"), name="postmortem_evidence_once"),
        ),
        migrations.AddConstraint(
            model_name="postmortemsign",
            constraint=models.UniqueConstraint(fields=("postmortem", "revision", "person"), name="postmortem_sign_once"),
        ),
        migrations.AddConstraint(
            model_name="postmortemtemplate",
            constraint=models.UniqueConstraint(fields=("organisation", "version"), name="postmortem_template_once"),
        ),
        migrations.AddIndex(
            model_name="postmortemtext",
            index=models.Index(fields=["postmortem", "-at"], name="postmortem_text_of"),
        ),
        migrations.AddConstraint(
            model_name="statuscomponent",
            constraint=models.UniqueConstraint(fields=("organisation", "name"), name="status_component_once"),
        ),
        migrations.RunSQL(FROZEN, THAWED),
    ]
