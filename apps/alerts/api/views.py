"""``alerts`` with what people do to them, ``alert-rules``, ``slos``, ``silences`` and ``alert-channels`` of an organisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone as clock
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.scope import Scope
from apps.alerts import channel_services, choices, services
from apps.alerts.api.serializers import (
    AlertSerializer,
    ChannelSerializer,
    RuleSerializer,
    SilenceOneSerializer,
    SilenceSerializer,
    SloSerializer,
)
from apps.alerts.channel_models import AlertChannel
from apps.alerts.error_budgets import budgets_now
from apps.alerts.models import Alert, AlertRule, Silence, Slo
from apps.alerts.selectors import rules, slos
from apps.ownership.models import Team
from apps.ownership.named import team_named
from apps.publishing.api.resources import CollectionView, CreatableView, ObjectView, ReadableView, Resource


class AlertResource(Resource):
    permission: ClassVar[str] = "alert.view"
    serializer_class = AlertSerializer
    kind, object_name, argument, named_by, ordering = "alert", "alert", "alert_id", "subject", ("-pk",)
    volatile = ("value", "threshold", "evidence")

    def rows(self) -> QuerySet[Alert]:
        rows = Alert.objects.filter(organisation=self.organisation).exclude(state=choices.RESOLVED, fired_at=None)
        return rows.select_related("rule__owner", "organisation")

    def done(self, given: type[serializers.Serializer[Any]], act: Callable[[Alert, dict[str, Any]], Any]) -> Any:
        """One thing that somebody does to an alert, once; the answer is the alert as it is then."""

        def once() -> Response:
            row = self.find(str(self.kwargs["alert_id"]))
            asked = given(data=self.given())
            asked.is_valid(raise_exception=True)
            return self.published(lambda: act(row, dict(asked.validated_data)), lambda _: self.written(row))

        return self.once(once)


class AlertsView(AlertResource, CollectionView):
    """Alerts, the newest first; ``?state=firing`` and the like."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(choices.STATES))])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[Alert]:
        state = self.request.query_params.get("state", "")
        if state and state not in choices.STATES:
            raise ApiError(f"Write one of {', '.join(choices.STATES)}.", field="state")
        return super().rows().filter(state=state) if state else super().rows()


class AlertView(AlertResource, ReadableView):
    """One alert."""


class AlertAcknowledgeView(AlertResource):
    """``POST``: say that you look after it; ``reason`` is a note."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=AlertSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.done(ReasonSerializer, lambda row, _: services.alert_acknowledge(actor=self.actor, alert=row, note=self.reason))


class AlertSilenceView(AlertResource):
    """``POST``: tell nobody of it until a moment."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=SilenceOneSerializer, responses=AlertSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.done(SilenceOneSerializer, lambda row, given: services.alert_silence(actor=self.actor, alert=row, **given))


class AlertResolveView(AlertResource):
    """``POST``: end it by hand, with a reason."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=AlertSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.done(ReasonSerializer, lambda row, _: services.alert_resolve(actor=self.actor, alert=row, note=self.reason))


class Owned(Resource):
    """Rules and SLOs: a team's slug stands for the team, and the reason goes along."""

    def facts(self, values: dict[str, Any], name: str = "owner") -> dict[str, Any]:
        slug = values.get(name)
        team: Team | None = team_named(self.organisation, slug) if slug else None
        return {**values, name: team, "reason": self.reason}


class RuleResource(Owned):
    permission: ClassVar[str] = "alert.view"
    serializer_class = RuleSerializer
    kind, object_name, argument = "alert_rule", "alert-rule", "alert_rule_id"

    def rows(self) -> QuerySet[AlertRule]:
        return rules(self.organisation).select_related("organisation")


class RulesView(RuleResource, CreatableView):
    """When somebody is told."""

    def create(self, values: dict[str, Any]) -> AlertRule:
        return services.rule_create(actor=self.actor, organisation=self.organisation, **self.facts(values))


class RuleView(RuleResource, ObjectView):
    """One rule. What a rule of an SLO looks at follows the SLO."""

    def change(self, row: AlertRule, values: dict[str, Any]) -> AlertRule:
        facts = self.facts(values)
        facts.pop("name")
        if row.slo_id is not None:
            same = RuleSerializer(row).data
            facts = {name: value for name, value in facts.items() if name in ("owner", "reason") or value != same.get(name)}
        return services.rule_update(actor=self.actor, rule=row, **facts)

    def remove(self, row: AlertRule) -> None:
        services.rule_delete(actor=self.actor, rule=row, reason=self.reason)


