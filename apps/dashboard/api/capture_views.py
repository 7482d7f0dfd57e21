"""``captures``, what is taken out of them, and ``samples`` of an organisation. Whoever opens a sample is in the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django.db import connection
from django.db.models import F, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.etags import etag_of, precondition_require, unchanged
from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.accounts.api.views import found_or_404
from apps.audit.errors import ServiceError
from apps.keys.selectors import key_named
from apps.publishing.api.resources import CollectionView, CreatableView, ObjectView, RemovableView, Resource
from apps.routes.selectors import route_named
from apps.usage import capture_rules as rules
from apps.usage import capture_services as services
from apps.usage.capture_models import CaptureRule, CaptureSample
from apps.usage.capture_selectors import capture_patterns
from controlplane.masterkey import VaultError

_FIELDS = {"days": "keep_days"}
"""The services' names of fields that the API calls otherwise."""


@contextmanager
def _renamed() -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        name = _FIELDS.get(error.field or "")
        if name is None:
            raise
        raise ServiceError(error.message, name) from None


class CaptureSerializer(ReasonSerializer):
    """A wish for samples: a share of a route's requests, or a key's next ones within the hour. Give ``route`` or ``key``."""

    id = serializers.UUIDField(read_only=True)
    route = serializers.CharField(max_length=120, required=False, allow_blank=True, default="", help_text="The route's name.")
    percent = serializers.FloatField(required=False, allow_null=True, default=None, help_text="Of the route's requests, 0.01 to 100.")
    key = serializers.CharField(max_length=80, required=False, allow_blank=True, default="", help_text="The key's name.")
    requests = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="The key's next ones, 1 to 100.")
    minutes = serializers.IntegerField(
        required=False, allow_null=True, default=None, write_only=True, help_text="For so long at most, 1 to 60; 60 unless given."
    )
    keep_days = serializers.IntegerField(required=False, default=rules.DAYS, help_text="1 to 30; then each sample is deleted.")
    taken = serializers.IntegerField(read_only=True, help_text="Samples so far.")
    until = serializers.DateTimeField(read_only=True, help_text="null: until somebody ends it.")
    why = serializers.CharField(read_only=True)
    by = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    ended_at = serializers.DateTimeField(read_only=True, help_text="null: it runs.")

    def to_representation(self, instance: CaptureRule) -> dict[str, Any]:
        of_route = bool(instance.route_id)
        return {
            "id": str(instance.pk),
            "route": instance.route_name,
            "percent": instance.percent if of_route else None,
            "key": instance.key_name,
            "requests": None if of_route else instance.wanted,
            "keep_days": instance.days,
            "taken": instance.taken,
            "until": instance.until,
            "why": instance.reason,
            "by": instance.by,
            "created_at": instance.created_at,
            "ended_at": instance.ended_at,
        }


class CaptureResource(Resource):
    permission: ClassVar[str] = "capture.view"
    serializer_class = CaptureSerializer
    kind, object_name, argument, named_by, shown_as, ordering = "capture", "capture", "capture_id", "route_name", "route", ("-pk",)
    volatile = ("taken",)

    def rows(self) -> QuerySet[CaptureRule]:
        rows = CaptureRule.objects.filter(organisation=self.organisation).select_related("organisation")
        return rows.order_by(F("ended_at").desc(nulls_first=True), "-created_at")

    def saved(self, values: dict[str, Any]) -> CaptureRule:
        """Capture the route as the serializer read it."""
        percent = values["percent"]
        if percent is None:
            raise ServiceError("say which share of the route's requests is kept, such as 1", "percent")
        route = route_named(self.organisation, values["route"])
        return services.capture_route_set(
            actor=self.actor, organisation=self.organisation, route_id=str(route.pk), route_name=route.name, percent=percent,
            days=values["keep_days"], reason=self.reason,
        )  # fmt: skip


class CapturesView(CaptureResource, CreatableView):
    """Captures that run; ``?ended=1`` also those that ended. A key's takes a reason, and ends the one that runs."""

    @extend_schema(parameters=[OpenApiParameter("ended", bool)])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[CaptureRule]:
        return super().rows() if self.request.method != "GET" or self.asked("ended") else super().rows().filter(ended_at=None)

    def create(self, values: dict[str, Any]) -> CaptureRule:
        if bool(values["route"]) == bool(values["key"]):
            raise ServiceError("name the route or the key whose requests are kept, one of them", "route")
        with _renamed():
            if values["key"]:
                return self._of_key(values)
            if CaptureRule.objects.filter(organisation=self.organisation, route_name=values["route"], ended_at=None).exists():
                raise ServiceError("this route is captured already: change that capture", "route")
            return self.saved(values)

    def _of_key(self, values: dict[str, Any]) -> CaptureRule:
        if values["percent"] is not None:
            raise ServiceError("of a key its next requests are kept, not a share: leave it out", "percent")
        key = key_named(self.organisation, values["key"])
        given = {name: values[name] for name in ("requests", "minutes") if values[name] is not None}
        return services.capture_key_start(
            actor=self.actor, organisation=self.organisation, key_id=str(key.pk), key_name=key.name, days=values["keep_days"],
            reason=self.reason, **given,
        )  # fmt: skip


