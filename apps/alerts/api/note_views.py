"""What people write down: ``alerts/<id>/events``, with notes among what happened, and ``provider-notes``."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.response import Response

from apps.accounts.api.serializers import StrictSerializer
from apps.accounts.api.views import found_or_404
from apps.alerts import choices, services
from apps.alerts.api.views import AlertResource
from apps.alerts.models import AlertEvent, ProviderNote
from apps.alerts.selectors import provider_notes
from apps.providers.selectors import provider_named
from apps.publishing.api.resources import CollectionView, CreatableView, ReadableView, Resource


class AlertEventSerializer(serializers.Serializer[Any]):
    """Something that happened to an alert."""

    at = serializers.DateTimeField()
    kind = serializers.ChoiceField(choices=list(choices.EVENT_KINDS))
    actor = serializers.CharField(help_text="A person; empty: evaluation.")
    note = serializers.CharField()
    severity = serializers.CharField()
    value = serializers.FloatField(allow_null=True, help_text="In the unit of the alert.")


class NoteSerializer(StrictSerializer):
    """What somebody writes into an alert's timeline."""

    note = serializers.CharField(max_length=2000)


class AlertEventsView(AlertResource, CollectionView):
    """What happened to an alert, the newest first; ``POST`` writes a note into it, also after its end."""

    serializer_class = AlertEventSerializer
    named_by, ordering = "note", ("-pk",)

    def rows(self) -> QuerySet[Any]:
        alert = AlertResource.rows(self).filter(pk=self.kwargs["alert_id"]).values("pk")
        return AlertEvent.objects.filter(alert__in=alert)

    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        self.alert()
        return super().get(request, *args, **kwargs)

    @extend_schema(request=NoteSerializer, responses={201: AlertEventSerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            alert, asked = self.alert(), NoteSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            services.alert_note(actor=self.actor, alert=alert, note=asked.validated_data["note"])
            written = self.rows().filter(kind="note").latest("pk")
            return Response(AlertEventSerializer(written).data, status.HTTP_201_CREATED)

        return self.once(act)

    def alert(self) -> Any:
        """The alert that the address names. Raises Http404."""
        found = AlertResource.rows(self).filter(pk=self.kwargs["alert_id"]).first()
        return found_or_404(found, "alert", self.kwargs["alert_id"])


class ProviderNoteSerializer(StrictSerializer):
    """What a person knows of a provider before any figure shows it."""

    id = serializers.UUIDField(read_only=True)
    provider = serializers.CharField(source="provider.name", max_length=60)
    state = serializers.ChoiceField(choices=list(choices.NOTE_WORDS))
    text = serializers.CharField(max_length=2000)
    until = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="null: until somebody ends it.")
    by = serializers.CharField(read_only=True)
    at = serializers.DateTimeField(read_only=True)


class ProviderNoteResource(Resource):
    permission: ClassVar[str] = "alert.view"
    serializer_class = ProviderNoteSerializer
    kind, object_name, argument, named_by, ordering = "provider_note", "provider-note", "note_id", "provider__name", ("-pk",)

    def rows(self) -> QuerySet[ProviderNote]:
        return provider_notes(self.organisation).select_related("organisation")


class ProviderNotesView(ProviderNoteResource, CreatableView):
    """What people say of providers now; a new one takes the place of the provider's last."""

    def create(self, values: dict[str, Any]) -> ProviderNote:
        provider = provider_named(self.organisation, values["provider"]["name"])
        facts = {name: values[name] for name in ("state", "text", "until")}
        return services.provider_note_set(actor=self.actor, provider=provider, **facts)


class ProviderNoteView(ProviderNoteResource, ReadableView):
    """One note; ``DELETE`` takes it back."""

    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(str(self.kwargs["note_id"]))
            services.provider_note_end(actor=self.actor, note=row, reason=self.reason)
            return Response(status=status.HTTP_204_NO_CONTENT)

        return self.once(act)
