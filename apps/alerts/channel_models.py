"""How people are told of alerts: channels, policies with their steps, what is being told, and each delivery of it.

A *notification* is one group of alerts that people are told of together, from the first telling to the resolve. A *delivery* is one message
to one receiver; its row is made with the decision to tell, and its uniqueness is what keeps a receiver from being told the same twice.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.alerts import channel_choices as choices
from apps.contracts.identifiers import uuid7


class AlertChannel(models.Model):
    """One way to tell somebody. team: whose it is, None for the organisation's; person: whose own it is, for when that person is paged.

    address, secret: under the master key. address_source, secret_source: the references that a document read them from, empty where a
    person typed them. shown: what pages say of the address. allow_private: it may lead into private networks.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="alert_channels")
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="alert_channels")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="alert_channels")
    name = models.SlugField(max_length=60)
    kind = models.CharField(max_length=10, choices=[(value, kind.label) for value, kind in choices.KINDS.items()])
    address = models.TextField()
    address_source = models.CharField(max_length=300, blank=True, default="")
    secret = models.TextField(blank=True, default="")
    secret_source = models.CharField(max_length=300, blank=True, default="")
    shown = models.CharField(max_length=254)
    allow_private = models.BooleanField(default=False)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="alerts_channel_once"),
            models.CheckConstraint(condition=Q(kind__in=list(choices.KINDS)), name="alerts_channel_kind"),
            models.CheckConstraint(condition=Q(team=None) | Q(person=None), name="alerts_channel_one_owner"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """``Slack-compatible webhook``."""
        return choices.KINDS[self.kind].label


class NotificationPolicy(models.Model):
    """Whom to tell of which alerts. The first that matches, by ``position``, decides; what none matches takes the built-in one.

    team: alerts that this team owns, None for anybody's. severity: empty for any. labels: values that the alert's rule must carry.
    zone, days (a bit each, Monday 1), from_minute, to_minute: the hours in which warnings are told; critical ones are told always.
    group_wait_s: how long others of the group are waited for. repeat_minutes: between rounds while nobody has taken it, 0 for none.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="notification_policies")
    name = models.SlugField(max_length=60)
    position = models.PositiveSmallIntegerField(default=0)
    enabled = models.BooleanField(default=True)
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="notification_policies")
    severity = models.CharField(max_length=10, blank=True, default="")
    labels = models.JSONField(default=dict, blank=True)
    zone = models.CharField(max_length=64, default="UTC")
    days = models.PositiveSmallIntegerField(default=127)
    from_minute = models.PositiveSmallIntegerField(default=0)
    to_minute = models.PositiveSmallIntegerField(default=1440)
    group_wait_s = models.PositiveSmallIntegerField(default=15)
    repeat_minutes = models.PositiveSmallIntegerField(default=60)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["position", "name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="alerts_policy_once"),
            models.CheckConstraint(
                condition=Q(days__gte=1, days__lte=127, from_minute__lt=1440, to_minute__gte=1, to_minute__lte=1440),
                name="alerts_policy_hours",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class EscalationStep(models.Model):
    """One receiver of a policy, told ``after_minutes`` without anybody taking the alert; those of the same minutes are told together."""

    id = models.BigAutoField(primary_key=True)
    policy = models.ForeignKey(NotificationPolicy, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    after_minutes = models.PositiveSmallIntegerField(default=0)
    target = models.CharField(max_length=10, choices=list(choices.TARGETS.items()))
    channel = models.ForeignKey(AlertChannel, on_delete=models.PROTECT, null=True, blank=True, related_name="steps")
    rotation = models.ForeignKey("ownership.Rotation", on_delete=models.CASCADE, null=True, blank=True, related_name="+")

    class Meta:
        ordering: ClassVar[list[str]] = ["after_minutes", "position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["policy", "position"], name="alerts_step_order"),
            models.CheckConstraint(
                condition=Q(target=choices.CHANNEL, channel__isnull=False) | (~Q(target=choices.CHANNEL) & Q(channel=None)),
                name="alerts_step_channel",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.target} after {self.after_minutes} min"


class Notification(models.Model):
    """One group of alerts under one policy, while any of them is open. policy None: the built-in one. team: whose alerts they are.

    told_at: when the present round began; None: nobody was told yet. step: how many levels of this round were told. round: rounds begun
    before it. tellings: how many were decided, which numbers them. next_at: when there is something to decide, None for nothing.
    acked_at: somebody has taken every alert of it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    policy = models.ForeignKey(NotificationPolicy, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    team = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    key = models.CharField(max_length=300)
    opened_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, blank=True)
    step = models.PositiveSmallIntegerField(default=0)
    round = models.PositiveSmallIntegerField(default=0)
    tellings = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True, blank=True)
    acked_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-opened_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "key"], condition=Q(closed_at=None), name="alerts_notification_open_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["next_at"], condition=Q(closed_at=None, next_at__isnull=False), name="alerts_notification_due"),
        ]

    def __str__(self) -> str:
        return self.key


class NotificationAlert(models.Model):
    """An alert that a notification tells of. told_severity: as which it was told, empty: not yet."""

    id = models.BigAutoField(primary_key=True)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="members")
    alert = models.ForeignKey("alerts.Alert", on_delete=models.CASCADE, related_name="notification_members")
    told_severity = models.CharField(max_length=10, blank=True, default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["notification", "alert"], name="alerts_notification_alert_once"),
        ]

    def __str__(self) -> str:
        return f"{self.alert_id} in {self.notification_id}"


class Delivery(models.Model):
    """One message to one receiver. about and receiver together are there once: whoever makes the row has decided to tell.

    about: ``<notification>:<number>`` and the like, or ``test:<id>``. receiver: ``channel:<id>``, ``person:<id>``, ``address:<e-mail>`` or
    ``nobody:<where>``. name: the receiver as people know it; of an address, the address. kind: empty where nobody can be reached.
    message: a ``channels.base.Message``, frozen when the row was made. tries: conversations begun. due_at: when the next may begin.
    claimed_at: when the last did.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries")
    alert = models.ForeignKey("alerts.Alert", on_delete=models.SET_NULL, null=True, blank=True, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, on_delete=models.SET_NULL, null=True, blank=True, related_name="deliveries")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    about = models.CharField(max_length=120)
    receiver = models.CharField(max_length=120)
    name = models.CharField(max_length=254)
    kind = models.CharField(max_length=10, blank=True, default="")
    what = models.CharField(max_length=14, choices=list(choices.WHATS.items()))
    message = models.JSONField()
    state = models.CharField(max_length=8, choices=[(state, state) for state in choices.STATES], default=choices.WAITING)
    due_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    told = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at", "-id"]
        verbose_name_plural = "deliveries"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["about", "receiver"], name="alerts_delivery_once"),
            models.CheckConstraint(condition=Q(state__in=list(choices.STATES)), name="alerts_delivery_state"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], condition=Q(state__in=[choices.WAITING, choices.SENDING]), name="alerts_delivery_due"),
            models.Index(fields=["organisation", "-created_at"], name="alerts_delivery_log"),
        ]

    def __str__(self) -> str:
        return f"{self.what} to {self.name}"


class Unreachable(models.Model):
    """A rotation on which nobody can be reached now, and why; written by the watch, read by every page."""

    rotation = models.OneToOneField("ownership.Rotation", on_delete=models.CASCADE, primary_key=True, related_name="+")
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="+")
    why = models.CharField(max_length=300)
    since = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["since"]

    def __str__(self) -> str:
        return f"{self.rotation}: {self.why}"
