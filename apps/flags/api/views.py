"""``flags`` of an organisation. A flip goes through ``apps.flags.changes``, as a person's does: it may wait for somebody else."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.response import Response

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.audit.errors import ServiceError
from apps.flags import choices
from apps.flags.change_choices import APPLIED
from apps.flags.change_models import ChangeRequest
from apps.flags.changes import flip_submit
from apps.flags.consequences import Prediction
from apps.flags.foretelling import flip_foretell, flip_keep
from apps.flags.models import Flag
from apps.flags.selectors import flags_of, flags_on
from apps.flags.services import flag_delete, flag_set
from apps.ownership.named import team_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class FlagSerializer(ReasonSerializer):
    """A switch. ``on``, ``until``, ``share`` and ``simulated_only`` change by a flip; what else is written here leaves them as they are."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices=choices.KINDS)
    subject_kind = serializers.ChoiceField(choices=choices.SUBJECTS)
    subject_id = serializers.CharField(
        max_length=256, help_text="Id of the provider, route, key or organisation; the model, feature or region; the team's slug."
    )
    level = serializers.ChoiceField(choices=choices.LEVELS, default="full", help_text="Of a degradation.")
    rules = serializers.DictField(default=dict, help_text="For whom it holds while it is on: an Unleash feature's strategies and variants.")
    default = serializers.CharField(max_length=80, default="off", help_text="What holds while it is off or its rules cannot be decided.")
    owner = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="A team's slug.")
    purpose = serializers.CharField(max_length=300, allow_blank=True, default="")
    runbook = serializers.CharField(max_length=300, allow_blank=True, default="", help_text="A URL, or the id of a runbook.")
    expires_at = serializers.DateTimeField(allow_null=True, default=None, help_text="When it should be gone altogether.")
    stale_after_days = serializers.IntegerField(default=60)
    on = serializers.BooleanField(read_only=True)
    until = serializers.DateTimeField(read_only=True)
    share = serializers.IntegerField(read_only=True)
    simulated_only = serializers.BooleanField(read_only=True)
    stands_because = serializers.CharField(source="reason", read_only=True, help_text="The reason of the last flip.")
    exercised_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: Flag) -> dict[str, Any]:
        shown = super().to_representation(instance)
        shown["owner"] = instance.owner.slug if instance.owner else ""
        return shown


class FlipSerializer(StrictSerializer):
    """Switch a flag on or off."""

    on = serializers.BooleanField()
    reason = serializers.CharField(max_length=300, help_text="Everybody sees it while the flag is on.")
    until = serializers.DateTimeField(allow_null=True, default=None, help_text="When it turns itself off; null: when somebody does.")
    at = serializers.DateTimeField(allow_null=True, default=None, help_text="When it shall happen; null: now.")
    break_glass = serializers.BooleanField(
        default=False, help_text="Do alone what takes two: the owners are told, and it is reviewed after."
    )
    share = serializers.IntegerField(default=100, min_value=0, max_value=100, help_text="A drill: so many percent of the requests.")
    simulated_only = serializers.BooleanField(default=False, help_text="A drill: the simulator's traffic only.")
    acknowledge = serializers.BooleanField(default=False, help_text="I know that it leaves a route without a target.")


class FlipAskedSerializer(StrictSerializer):
    """A flip that somebody thinks of."""

    on = serializers.BooleanField()
    share = serializers.IntegerField(default=100, min_value=0, max_value=100, help_text="A drill: so many percent of the requests.")
    simulated_only = serializers.BooleanField(default=False, help_text="A drill: the simulator's traffic only.")


class TargetChangeSerializer(serializers.Serializer[Any]):
    """One target before and after."""

    target = serializers.CharField()
    now_per_minute = serializers.FloatField(help_text="Requests a minute.")
    then_per_minute = serializers.FloatField()
    at_once = serializers.FloatField(allow_null=True, help_text="Requests at once afterwards, on average; null: not known.")
    most_at_once = serializers.IntegerField(help_text="The most that it takes at once; 0: no cap.")
    state = serializers.CharField(help_text="Its breaker's state in words; empty: closed.")


class BudgetChangeSerializer(serializers.Serializer[Any]):
    """A budget that would be used up at another moment."""

    name = serializers.CharField()
    ends_ms = serializers.IntegerField(allow_null=True, help_text="Milliseconds since 1970; null: it lasts its window.")
    would_end_ms = serializers.IntegerField(allow_null=True)


