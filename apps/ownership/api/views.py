"""``teams`` and ``services`` of an organisation. Nothing of them is published; the flow is the one of everything else."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer
from apps.audit.errors import ServiceError
from apps.ownership.models import Service, Team
from apps.ownership.selectors import services, team_get, teams
from apps.ownership.service_deletion import service_delete
from apps.ownership.services import service_ensure, team_ensure, team_update
from apps.ownership.team_deletion import team_delete
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class TeamSerializer(ReasonSerializer):
    """Who owns services, keys, routes and flags."""

    id = serializers.UUIDField(read_only=True)
    slug = serializers.CharField(max_length=60, help_text="Its name in addresses and files; never changes.")
    name = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default="", help_text="What people call it; else its slug."
    )
    contact_email = serializers.CharField(max_length=254, required=False, allow_blank=True, default="")


class TeamResource(Resource):
    permission: ClassVar[str] = "team.view"
    serializer_class = TeamSerializer
    kind, object_name, argument, named_by, ordering = "team", "team", "team_id", "slug", ("slug",)

    def rows(self) -> QuerySet[Team]:
        return teams(organisation=self.organisation)


class TeamsView(TeamResource, CreatableView):
    """Teams of an organisation."""

    def create(self, values: dict[str, Any]) -> Team:
        if team_get(organisation=self.organisation, slug=values["slug"]) is not None:
            raise ServiceError(f"there is a team {values['slug']!r} already: edit that one, or choose another slug", "slug")
        return team_ensure(actor=self.actor, organisation=self.organisation, **values)


class TeamView(TeamResource, ObjectView):
    """One team; ``DELETE`` is refused while it answers for anything."""

    def change(self, row: Team, values: dict[str, Any]) -> Team:
        return team_update(actor=self.actor, team=row, name=values["name"] or row.slug, contact_email=values["contact_email"])

    def remove(self, row: Team) -> None:
        team_delete(actor=self.actor, team=row, reason=self.reason)


class ServiceSerializer(ReasonSerializer):
    """An application of a team."""

    id = serializers.UUIDField(read_only=True)
    team = serializers.CharField(source="team.slug", max_length=60, help_text="Its team's slug; never changes.")
    slug = serializers.CharField(max_length=60)
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class ServiceResource(Resource):
    permission: ClassVar[str] = "team.view"
    serializer_class = ServiceSerializer
    kind, object_name, argument, named_by, ordering = "service", "service", "service_id", "slug", ("slug", "pk")

    def rows(self) -> QuerySet[Service]:
        return services(organisation=self.organisation)


class ServicesView(ServiceResource, CreatableView):
    """Services of an organisation's teams."""

    def create(self, values: dict[str, Any]) -> Service:
        slug, team = values["slug"], team_get(organisation=self.organisation, slug=values["team"]["slug"])
        if team is None:
            raise ServiceError(f"there is no team {values['team']['slug']!r}: create it first", "team")
        if services(team=team).filter(slug=slug).exists():
            raise ServiceError(f"the team has a service {slug!r} already: edit that one, or choose another slug", "slug")
        return service_ensure(actor=self.actor, team=team, slug=slug, name=values["name"])


class ServiceView(ServiceResource, ObjectView):
    """One service. Two teams may each have one of the same slug: name it by its id then. ``DELETE`` is refused while anything
    hangs on it."""

    def change(self, row: Service, values: dict[str, Any]) -> Service:
        if values["team"]["slug"] != row.team.slug:
            raise ServiceError("A service's team never changes: make a new service in the other team.", "team")
        return service_ensure(actor=self.actor, team=row.team, slug=row.slug, name=values["name"] or row.slug)

    def remove(self, row: Service) -> None:
        service_delete(actor=self.actor, service=row, reason=self.reason)