class SloResource(Owned):
    permission: ClassVar[str] = "alert.view"
    serializer_class = SloSerializer
    kind, object_name, argument, volatile = "slo", "slo", "slo_id", ("budget",)

    def rows(self) -> QuerySet[Slo]:
        return slos(self.organisation)

    def context_of(self, rows: list[Slo]) -> dict[str, Any]:
        scope = Scope(organisation=str(self.organisation.pk), simulated=self.organisation.simulated)
        return {"budgets": budgets_now(rows, scope, clock.now())}


class SlosView(SloResource, CreatableView):
    """What is promised, each with its error budget now."""

    def create(self, values: dict[str, Any]) -> Slo:
        return services.slo_create(actor=self.actor, organisation=self.organisation, **self.facts(values))


class SloView(SloResource, ObjectView):
    """One SLO."""

    def change(self, row: Slo, values: dict[str, Any]) -> Slo:
        facts = self.facts(values)
        facts.pop("name")
        return services.slo_update(actor=self.actor, slo=row, **facts)

    def remove(self, row: Slo) -> None:
        services.slo_delete(actor=self.actor, slo=row, reason=self.reason)


class SilenceResource(Resource):
    permission: ClassVar[str] = "alert.view"
    serializer_class = SilenceSerializer
    kind, object_name, argument, named_by, ordering = "silence", "silence", "silence_id", "reason", ("-pk",)

    def rows(self) -> QuerySet[Silence]:
        return Silence.objects.filter(organisation=self.organisation).select_related("alert__rule", "organisation")


class SilencesView(SilenceResource, CreatableView):
    """Silences, the newest first; ``POST`` one of those that a matcher names."""

    def create(self, values: dict[str, Any]) -> Silence:
        given = {"matcher": values["matcher"], "until": values["until"], "reason": self.reason}
        return services.alert_silence(actor=self.actor, organisation=self.organisation, **given)


class SilenceView(SilenceResource, ReadableView):
    """One silence; ``DELETE`` ends it before its time."""

    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(str(self.kwargs["silence_id"]))
            services.silence_end(actor=self.actor, silence=row, reason=self.reason)
            return Response(status=status.HTTP_204_NO_CONTENT)

        return self.once(act)


class ChannelResource(Owned):
    permission: ClassVar[str] = "alert.view"
    serializer_class = ChannelSerializer
    kind, object_name, argument = "alert_channel", "alert-channel", "channel_id"

    def rows(self) -> QuerySet[AlertChannel]:
        return AlertChannel.objects.filter(organisation=self.organisation).select_related("organisation", "team", "person")

    def context_of(self, rows: list[AlertChannel]) -> dict[str, Any]:
        return {"person": str(self.request.user.pk)}


class ChannelsView(ChannelResource, CreatableView):
    """Ways to tell people. A webhook without a signing secret is given one, shown in this answer only."""

    def create(self, values: dict[str, Any]) -> tuple[AlertChannel, str]:
        facts = self.facts(values, "team")
        person: Any = self.request.user if facts.pop("own") else None
        return channel_services.channel_create(actor=self.actor, organisation=self.organisation, person=person, **facts)

    def create_more(self, result: tuple[AlertChannel, str]) -> tuple[AlertChannel, dict[str, Any]]:
        row, made = result
        return row, {"secret": made} if made else {}


class ChannelView(ChannelResource, ObjectView):
    """One channel. An address or a secret that is not given stays."""

    def change(self, row: AlertChannel, values: dict[str, Any]) -> AlertChannel:
        facts = {name: values[name] for name in ("address", "secret", "allow_private", "enabled")}
        given, now = self.given(), self.represent_one(row)
        fixed = next((name for name in ("kind", "team", "own") if name in given and given[name] != now[name]), "")
        if fixed:
            raise ApiError(f"A channel's {fixed} never changes: make a new one.", field=fixed)
        return channel_services.channel_update(actor=self.actor, channel=row, reason=self.reason, **facts)

    def remove(self, row: AlertChannel) -> None:
        channel_services.channel_delete(actor=self.actor, channel=row, reason=self.reason)
