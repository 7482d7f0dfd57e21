"""``key-requests`` of an organisation: asking for keys, deciding about them, fetching the secret; and keys made inside a team's bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.reverse import reverse

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.api.views import found_or_404, uuid_of
from apps.keys import choices
from apps.keys.handovers import handover_fetch
from apps.keys.models import KeyHandover, KeyRequest, VirtualKey
from apps.keys.request_services import (
    OutsideBounds,
    key_make,
    key_request,
    key_request_approve,
    key_request_reject,
    key_request_withdraw,
)
from apps.keys.selectors import keys_of
from apps.keys.wishes import Wish, of_json
from apps.ownership.named import team_named
from apps.ownership.selectors import teams
from apps.publishing.api.resources import CreatableView, ReadableView, Resource

from .views import MadeKeySerializer


class WishSerializer(ReasonSerializer):
    """A key that somebody wishes for."""

    name = serializers.CharField(max_length=80)
    environment = serializers.ChoiceField(choices=choices.ENVIRONMENTS, default="production")
    service = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="Slug of one of the team's services.")
    routes = serializers.ListField(child=serializers.CharField(max_length=120), default=lambda: ["*"], help_text='["*"]: all.')
    feature = serializers.CharField(max_length=80, allow_blank=True, default="")
    tags = serializers.ListField(child=serializers.CharField(max_length=80), default=list)
    addresses = serializers.ListField(child=serializers.CharField(max_length=50), default=list, help_text="CIDR ranges; none: everywhere.")
    expires_at = serializers.DateTimeField(allow_null=True, default=None)
    limits = serializers.DictField(child=serializers.IntegerField(), default=dict, help_text="Kind of limit: amount.")
    budget_nano = serializers.IntegerField(default=0, help_text="Nano-dollars per budget_window; 0: none.")
    budget_window = serializers.CharField(max_length=10, default="month")

    @staticmethod
    def wish(values: dict[str, Any]) -> Wish:
        """What was read, as services take it."""
        plural = ("routes", "tags", "addresses")
        return Wish(**{name: tuple(value) if name in plural else value for name, value in values.items()})


class KeyRequestSerializer(WishSerializer):
    """A key that somebody asked a team for."""

    id = serializers.UUIDField(read_only=True)
    team = serializers.CharField(max_length=60, help_text="The slug of the team that is asked.")
    state = serializers.ChoiceField(choices=list(choices.REQUEST_STATES), read_only=True)
    outside = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="Why it needs consent, in words.")
    why = serializers.CharField(read_only=True, help_text="What it is for.")
    asked_by = serializers.CharField(read_only=True)
    asked_at = serializers.DateTimeField(read_only=True)
    decided_by = serializers.CharField(read_only=True)
    decided_at = serializers.DateTimeField(allow_null=True, read_only=True)
    answer = serializers.CharField(read_only=True)
    key = serializers.UUIDField(allow_null=True, read_only=True, help_text="What came of it.")

    def to_representation(self, instance: KeyRequest) -> dict[str, Any]:
        wish = of_json(instance.name, instance.facts)
        told = {name: getattr(wish, name) for name in Wish.__dataclass_fields__}
        return {
            "id": str(instance.pk),
            "team": instance.team.slug,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in told.items()},
            "state": instance.state,
            "outside": list(instance.outside),
            "why": instance.reason,
            "asked_by": instance.requester_email,
            "asked_at": instance.created_at,
            "decided_by": instance.decided_by,
            "decided_at": instance.decided_at,
            "answer": instance.answer,
            "key": str(instance.key_id) if instance.key_id else None,
        }


class SecretSerializer(serializers.Serializer[Any]):
    """A new key's secret: the only time it is shown."""

    key = serializers.UUIDField()
    name = serializers.CharField()
    public_id = serializers.CharField()
    secret = serializers.CharField()


