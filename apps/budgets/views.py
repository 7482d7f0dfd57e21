"""Pages of budgets: the list with bars, one budget with its windows and alerts, the form with its diff, overrides, deleting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.budgets import choices, override_services, services
from apps.budgets.forms import BudgetForm, OverrideForm
from apps.budgets.lines import LAPSE, MOST_WINDOWS, budget_lines
from apps.budgets.models import Budget, BudgetAlert, BudgetOverride
from apps.budgets.selectors import budgets_of
from apps.budgets.subject_field import SCOPES as SUBJECT_SCOPES
from apps.budgets.subjects import subjects_suggested
from apps.budgets.tables import budgets_list
from apps.contracts.money import dollars_text
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail


class ListView(ScopedView):
    """``/budgets/``: every budget of the organisation in its running window; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = budgets_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-budgets.csv")
        context = {"choice": self.choice, "listing": listing, "scopes": choices.SCOPES, "may_change": self.choice.may("budget.change")}
        return render(request, "budgets/list.html", context)


class OneBudgetMixin(ScopedView):
    """A view of one budget of the chosen organisation."""

    def subject(self) -> Budget:
        """Raises Http404."""
        found = budgets_of(self.choice.organisation).filter(pk=self.kwargs["budget_id"]).first()
        if found is None:
            raise Http404
        return found

    @property
    def url(self) -> str:
        return reverse("budgets:detail", args=[self.kwargs["budget_id"]])

    def done_url(self, result: Any = None) -> str:
        return self.url


class DetailView(OneBudgetMixin):
    """``/budgets/<id>/``: where it stands, its windows so far, what was told, who changed what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest, budget_id: Any) -> HttpResponseBase:
        budget = self.subject()
        now = clock.now()
        (line,) = budget_lines(self.choice.organisation, [budget])
        overrides = list(budget.overrides.all()[:20])
        windows = budget.windows.filter(starts_at__gte=now - LAPSE).order_by("-starts_at", "-spent_nano")[:MOST_WINDOWS]
        context = {
            "choice": self.choice,
            "budget": budget,
            "line": line,
            "kind_text": choices.KINDS[budget.kind],
            "windows": list(windows),
            "alerts": list(BudgetAlert.objects.filter(window__budget=budget).select_related("window")[:MOST_WINDOWS]),
            "overrides": overrides,
            "running": next((one for one in overrides if one.ended_at is None and one.expires_at > now), None),
            "may_change": self.choice.may("budget.change"),
            "approver": getattr(request.user, "email", ""),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="budget", subject_id=budget.pk)[:50]))
        return render(request, "budgets/detail.html", context)


class SubjectsView(ScopedView):
    """``/budgets/subjects/?of=limit&subject=ap``: what somebody who typed that may mean, as options of a list of suggestions."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        scopes = SUBJECT_SCOPES.get(request.GET.get("of", ""), SUBJECT_SCOPES["budget"])
        found = subjects_suggested(self.choice.organisation, scopes, request.GET.get("subject", ""))
        return render(request, "budgets/subjects.html", {"suggested": found})


class BudgetEditView(EditView):
    """What creating and changing have in common."""

    form_class = BudgetForm
    permission = "budget.change"
    kind = "budget"

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": self.object is not None}

    def change(self, form: Any) -> Budget:
        budget = services.budget_set(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **form.facts())
        services.budget_webhooks_set(actor=self.actor, budget=budget, **form.webhooks())
        return budget

    def done_url(self, result: Budget) -> str:
        return reverse("budgets:detail", args=[result.pk])

    def done_message(self, result: Budget) -> str:
        return f"Budget {result.name} published."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Budgets", reverse("budgets:list"))]

    def cancel_url(self) -> str:
        return reverse("budgets:list")

    def field_of(self, name: str | None, form: Any) -> str | None:
        if name in ("scope", "scope_id"):
            return "subject"
        return super().field_of(name, form)


class CreateView(BudgetEditView):
    """``/budgets/new/``; ``?for=key:<id>`` chooses what it is for."""

    def initial(self) -> dict[str, Any]:
        return {"subject": self.request.GET.get("for", ""), "kind": "hard"}


class UpdateView(OneBudgetMixin, BudgetEditView):
    """``/budgets/<id>/edit/``: limit, kind, thresholds, who is told; anything else would be another budget."""

    def initial(self) -> dict[str, Any]:
        budget: Budget = self.object
        fields = ("name", "kind", "window", "timezone", "actions", "open_when_away", "owner_email", "alert_shares")
        return {
            **{field: getattr(budget, field) for field in fields},
            "subject": f"{budget.scope}:{budget.scope_id}",
            "limit_nano": dollars_text(budget.limit_nano),
        }

    def done_url(self, result: Budget) -> str:
        return reverse("budgets:detail", args=[result.pk])


class DeleteView(OneBudgetMixin, ActionView):
    """POST ``/budgets/<id>/delete/``."""

    permission = "budget.change"

    def change(self, reason: str) -> Budget:
        budget: Budget = self.object
        services.budget_delete(actor=self.actor, budget=budget, reason=reason)
        return budget

    def done_url(self, result: Any = None) -> str:
        return reverse("budgets:list")

    def done_message(self, result: Budget) -> str:
        return f"Budget {result.name} deleted."


class OverrideView(OneBudgetMixin, ActionView):
    """POST ``/budgets/<id>/override/`` with ``amount_nano`` (dollars), ``hours``, ``approver``, ``reason``."""

    permission = "budget.change"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> BudgetOverride:
        form = OverrideForm(self.request.POST)
        if not form.is_valid():
            field, errors = next(iter(form.errors.items()))
            raise ServiceError(str(errors[0]), field)
        values = form.cleaned_data
        ends = clock.now() + timedelta(hours=values["hours"])
        return override_services.override_grant(
            actor=self.actor,
            budget=self.object,
            amount_nano=values["amount_nano"],
            expires_at=ends,
            approver=values["approver"],
            reason=reason,
        )

    def done_message(self, result: BudgetOverride) -> str:
        return f"${dollars_text(result.amount_nano)} more until {result.expires_at:%Y-%m-%d %H:%M} UTC."


class OverrideEndView(OneBudgetMixin, ActionView):
    """POST ``/budgets/<id>/override/end/``."""

    permission = "budget.change"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> Budget:
        budget: Budget = self.object
        for override in budget.overrides.filter(ended_at=None):
            override_services.override_end(actor=self.actor, override=override, reason=reason)
        return budget

    def done_message(self, result: Budget) -> str:
        return f"The override of {result.name} has ended."
