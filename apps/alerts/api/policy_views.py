"""``notification-policies`` of an organisation, and trying a channel: whom to tell of which alerts, and whether that works."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.alerts import channel_choices as choices
from apps.alerts.api.views import ChannelResource, Owned
from apps.alerts.channel_checks import StepWords, step_written, steps_read
from apps.alerts.channel_models import Delivery, EscalationStep, NotificationPolicy
from apps.alerts.channel_services import channel_test
from apps.alerts.deliveries import delivery_again
from apps.alerts.policy_services import policy_delete, policy_set
from apps.audit.errors import ServiceError
from apps.ownership.checks import clock_read, clock_written, days_read, days_written
from apps.publishing.api.resources import CollectionView, CreatableView, ObjectView, ReadableView

_FIELDS = {"from_minute": "from_time", "to_minute": "to_time"}
"""The service's names of fields that the API calls otherwise."""


class PolicySerializer(ReasonSerializer):
    """Whom to tell of which alerts: the first that fits decides, by ``position``."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=60)
    position = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="The lowest first; null: last.")
    team = serializers.CharField(max_length=60, required=False, allow_blank=True, default="", help_text="Of the alerts; empty: any.")
    severity = serializers.ChoiceField(choices=["", *choices.LEVELS], required=False, default="", help_text="Empty: any.")
    labels = serializers.DictField(child=serializers.CharField(max_length=200), required=False, default=dict)
    steps = serializers.ListField(
        child=serializers.CharField(max_length=200), help_text='The ladder, such as ["0 on-call", "0 channel ops-slack", "10 next"].'
    )
    zone = serializers.CharField(max_length=64, required=False, default="UTC", help_text="Of the hours in which warnings are told.")
    days = serializers.CharField(max_length=60, required=False, allow_blank=True, default="", help_text="mon-fri; empty: every day.")
    from_time = serializers.CharField(max_length=5, required=False, default="00:00")
    to_time = serializers.CharField(max_length=5, required=False, default="24:00")
    group_wait_s = serializers.IntegerField(required=False, default=15)
    repeat_minutes = serializers.IntegerField(required=False, default=60, help_text="Until it begins again; 0: never.")
    enabled = serializers.BooleanField(required=False, default=True)

    def to_representation(self, instance: NotificationPolicy) -> dict[str, Any]:
        plain = ("name", "position", "severity", "zone", "group_wait_s", "repeat_minutes", "enabled")
        return {
            "id": str(instance.pk),
            **{name: getattr(instance, name) for name in plain},
            "team": instance.team.slug if instance.team else "",
            "labels": dict(instance.labels),
            "steps": [step_written(_words(step)) for step in instance.steps.all()],
            "days": days_written(instance.days),
            "from_time": clock_written(instance.from_minute),
            "to_time": clock_written(instance.to_minute),
        }


def _words(step: EscalationStep) -> StepWords:
    named = step.channel or step.rotation
    return StepWords(step.after_minutes, step.target, named.name if named is not None else "")


class PolicyResource(Owned):
    permission: ClassVar[str] = "alert.view"
    serializer_class = PolicySerializer
    kind, object_name, argument = "notification_policy", "notification-policy", "policy_id"

    def rows(self) -> QuerySet[NotificationPolicy]:
        steps = EscalationStep.objects.select_related("channel", "rotation").order_by("after_minutes", "position")
        rows = NotificationPolicy.objects.filter(organisation=self.organisation).select_related("organisation", "team")
        return rows.prefetch_related(Prefetch("steps", steps))

    def saved(self, values: dict[str, Any]) -> NotificationPolicy:
        """Call the service with what the serializer read."""
        facts = self.facts(values, "team")
        try:
            facts["steps"] = steps_read(facts["steps"])
            facts["days"] = days_read(facts["days"])
            facts["from_minute"] = clock_read(facts.pop("from_time"), "from_time")
            facts["to_minute"] = clock_read(facts.pop("to_time"), "to_time", end=True)
            return policy_set(actor=self.actor, organisation=self.organisation, **facts)
        except ServiceError as error:
            name = _FIELDS.get(error.field or "")
            if name is None:
                raise
            raise ServiceError(error.message, name) from None


class PoliciesView(PolicyResource, CreatableView):
    """Who is told of what; alerts that none fits take the built-in one: on-call, then who is next, then leads."""

    def create(self, values: dict[str, Any]) -> NotificationPolicy:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a policy {values['name']!r} already: edit that one, or choose another name", "name")
        return self.saved(values)


class PolicyView(PolicyResource, ObjectView):
    """One policy."""

    def change(self, row: NotificationPolicy, values: dict[str, Any]) -> NotificationPolicy:
        return self.saved(values)

    def remove(self, row: NotificationPolicy) -> None:
        policy_delete(actor=self.actor, policy=row, reason=self.reason)


class DeliverySerializer(serializers.Serializer[Any]):
    """One message to one receiver."""

    id = serializers.UUIDField(source="pk")
    what = serializers.ChoiceField(choices=list(choices.WHATS))
    receiver = serializers.CharField(source="name")
    kind = serializers.CharField(help_text="Of channel; empty: nobody could be reached.")
    alert = serializers.UUIDField(source="alert_id", allow_null=True)
    state = serializers.ChoiceField(choices=list(choices.STATES))
    told = serializers.CharField(help_text="What became of it, in words.")
    tries = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(help_text="When the next try may begin.")
    ended_at = serializers.DateTimeField(allow_null=True)


class DeliveryResource(Owned):
    permission: ClassVar[str] = "alert.view"
    serializer_class = DeliverySerializer
    kind, object_name, argument, named_by, ordering = "alert_delivery", "alert-delivery", "delivery_id", "name", ("-pk",)

    def rows(self) -> QuerySet[Delivery]:
        return Delivery.objects.filter(organisation=self.organisation).select_related("organisation", "channel", "notification")


class DeliveriesView(DeliveryResource, CollectionView):
    """Every message about alerts, the newest first; ``?state=failed`` and the like, ``?q=`` a part of the receiver."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(choices.STATES))])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[Delivery]:
        state = self.request.query_params.get("state", "")
        if state and state not in choices.STATES:
            raise ApiError(f"Write one of {', '.join(choices.STATES)}.", field="state")
        return super().rows().filter(state=state) if state else super().rows()


class DeliveryView(DeliveryResource, ReadableView):
    """One of them; ``POST`` has it sent again where it failed, or where nobody knows."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post", "options"]

    @extend_schema(request=ReasonSerializer, responses=DeliverySerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(str(self.kwargs["delivery_id"]))
            delivery_again(actor=self.actor, delivery=row, reason=self.reason)
            return Response(self.represent_one(self.rows().get(pk=row.pk)), status.HTTP_202_ACCEPTED)

        return self.once(act)


class ChannelTestView(ChannelResource):
    """``POST``: send a test page. A worker hands it over within seconds: ``alert-deliveries/<id>/`` says what became of it."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=StrictSerializer, responses={202: DeliverySerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            delivery = channel_test(actor=self.actor, channel=self.find(str(self.kwargs["channel_id"])))
            return Response(DeliverySerializer(delivery).data, status.HTTP_202_ACCEPTED)

        return self.once(act)
