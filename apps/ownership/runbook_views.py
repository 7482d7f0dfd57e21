"""Pages of runbooks: the list, one as people read it, its form, reviewing."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.ownership import care_services, choices
from apps.ownership.forms import RunbookForm
from apps.ownership.markdown import render as markdown
from apps.ownership.models import Runbook
from apps.ownership.owned import runbook_uses
from apps.ownership.selectors import runbook_get
from apps.ownership.tables import runbook_status, runbooks_list
from apps.ownership.views import place_tabs
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.publishing.trail import trail


class RunbooksView(ScopedView):
    """``/ownership/runbooks/``: every runbook with its owner and its last review."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = runbooks_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-runbooks.csv")
        context = {
            "choice": self.choice,
            "listing": listing,
            "tabs": place_tabs("runbooks"),
            "may_change": self.choice.may("runbook.change"),
        }
        return render(request, "ownership/runbooks.html", context)


class OneRunbook(ScopedView):
    """A view of one runbook of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        row = runbook_get(organisation=self.choice.organisation, reference=str(self.kwargs["runbook_id"]))
        if row is None:
            raise Http404("There is no such runbook.")
        return row

    @property
    def url(self) -> str:
        return reverse("ownership:runbook", args=[self.kwargs["runbook_id"]])


class RunbookView(OneRunbook):
    """``/ownership/runbooks/<id>/``: the text, what names it, who said last that it is true."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest, runbook_id: Any) -> HttpResponseBase:
        book = self.subject()
        context = {
            "choice": self.choice,
            "book": book,
            "html": markdown(book.text),
            "status": runbook_status(book),
            "uses": runbook_uses(book),
            "may_change": self.choice.may("runbook.change", team=book.owner_id),
            "unowned": choices.UNOWNED,
            "crumbs": [("Ownership", reverse("ownership:map")), ("Runbooks", reverse("ownership:runbooks"))],
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="runbook", subject_id=book.pk)[:20]))
        return render(request, "ownership/runbook.html", context)


class RunbookEditView(EditView):
    """What creating and editing have in common."""

    form_class = RunbookForm
    permission = "runbook.change"
    kind = "runbook"

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation}

    def change(self, form: Any) -> Runbook:
        values = form.cleaned_data
        if self.object is None and Runbook.objects.filter(organisation=self.choice.organisation, name=values["name"]).exists():
            raise ServiceError(f"There is a runbook {values['name']!r} already: choose another short name.", field="name")
        return care_services.runbook_set(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **values)

    def done_url(self, result: Runbook) -> str:
        return reverse("ownership:runbook", args=[result.pk])

    def done_message(self, result: Runbook) -> str:
        return f"Runbook “{result.title}” saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Ownership", reverse("ownership:map")), ("Runbooks", reverse("ownership:runbooks"))]

    def cancel_url(self) -> str:
        return reverse("ownership:runbooks")


class RunbookCreateView(RunbookEditView):
    """``/ownership/runbooks/new/``."""


class RunbookUpdateView(OneRunbook, RunbookEditView):
    """``/ownership/runbooks/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        book = self.object
        return {
            "name": book.name, "title": book.title, "owner": str(book.owner_id or ""), "review_every_days": book.review_every_days,
            "text": book.text,
        }  # fmt: skip

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": True}

    def cancel_url(self) -> str:
        return self.url


class RunbookReviewView(OneRunbook, ActionView):
    """POST ``/ownership/runbooks/<id>/review/``: it is true as it stands."""

    permission = "runbook.change"
    reason_required = False
    reversible = False

    def change(self, reason: str) -> Runbook:
        return care_services.runbook_review(actor=self.actor, runbook=self.object, reason=reason)

    def done_url(self) -> str:
        return self.url

    def done_message(self, result: Runbook) -> str:
        return f"Runbook “{result.title}” is reviewed."


class RunbookDeleteView(OneRunbook, ActionView):
    """POST ``/ownership/runbooks/<id>/delete/``."""

    permission = "runbook.change"
    reversible = False

    def change(self, reason: str) -> None:
        care_services.runbook_delete(actor=self.actor, runbook=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("ownership:runbooks")

    def done_message(self, result: None) -> str:
        return f"Runbook “{self.object.title}” deleted."
