"""``runbooks`` and ``slas`` of an organisation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.api.views import found_or_404, uuid_of
from apps.audit.errors import ServiceError
from apps.ownership import checks
from apps.ownership.care_services import runbook_delete, runbook_review, runbook_set, sla_delete, sla_set
from apps.ownership.models import Runbook, Service, Sla, Team
from apps.ownership.named import service_named, team_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class RunbookSerializer(ReasonSerializer):
    """What to do when something breaks."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    title = serializers.CharField(max_length=200)
    text = serializers.CharField(allow_blank=True, default="", trim_whitespace=False, help_text="Markdown.")
    owner = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="A team's slug.")
    review_every_days = serializers.IntegerField(default=90, help_text="How long a review holds; 0: for good.")
    reviewed_at = serializers.DateTimeField(read_only=True)
    reviewed_by = serializers.CharField(read_only=True)

    def to_representation(self, instance: Runbook) -> dict[str, Any]:
        return {**super().to_representation(instance), "owner": instance.owner.slug if instance.owner else ""}


class RunbookResource(Resource):
    permission: ClassVar[str] = "ownership.view"
    serializer_class = RunbookSerializer
    kind, object_name, argument = "runbook", "runbook", "runbook_id"

    def rows(self) -> QuerySet[Runbook]:
        return Runbook.objects.filter(organisation=self.organisation).select_related("owner", "organisation")

    def saved(self, values: dict[str, Any]) -> Runbook:
        """Call the service with what the serializer read."""
        owner = team_named(self.organisation, values["owner"], field="owner") if values["owner"] else None
        return runbook_set(actor=self.actor, organisation=self.organisation, reason=self.reason, **{**values, "owner": owner})


class RunbooksView(RunbookResource, CreatableView):
    """Runbooks of an organisation."""

    def create(self, values: dict[str, Any]) -> Runbook:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a runbook {values['name']!r} already: edit that one, or choose another name", "name")
        return self.saved(values)


class RunbookView(RunbookResource, ObjectView):
    """One runbook. Another text takes its review away."""

    def change(self, row: Runbook, values: dict[str, Any]) -> Runbook:
        return self.saved(values)

    def remove(self, row: Runbook) -> None:
        runbook_delete(actor=self.actor, runbook=row, reason=self.reason)


class RunbookReviewView(RunbookResource):
    """``POST``: say that it is true as it stands."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=RunbookSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["runbook_id"])
            return self.published(lambda: runbook_review(actor=self.actor, runbook=row, reason=self.reason), self.written)

        return self.once(act)


class SlaSerializer(ReasonSerializer):
    """What a team, or one service of it, promises, and from where on people are told."""

    id = serializers.UUIDField(read_only=True)
    team = serializers.CharField(max_length=60, help_text="Its team's slug; never changes.")
    service = serializers.CharField(
        max_length=60, allow_blank=True, default="", help_text="Slug of one of the team's services; empty: the team; never changes."
    )
    availability = serializers.CharField(max_length=10, help_text="Percent as text: 99.9.")
    window_days = serializers.IntegerField(default=30)
    warn_percent = serializers.IntegerField(default=50, help_text="Of the error budget.")
    page_percent = serializers.IntegerField(default=90)
    first_token_ms = serializers.IntegerField(allow_null=True, default=None, min_value=0, help_text="p95 to the first token; null: none.")
    first_token_warn_ms = serializers.IntegerField(allow_null=True, default=None, min_value=0)
    first_token_page_ms = serializers.IntegerField(allow_null=True, default=None, min_value=0)
    latency_ms = serializers.IntegerField(allow_null=True, default=None, min_value=0, help_text="p95 to the whole answer; null: none.")
    latency_warn_ms = serializers.IntegerField(allow_null=True, default=None, min_value=0)
    latency_page_ms = serializers.IntegerField(allow_null=True, default=None, min_value=0)

    def to_representation(self, instance: Sla) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "team": instance.team.slug,
            "service": instance.service.slug if instance.service else "",
            "availability": instance.availability_text,
            "window_days": instance.window_days,
            "warn_percent": instance.warn_percent,
            "page_percent": instance.page_percent,
            "first_token_ms": instance.ttft_ms,
            "first_token_warn_ms": instance.ttft_warn_ms,
            "first_token_page_ms": instance.ttft_page_ms,
            **{name: getattr(instance, name) for name in LATENCY},
        }


LATENCY = ("latency_ms", "latency_warn_ms", "latency_page_ms")
_FIELDS = {"ttft_ms": "first_token_ms", "ttft_warn_ms": "first_token_warn_ms", "ttft_page_ms": "first_token_page_ms"}
"""The service's names of fields that the API calls otherwise."""


class SlaResource(Resource):
    permission: ClassVar[str] = "ownership.view"
    serializer_class = SlaSerializer
    kind, object_name, argument, named_by, shown_as, ordering = "sla", "sla", "sla_id", "team__slug", "team", ("pk",)

    @property
    def what(self) -> str:
        return "SLA"

    def rows(self) -> QuerySet[Sla]:
        return Sla.objects.filter(team__organisation=self.organisation).select_related("team__organisation", "service")

    def owner_of(self, values: dict[str, Any]) -> tuple[Team, Service | None]:
        """Whose promise it is."""
        team = team_named(self.organisation, values["team"])
        return team, service_named(self.organisation, f"{team.slug}/{values['service']}") if values["service"] else None

    def saved(self, values: dict[str, Any]) -> Sla:
        """Call the service with what the serializer read."""
        team, service = self.owner_of(values)
        try:
            return sla_set(
                actor=self.actor,
                team=team,
                service=service,
                availability=checks.availability_read(values["availability"]),
                window_days=values["window_days"],
                warn_percent=values["warn_percent"],
                page_percent=values["page_percent"],
                ttft_ms=values["first_token_ms"] or None,
                ttft_warn_ms=values["first_token_warn_ms"] or None,
                ttft_page_ms=values["first_token_page_ms"] or None,
                **{name: values[name] or None for name in LATENCY},
                reason=self.reason,
            )
        except ServiceError as error:
            name = _FIELDS.get(error.field or "")
            if name is None:
                raise
            raise ServiceError(error.message, name) from None


class SlasView(SlaResource, CreatableView):
    """What teams and services of an organisation promise."""

    def create(self, values: dict[str, Any]) -> Sla:
        team, service = self.owner_of(values)
        if self.rows().filter(team=team, service=service).exists():
            raise ServiceError("there is an SLA already: edit that one", "service" if service else "team")
        return self.saved(values)


class SlaView(SlaResource, ObjectView):
    """One of them, by its id; by its team's slug the team's own."""

    def find(self, reference: str) -> Sla:
        if uuid_of(reference) is not None:
            return super().find(reference)
        return found_or_404(self.rows().filter(team__slug=reference, service=None).first(), self.what, reference)

    def change(self, row: Sla, values: dict[str, Any]) -> Sla:
        if values["service"] != (row.service.slug if row.service else ""):
            raise ServiceError("An SLA's service never changes: make a new one for the other service.", "service")
        return self.saved(values)

    def remove(self, row: Sla) -> None:
        sla_delete(actor=self.actor, sla=row, reason=self.reason)
