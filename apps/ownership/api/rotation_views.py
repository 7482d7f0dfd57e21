"""``rotations`` of an organisation with who stands in; who is on now is ``on-call``."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.response import Response

from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.api.views import found_or_404
from apps.audit.errors import ServiceError
from apps.ownership import checks, choices
from apps.ownership.forms import people_by_email
from apps.ownership.models import Rotation, RotationOverride
from apps.ownership.named import team_named
from apps.ownership.rotation_selectors import rotations_of
from apps.ownership.rotation_services import rotation_delete, rotation_override_add, rotation_override_remove, rotation_set
from apps.publishing.api.resources import CreatableView, ObjectView, Resource

_FIELDS = {"minute": "time", "from_minute": "from_time", "to_minute": "to_time", "user": "person"}
"""The services' names of fields that the API calls otherwise."""


def renamed(error: ServiceError, **more: str) -> ServiceError:
    """The same refusal with the API's name of its field; whatever else it is (a permission that is missing) it stays."""
    name = {**_FIELDS, **more}.get(error.field or "")
    return ServiceError(error.message, name) if name else error


class RotationSerializer(ReasonSerializer):
    """Who is on call, in turns. Times of the day are in its zone."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    kind = serializers.ChoiceField(choices=list(choices.ROTATION_KINDS.items()), default=choices.ONCALL)
    team = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="A team's slug; empty: the organisation's.")
    members = serializers.ListField(child=serializers.EmailField(), default=list, help_text="Whose turn it is, one after the other.")
    zone = serializers.CharField(max_length=64, default="UTC", help_text="Such as Europe/Berlin.")
    weekday = serializers.ChoiceField(choices=list(choices.DAY_WORDS), default="mon", help_text="On which they hand over.")
    time = serializers.CharField(max_length=5, default="09:00", help_text="At which they hand over.")
    every_days = serializers.IntegerField(default=7)
    starts_on = serializers.DateField(allow_null=True, default=None, help_text="Day of the first hand-over; null: as it is, or the last.")
    days = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="Such as mon-fri; empty: every day.")
    from_time = serializers.CharField(max_length=5, default="00:00")
    to_time = serializers.CharField(max_length=5, default="24:00")

    def to_representation(self, instance: Rotation) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "kind": instance.kind,
            "team": instance.team.slug if instance.team else "",
            "members": [row.user.email for row in instance.member_rows.all()],
            "zone": instance.zone,
            "weekday": choices.DAY_WORDS[instance.starts_on.weekday()],
            "time": checks.clock_written(instance.minute),
            "every_days": instance.every_days,
            "starts_on": instance.starts_on.isoformat(),
            "days": checks.days_written(instance.days),
            "from_time": checks.clock_written(instance.from_minute),
            "to_time": checks.clock_written(instance.to_minute),
        }


class StandInSerializer(ReasonSerializer):
    """Somebody stands in."""

    id = serializers.UUIDField(read_only=True)
    person = serializers.EmailField(source="user.email")
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(help_text="At most 92 days later. Of two that overlap the later one counts.")
    by = serializers.CharField(read_only=True)

    def to_representation(self, instance: RotationOverride) -> dict[str, Any]:
        return {**super().to_representation(instance), "why": instance.reason}


class RotationResource(Resource):
    permission: ClassVar[str] = "ownership.view"
    serializer_class = RotationSerializer
    kind, object_name, argument = "rotation", "rotation", "rotation_id"

    def rows(self) -> QuerySet[Rotation]:
        return rotations_of(self.organisation)

    def saved(self, values: dict[str, Any]) -> Rotation:
        """Call the service with what the serializer read."""
        try:
            return rotation_set(
                actor=self.actor,
                organisation=self.organisation,
                name=values["name"],
                kind=values["kind"],
                team=team_named(self.organisation, values["team"]) if values["team"] else None,
                zone=values["zone"],
                weekday=choices.DAY_WORDS.index(values["weekday"]),
                minute=checks.clock_read(values["time"], "time"),
                every_days=values["every_days"],
                members=people_by_email(values["members"]),
                days=checks.days_read(values["days"]),
                from_minute=checks.clock_read(values["from_time"], "from_time"),
                to_minute=checks.clock_read(values["to_time"], "to_time", end=True),
                starts_on=values["starts_on"],
                reason=self.reason,
            )
        except ServiceError as error:
            raise renamed(error) from None


class RotationsView(RotationResource, CreatableView):
    """Rotations of an organisation."""

    def create(self, values: dict[str, Any]) -> Rotation:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a rotation {values['name']!r} already: edit that one, or choose another name", "name")
        return self.saved(values)


class RotationView(RotationResource, ObjectView):
    """One rotation."""

    def change(self, row: Rotation, values: dict[str, Any]) -> Rotation:
        return self.saved(values)

    def remove(self, row: Rotation) -> None:
        rotation_delete(actor=self.actor, rotation=row, reason=self.reason)


class StandInsView(RotationResource):
    """``GET`` who stands in, the newest first; ``POST`` somebody who does."""

    http_method_names: ClassVar[list[str]] = ["get", "post", "head", "options"]

    @extend_schema(responses=StandInSerializer(many=True))
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        row = self.find(kwargs["rotation_id"])
        found = row.overrides.select_related("user").order_by("-created_at")[:200]
        return Response({"items": StandInSerializer(found, many=True).data, "next": None, "previous": None})

    @extend_schema(request=StandInSerializer, responses={201: StandInSerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["rotation_id"])
            asked = StandInSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            given = asked.validated_data
            try:
                (person,) = people_by_email([given["user"]["email"]])
                made = rotation_override_add(
                    actor=self.actor, rotation=row, user=person, starts_at=given["starts_at"], ends_at=given["ends_at"], reason=self.reason
                )
            except ServiceError as error:
                raise renamed(error, members="person") from None
            return Response(StandInSerializer(made).data, status.HTTP_201_CREATED)

        return self.once(act)


class StandInView(RotationResource):
    """``DELETE``: whose turn it is, is on again."""

    http_method_names: ClassVar[list[str]] = ["delete", "options"]

    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row, reference = self.find(self.kwargs["rotation_id"]), self.kwargs["override_id"]
            found = RotationOverride.objects.select_related("rotation__organisation", "user").filter(rotation=row, pk=reference).first()
            rotation_override_remove(actor=self.actor, override=found_or_404(found, "stand-in", reference), reason=self.reason)
            return Response(status=status.HTTP_204_NO_CONTENT)

        return self.once(act)