class CaptureView(CaptureResource, ObjectView):
    """One capture, by its id, or a running one by its route. ``DELETE`` ends it; what it kept stays until it expires."""

    def change(self, row: CaptureRule, values: dict[str, Any]) -> CaptureRule:
        if row.ended_at is not None:
            raise ServiceError("this capture has ended: start another one")
        if not row.route_id:
            raise ServiceError("a key's capture ends by itself within the hour: end it, or start another one", "key")
        with _renamed():
            return self.saved(values)

    def remove(self, row: CaptureRule) -> None:
        services.capture_end(actor=self.actor, rule=row, reason=self.reason)


class PatternSerializer(StrictSerializer):
    """A kind of text, and how it looks."""

    kind = serializers.CharField(max_length=60)
    template = serializers.CharField(max_length=200, help_text="# is a digit, ? a letter or digit, * up to 64 of both, dots and dashes.")


class CaptureSettingsSerializer(ReasonSerializer):
    """What is taken out of samples beside what always is: credentials, e-mail addresses, card numbers and so on."""

    patterns = PatternSerializer(many=True)


class CaptureSettingsView(CaptureResource):
    """What else is taken out of samples; ``PUT`` replaces all of it, and holds for samples from then on."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "put", "options"]
    serializer_class = CaptureSettingsSerializer

    @extend_schema(responses=CaptureSettingsSerializer)
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        data = self._now()
        return Response(status=304, headers={"ETag": etag_of(data)}) if unchanged(request, etag_of(data)) else self._answer(data)

    @extend_schema(request=CaptureSettingsSerializer, responses=CaptureSettingsSerializer)
    def put(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"edit patterns {self.organisation.pk}"])
            data = self._now()
            precondition_require(self.request, etag=etag_of(data), current=data)
            asked = CaptureSettingsSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            written = "\n".join(f"{one['kind']} = {one['template']}" for one in asked.validated_data["patterns"])
            patterns = rules.patterns_read(written)

            def change() -> Any:
                given = {"actor": self.actor, "organisation": self.organisation}
                return services.capture_patterns_set(**given, patterns=patterns, reason=self.reason)

            return self.published(change, lambda _: self._answer(self._now()))

        return self.once(act)

    def _now(self) -> dict[str, Any]:
        return {"patterns": [{"kind": kind, "template": template} for kind, template in capture_patterns(self.organisation)]}

    def _answer(self, data: dict[str, Any]) -> Response:
        return Response(data, headers={"ETag": etag_of(data)})


class SampleSerializer(serializers.Serializer[Any]):
    """What is known of a sample without opening it."""

    request = serializers.UUIDField(source="request_id")
    capture = serializers.UUIDField(source="rule_id", allow_null=True)
    route = serializers.CharField()
    key_id = serializers.CharField()
    at = serializers.DateTimeField()
    status = serializers.IntegerField()
    characters = serializers.IntegerField(source="size")
    taken_out = serializers.DictField(source="found", help_text="By kind, how often.")
    cut = serializers.BooleanField(help_text="It was longer than what is kept.")
    expires_at = serializers.DateTimeField()


class OpenedSerializer(serializers.Serializer[Any]):
    """A sample's content, redacted when it was taken."""

    request = serializers.CharField()
    answer = serializers.CharField()


class SampleResource(Resource):
    permission: ClassVar[str] = "capture.view"
    serializer_class = SampleSerializer
    kind, object_name, argument, named_by, ordering = "sample", "sample", "request_id", "route", ("-at", "-pk")

    def rows(self) -> QuerySet[CaptureSample]:
        return CaptureSample.objects.filter(organisation=self.organisation).select_related("organisation")


class SamplesView(SampleResource, CollectionView):
    """Samples that are kept, the newest first, without what they hold; ``?q=`` a part of the route's name."""

    def rows(self) -> QuerySet[CaptureSample]:
        return super().rows().defer("body")


class SampleView(SampleResource, RemovableView):
    """One sample, by its request's id, without what it holds; ``DELETE`` forgets it at once."""

    def remove(self, row: CaptureSample) -> None:
        services.sample_delete(actor=self.actor, sample=row, reason=self.reason)


class SampleOpenView(SampleResource):
    """``POST``: what a sample holds. The audit has who looked. The answer is kept nowhere, also with an ``Idempotency-Key``."""

    permission: ClassVar[str] = "sample.view"
    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=StrictSerializer, responses=OpenedSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        row = found_or_404(self.rows().filter(pk=self.kwargs["request_id"]).first(), self.what, self.kwargs["request_id"])
        try:
            asked, answered = services.sample_read(actor=self.actor, sample=row)
        except VaultError as error:
            raise ApiError(f"The sample cannot be opened: {error}.") from None
        return Response({"request": asked, "answer": answered}, headers={"Cache-Control": "no-store"})
