"""Channels, policies, notifications, deliveries, and where nobody can be reached."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.contracts.identifiers

ID = {"primary_key": True, "default": apps.contracts.identifiers.uuid7, "editable": False, "serialize": False}
CASCADE, PROTECT, SET_NULL = django.db.models.deletion.CASCADE, django.db.models.deletion.PROTECT, django.db.models.deletion.SET_NULL
KINDS = [
    ("email", "E-mail"),
    ("webhook", "Webhook (CloudEvents)"),
    ("slack", "Slack-compatible webhook"),
    ("pagerduty", "PagerDuty-compatible events"),
    ("ntfy", "ntfy push"),
]
TARGETS = [
    ("on-call", "Whoever is on call"),
    ("next", "Whoever is on call next"),
    ("rotation", "Everybody on the rotation"),
    ("contacts", "The owning team's e-mail contacts"),
    ("leads", "The owning team's leads, or admins"),
    ("channel", "A channel"),
]
WHATS = [
    ("firing", "Fired"),
    ("escalation", "Escalated"),
    ("reminder", "Reminded"),
    ("acknowledged", "Acknowledged"),
    ("resolved", "Over"),
    ("test", "Test"),
]
STATES = ["waiting", "sending", "sent", "failed", "unknown", "dropped"]


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0001_initial"),
        ("accounts", "0005_personal_tokens"),
        ("ownership", "0002_map_rotations_and_care"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AlertChannel",
            fields=[
                ("id", models.UUIDField(**ID)),
                ("name", models.SlugField(max_length=60)),
                ("kind", models.CharField(choices=KINDS, max_length=10)),
                ("address", models.TextField()),
                ("secret", models.TextField(blank=True, default="")),
                ("shown", models.CharField(max_length=254)),
                ("allow_private", models.BooleanField(default=False)),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                ("organisation", models.ForeignKey(on_delete=CASCADE, related_name="alert_channels", to="accounts.organisation")),
                (
                    "person",
                    models.ForeignKey(blank=True, null=True, on_delete=CASCADE, related_name="alert_channels", to=settings.AUTH_USER_MODEL),
                ),
                (
                    "team",
                    models.ForeignKey(blank=True, null=True, on_delete=CASCADE, related_name="alert_channels", to="ownership.team"),
                ),
            ],
            options={
                "ordering": ["name"],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "name"), name="alerts_channel_once"),
                    models.CheckConstraint(condition=models.Q(("kind__in", [kind for kind, _ in KINDS])), name="alerts_channel_kind"),
                    models.CheckConstraint(
                        condition=models.Q(("team", None), ("person", None), _connector="OR"), name="alerts_channel_one_owner"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="NotificationPolicy",
            fields=[
                ("id", models.UUIDField(**ID)),
                ("name", models.SlugField(max_length=60)),
                ("position", models.PositiveSmallIntegerField(default=0)),
                ("enabled", models.BooleanField(default=True)),
                ("severity", models.CharField(blank=True, default="", max_length=10)),
                ("labels", models.JSONField(blank=True, default=dict)),
                ("zone", models.CharField(default="UTC", max_length=64)),
                ("days", models.PositiveSmallIntegerField(default=127)),
                ("from_minute", models.PositiveSmallIntegerField(default=0)),
                ("to_minute", models.PositiveSmallIntegerField(default=1440)),
                ("group_wait_s", models.PositiveSmallIntegerField(default=15)),
                ("repeat_minutes", models.PositiveSmallIntegerField(default=60)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "organisation",
                    models.ForeignKey(on_delete=CASCADE, related_name="notification_policies", to="accounts.organisation"),
                ),
                (
                    "team",
                    models.ForeignKey(blank=True, null=True, on_delete=CASCADE, related_name="notification_policies", to="ownership.team"),
                ),
            ],
            options={
                "ordering": ["position", "name"],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "name"), name="alerts_policy_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("days__gte", 1),
                            ("days__lte", 127),
                            ("from_minute__lt", 1440),
                            ("to_minute__gte", 1),
                            ("to_minute__lte", 1440),
                        ),
                        name="alerts_policy_hours",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="EscalationStep",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("position", models.PositiveSmallIntegerField()),
                ("after_minutes", models.PositiveSmallIntegerField(default=0)),
                ("target", models.CharField(choices=TARGETS, max_length=10)),
                (
                    "channel",
                    models.ForeignKey(blank=True, null=True, on_delete=PROTECT, related_name="steps", to="alerts.alertchannel"),
                ),
                ("policy", models.ForeignKey(on_delete=CASCADE, related_name="steps", to="alerts.notificationpolicy")),
                (
                    "rotation",
                    models.ForeignKey(blank=True, null=True, on_delete=CASCADE, related_name="+", to="ownership.rotation"),
                ),
            ],
            options={
                "ordering": ["after_minutes", "position"],
                "constraints": [
                    models.UniqueConstraint(fields=("policy", "position"), name="alerts_step_order"),
                    models.CheckConstraint(
                        condition=models.Q(target="channel", channel__isnull=False)
                        | (~models.Q(target="channel") & models.Q(channel=None)),
                        name="alerts_step_channel",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.UUIDField(**ID)),
                ("key", models.CharField(max_length=300)),
                ("opened_at", models.DateTimeField()),
                ("told_at", models.DateTimeField(blank=True, null=True)),
                ("step", models.PositiveSmallIntegerField(default=0)),
                ("round", models.PositiveSmallIntegerField(default=0)),
                ("tellings", models.PositiveIntegerField(default=0)),
                ("next_at", models.DateTimeField(blank=True, null=True)),
                ("acked_at", models.DateTimeField(blank=True, null=True)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("organisation", models.ForeignKey(on_delete=CASCADE, related_name="+", to="accounts.organisation")),
                (
                    "policy",
                    models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name="+", to="alerts.notificationpolicy"),
                ),
                ("team", models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name="+", to="ownership.team")),
            ],
            options={
                "ordering": ["-opened_at"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("closed_at", None), ("next_at__isnull", False)),
                        fields=["next_at"],
                        name="alerts_notification_due",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at", None)), fields=("organisation", "key"), name="alerts_notification_open_once"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="NotificationAlert",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("told_severity", models.CharField(blank=True, default="", max_length=10)),
                ("alert", models.ForeignKey(on_delete=CASCADE, related_name="notification_members", to="alerts.alert")),
                ("notification", models.ForeignKey(on_delete=CASCADE, related_name="members", to="alerts.notification")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("notification", "alert"), name="alerts_notification_alert_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.UUIDField(**ID)),
                ("about", models.CharField(max_length=120)),
                ("receiver", models.CharField(max_length=120)),
                ("name", models.CharField(max_length=254)),
                ("kind", models.CharField(blank=True, default="", max_length=10)),
                ("what", models.CharField(choices=WHATS, max_length=14)),
                ("message", models.JSONField()),
                ("state", models.CharField(choices=[(state, state) for state in STATES], default="waiting", max_length=8)),
                ("due_at", models.DateTimeField()),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("told", models.CharField(blank=True, default="", max_length=300)),
                ("created_at", models.DateTimeField()),
                (
                    "alert",
                    models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name="deliveries", to="alerts.alert"),
                ),
                (
                    "channel",
                    models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name="deliveries", to="alerts.alertchannel"),
                ),
                (
                    "notification",
                    models.ForeignKey(blank=True, null=True, on_delete=CASCADE, related_name="deliveries", to="alerts.notification"),
                ),
                ("organisation", models.ForeignKey(on_delete=CASCADE, related_name="+", to="accounts.organisation")),
                (
                    "person",
                    models.ForeignKey(blank=True, null=True, on_delete=SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ["-created_at", "-id"],
                "indexes": [
                    models.Index(condition=models.Q(("state__in", ["waiting", "sending"])), fields=["due_at"], name="alerts_delivery_due"),
                    models.Index(fields=["organisation", "-created_at"], name="alerts_delivery_log"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("about", "receiver"), name="alerts_delivery_once"),
                    models.CheckConstraint(condition=models.Q(("state__in", STATES)), name="alerts_delivery_state"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Unreachable",
            fields=[
                (
                    "rotation",
                    models.OneToOneField(on_delete=CASCADE, primary_key=True, related_name="+", serialize=False, to="ownership.rotation"),
                ),
                ("why", models.CharField(max_length=300)),
                ("since", models.DateTimeField()),
                ("organisation", models.ForeignKey(on_delete=CASCADE, related_name="+", to="accounts.organisation")),
            ],
            options={"ordering": ["since"]},
        ),
    ]
