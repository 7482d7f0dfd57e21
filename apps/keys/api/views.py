"""``keys`` of an organisation: made, changed, rotated, revoked."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.api.views import uuid_of
from apps.keys import choices
from apps.keys.models import VirtualKey
from apps.keys.selectors import keys_of
from apps.keys.services import key_create, key_revoke, key_rotate, key_update
from apps.ownership.named import service_named, team_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class KeySerializer(ReasonSerializer):
    """What apps present to the proxy."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    public_id = serializers.CharField(read_only=True)
    state = serializers.CharField(read_only=True, help_text="active or revoked.")
    enabled = serializers.BooleanField(default=True)
    environment = serializers.ChoiceField(choices=choices.ENVIRONMENTS, default="production")
    feature = serializers.CharField(max_length=80, allow_blank=True, default="")
    tags = serializers.ListField(child=serializers.CharField(max_length=80), default=list)
    routes = serializers.ListField(child=serializers.CharField(max_length=120), default=lambda: ["*"], help_text='["*"]: all.')
    addresses = serializers.ListField(
        child=serializers.CharField(max_length=50), default=list, help_text="CIDR ranges it may be used from; none: from everywhere."
    )
    team = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="A team's slug, for a key without a service.")
    service = serializers.CharField(max_length=121, allow_blank=True, default="", help_text="<team>/<service>; it brings its team.")
    expires_at = serializers.DateTimeField(allow_null=True, default=None)
    priority = serializers.ChoiceField(choices=choices.PRIORITIES, default="normal")
    explain = serializers.BooleanField(default=False, help_text="May ask for a dry run.")
    source = serializers.CharField(read_only=True, help_text="Where its secret is kept; empty: it was shown once.")
    created_at = serializers.DateTimeField(read_only=True)
    revoked_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: VirtualKey) -> dict[str, Any]:
        shown = super().to_representation(instance)
        service = instance.service
        shown["team"] = instance.team.slug if instance.team and not service else ""
        shown["service"] = f"{service.team.slug}/{service.slug}" if service else ""
        return shown


class MadeKeySerializer(KeySerializer):
    """A key with its secret: the only time it is shown."""

    secret = serializers.CharField(read_only=True)


class RotateSerializer(ReasonSerializer):
    """A new secret."""

    old_until = serializers.DateTimeField(
        allow_null=True, default=None, help_text="Until when the present secret works too; null: it ends with the publish."
    )


class KeyResource(Resource):
    permission: ClassVar[str] = "key.view"
    serializer_class = KeySerializer
    kind, object_name, argument, ordering = "key", "key", "key_id", ("name", "pk")

    def rows(self) -> QuerySet[VirtualKey]:
        """Active ones, and one that the address names by its id whatever became of it: a revoked key's name is free again."""
        asked = self.request.query_params.get("revoked", "") in ("1", "true")
        return keys_of(self.organisation, revoked=asked or uuid_of(self.kwargs.get("key_id", "")) is not None)

    def facts(self, values: dict[str, Any]) -> dict[str, Any]:
        """As services take them."""
        team, service = values.pop("team"), values.pop("service")
        values["service"] = service_named(self.organisation, service) if service else None
        values["team"] = team_named(self.organisation, team) if team and not service else None
        return {**values, "reason": self.reason}


class KeysView(KeyResource, CreatableView):
    """Keys of an organisation; ``?revoked=1`` shows the tombstones too."""

    @extend_schema(responses={201: MadeKeySerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().post(request, *args, **kwargs)

    def create(self, values: dict[str, Any]) -> tuple[VirtualKey, str]:
        return key_create(actor=self.actor, organisation=self.organisation, **self.facts(dict(values)))

    def create_more(self, result: tuple[VirtualKey, str]) -> tuple[VirtualKey, dict[str, Any]]:
        return result[0], {"secret": result[1]}


class KeyView(KeyResource, ObjectView):
    """One key; ``DELETE`` revokes it for good."""

    def change(self, row: VirtualKey, values: dict[str, Any]) -> VirtualKey:
        facts = self.facts(dict(values))
        facts.pop("name")
        return key_update(actor=self.actor, key=row, **facts)

    def remove(self, row: VirtualKey) -> None:
        key_revoke(actor=self.actor, key=row, reason=self.reason)


class KeyRotateView(KeyResource):
    """``POST``: a new secret, shown this once; the old one may live on for a while."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=RotateSerializer, responses={200: MadeKeySerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["key_id"])
            asked = RotateSerializer(data=self.given())
            asked.is_valid(raise_exception=True)

            def change() -> tuple[VirtualKey, str]:
                return key_rotate(actor=self.actor, key=row, old_until=asked.validated_data["old_until"], reason=self.reason)

            return self.published(change, lambda made: self.written(made[0], more={"secret": made[1]}))

        return self.once(act)
