"""The config's history: versions, what they changed, rolling back, undoing, who runs what."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View

from apps.accounts.rules import PermissionRefused
from apps.accounts.scope import ActionDenied
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.publishing.editing import EditView, ScopedView, refusal_text
from apps.publishing.history import DIFF_HEADER, History, counts_text, diff_rows, differences, kept_as_they_are, propagation
from apps.publishing.managed import Touched, documents
from apps.publishing.models import ManagedThing, Version
from apps.publishing.naming import names_of
from apps.publishing.preview import Preview
from apps.publishing.rollback import rollback, rollback_preview, version_undo
from apps.publishing.selectors import fleet_status_of, head_number, unpublished_count
from apps.publishing.wording import worded
from apps.ui.csvfile import csv_response
from apps.ui.toasts import toast


def version_or_404(number: int) -> Version:
    """The version of that number. Raises Http404."""
    found = Version.objects.filter(number=number).first() if number < 2**63 else None
    if found is None:
        raise Http404(f"There is no version {number}.")
    return found


class HistoryView(ScopedView):
    """``/config/``: every version, newest first, and who runs what."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "config.view", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        history = History(request.GET)
        if request.GET.get("format") == "csv":
            return history.listing.csv("bulkhead-versions.csv")
        context = {
            "choice": self.choice,
            "history": history,
            "listing": history.listing,
            "spread": (spread := propagation(fleet_status_of(request))),
            "running": spread.counts,
            "unpublished": unpublished_count(),
            "may_roll_back": self.choice.may_installation("config.rollback"),
        }
        return render(request, "publishing/history.html", context)


class PropagationView(ScopedView):
    """``/config/proxies/``: who runs what, as a page of its own and as the panel that polls it."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "config.view", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        fragment = bool(request.htmx)  # type: ignore[attr-defined]
        context = {"choice": self.choice, "spread": propagation(fleet_status_of(request)), "fragment": fragment}
        context["layout"] = "ui/fragment.html" if fragment else "ui/base.html"
        response = render(request, "publishing/propagation_page.html", context)
        if not fragment:
            return response
        tag = hashlib.sha256(response.content).hexdigest()[:20]
        if request.headers.get("HX-PTag") == tag:
            response = HttpResponse(status=304)
        response["HX-PTag"] = tag
        return response


class VersionView(ScopedView):
    """``/config/<number>/``: one version with its diff by object; ``?base=<number>`` compares it with another."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "config.view", True

    def get(self, request: HttpRequest, number: int) -> HttpResponseBase:
        version, head = version_or_404(number), fleet_status_of(request)["head"]
        text, problem, base = request.GET.get("base", "").strip().removeprefix("v"), "", None
        if text:
            if text.isascii() and text.isdigit() and len(text) < 19:
                base = int(text)
            else:
                problem = f"“{text[:40]}” is no version: write a number from 0 (the empty config) to {head}."
        try:
            if request.GET.get("format") == "csv":
                return csv_response(f"bulkhead-v{number}-diff.csv", DIFF_HEADER, diff_rows(version, base))
            found = differences(version, base, request.GET)
        except ServiceError as error:
            problem, base = f"{error.message} Versions go from 0 (the empty config) to {head}.", None
            found = differences(version, query=request.GET)
        context = {
            "choice": self.choice,
            "version": version,
            "base": base,
            "problem": problem,
            "found": found,
            "listing": found.listing,
            "shown": worded(found.changes, names_of(found.changes, self.choice.names)),
            "counts": counts_text(version.counts),
            "head": head,
            "spread": propagation(fleet_status_of(request)),
            "may_roll_back": self.choice.may_installation("config.rollback") and number != head,
        }
        return render(request, "publishing/version.html", context, status=400 if problem else 200)


class ManagedView(ScopedView):
    """``/config/managed/<id>/``: what a document said of the thing that it manages, beside how that stands now."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "config.view"

    def get(self, request: HttpRequest, mark_id: int) -> HttpResponseBase:
        rows = ManagedThing.objects.select_related("organisation").filter(organisation=self.choice.organisation)
        mark = rows.filter(pk=mark_id).first() if mark_id < 2**63 else None
        if mark is None:
            raise Http404("No document manages this any more.")
        found = documents().compare(mark)
        context = {
            "choice": self.choice,
            "mark": mark,
            "found": found,
            "changes": [Touched(mark, found)],
            "crumbs": [("Config history", reverse("publishing:history"))] if self.choice.may_installation("config.view") else [],
        }
        return render(request, "publishing/managed.html", context)


class RollbackForm(forms.Form):
    """Nothing to fill in but the flow's own reason."""


class RollbackView(EditView):
    """``/config/<number>/rollback/``: what would change, as the store has it; then a dialog that asks why."""

    form_class = RollbackForm
    permission, installation, kind = "config.rollback", True, "config"
    template = "publishing/rollback.html"
    reason_required = True
    guarded = False  # what went wrong is taken back at once, whoever manages it; its marks say that it differs

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.object = self.subject()
        return self._review(self.form_class(data={}))

    def subject(self) -> Version:
        return version_or_404(self.kwargs["number"])

    def _revision(self) -> str:
        return str(head_number())  # what was measured is measured against the newest version

    def preview(self, form: forms.Form) -> Preview[Any]:
        """Read, not done and undone: to look at a page must not lock publishing, nor write every object that differs."""
        return rollback_preview(self.object)

    def change(self, form: forms.Form) -> Any:
        return rollback(actor=self.actor, to_version=self.object.number, reason=self.reason)

    def title(self) -> str:
        return f"Roll back to v{self.object.number}"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Config history", reverse("publishing:history")), (f"v{self.object.number}", self.cancel_url())]

    def cancel_url(self) -> str:
        return reverse("publishing:version", args=[self.object.number])

    def done_url(self, result: Version | None) -> str:
        return reverse("publishing:version", args=[result.number if result else self.object.number])

    def done_message(self, result: Version | None) -> str:
        if result is None:
            return f"Nothing differs from v{self.object.number}"
        return f"Rolled back to v{self.object.number}, published as v{result.number}"

    def context(self) -> dict[str, Any]:
        return {
            "spread": propagation(fleet_status_of(self.request)),
            "kept": kept_as_they_are(),
            "question": f"Roll back the config to v{self.object.number}?",
        }


class UndoView(LoginRequiredMixin, View):
    """``/config/<number>/undo/``: the toast's *Undo*. Whoever may change the objects may undo the change."""

    http_method_names: ClassVar[list[str]] = ["post"]

    def post(self, request: HttpRequest, number: int, **kwargs: Any) -> HttpResponseBase:
        try:
            version = version_undo(actor=Actor.of_user(request.user, request), number=number)
        except PermissionRefused as refusal:
            raise ActionDenied(refusal.action, None) from refusal
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
        else:
            toast(request, f"v{number} undone" + (f" with v{version.number}" if version else ": it already was"))
        return redirect(_back(request))


def _back(request: HttpRequest) -> str:
    """The page the person came from, when it is one of ours."""
    referer = request.headers.get("referer", "")
    safe = url_has_allowed_host_and_scheme(referer, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return referer if safe else "/"
