"""``saved-views`` of an organisation: one's own, and those that are shared with its teams."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from rest_framework import serializers

from apps.accounts.api.errors import ApiError
from apps.accounts.api.serializers import ReasonSerializer
from apps.accounts.models import User
from apps.audit.errors import ServiceError
from apps.dashboard import saved_services as services
from apps.dashboard.models import SavedView
from apps.ownership.named import team_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


def renamed(error: ServiceError) -> ServiceError:
    """A refusal of the path is one of the URL; any other stays what it is."""
    return ServiceError(error.message, "url") if error.field == "path" else error


class SavedViewSerializer(ReasonSerializer):
    """A page of dashboards, requests or spend, by a name."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    url = serializers.CharField(max_length=2300, help_text="Path and query, such as /requests/?route=chat&outcome=error.")
    team = serializers.CharField(max_length=60, required=False, allow_blank=True, default="", help_text="Shared with it; empty: nobody.")
    owner = serializers.CharField(read_only=True, help_text="Whose it is; empty: the team's own, as a document made it.")
    created_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: SavedView) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "name": instance.name,
            "url": instance.url,
            "team": instance.team.slug if instance.team else "",
            "owner": instance.owner.email if instance.owner else "",
            "created_at": instance.created_at,
        }


class SavedViewResource(Resource):
    permission: ClassVar[str] = "overview.view"
    serializer_class = SavedViewSerializer
    kind, object_name, argument, ordering = "saved_view", "saved-view", "view_id", ("name", "pk")

    @property
    def person(self) -> User:
        """Who asks."""
        return cast(User, self.request.user)

    def rows(self) -> QuerySet[SavedView]:
        return services.saved_views_of(self.organisation, self.person).select_related("organisation", "team", "owner")


class SavedViewsView(SavedViewResource, CreatableView):
    """Views that you keep, and those that are shared with teams. A new one is yours; with ``team`` that team finds it, too."""

    def create(self, values: dict[str, Any]) -> SavedView:
        team = team_named(self.organisation, values["team"]) if values["team"] else None
        path, _, query = values["url"].partition("?")
        given: dict[str, Any] = {"actor": self.actor, "organisation": self.organisation, "owner": self.person, "team": team}
        try:
            return services.saved_view_create(**given, name=values["name"], path=path, query=query, reason=self.reason)
        except ServiceError as error:
            raise renamed(error) from None


class SavedViewView(SavedViewResource, ObjectView):
    """One view; of several with a name, yours. Another page may be kept under its name; with whom it is shared never changes."""

    def find(self, reference: str) -> SavedView:
        own = self.rows().filter(owner=self.person, name=reference).first()
        return own if own is not None else cast(SavedView, super().find(reference))

    def change(self, row: SavedView, values: dict[str, Any]) -> SavedView:
        if values["team"] != (row.team.slug if row.team else ""):
            raise ApiError("With whom a view is shared never changes: make another one.", field="team")
        path, _, query = values["url"].partition("?")
        try:
            return services.saved_view_update(actor=self.actor, view=row, by=self.person, path=path, query=query, reason=self.reason)
        except ServiceError as error:
            raise renamed(error) from None

    def remove(self, row: SavedView) -> None:
        services.saved_view_delete(actor=self.actor, view=row, by=self.person, reason=self.reason)
