"""What documents manage: which thing is an entry of which document, and what the document said of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class ManagedThing(models.Model):
    """A thing that a document manages: the last apply of that document listed it.

    kind, object_id: as the audit calls it. section, name: the list of the document and the entry's name in it. document: what the document
    is called; line: where the entry stands in it, 0 where nobody knows. said: the entry as it was right after the apply, as
    ``controlplane.configfile`` writes it. applied_by: who ran the command. version: the newest version of the config then.
    edited_at, edited_by: the last edit by hand since, which the next apply takes back.
    """

    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="managed_things")
    kind = models.CharField(max_length=40)
    object_id = models.CharField(max_length=200)
    section = models.CharField(max_length=40)
    name = models.CharField(max_length=400)
    document = models.CharField(max_length=200)
    line = models.PositiveIntegerField(default=0)
    said = models.JSONField()
    applied_at = models.DateTimeField()
    applied_by = models.CharField(max_length=300)
    version = models.BigIntegerField(null=True)
    edited_at = models.DateTimeField(null=True)
    edited_by = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        db_table = "publishing_managed"
        ordering: ClassVar[list[str]] = ["document", "section", "name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "kind", "object_id"], name="publishing_managed_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organisation", "document"], name="publishing_managed_document"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.document}"
