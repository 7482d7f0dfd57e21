"""Pages of performance budgets: the list, one with its verdicts and plot, the form with its diff, deleting; and the verdict as JSON."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.budgets import performance_choices as choices
from apps.budgets import performance_rules as rules
from apps.budgets import performance_services as services
from apps.budgets.models import PerformanceBudget
from apps.budgets.performance_forms import PerformanceForm
from apps.budgets.performance_measure import steps_of
from apps.budgets.performance_plots import measured_plot
from apps.budgets.performance_selectors import performance_budgets_of, performance_lines, performance_verdict, verdicts_of
from apps.budgets.performance_tables import performance_list
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail
from apps.ui.timerange import PRESETS, from_query


class ListView(ScopedView):
    """``/performance-budgets/``: every performance budget of the organisation, the worst first; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "performance_budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = performance_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-performance-budgets.csv")
        context = {"choice": self.choice, "listing": listing, "may_change": self.choice.may("performance_budget.change")}
        context |= {"metrics": choices.METRICS, "verdicts": choices.VERDICTS.values()}
        return render(request, "budgets/performance_list.html", context)


class VerdictView(ScopedView):
    """``/performance-budgets/verdict/?route=chat&model=gpt-4o-mini``: the verdict of this moment as JSON, with its evidence.

    ``verdict`` is ok, warning, breached or unknown, the worst of all budgets that were asked for; 400 with ``error`` for what is not there.
    """

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "performance_budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        asked = {name: request.GET.get(name, "").replace("\x00", "")[:200] for name in ("route", "model")}
        try:
            found = performance_verdict(self.choice.organisation, **asked)
        except ServiceError as error:
            return JsonResponse({"error": error.message, "field": error.field}, status=400)
        return JsonResponse(found.document(), headers={"Cache-Control": "no-store"})


class OneBudgetMixin(ScopedView):
    """A view of one performance budget of the chosen organisation."""

    def subject(self) -> PerformanceBudget:
        """Raises Http404."""
        found = performance_budgets_of(self.choice.organisation).filter(pk=self.kwargs["performance_id"]).first()
        if found is None:
            raise Http404
        return found


class DetailView(OneBudgetMixin):
    """``/performance-budgets/<id>/``: the verdict with its evidence, the figure over time, verdicts so far, who changed what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "performance_budget.view"

    def get(self, request: HttpRequest, performance_id: Any) -> HttpResponseBase:
        budget, now = self.subject(), clock.now()
        time_range = from_query(request.GET, now=now, default_from=choices.WINDOWS[budget.window].shown)
        (line,) = performance_lines(self.choice.organisation, [budget], now=now)
        steps = steps_of(budget, line.subject, time_range.start, time_range.end, now=now)
        context = {
            "choice": self.choice,
            "budget": budget,
            "line": line,
            "evidence": budget.evidence,
            "needed": rules.needed_samples(budget.metric, budget.bound, budget.min_samples),
            "range": time_range,
            "presets": PRESETS,
            "plot": measured_plot(budget, steps, start=time_range.start, end=time_range.end)
            if any(step.value is not None for step in steps)
            else None,
            "verdicts": [(verdict, choices.VERDICTS[verdict.state]) for verdict in verdicts_of(budget)],
            "may_change": self.choice.may("performance_budget.change"),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="performance_budget", subject_id=budget.pk)[:50]))
        return render(request, "budgets/performance_detail.html", context)


class PerformanceEditView(EditView):
    """What creating and changing have in common. Nothing of it reaches proxies, so there is nothing to undo by a version."""

    form_class = PerformanceForm
    permission = "performance_budget.change"
    kind = "performance_budget"
    reversible: ClassVar[bool] = False

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": self.object is not None}

    def change(self, form: Any) -> PerformanceBudget:
        facts = form.facts()
        organisation = self.choice.organisation
        if self.object is None and performance_budgets_of(organisation).filter(name=facts["name"].strip()).exists():
            raise ServiceError(f"there is a performance budget {facts['name']!r} already: edit that one, or choose another name", "name")
        return services.performance_budget_set(actor=self.actor, organisation=organisation, reason=self.reason, **facts)

    def title(self) -> str:
        return "New performance budget" if self.object is None else f"Edit {self.object}"

    def done_url(self, result: PerformanceBudget) -> str:
        return reverse("performance:detail", args=[result.pk])

    def done_message(self, result: PerformanceBudget) -> str:
        return f"Performance budget {result.name} saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Performance budgets", reverse("performance:list"))]

    def cancel_url(self) -> str:
        return reverse("performance:list")

    def field_of(self, name: str | None, form: Any) -> str | None:
        if name in ("scope", "scope_id"):
            return "subject"
        return super().field_of(name, form)


class CreateView(PerformanceEditView):
    """``/performance-budgets/new/``; ``?for=route:<id>`` chooses what it is for."""

    def initial(self) -> dict[str, Any]:
        return {"subject": self.request.GET.get("for", ""), "owner_email": getattr(self.request.user, "email", "")}


class UpdateView(OneBudgetMixin, PerformanceEditView):
    """``/performance-budgets/<id>/edit/``: bound, window, warning, samples, owner; anything else would be another budget."""

    def initial(self) -> dict[str, Any]:
        row: PerformanceBudget = self.object
        return {
            **{field: getattr(row, field) for field in ("name", "metric", "window", "owner_email")},
            "warn_percent": str(row.warn_percent),
            "min_samples": str(row.min_samples),
            "subject": f"{row.scope}:{row.scope_id}",
            "bound": rules.bound_written(row.metric, row.bound),
        }


class DeleteView(OneBudgetMixin, ActionView):
    """POST ``/performance-budgets/<id>/delete/``."""

    permission = "performance_budget.change"
    reversible: ClassVar[bool] = False

    def change(self, reason: str) -> PerformanceBudget:
        row: PerformanceBudget = self.object
        services.performance_budget_delete(actor=self.actor, budget=row, reason=reason)
        return row

    def done_url(self) -> str:
        return reverse("performance:list")

    def done_message(self, result: PerformanceBudget) -> str:
        return f"Performance budget {result.name} deleted."
