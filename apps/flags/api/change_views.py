"""``changes`` of an organisation: flips that wait for a second person or for their time, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.flags.change_choices import STATES, VERDICTS
from apps.flags.change_models import ChangeRequest
from apps.flags.change_rows import fingerprint, told_of
from apps.flags.change_selectors import changes_of
from apps.flags.changes import change_approve, change_reject, change_review, change_withdraw
from apps.flags.consequences import Prediction
from apps.flags.foretelling import change_foretell, flip_keep
from apps.publishing.api.resources import CollectionView, ReadableView, Resource


class ChangeSerializer(serializers.Serializer[Any]):
    """A flip that somebody asked for."""

    id = serializers.UUIDField(source="pk")
    flag = serializers.CharField(source="flag_name")
    on = serializers.BooleanField(source="turn_on")
    gives = serializers.BooleanField(help_text="It asks for another owner; the flag stays as it stands.")
    to = serializers.CharField(source="to_name", help_text="The team that gets the flag; empty: nobody does.")
    until = serializers.DateTimeField(allow_null=True)
    share = serializers.IntegerField()
    simulated_only = serializers.BooleanField()
    reason = serializers.CharField()
    state = serializers.ChoiceField(choices=list(STATES))
    detail = serializers.CharField(help_text="Why it is not done, or how late it ran.")
    two_persons = serializers.BooleanField(source="two")
    glass_broken = serializers.BooleanField(source="glass")
    rule = serializers.CharField(help_text="Which rule asks for a second person.")
    asked_by = serializers.CharField()
    asked_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    at = serializers.DateTimeField(allow_null=True, help_text="When it shall happen; null: at once.")
    decided_by = serializers.CharField()
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_reason = serializers.CharField()
    applied_at = serializers.DateTimeField(allow_null=True)
    review = serializers.CharField(help_text="Of a flip by one person alone: open or done.")
    verdict = serializers.CharField()
    seen = serializers.CharField(help_text="The flag as it stands now, in a word: to be sent with an approval.")

    def to_representation(self, instance: ChangeRequest) -> dict[str, Any]:
        plain = {name: field for name, field in self.fields.items() if name != "seen"}
        shown = {}
        for name, field in plain.items():
            value = field.get_attribute(instance)
            shown[name] = None if value is None else field.to_representation(value)
        return {**shown, "seen": fingerprint(told_of(instance.flag)) if instance.flag else ""}


class ApproveSerializer(ReasonSerializer):
    """A second person's yes."""

    seen = serializers.CharField(required=False, allow_blank=True, default="", max_length=100, help_text="As the change was read with it.")


class ReviewSerializer(StrictSerializer):
    """What somebody else found of a flip that one person did alone."""

    verdict = serializers.ChoiceField(choices=list(VERDICTS))
    note = serializers.CharField(max_length=1000)


class ChangeResource(Resource):
    permission: ClassVar[str] = "change.view"
    serializer_class = ChangeSerializer
    kind, object_name, argument, named_by, ordering = "change", "change", "change_id", "flag_name", ("-pk",)

    def rows(self) -> QuerySet[ChangeRequest]:
        return changes_of(self.organisation)

    def decided(self, given: type[serializers.Serializer[Any]], act: Callable[[ChangeRequest, dict[str, Any]], ChangeRequest]) -> Any:
        """One decision, done once and published."""

        def once() -> Response:
            row = self.find(str(self.kwargs["change_id"]))
            asked = given(data=self.given())
            asked.is_valid(raise_exception=True)
            return self.published(lambda: act(row, dict(asked.validated_data)), self.written)

        return self.once(once)


class ChangesView(ChangeResource, CollectionView):
    """Flips that wait, were planned, or were asked for once; ``?state=waiting`` and the like."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(STATES))])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[ChangeRequest]:
        state = self.request.query_params.get("state", "")
        if state and state not in STATES:
            raise ApiError(f"Write one of {', '.join(STATES)}.", field="state")
        return super().rows().filter(state=state) if state else super().rows()


class ChangeView(ChangeResource, ReadableView):
    """One of them."""


class ChangeApproveView(ChangeResource):
    """``POST``: say yes, as somebody else than who asked. Where the flag changed since, ``seen`` says that you know."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]
    foretold: Prediction | None = None
    """What a flip that happens now was foretold to do, kept with it."""

    @extend_schema(request=ApproveSerializer, responses=ChangeSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(ApproveSerializer, self.approve)

    def approve(self, row: ChangeRequest, given: dict[str, Any]) -> ChangeRequest:
        row.organisation = self.organisation
        self.foretold = change_foretell(row)
        return change_approve(actor=self.actor, change=row, reason=self.reason, seen=given["seen"])

    def written(self, row: Any, *, created: bool = False, more: Mapping[str, Any] | None = None) -> Response:
        if self.foretold is not None:
            flip_keep(actor=self.actor, result=row, prediction=self.foretold, version=self.version)
        return super().written(row, created=created, more=more)


class ChangeRejectView(ChangeResource):
    """``POST``: say no, and why."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=ChangeSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(ReasonSerializer, lambda row, given: change_reject(actor=self.actor, change=row, reason=self.reason))


class ChangeWithdrawView(ChangeResource):
    """``POST``: take it back."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReasonSerializer, responses=ChangeSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(ReasonSerializer, lambda row, given: change_withdraw(actor=self.actor, change=row, reason=self.reason))


class ChangeReviewView(ChangeResource):
    """``POST``: close the review of what one person did alone."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ReviewSerializer, responses=ChangeSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.decided(ReviewSerializer, lambda row, given: change_review(actor=self.actor, change=row, **given))
