"""The estimator: what a month of requests will cost, and what a budget for it would be."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from apps.audit.errors import ServiceError
from apps.budgets import estimating
from apps.budgets.estimate_forms import EstimateForm
from apps.budgets.estimates import DAYS, SAMPLE, Estimate, estimate_make, gpus_now
from apps.budgets.services import DEFAULT_SHARES
from apps.contracts.money import dollars_text
from apps.keys.neighbours import routes_known
from apps.prices.selectors import model_names
from apps.publishing.editing import ScopedView

MOST_OFFERED = 500
"""Names that a field offers while one types; others are taken as well."""
FIELDS = tuple(EstimateForm.base_fields)
BUDGET = {"kind": "hard", "window": "month", "timezone": "UTC", "open_when_away": "on", "alert_shares": DEFAULT_SHARES}
"""What else the budget's form is sent: as it stands there before anybody types."""


class EstimateView(ScopedView):
    """``/budgets/estimate/``: its address is the whole estimate. Without any field: the empty form."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        organisation = self.choice.organisation
        routes = routes_known(organisation, most=MOST_OFFERED)
        query = {name: text.replace("\x00", "") for name in FIELDS if (text := request.GET.get(name, "")).strip()}
        form = EstimateForm(query or None, gpus=gpus_now(organisation))
        estimate = self._estimate(form) if query else None
        context: dict[str, Any] = {
            "choice": self.choice,
            "form": form,
            "estimate": estimate,
            "models": model_names(organisation, most=MOST_OFFERED),
            "routes": [route.name for route in routes],
            "may_change": self.choice.may("budget.change"),
            "days": DAYS,
            "sample": SAMPLE,
            "hours": estimating.HOURS_A_MONTH,
        }
        if estimate is not None:
            ids = {route.name: route.id for route in routes}
            budget = self._budget(estimate, ids.get(estimate.measured.route) if estimate.measured else None)
            kept = ("name", "subject", "owner_email")
            context |= {"budget": budget, "budget_fields": [*((name, budget[name]) for name in kept), *BUDGET.items()]}
        return render(request, "budgets/estimate.html", context, status=400 if form.errors else 200)

    def _estimate(self, form: EstimateForm) -> Estimate | None:
        if not form.is_valid():
            return None
        try:
            return estimate_make(self.choice.organisation, self.choice.scope, **form.facts())
        except ServiceError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
            return None

    def _budget(self, estimate: Estimate, route_id: str | None) -> dict[str, Any]:
        """The fields of the budget's form that the estimate knows. limits: times, amount, limit, and that as the form reads it."""
        model = estimate.model.partition("/")[2]
        name = estimate.measured.route if estimate.measured is not None and route_id else model
        return {
            "name": f"{name[:66]} estimated",
            "subject": f"route:{route_id}" if route_id else f"model {model}",
            "what": f"route {name}" if route_id else f"model {model}",
            "owner_email": getattr(self.request.user, "email", ""),
            "limits": [(times, amount, limit, dollars_text(limit)) for times, amount, limit in estimate.buffered],
        }
