"""``budgets``, their ``overrides``, ``limits`` and ``performance-budgets`` of an organisation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response

from apps.accounts.api.views import found_or_404, uuid_of
from apps.audit.errors import ServiceError
from apps.budgets.api.serializers import BudgetSerializer, LimitSerializer, OverrideSerializer, PerformanceBudgetSerializer
from apps.budgets.limit_models import Limit
from apps.budgets.limit_selectors import limits_of
from apps.budgets.limit_services import limit_delete, limit_set
from apps.budgets.models import Budget, BudgetOverride
from apps.budgets.override_services import override_end, override_grant
from apps.budgets.performance_models import PerformanceBudget
from apps.budgets.performance_selectors import performance_budgets_of
from apps.budgets.performance_services import performance_budget_delete, performance_budget_set
from apps.budgets.selectors import budget_statuses, budgets_of
from apps.budgets.services import budget_delete, budget_set
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class Scoped(Resource):
    """Of a scope: of the whole organisation, its id need not be given."""

    def facts(self, values: dict[str, Any]) -> dict[str, Any]:
        if values["scope"] == "organisation" and not values["scope_id"]:
            values = {**values, "scope_id": str(self.organisation.pk)}
        return {**values, "reason": self.reason}

    def new_name(self, name: str) -> None:
        """Raises ServiceError where it is taken: the services would change the one there is."""
        if self.rows().filter(name=name).exists():
            raise ServiceError(f"there is a {self.what} {name!r} already: edit that one, or choose another name", "name")


class BudgetResource(Scoped):
    permission: ClassVar[str] = "budget.view"
    serializer_class = BudgetSerializer
    kind, object_name, argument, volatile = "budget", "budget", "budget_id", ("standing",)

    def rows(self) -> QuerySet[Budget]:
        return budgets_of(self.organisation)

    def context_of(self, rows: list[Budget]) -> dict[str, Any]:
        return {"standings": {found.budget.pk: found for found in budget_statuses(rows)}}


class BudgetsView(BudgetResource, CreatableView):
    """Budgets of an organisation, each with where its running window stands."""

    def create(self, values: dict[str, Any]) -> Budget:
        self.new_name(values["name"])
        return budget_set(actor=self.actor, organisation=self.organisation, **self.facts(values))


class BudgetView(BudgetResource, ObjectView):
    """One budget."""

    def change(self, row: Budget, values: dict[str, Any]) -> Budget:
        return budget_set(actor=self.actor, organisation=self.organisation, **self.facts(values))

    def remove(self, row: Budget) -> None:
        budget_delete(actor=self.actor, budget=row, reason=self.reason)


class BudgetOverridesView(BudgetResource):
    """``GET`` a budget's overrides, the newest first; ``POST`` one."""

    http_method_names: ClassVar[list[str]] = ["get", "post", "head", "options"]

    @extend_schema(responses=OverrideSerializer(many=True))
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        row = self.find(kwargs["budget_id"])
        return Response({"items": OverrideSerializer(row.overrides.all()[:200], many=True).data, "next": None, "previous": None})

    @extend_schema(request=OverrideSerializer, responses={201: OverrideSerializer})
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["budget_id"])
            asked = OverrideSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            given = {**asked.validated_data, "reason": self.reason}
            made = override_grant(actor=self.actor, budget=row, **given)
            return Response(OverrideSerializer(made).data, status.HTTP_201_CREATED)

        return self.once(act)


class BudgetOverrideView(BudgetResource):
    """``DELETE``: end an override before its time."""

    http_method_names: ClassVar[list[str]] = ["delete", "options"]

    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row, reference = self.find(self.kwargs["budget_id"]), str(self.kwargs["override_id"])
            found = BudgetOverride.objects.select_related("budget").filter(budget=row, pk=uuid_of(reference)).first()
            override_end(actor=self.actor, override=found_or_404(found, "override", reference), reason=self.reason)
            return Response(status=status.HTTP_204_NO_CONTENT)

        return self.once(act)


class LimitResource(Scoped):
    permission: ClassVar[str] = "limit.view"
    serializer_class = LimitSerializer
    kind, object_name, argument = "limit", "limit", "limit_id"

    def rows(self) -> QuerySet[Limit]:
        return limits_of(self.organisation)


class LimitsView(LimitResource, CreatableView):
    """Limits of an organisation."""

    def create(self, values: dict[str, Any]) -> Limit:
        self.new_name(values["name"])
        return limit_set(actor=self.actor, organisation=self.organisation, **self.facts(values))


class LimitView(LimitResource, ObjectView):
    """One limit."""

    def change(self, row: Limit, values: dict[str, Any]) -> Limit:
        return limit_set(actor=self.actor, organisation=self.organisation, **self.facts(values))

    def remove(self, row: Limit) -> None:
        limit_delete(actor=self.actor, limit=row, reason=self.reason)


class PerformanceBudgetResource(Scoped):
    permission: ClassVar[str] = "performance_budget.view"
    serializer_class = PerformanceBudgetSerializer
    kind, object_name, argument = "performance_budget", "performance-budget", "performance_id"
    volatile = ("state", "evidence", "evaluated_at")

    def rows(self) -> QuerySet[PerformanceBudget]:
        return performance_budgets_of(self.organisation)


class PerformanceBudgetsView(PerformanceBudgetResource, CreatableView):
    """Performance budgets of an organisation, each with its last verdict."""

    def create(self, values: dict[str, Any]) -> PerformanceBudget:
        self.new_name(values["name"])
        return performance_budget_set(actor=self.actor, organisation=self.organisation, **self.facts(values))


class PerformanceBudgetView(PerformanceBudgetResource, ObjectView):
    """One performance budget."""

    def change(self, row: PerformanceBudget, values: dict[str, Any]) -> PerformanceBudget:
        return performance_budget_set(actor=self.actor, organisation=self.organisation, **self.facts(values))

    def remove(self, row: PerformanceBudget) -> None:
        performance_budget_delete(actor=self.actor, budget=row, reason=self.reason)
