"""The audit: a list by cursor, one event, the whole as a file."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.pagination import Pages
from apps.accounts.api.views import ApiView, found_or_404
from apps.accounts.audit_export import FORMATS, audit_export
from apps.audit.exporting import event_document
from apps.audit.listing import AuditLog
from apps.audit.models import AuditEvent

FILTERS = [
    OpenApiParameter(name, str, description=said)
    for name, said in (
        ("who", "A part of a person's, command's or part's name."),
        ("action", "As route.update, or route. for all of a subject."),
        ("kind", "Kind of the subject, such as route."),
        ("id", "Id of the subject."),
        ("address", "The client's IP address, or how it begins."),
        ("via", "A part of a personal token's name."),
        ("q", "A part of the subject's name or of the reason, or its id."),
        ("from", "A moment or now-7d."),
        ("to", "A moment or now."),
    )
]


class AuditEventSerializer(serializers.Serializer[Any]):
    """One link of the chain: who did what when from where to what and why."""

    seq = serializers.IntegerField()
    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    actor_kind = serializers.CharField()
    actor_id = serializers.CharField()
    actor_name = serializers.CharField()
    actor_role = serializers.CharField(help_text="At that moment.")
    actor_address = serializers.CharField()
    actor_agent = serializers.CharField()
    actor_via = serializers.CharField(help_text="The personal token, where one was used.")
    action = serializers.CharField()
    subject_kind = serializers.CharField()
    subject_id = serializers.CharField()
    subject_name = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)
    reason = serializers.CharField()
    config_version = serializers.IntegerField(allow_null=True)
    content_hash = serializers.CharField()
    prev_hash = serializers.CharField()
    hash = serializers.CharField()


class AuditView(ApiView, GenericAPIView):  # type: ignore[type-arg]
    """What was done, newest first; of the last 30 days unless ``from`` says otherwise."""

    permission, installation = "audit.view", True
    serializer_class = AuditEventSerializer
    pagination_class = Pages
    ordering: ClassVar[tuple[str, ...]] = ("-seq",)

    @extend_schema(parameters=FILTERS)
    def get(self, request: Any) -> Response:
        log = AuditLog(request.query_params.dict())
        if log.range.problem:
            raise ApiError(log.range.problem, field="from")
        page = self.paginate_queryset(log.rows)
        return self.get_paginated_response([event_document(event) for event in page or []])


class AuditEventView(ApiView):
    """One event."""

    permission, installation = "audit.view", True

    @extend_schema(responses=AuditEventSerializer)
    def get(self, request: Any, seq: int) -> Response:
        event = AuditEvent.objects.filter(seq=seq).first() if seq < 2**63 else None
        return Response(event_document(found_or_404(event, "audit event", seq)))


class AnyForm(BaseContentNegotiation):
    """A file is what it is, whatever the caller says to accept."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class AuditExportView(ApiView):
    """All of it as a file, oldest first, ``?format=jsonl`` or ``csv``; the export is itself audited."""

    permission, installation = "audit.export", True
    content_negotiation_class = AnyForm

    @extend_schema(parameters=[OpenApiParameter("format", str, enum=sorted(FORMATS)), *FILTERS], responses={200: OpenApiTypes.BINARY})
    def get(self, request: Any) -> Any:
        query = request.query_params.dict()
        form = query.pop("format", "jsonl")
        if form not in FORMATS:
            raise ApiError(f"{form[:20]!r} is no format: one of {', '.join(sorted(FORMATS))}.", field="format")
        return audit_export(actor=self.actor, query=query, form=form)
