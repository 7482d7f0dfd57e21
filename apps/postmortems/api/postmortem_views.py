"""``postmortems`` (to read) and ``action-items`` with what people do to them, of an organisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.accounts.models import User
from apps.postmortems import action_rules, action_services
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.action_checks import CHECKS
from apps.postmortems.action_services import ActionSpec
from apps.postmortems.models import ActionItem, Postmortem
from apps.postmortems.postmortem_selectors import evidence_of, postmortems
from apps.publishing.api.resources import CollectionView, CreatableView, EditableView, ReadableView, Resource


class PostmortemSerializer(StrictSerializer):
    """What was learnt of one incident."""

    id = serializers.UUIDField(read_only=True)
    incident = serializers.CharField(read_only=True, source="incident.reference")
    title = serializers.CharField(read_only=True, source="incident.title")
    severity = serializers.CharField(read_only=True, source="incident.severity")
    state = serializers.ChoiceField(choices=list(choices.STATES), read_only=True)
    owner = serializers.SerializerMethodField(help_text="An e-mail address; null: nobody.")
    required = serializers.BooleanField(read_only=True)
    due_at = serializers.DateTimeField(read_only=True, allow_null=True)
    published_at = serializers.DateTimeField(read_only=True, allow_null=True)
    trigger = serializers.CharField(read_only=True)
    detected = serializers.CharField(read_only=True)
    factors = serializers.SerializerMethodField(help_text="Short names of the vocabulary.")
    sections = serializers.SerializerMethodField(help_text="Each with its key, title and text, Markdown.")
    evidence = serializers.SerializerMethodField(help_text="Of one postmortem: query -> its frozen answer.")

    def get_owner(self, row: Postmortem) -> str | None:
        return row.owner.email if row.owner else None

    def get_factors(self, row: Postmortem) -> list[str]:
        return [tag.slug for tag in row.factors.all()]

    def get_sections(self, row: Postmortem) -> list[dict[str, str]]:
        return [{"key": part.key, "title": part.title, "text": row.texts.get(part.key, "")} for part in row.parts]

    def get_evidence(self, row: Postmortem) -> dict[str, Any] | None:
        if not self.context.get("evidence"):
            return None
        return {
            name: {
                "taken_at": held.taken_at, "config_version": held.config_version, "parameters": held.parameters, "result": held.result,
            }
            for name, held in evidence_of(row).items()
        }  # fmt: skip


class PostmortemResource(Resource):
    permission: ClassVar[str] = "postmortem.view"
    serializer_class = PostmortemSerializer
    kind, object_name, argument, named_by, ordering = "postmortem", "postmortem", "postmortem_id", "incident__title", ("-pk",)

    def rows(self) -> QuerySet[Postmortem]:
        return postmortems(self.organisation).prefetch_related("factors")


class PostmortemsView(PostmortemResource, CollectionView):
    """Postmortems, the newest first; ``?state=draft`` and the like. Without their evidence."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(choices.STATES))])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[Postmortem]:
        state = self.request.query_params.get("state", "")
        if state and state not in choices.STATES:
            raise ApiError(f"Write one of {', '.join(choices.STATES)}.", field="state")
        return super().rows().filter(state=state) if state else super().rows()


class PostmortemView(PostmortemResource, ReadableView):
    """One postmortem with its frozen evidence. It is written on its page, where nothing of anybody's text is lost."""

    def context_of(self, rows: list[Any]) -> dict[str, Any]:
        return {"evidence": True}


class ActionSerializer(ReasonSerializer):
    """One thing to do."""

    id = serializers.UUIDField(read_only=True)
    reference = serializers.CharField(read_only=True)
    title = serializers.CharField(max_length=200)
    outcome = serializers.CharField(max_length=1000, help_text="What somebody else can look at to see that it is done.")
    owner = serializers.EmailField()
    due_on = serializers.DateField()
    priority = serializers.ChoiceField(choices=list(action_rules.PRIORITIES), default="p2")
    check_kind = serializers.ChoiceField(choices=["", *CHECKS], required=False, allow_blank=True, default="")
    check_of = serializers.CharField(max_length=200, required=False, allow_blank=True, default="", help_text="Its short name.")
    tracker_url = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")
    incident = serializers.SerializerMethodField()
    state = serializers.ChoiceField(choices=list(action_rules.STATES), read_only=True)
    verdict = serializers.CharField(read_only=True)
    verdict_why = serializers.CharField(read_only=True)
    reopened = serializers.IntegerField(read_only=True)

    def get_incident(self, row: ActionItem) -> str | None:
        return row.postmortem.incident.reference if row.postmortem else None

    def to_representation(self, instance: ActionItem) -> dict[str, Any]:
        return {**super().to_representation(instance), "owner": instance.owner.email if instance.owner else ""}


class ActionResource(Resource):
    permission: ClassVar[str] = "postmortem.view"
    serializer_class = ActionSerializer
    kind, object_name, argument, named_by, ordering = "action_item", "action-item", "action_id", "title", ("-pk",)
    volatile = ("verdict", "verdict_why")

    def rows(self) -> QuerySet[ActionItem]:
        return ActionItem.objects.filter(organisation=self.organisation).select_related("owner", "organisation", "postmortem__incident")

    def spec(self, values: dict[str, Any]) -> ActionSpec:
        """What the services take. Raises ApiError for somebody whom the organisation does not know."""
        email = values.pop("owner")
        owner = User.objects.filter(email__iexact=email, memberships__organisation=self.organisation).first()
        if owner is None:
            raise ApiError(f"Nobody in this organisation has the address {email}: name somebody who is here.", field="owner")
        return ActionSpec(owner=owner, **values)


class ActionsView(ActionResource, CreatableView):
    """Action items, the newest first; ``?state=open``."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(action_rules.STATES))])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def rows(self) -> QuerySet[ActionItem]:
        state = self.request.query_params.get("state", "")
        if state and state not in action_rules.STATES:
            raise ApiError(f"Write one of {', '.join(action_rules.STATES)}.", field="state")
        return super().rows().filter(state=state) if state else super().rows()

    def create(self, values: dict[str, Any]) -> ActionItem:
        return action_services.action_create(actor=self.actor, organisation=self.organisation, spec=self.spec(values))


class ActionItemView(ActionResource, EditableView):
    """One action item."""

    def change(self, row: ActionItem, values: dict[str, Any]) -> ActionItem:
        return action_services.action_update(actor=self.actor, action=row, spec=self.spec(values), reason=self.reason)


class ActionActView(ActionResource):
    """``POST``: one thing that somebody does to an action item, with a reason."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]
    act: ClassVar[Callable[..., ActionItem]]
    words: ClassVar[str] = "reason"

    @extend_schema(request=ReasonSerializer, responses=ActionSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def once() -> Response:
            row = self.find(str(self.kwargs["action_id"]))
            return self.published(lambda: type(self).act(actor=self.actor, action=row, **{self.words: self.reason}), self.written)

        return self.once(once)


class ActionDoneView(ActionActView):
    """``POST``: it is done; refused while its check fails."""

    act = staticmethod(action_services.action_done)
    words = "note"


class ActionDeclineView(ActionActView):
    """``POST``: it will not be done, with a reason."""

    act = staticmethod(action_services.action_decline)


class ActionReopenView(ActionActView):
    """``POST``: it is open again, with a reason."""

    act = staticmethod(action_services.action_reopen)