class PredictionSerializer(serializers.Serializer[Any]):
    """What a flip would do, measured. Null: not known, and ``gaps`` says why."""

    flag = serializers.CharField()
    on = serializers.BooleanField()
    minutes = serializers.FloatField(source="found.minutes", help_text="What it was measured over.")
    requests = serializers.IntegerField(source="found.requests", help_text="How many those were.")
    routes = serializers.ListField(child=serializers.CharField(), source="found.routes")
    targets = TargetChangeSerializer(many=True, source="found.targets")
    moved_per_minute = serializers.FloatField(source="found.moved_per_minute")
    refused_per_minute = serializers.FloatField(source="found.refused_per_minute", help_text="More than now.")
    cost_now_nano = serializers.IntegerField(source="found.cost_now", help_text="Nano-dollars an hour.")
    cost_then_nano = serializers.IntegerField(source="found.cost_then", allow_null=True)
    first_token_now_us = serializers.FloatField(source="found.ttft_now", allow_null=True, help_text="p95.")
    first_token_then_us = serializers.FloatField(source="found.ttft_then", allow_null=True)
    budgets = BudgetChangeSerializer(many=True, source="found.budgets")
    gaps = serializers.ListField(child=serializers.CharField(), source="found.gaps")


class WaitingSerializer(serializers.Serializer[Any]):
    """A flip that has not happened: it is planned, or waits for a second person."""

    change_request = serializers.UUIDField(source="pk")
    state = serializers.CharField()
    flag = serializers.CharField(source="flag_name")
    on = serializers.BooleanField(source="turn_on")
    at = serializers.DateTimeField(allow_null=True, help_text="When it is planned for; null: when it is approved.")


class FlagResource(Resource):
    permission: ClassVar[str] = "flag.view"
    serializer_class = FlagSerializer
    kind, object_name, argument, volatile = "flag", "flag", "flag_id", ("exercised_at",)

    def rows(self) -> QuerySet[Flag]:
        rows = flags_of(self.organisation)
        return rows if self.request.query_params.get("on", "") not in ("1", "true") else flags_on(self.organisation)

    def facts(self, values: dict[str, Any]) -> dict[str, Any]:
        """As services take them."""
        owner = values["owner"]
        return {**values, "owner": team_named(self.organisation, owner, field="owner") if owner else None}


class FlagsView(FlagResource, CreatableView):
    """Flags of an organisation; ``?on=1`` those that are on. A new one is off."""

    def create(self, values: dict[str, Any]) -> Flag:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a flag {values['name']!r} already: edit that one, or choose another name", "name")
        return flag_set(actor=self.actor, organisation=self.organisation, reason=self.reason, **self.facts(values))


class FlagView(FlagResource, ObjectView):
    """One flag."""

    def change(self, row: Flag, values: dict[str, Any]) -> Flag:
        standing = {
            "on": row.on, "until": row.until, "share": row.share, "simulated_only": row.simulated_only, "acknowledge": row.acknowledged,
            "reason": self.reason or row.reason,
        }  # fmt: skip
        return flag_set(actor=self.actor, organisation=self.organisation, **standing, **self.facts(values))

    def remove(self, row: Flag) -> None:
        flag_delete(actor=self.actor, flag=row, reason=self.reason)


class FlagPreviewView(FlagResource):
    """``POST``: what a flip would do, measured over the last hour as the dialog shows it. Nothing is done."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=FlipAskedSerializer, responses=PredictionSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        row = self.find(self.kwargs["flag_id"])
        asked = FlipAskedSerializer(data=self.given())
        asked.is_valid(raise_exception=True)
        found = flip_foretell(row, **asked.validated_data)
        return Response(PredictionSerializer({"flag": row.name, "on": asked.validated_data["on"], "found": found}).data)


class FlagFlipView(FlagResource):
    """``POST``: switch it. 200: it is done and published. 202: it waits; ``change_request`` says as what."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]
    prediction: Prediction
    """What the flip was foretold to do, kept with it."""

    @extend_schema(
        request=FlipSerializer,
        responses={
            200: FlagSerializer,
            202: WaitingSerializer,
        },
    )
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["flag_id"])
            asked = FlipSerializer(data=self.given())
            asked.is_valid(raise_exception=True)

            facts = asked.validated_data
            self.prediction = flip_foretell(row, on=facts["on"], share=facts["share"], simulated_only=facts["simulated_only"])

            def change() -> Flag | ChangeRequest:
                return flip_submit(actor=self.actor, organisation=self.organisation, name=row.name, **facts)

            return self.published(change, self.flipped)

        return self.once(act)

    def flipped(self, result: Flag | ChangeRequest) -> Response:
        flip_keep(actor=self.actor, result=result, prediction=self.prediction, version=self.version)
        if isinstance(result, Flag) or (result.state == APPLIED and result.flag is not None):  # where glass was broken it is done
            return self.written(result if isinstance(result, Flag) else result.flag)
        return Response(WaitingSerializer(result).data, status.HTTP_202_ACCEPTED)