class KeyRequestResource(Resource):
    permission: ClassVar[str] = "key.view"
    serializer_class = KeyRequestSerializer
    kind, object_name, argument, ordering = "key_request", "key-request", "request_id", ("-pk",)

    def rows(self) -> QuerySet[KeyRequest]:
        return KeyRequest.objects.filter(organisation=self.organisation).select_related("team", "organisation")

    def decided(self, act: Callable[[KeyRequest], KeyRequest]) -> Any:
        """One decision, done once and published."""

        def once() -> Response:
            row = self.find(str(self.kwargs["request_id"]))
            ReasonSerializer(data=self.given()).is_valid(raise_exception=True)
            return self.published(lambda: act(row), self.written)

        return self.once(once)


class KeyRequestsView(KeyRequestResource, CreatableView):
    """Keys that were asked for, the newest first; ``?state=open`` and the like. ``POST`` asks a team's managers for one."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(choices.REQUEST_STATES))])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[KeyRequest]:
        state = self.request.query_params.get("state", "")
        if state and state not in choices.REQUEST_STATES:
            raise ApiError(f"Write one of {', '.join(choices.REQUEST_STATES)}.", field="state")
        return super().rows().filter(state=state) if state else super().rows()

    def create(self, values: dict[str, Any]) -> KeyRequest:
        team = team_named(self.organisation, values.pop("team"))
        return key_request(actor=self.actor, team=team, wish=WishSerializer.wish(values), reason=self.reason)


class KeyRequestView(KeyRequestResource, ReadableView):
    """One of them."""


class KeyRequestApproveView(KeyRequestResource):
    """``POST``: make the key as it was asked for. Its secret waits a week for whoever asked."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=KeyRequestSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(lambda row: key_request_approve(actor=self.actor, request=row, reason=self.reason))


class KeyRequestRejectView(KeyRequestResource):
    """``POST``: say no, and why."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=KeyRequestSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(lambda row: key_request_reject(actor=self.actor, request=row, reason=self.reason))


class KeyRequestWithdrawView(KeyRequestResource):
    """``POST``: take back what one asked for oneself."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=KeyRequestSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(lambda row: key_request_withdraw(actor=self.actor, request=row, reason=self.reason))


class KeyRequestSecretView(KeyRequestResource):
    """``POST``: the secret of the key that came of one's own request, once."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=None, responses=SecretSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(str(self.kwargs["request_id"]))
            handover = found_or_404(KeyHandover.objects.filter(request=row).first(), "secret of the request", row.pk)
            (found,) = handover_fetch(actor=self.actor, handover=handover)
            return Response({"key": found.key_id, "name": found.name, "public_id": found.public_id, "secret": found.token})

        return self.once(act)


class TeamKeysView(Resource):
    """``POST``: a key of the team, made at once: inside the bounds of its template by its members, any by its managers."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]
    permission: ClassVar[str] = "key.view"
    serializer_class = MadeKeySerializer
    kind, object_name, argument = "key", "key", "key_id"

    def rows(self) -> QuerySet[VirtualKey]:
        return keys_of(self.organisation)

    @extend_schema(request=WishSerializer, responses={201: MadeKeySerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            reference = self.kwargs["team_id"]
            key = uuid_of(reference)
            found = teams(organisation=self.organisation).filter(**({"pk": key} if key else {"slug": reference})).first()
            team = found_or_404(found, "team", reference)
            asked = WishSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            values = dict(asked.validated_data)
            values.pop("reason", None)

            def change() -> tuple[VirtualKey, str]:
                return key_make(actor=self.actor, team=team, wish=WishSerializer.wish(values), reason=self.reason)

            try:
                return self.published(change, lambda made: self.written(made[0], created=True, more={"secret": made[1]}))
            except OutsideBounds as outside:
                where = reverse("api:key-requests", kwargs={"organisation": self.organisation.slug})
                details = {"outside": outside.reasons, "ask_at": where}
                raise ApiError(outside.message, details=details, code="outside_bounds") from outside

        return self.once(act)
