"""Config versions: what was published when by whom, what it changed, publishing, rolling back, and how far it has come."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.etags import unchanged
from apps.accounts.api.pagination import Pages
from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.api.views import ApiView, found_or_404
from apps.accounts.selectors import permission_require
from apps.audit.errors import ServiceError
from apps.publishing.models import Version
from apps.publishing.preview import changes_of
from apps.publishing.rollback import rollback, rollback_preview
from apps.publishing.selectors import fleet_status, head_number, unpublished_count, version_diff, versions
from apps.publishing.services import publish

from .resources import VERSION_HEADER, YES, previewed


class VersionSerializer(serializers.Serializer[Any]):
    """One version of the config. It never changes."""

    number = serializers.IntegerField()
    at = serializers.DateTimeField(source="created_at")
    by = serializers.CharField(source="actor_name")
    reason = serializers.CharField()
    counts = serializers.DictField(help_text="Section: how many objects were added, changed, removed.")
    restores = serializers.IntegerField(allow_null=True, help_text="The version that a rollback brought back.")


class FieldChangeSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class ObjectChangeSerializer(serializers.Serializer[Any]):
    """One object that differs. Of secrets only that they do."""

    section = serializers.CharField()
    id = serializers.CharField(source="object_id")
    name = serializers.CharField()
    change = serializers.CharField(source="kind")
    fields = FieldChangeSerializer(many=True)  # type: ignore[assignment]


class DiffSerializer(serializers.Serializer[Any]):
    """What differs between two versions."""

    number = serializers.IntegerField()
    base = serializers.IntegerField()
    changes = ObjectChangeSerializer(many=True)


class PublishedSerializer(serializers.Serializer[Any]):
    """What publishing did. ``version`` null: nothing differed."""

    version = serializers.IntegerField(allow_null=True)


class FleetSerializer(serializers.Serializer[Any]):
    """Who runs what."""

    head = serializers.IntegerField()
    applied = serializers.IntegerField()
    total = serializers.IntegerField()
    label = serializers.CharField()
    unpublished = serializers.IntegerField()
    proxies = serializers.ListField(child=serializers.DictField())


class VersionsView(ApiView, GenericAPIView):  # type: ignore[type-arg]
    """Every version, newest first."""

    permission, installation = "config.view", True
    serializer_class = VersionSerializer
    pagination_class = Pages
    ordering: ClassVar[tuple[str, ...]] = ("-number",)

    def get(self, request: Any) -> Response:
        page = self.paginate_queryset(versions())
        return self.get_paginated_response(VersionSerializer(page, many=True).data)


class VersionView(ApiView):
    """One version; what is published never changes, so its tag is its number."""

    permission, installation = "config.view", True

    @extend_schema(responses=VersionSerializer)
    def get(self, request: Any, number: int) -> Response:
        version = found_or_404(versions().filter(number=number).first(), "version", number)
        etag = f'"v{version.number}-{version.lineage}"'
        if unchanged(request, etag):
            return Response(status=304, headers={"ETag": etag})
        return Response(VersionSerializer(version).data, headers={"ETag": etag})


class VersionDiffView(ApiView):
    """What a version changed; ``?base=`` compares it with another, 0 being the empty config."""

    permission, installation = "config.view", True

    @extend_schema(parameters=[OpenApiParameter("base", int)], responses=DiffSerializer)
    def get(self, request: Any, number: int) -> Response:
        text = request.query_params.get("base", "") or str(number - 1)
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ApiError("Write a version's number; 0 is the empty config.", field="base")
        found_or_404(versions().filter(number=number).first(), "version", number)
        base = int(text)
        try:
            changes = changes_of(version_diff(number=number, base=base))
        except ServiceError as error:
            raise ServiceError(error.message, "base") from None
        shown = [
            {
                "section": item.section, "id": item.object_id, "name": item.name, "change": item.kind,
                "fields": [{"path": change.path, "before": change.before, "after": change.after} for change in item.fields],
            }
            for item in changes
        ]  # fmt: skip
        return Response({"number": number, "base": base, "changes": shown})


class RollbackView(ApiView):
    """``POST``: bring a version's content back as a new one; ``?dry_run=1`` shows what would differ. Takes a reason."""

    permission, installation = "config.view", True
    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=PublishedSerializer)
    def post(self, request: Any, number: int) -> Any:
        permission_require(actor=self.actor, action="config.rollback")
        version = found_or_404(Version.objects.filter(number=number).first(), "version", number)
        if request.query_params.get("dry_run", "").casefold() in YES:
            return Response(previewed(rollback_preview(version)))
        return self.once(lambda: published(rollback(actor=self.actor, to_version=number, reason=self.reason)))


class PublishView(ApiView):
    """``POST``: publish what is marked as changed; writes of the API publish by themselves."""

    permission, installation = "config.view", True
    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=PublishedSerializer)
    def post(self, request: Any) -> Any:
        permission_require(actor=self.actor, action="config.publish")
        return self.once(lambda: published(publish(actor=self.actor, reason=self.reason)))


class FleetView(ApiView):
    """Which proxies there are and which of them run the newest version."""

    permission, installation = "config.view", True

    @extend_schema(responses=FleetSerializer)
    def get(self, request: Any) -> Response:
        return Response({**fleet_status(), "unpublished": unpublished_count()})


def published(version: Version | None) -> Response:
    """The answer to what publishes by itself."""
    response = Response({"version": version.number if version else None})
    response[VERSION_HEADER] = str(version.number if version else head_number())
    return response
