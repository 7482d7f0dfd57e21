"""``incidents`` of an organisation: declared, read, changed, and what people do to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.api.views import found_or_404
from apps.accounts.models import User
from apps.postmortems import incident_choices as choices
from apps.postmortems import incident_people, incident_services, timeline_services
from apps.postmortems.api.incident_serializers import (
    IncidentDeclareSerializer,
    IncidentEditSerializer,
    IncidentMergeSerializer,
    IncidentMoveSerializer,
    IncidentNoteSerializer,
    IncidentRoleSerializer,
    IncidentSerializer,
    IncidentTimesSerializer,
    IncidentUpdateSerializer,
    TimelineEntrySerializer,
)
from apps.postmortems.incident_models import Incident, TimelineEntry
from apps.postmortems.incident_rules import Times
from apps.postmortems.incident_selectors import incident_get, incidents
from apps.postmortems.timeline import entries_of
from apps.publishing.api.resources import CreatableView, GuardedView, Resource


class IncidentResource(Resource):
    permission: ClassVar[str] = "incident.view"
    serializer_class = IncidentSerializer
    kind, object_name, argument, named_by, ordering = "incident", "incident", "incident_id", "title", ("-pk",)
    volatile = ("impact", "impact_at", "impact_from", "impact_until")

    def rows(self) -> QuerySet[Incident]:
        return incidents(self.organisation)

    def find(self, reference: str) -> Incident:
        """By id, or by number as people write it."""
        found: Incident = found_or_404(incident_get(self.organisation, reference), "incident", reference)
        return found


class IncidentsView(IncidentResource, CreatableView):
    """Incidents, the newest first; ``?state=active`` and the like, ``?open=1``. ``POST`` declares one."""

    @extend_schema(parameters=[OpenApiParameter("state", str, enum=list(choices.STATES)), OpenApiParameter("open", bool)])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(request=IncidentDeclareSerializer, responses={201: IncidentSerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().post(request, *args, **kwargs)

    def rows(self) -> QuerySet[Incident]:
        rows, state = super().rows(), self.request.query_params.get("state", "")
        if state and state not in choices.STATES:
            raise ApiError(f"Write one of {', '.join(choices.STATES)}.", field="state")
        if self.asked("open"):
            rows = rows.filter(state__in=choices.OPEN)
        return rows.filter(state=state) if state else rows

    def create(self, values: dict[str, Any]) -> Incident:
        person: Any = self.request.user
        return incident_services.incident_declare(
            actor=self.actor, organisation=self.organisation, source=choices.API, person=person, **values
        )


class IncidentView(IncidentResource, GuardedView):
    """One incident; ``PATCH`` what it says of itself."""

    @extend_schema(request=IncidentEditSerializer, responses=IncidentSerializer)
    def patch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row, _ = self.guarded()
            asked = IncidentEditSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            values = {name: value for name, value in asked.validated_data.items() if name != "reason"}
            return self.published(
                lambda: incident_services.incident_update(actor=self.actor, incident=row, reason=self.reason, **values), self.written
            )

        return self.once(act)


class IncidentAct(IncidentResource):
    """One thing that somebody does to an incident, once; the answer is the incident as it is then."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    def done(self, given: type[serializers.Serializer[Any]], act: Callable[[Incident, dict[str, Any]], Any]) -> Any:
        def once() -> Response:
            row = self.find(str(self.kwargs["incident_id"]))
            asked = given(data=self.given())
            asked.is_valid(raise_exception=True)
            values = {name: value for name, value in asked.validated_data.items() if name != "reason"}
            return self.published(lambda: act(row, values), lambda _: self.written(row))

        return self.once(once)


class IncidentMoveView(IncidentAct):
    """``POST``: move it to another state."""

    @extend_schema(request=IncidentMoveSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act(row: Incident, given: dict[str, Any]) -> Any:
            return incident_services.incident_move(actor=self.actor, incident=row, to=given.pop("state"), **given)

        return self.done(IncidentMoveSerializer, act)


class IncidentSayView(IncidentAct):
    """``POST``: a status update."""

    @extend_schema(request=IncidentUpdateSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.done(
            IncidentUpdateSerializer, lambda row, given: timeline_services.incident_say(actor=self.actor, incident=row, **given)
        )


class IncidentNoteView(IncidentAct):
    """``POST``: a note in its timeline."""

    @extend_schema(request=IncidentNoteSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.done(IncidentNoteSerializer, lambda row, given: timeline_services.note_add(actor=self.actor, incident=row, **given))


class IncidentAcknowledgeView(IncidentAct):
    """``POST``: say that you look after it; its alerts that fire are taken, too."""

    @extend_schema(request=ReasonSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self.done(ReasonSerializer, lambda row, _: incident_people.incident_acknowledge(actor=self.actor, incident=row))


class IncidentRoleView(IncidentAct):
    """``POST``: give a role to somebody, or to nobody."""

    @extend_schema(request=IncidentRoleSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act(row: Incident, given: dict[str, Any]) -> Any:
            email = given["person"]
            person = User.objects.filter(email__iexact=email, memberships__organisation=self.organisation).first() if email else None
            if email and person is None:
                raise ApiError(f"{email} is no member of {self.organisation.name}: choose somebody who is.", field="person")
            return incident_people.incident_role_set(actor=self.actor, incident=row, role=given["role"], person=person)

        return self.done(IncidentRoleSerializer, act)


class IncidentMergeView(IncidentAct):
    """``POST``: make it part of another one."""

    @extend_schema(request=IncidentMergeSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act(row: Incident, given: dict[str, Any]) -> Any:
            into = self.find(given["into"])
            return incident_services.incident_merge(actor=self.actor, incident=row, into=into, reason=self.reason)

        return self.done(IncidentMergeSerializer, act)


class IncidentTimesView(IncidentAct):
    """``POST``: put its times and its impact window right; what is left away is not known, or follows the data."""

    @extend_schema(request=IncidentTimesSerializer, responses=IncidentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act(row: Incident, given: dict[str, Any]) -> Any:
            since, until = given.pop("impact_from"), given.pop("impact_until")
            incident_services.incident_times_set(actor=self.actor, incident=row, times=Times(**given), reason=self.reason)
            return incident_services.incident_window_set(actor=self.actor, incident=row, since=since, until=until, reason=self.reason)

        return self.done(IncidentTimesSerializer, act)


class IncidentTimelineView(IncidentResource):
    """``GET``: its timeline, oldest first, a page at a time; what people left out is left out."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "options"]
    serializer_class = TimelineEntrySerializer  # type: ignore[assignment]
    ordering = ("at", "pk")

    @extend_schema(responses=TimelineEntrySerializer(many=True))
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        rows: QuerySet[TimelineEntry] = entries_of(self.find(str(self.kwargs["incident_id"])))
        page = self.paginate_queryset(rows)  # type: ignore[arg-type]
        return self.get_paginated_response(self.represent_all(list(page or [])))
