"""``two-person-rules`` of an organisation: which flips take a second person."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer
from apps.audit.errors import ServiceError
from apps.flags.change_choices import TURNING
from apps.flags.change_models import TwoPersonRule
from apps.flags.change_selectors import two_person_rules_of
from apps.flags.two_person_rules import two_person_rule_add, two_person_rule_remove, two_person_words
from apps.ownership.named import team_named
from apps.publishing.api.resources import CreatableView, RemovableView, Resource


class TwoPersonRuleSerializer(ReasonSerializer):
    """Flips that take two persons: those that fit every field that is not empty. A rule never changes; make another one."""

    id = serializers.UUIDField(read_only=True)
    kind = serializers.CharField(max_length=10, allow_blank=True, default="", help_text="Of flag; empty: all.")
    subject_kind = serializers.CharField(max_length=20, allow_blank=True, default="", help_text="What it is about; empty: anything.")
    environment = serializers.CharField(max_length=20, allow_blank=True, default="", help_text="That it acts on; empty: all.")
    team = serializers.CharField(max_length=60, allow_blank=True, default="", help_text="Slug of who owns the flag, or what it is about.")
    turning = serializers.ChoiceField(choices=list(TURNING.items()), default="on")
    words = serializers.CharField(read_only=True, help_text="The rule for people.")
    why = serializers.CharField(read_only=True)
    created_by = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    ends_at = serializers.DateTimeField(read_only=True, help_text="null: it holds; a rule that was removed holds on for a day.")

    def to_representation(self, instance: TwoPersonRule) -> dict[str, Any]:
        return {
            "id": str(instance.pk),
            "kind": instance.kind,
            "subject_kind": instance.subject_kind,
            "environment": instance.environment,
            "team": instance.team.slug if instance.team else "",
            "turning": instance.turning,
            "words": two_person_words(instance),
            "why": instance.reason,
            "created_by": instance.created_by,
            "created_at": instance.created_at,
            "ends_at": instance.ends_at,
        }


class TwoPersonRuleResource(Resource):
    permission: ClassVar[str] = "change.view"
    serializer_class = TwoPersonRuleSerializer
    kind, object_name, argument, named_by, ordering = "two_person_rule", "two-person-rule", "rule_id", "kind", ("pk",)

    @property
    def what(self) -> str:
        return "rule for two persons"

    def rows(self) -> QuerySet[TwoPersonRule]:
        return two_person_rules_of(self.organisation)


class TwoPersonRulesView(TwoPersonRuleResource, CreatableView):
    """Rules that hold, also those that end within a day."""

    def create(self, values: dict[str, Any]) -> TwoPersonRule:
        slug = values.pop("team")
        team = team_named(self.organisation, slug) if slug else None
        if self.rows().filter(team=team, ends_at=None, **values).exists():
            raise ServiceError("there is this rule already", "kind")
        return two_person_rule_add(actor=self.actor, organisation=self.organisation, team=team, reason=self.reason, **values)


class TwoPersonRuleView(TwoPersonRuleResource, RemovableView):
    """One rule; ``DELETE`` takes a reason, and the rule holds on for a day."""

    def remove(self, row: TwoPersonRule) -> None:
        two_person_rule_remove(actor=self.actor, rule=row, reason=self.reason)
