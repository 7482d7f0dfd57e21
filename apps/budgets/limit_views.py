"""Pages of limits: the list, the form with its diff, deleting. What is used of them is asked of the proxies that share them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.audit.selectors import audit_events
from apps.budgets import limit_choices, limit_services
from apps.budgets.limit_forms import LimitForm
from apps.budgets.limit_live import limit_uses
from apps.budgets.limit_models import Limit
from apps.budgets.limit_selectors import limit_get, limit_line
from apps.budgets.limit_tables import limits_list
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.selectors import fleet_status_of
from apps.publishing.trail import trail


class ListView(ScopedView):
    """``/limits/``: every limit of the organisation; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "limit.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = limits_list(self.choice, request.GET, [] if csv else fleet_status_of(request)["proxies"], csv=csv)
        if csv:
            return listing.csv("bulkhead-limits.csv")
        context = {"choice": self.choice, "listing": listing, "may_change": self.choice.may("limit.change")}
        context["scopes"] = limit_choices.SCOPES
        return render(request, "budgets/limits.html", context)


class LimitEditView(EditView):
    """What creating and changing have in common."""

    form_class = LimitForm
    permission = "limit.change"
    kind = "limit"

    def change(self, form: Any) -> Limit:
        return limit_services.limit_set(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **form.facts())

    def done_url(self, result: Limit) -> str:
        return reverse("limits:detail", args=[result.pk])

    def done_message(self, result: Limit) -> str:
        return f"Limit {result.name} published."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Limits", reverse("limits:list"))]

    def cancel_url(self) -> str:
        return reverse("limits:list")

    def field_of(self, name: str | None, form: Any) -> str | None:
        if name in ("scope", "scope_id"):
            return "subject"
        return super().field_of(name, form)


class CreateView(LimitEditView):
    """``/limits/new/``; ``?for=key:<id>`` chooses what it is for."""

    def initial(self) -> dict[str, Any]:
        return {"subject": self.request.GET.get("for", ""), "kind": "requests_per_minute"}

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation}


class OneLimitMixin(ScopedView):
    """A view of one limit of the chosen organisation."""

    def subject(self) -> Limit:
        """Raises Http404."""
        limit = limit_get(self.choice.organisation, self.kwargs["limit_id"])
        if limit is None:
            raise Http404
        return limit


class DetailView(OneLimitMixin):
    """``/limits/<id>/``: what is used of it now and by which proxies, what it is for, who changed what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "limit.view"

    def get(self, request: HttpRequest, limit_id: Any) -> HttpResponseBase:
        limit = self.subject()
        context = {
            "choice": self.choice,
            "limit": limit,
            "line": limit_line(limit),
            "use": limit_uses([limit], fleet_status_of(request)["proxies"])[limit.pk],
            "may_change": self.choice.may("limit.change"),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="limit", subject_id=limit.pk)[:50]))
        return render(request, "budgets/limit_detail.html", context)


class UseView(OneLimitMixin):
    """``/limits/<id>/use/``: the part of its page that says what is used now; it asks for itself while it is looked at."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "limit.view"

    def get(self, request: HttpRequest, limit_id: Any) -> HttpResponseBase:
        limit = self.subject()
        use = limit_uses([limit], fleet_status_of(request)["proxies"])[limit.pk]
        return render(request, "budgets/limit_use.html", {"limit": limit, "line": limit_line(limit), "use": use})


class UpdateView(OneLimitMixin, LimitEditView):
    """``/limits/<id>/edit/``: another amount; anything else would be another limit."""

    def initial(self) -> dict[str, Any]:
        limit: Limit = self.object
        return {
            "name": limit.name,
            "subject": f"{limit.scope}:{limit.scope_id}",
            "kind": limit.kind,
            "amount": str(limit.amount),
        }

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": True}

    def change(self, form: Any) -> Limit:
        return limit_services.limit_amount_set(actor=self.actor, limit=self.object, amount=form.cleaned_data["amount"], reason=self.reason)


class DeleteView(OneLimitMixin, ActionView):
    """POST ``/limits/<id>/delete/``."""

    permission = "limit.change"

    def change(self, reason: str) -> Limit:
        limit: Limit = self.object
        limit_services.limit_delete(actor=self.actor, limit=limit, reason=reason)
        return limit

    def done_url(self) -> str:
        return reverse("limits:list")

    def done_message(self, result: Limit) -> str:
        return f"Limit {result.name} deleted."
