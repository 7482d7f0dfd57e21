"""Incidents as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident, TimelineEntry

_NAMES = "As requests name them; of routes, none: all of them."


def _names() -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=200), required=False, default=list, help_text=_NAMES)


class IncidentDeclareSerializer(ReasonSerializer):
    """What declaring takes: a title is enough."""

    title = serializers.CharField(max_length=10_000)
    severity = serializers.ChoiceField(choices=list(choices.SEVERITIES), required=False, default=choices.SEV3)
    routes = _names()
    providers = _names()
    regions = _names()
    services = _names()
    summary = serializers.CharField(required=False, allow_blank=True, default="", help_text="Markdown.")
    started_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="When it began; now, unless told.")
    detected_at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="When it was seen; now, unless told.")


class IncidentSerializer(IncidentDeclareSerializer):
    """Something that went wrong, from the first sign until everything about it is done."""

    id = serializers.UUIDField(read_only=True)
    reference = serializers.CharField(read_only=True, help_text="INC-12; addresses take it, too.")
    state = serializers.ChoiceField(choices=list(choices.STATES), read_only=True)
    source = serializers.ChoiceField(choices=list(choices.SOURCES), read_only=True)
    simulated = serializers.BooleanField(read_only=True)
    public_summary = serializers.CharField(read_only=True)
    declared_at = serializers.DateTimeField(read_only=True)
    declared_by = serializers.CharField(read_only=True)
    commander = serializers.SerializerMethodField(help_text="E-mail; null: nobody.")
    scribe = serializers.SerializerMethodField(help_text="E-mail; null: nobody.")
    liaison = serializers.SerializerMethodField(help_text="E-mail; null: nobody.")
    acknowledged_at = serializers.DateTimeField(read_only=True, allow_null=True)
    mitigated_at = serializers.DateTimeField(read_only=True, allow_null=True)
    resolved_at = serializers.DateTimeField(read_only=True, allow_null=True)
    closed_at = serializers.DateTimeField(read_only=True, allow_null=True)
    impact_from = serializers.DateTimeField(read_only=True, allow_null=True, help_text="From when people felt it.")
    impact_until = serializers.DateTimeField(read_only=True, allow_null=True, help_text="Null while it goes on.")
    impact_set_by = serializers.CharField(read_only=True, help_text="Empty while the window follows the data.")
    impact = serializers.DictField(read_only=True, help_text="As measured last; money in nano-dollars. Empty: nothing was, or none yet.")
    impact_at = serializers.DateTimeField(read_only=True, allow_null=True)
    merged_into = serializers.SerializerMethodField(help_text="The incident that this one is part of; null: none.")

    def get_commander(self, row: Incident) -> str | None:
        return row.commander.email if row.commander else None

    def get_scribe(self, row: Incident) -> str | None:
        return row.scribe.email if row.scribe else None

    def get_liaison(self, row: Incident) -> str | None:
        return row.liaison.email if row.liaison else None

    def get_merged_into(self, row: Incident) -> str | None:
        return row.merged_into.reference if row.merged_into else None


class IncidentEditSerializer(ReasonSerializer):
    """What is changed; what is not given stays."""

    title = serializers.CharField(max_length=10_000, required=False)
    severity = serializers.ChoiceField(choices=list(choices.SEVERITIES), required=False)
    routes = serializers.ListField(child=serializers.CharField(max_length=200), required=False, help_text=_NAMES)
    providers = serializers.ListField(child=serializers.CharField(max_length=200), required=False, help_text=_NAMES)
    regions = serializers.ListField(child=serializers.CharField(max_length=200), required=False, help_text=_NAMES)
    services = serializers.ListField(child=serializers.CharField(max_length=200), required=False, help_text=_NAMES)
    summary = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    public_summary = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)


class IncidentMoveSerializer(StrictSerializer):
    """Where it goes; a text is a status update with it."""

    state = serializers.ChoiceField(choices=[state for state in choices.STATES if state != choices.MERGED])
    at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Since when it stands so; now, unless told.")
    text = serializers.CharField(required=False, allow_blank=True, default="", trim_whitespace=False)
    public = serializers.BooleanField(required=False, default=False, help_text="Also for the status page.")


class IncidentUpdateSerializer(StrictSerializer):
    """A status update."""

    text = serializers.CharField(trim_whitespace=False)
    public = serializers.BooleanField(required=False, default=False, help_text="Also for the status page.")


class IncidentNoteSerializer(StrictSerializer):
    """A note; what is too long for one is kept whole as a file."""

    text = serializers.CharField(trim_whitespace=False)
    at = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="When that was; now, unless told.")


class IncidentRoleSerializer(StrictSerializer):
    """Who gets a role."""

    role = serializers.ChoiceField(choices=list(choices.ROLES))
    person = serializers.EmailField(allow_null=True, help_text="Null: nobody.")


class IncidentMergeSerializer(ReasonSerializer):
    """What it becomes a part of."""

    into = serializers.CharField(max_length=40, help_text="INC-12, or its id.")


class IncidentTimesSerializer(ReasonSerializer):
    """All of its times, as they should be, and the window in which people felt it."""

    started_at = serializers.DateTimeField()
    detected_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    mitigated_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    resolved_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    closed_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    impact_from = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Null: the window follows the data.")
    impact_until = serializers.DateTimeField(required=False, allow_null=True, default=None)


class TimelineEntrySerializer(StrictSerializer):
    """One line of a timeline."""

    id = serializers.UUIDField(read_only=True)
    at = serializers.DateTimeField(read_only=True)
    recorded_at = serializers.DateTimeField(read_only=True)
    kind = serializers.ChoiceField(choices=list(choices.ENTRY_KINDS), read_only=True)
    source = serializers.CharField(read_only=True, help_text="What it was made of; empty: a person wrote it.")
    title = serializers.CharField(read_only=True)
    text = serializers.CharField(read_only=True)
    by = serializers.CharField(read_only=True)
    pinned = serializers.BooleanField(read_only=True)
    file = serializers.SerializerMethodField(help_text="Name, media type and bytes of what lies beside it; null: nothing.")

    def get_file(self, row: TimelineEntry) -> dict[str, Any] | None:
        found = getattr(row, "attachment", None)
        return {"name": found.name, "kind": found.kind, "size": found.size} if found is not None else None
