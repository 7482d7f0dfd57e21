"""What takes several apps at once: a request explained, and the overrides in force."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from apps.accounts.api.views import ApiView, found_or_404
from apps.accounts.selectors import permission_require
from apps.budgets.models import BudgetOverride
from apps.contracts.errors import CODES
from apps.dashboard.explain import reasons
from apps.dashboard.request_page import raw_record
from apps.flags.selectors import flags_on
from apps.routes.choices import target_text
from apps.routes.selectors import held_breakers, routes_of, spec_of, switch_in_force
from apps.usage.requests import request_get


class ExplainedSerializer(serializers.Serializer[Any]):
    """A request as it is stored, and why it went where it went."""

    request = serializers.DictField(help_text="Every column, every attempt, config version, flags, charges.")
    reasons = serializers.ListField(child=serializers.CharField(), help_text="In sentences, from the record alone.")
    retry = serializers.BooleanField(allow_null=True, help_text="Whether its error is worth another try; null: it is none of ours.")


class OverrideInForceSerializer(serializers.Serializer[Any]):
    """Something that a person switched on against what is configured."""

    kind = serializers.CharField(help_text="flag, switch, breaker or budget.")
    id = serializers.CharField()
    name = serializers.CharField()
    what = serializers.CharField()
    reason = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True)


class RequestView(ApiView):
    """One request of the organisation, explained."""

    permission = "request.view"

    @extend_schema(responses=ExplainedSerializer)
    def get(self, request: Any, organisation: str, request_id: UUID) -> Response:
        record = request_get(request_id)
        if record is not None and record.organisation != str(self.organisation.pk):
            record = None
        record = found_or_404(record, "request", request_id)
        known = CODES.get(record.error_code)
        return Response(
            {
                "request": raw_record(record),
                "reasons": reasons(record=record, attempts=list(record.attempts or [])),
                "retry": known.retry if known else None,
            }
        )


class OverridesView(ApiView):
    """Everything that is switched on now: flags, switched routes, forced breakers, budgets with more room."""

    permission = "flag.view"

    @extend_schema(responses=OverrideInForceSerializer(many=True))
    def get(self, request: Any, organisation: str) -> Response:
        for action in ("route.view", "budget.view"):
            permission_require(actor=self.actor, action=action, organisation=self.organisation)
        now = timezone.now()
        found: list[dict[str, Any]] = [
            _shown("flag", row.pk, row.name, f"{row.kind} of a {row.subject_kind}", row.reason, row.until)
            for row in flags_on(self.organisation, now)
        ]
        touched = Q(switch__isnull=False) | ~Q(forced=[])
        for route in routes_of(self.organisation).filter(touched):
            switch = switch_in_force(route, now=now)
            if switch is not None:
                found.append(_shown("switch", route.pk, route.name, f"all to {target_text(spec_of(switch))}", switch.reason, switch.until))
            found += [
                _shown("breaker", route.pk, route.name, f"{target_text(held.target)} held {held.state}", held.reason, held.until)
                for held in held_breakers(route, now=now)
            ]
        more = BudgetOverride.objects.filter(budget__organisation=self.organisation, ended_at=None, expires_at__gt=now)
        found += [
            _shown("budget", row.budget_id, row.budget.name, f"{row.amount_nano} nano-dollars more", row.reason, row.expires_at)
            for row in more.select_related("budget")
        ]
        return Response({"items": found, "next": None, "previous": None})


def _shown(kind: str, pk: object, name: str, what: str, reason: str, until: Any) -> dict[str, Any]:
    return {"kind": kind, "id": str(pk), "name": name, "what": what, "reason": reason, "until": until}
