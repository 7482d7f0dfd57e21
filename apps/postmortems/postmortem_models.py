"""Postmortems: templates and the vocabulary of an organisation, the texts with their earlier versions, evidence, sign-offs.

Written by ``postmortem_services``, ``postmortem_template_services`` and ``postmortem_evidence``. Evidence is only ever added: the
database refuses to change a row of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from apps.contracts.identifiers import uuid7
from apps.postmortems import postmortem_choices as choices


class PostmortemTemplate(models.Model):
    """What postmortems of an organisation consist of, from one version on; rows are only ever added, the highest version holds.

    sections: ``postmortem_choices.Section`` documents in their order. due_days: business days. sign_offs: by how many people who did not
    write it. draft_route: a route that may be asked for a draft, empty: none is; draft_key: the key that pays for it.
    tracker: a channel that hears of action items.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="postmortem_templates")
    version = models.PositiveIntegerField()
    sections = models.JSONField()
    due_days = models.PositiveSmallIntegerField(default=choices.DUE_DAYS)
    sign_offs = models.PositiveSmallIntegerField(default=1)
    draft_route = models.CharField(max_length=200, blank=True, default="")
    draft_key = models.ForeignKey("keys.VirtualKey", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    tracker = models.ForeignKey("alerts.AlertChannel", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=500)

    class Meta:
        ordering: ClassVar[list[str]] = ["-version"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "version"], name="postmortem_template_once"),
        ]

    def __str__(self) -> str:
        return f"template v{self.version}"


class Factor(models.Model):
    """A tag of an organisation's vocabulary. retired_at: no longer offered; postmortems that have it keep it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="factors")
    slug = models.SlugField(max_length=60)
    title = models.CharField(max_length=100)
    help = models.CharField(max_length=300, blank=True, default="")
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["title", "slug"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "slug"], name="factor_once"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.slug


class Postmortem(models.Model):
    """What was learnt of one incident.

    sections: of the template's version that it was begun with, frozen. texts: section's key -> Markdown. owner: who sees to it that it is
    written. authors: ids of everybody who wrote a text of it.
    writers: section's key -> the open page that wrote it last. revision: raised by every change of a text; sign-offs are of one revision.
    due_at: None: nobody waits for it. held_by, held_until: who has the editor open. factors, trigger, detected: what patterns are made of.
    take: the number of the evidence that is shown, 0: none yet; taking: percent while one is taken, None when none is; taking_error: why
    the last one ended. drafted_at, draft: a narrative that a model proposed, never part of the text by itself; drafting: a worker was
    asked for one, or asks."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="postmortems")
    incident = models.OneToOneField("postmortems.Incident", on_delete=models.CASCADE, related_name="postmortem")
    state = models.CharField(
        max_length=10, choices=[(value, status.label) for value, status in choices.STATES.items()], default=choices.DRAFT
    )
    template_version = models.PositiveIntegerField(default=0)
    sections = models.JSONField()
    sign_offs_needed = models.PositiveSmallIntegerField(default=1)
    texts = models.JSONField(default=dict, blank=True)
    owner = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    authors = models.JSONField(default=list, blank=True)
    writers = models.JSONField(default=dict, blank=True)
    revision = models.PositiveIntegerField(default=0)
    required = models.BooleanField(default=False)
    due_at = models.DateTimeField(null=True, blank=True)
    trigger = models.CharField(max_length=20, blank=True, default="", choices=list(choices.TRIGGERS.items()))
    detected = models.CharField(max_length=20, blank=True, default="", choices=list(choices.DETECTED.items()))
    factors = models.ManyToManyField(Factor, blank=True, related_name="postmortems")
    held_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    held_until = models.DateTimeField(null=True, blank=True)
    take = models.PositiveIntegerField(default=0)
    taking = models.PositiveSmallIntegerField(null=True, blank=True)
    taking_error = models.CharField(max_length=500, blank=True, default="")
    draft = models.TextField(blank=True, default="")
    drafted_at = models.DateTimeField(null=True, blank=True)
    drafted_by = models.CharField(max_length=500, blank=True, default="")
    drafting = models.CharField(max_length=7, blank=True, default="", choices=[("asked", "asked"), ("running", "running")])
    draft_error = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=500)
    changed_at = models.DateTimeField(auto_now=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(state__in=list(choices.STATES)), name="postmortem_state_known"),
            models.CheckConstraint(
                condition=Q(state=choices.PUBLISHED, published_at__isnull=False) | (~Q(state=choices.PUBLISHED) & Q(published_at=None)),
                name="postmortem_published_has_time",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], condition=~Q(state=choices.PUBLISHED), name="postmortem_due"),
            models.Index(fields=["organisation", "state"], name="postmortem_of_state"),
        ]

    def __str__(self) -> str:
        return f"postmortem of {self.incident}"

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.incident.reference

    @property
    def parts(self) -> list[choices.Section]:
        """Its sections."""
        return [choices.Section(one["key"], one["title"], one.get("help", ""), bool(one.get("required"))) for one in self.sections]

    @property
    def status(self) -> Any:
        """Its state, for pages."""
        return choices.STATES[self.state]


class PostmortemText(models.Model):
    """All texts as they stood once: what somebody wrote in one go, or what was set aside because somebody else had changed the same.

    number: the revision that it made; of texts set aside the one that they were based on. aside: it is not part of the postmortem.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    postmortem = models.ForeignKey(Postmortem, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    texts = models.JSONField()
    by = models.CharField(max_length=500)
    by_id = models.CharField(max_length=80)
    begun_at = models.DateTimeField()
    at = models.DateTimeField()
    aside = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-id"]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["postmortem", "-at"], name="postmortem_text_of")]

    def __str__(self) -> str:
        return f"{self.postmortem_id} r{self.number}"


class PostmortemSign(models.Model):
    """Somebody read one revision and says that it may be published."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    postmortem = models.ForeignKey(Postmortem, on_delete=models.CASCADE, related_name="signs")
    revision = models.PositiveIntegerField()
    person = models.CharField(max_length=80)
    by = models.CharField(max_length=500)
    note = models.CharField(max_length=2000, blank=True, default="")
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar[list[str]] = ["at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["postmortem", "revision", "person"], name="postmortem_sign_once"),
        ]

    def __str__(self) -> str:
        return f"{self.by} r{self.revision}"


class PostmortemEvidence(models.Model):
    """What one query said at one moment, for good. query: a key of ``postmortem_queries.QUERIES``; parameters: what it was asked with,
    so that
    it can be asked again; take: which taking it belongs to; config_version: the config that proxies were to run then; url: where the
    same can be looked at in the product."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    postmortem = models.ForeignKey(Postmortem, on_delete=models.CASCADE, related_name="evidence")
    take = models.PositiveIntegerField()
    query = models.CharField(max_length=40)
    parameters = models.JSONField()
    result = models.JSONField()
    config_version = models.BigIntegerField(null=True)
    url = models.CharField(max_length=1000, blank=True, default="")
    taken_at = models.DateTimeField()
    taken_by = models.CharField(max_length=500)

    class Meta:
        ordering: ClassVar[list[str]] = ["take", "query"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["postmortem", "take", "query"], name="postmortem_evidence_once"),
        ]

    def __str__(self) -> str:
        return f"{self.query} #{self.take}"
