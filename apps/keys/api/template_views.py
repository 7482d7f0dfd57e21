"""``key-templates`` of an organisation: what the members of a team make by themselves, named by the team."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer
from apps.audit.errors import ServiceError
from apps.keys import choices
from apps.keys.models import KeyTemplate
from apps.keys.template_services import key_template_delete, key_template_set
from apps.ownership.named import team_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class KeyTemplateSerializer(ReasonSerializer):
    """The bounds inside which a team's members make keys by themselves."""

    id = serializers.UUIDField(read_only=True)
    team = serializers.CharField(max_length=60, help_text="The team's slug; never changes.")
    routes = serializers.ListField(child=serializers.CharField(max_length=120), default=lambda: ["*"], help_text='["*"]: all.')
    environments = serializers.ListField(child=serializers.ChoiceField(choices=choices.ENVIRONMENTS))
    most_keys = serializers.IntegerField(default=10, help_text="Active keys that the team may have made so at a time.")
    longest_days = serializers.IntegerField(allow_null=True, default=None, help_text="A key ends within so many days; null: it need not.")
    limits = serializers.DictField(
        child=serializers.IntegerField(), default=dict, help_text="Kind of limit: the most that one key may have; a key gets it."
    )
    budget_nano = serializers.IntegerField(
        allow_null=True, default=None, help_text="Nano-dollars per budget_window that one key may have; null: a key needs no budget."
    )
    budget_window = serializers.CharField(max_length=10, default="month")

    def to_representation(self, instance: KeyTemplate) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "team": instance.team.slug,
            "routes": list(instance.routes),
            "environments": list(instance.environments),
            "most_keys": instance.most_keys,
            "longest_days": instance.longest_days,
            "limits": dict(instance.limits),
            "budget_nano": instance.budget_nano,
            "budget_window": instance.budget_window,
        }


class KeyTemplateResource(Resource):
    permission: ClassVar[str] = "key.view"
    serializer_class = KeyTemplateSerializer
    kind, object_name, argument, named_by, shown_as = "key_template", "key-template", "template_id", "team__slug", "team"
    ordering: ClassVar[tuple[str, ...]] = ("pk",)

    def rows(self) -> QuerySet[KeyTemplate]:
        return KeyTemplate.objects.filter(team__organisation=self.organisation).select_related("team__organisation")

    def saved(self, values: dict[str, Any]) -> KeyTemplate:
        """Call the service with what the serializer read."""
        team = team_named(self.organisation, values.pop("team"))
        return key_template_set(actor=self.actor, team=team, reason=self.reason, **values)


class KeyTemplatesView(KeyTemplateResource, CreatableView):
    """Templates of an organisation's teams."""

    def create(self, values: dict[str, Any]) -> KeyTemplate:
        if self.rows().filter(team__slug=values["team"]).exists():
            raise ServiceError(f"the team {values['team']!r} has a template already: edit that one", "team")
        return self.saved(dict(values))


class KeyTemplateView(KeyTemplateResource, ObjectView):
    """One team's template, by the team's slug; ``DELETE``: its members ask for every key."""

    def change(self, row: KeyTemplate, values: dict[str, Any]) -> KeyTemplate:
        return self.saved(dict(values))

    def remove(self, row: KeyTemplate) -> None:
        key_template_delete(actor=self.actor, team=row.team, reason=self.reason)
