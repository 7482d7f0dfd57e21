"""Pages of captures: who is captured and since when, the forms, what is taken out, and one sample, whose readers the audit keeps."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from apps.dashboard.capture_forms import KeyCaptureForm, PatternsForm, RouteCaptureForm
from apps.keys.models import VirtualKey
from apps.keys.secret_page import unstored
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.routes.models import Route
from apps.ui.toasts import toast
from apps.usage import capture_selectors as selectors
from apps.usage import capture_services as services
from apps.usage.models import CapturePatterns, CaptureRule
from controlplane.masterkey import VaultError


class CapturesView(ScopedView):
    """``/captures/``: whose requests are kept, how much there is, what is taken out of it."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "capture.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        organisation = self.choice.organisation
        context = {
            "choice": self.choice,
            "running": selectors.captures_running(organisation),
            "ended": selectors.captures_ended(organisation),
            "kept": selectors.captures_kept(organisation),
            "samples": selectors.samples_newest(organisation),
            "patterns": selectors.capture_patterns(organisation),
            "may_change": self.choice.may("capture.change"),
            "may_view": self.choice.may("sample.view"),
        }
        return render(request, "dashboard/captures.html", context)


class CaptureEditView(EditView):
    """What the forms have in common."""

    permission = "capture.change"
    kind = "capture"
    reversible = False

    def done_url(self, result: Any) -> str:
        return reverse("captures:list")

    def cancel_url(self) -> str:
        return reverse("captures:list")

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Capture", reverse("captures:list"))]

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation}


class RouteView(CaptureEditView):
    """``/captures/route/``: keep a share of a route's requests; ``?route=<id>`` names it."""

    form_class = RouteCaptureForm

    def initial(self) -> dict[str, Any]:
        wanted = _uuid(self.request.GET.get("route", ""))
        route = Route.objects.filter(organisation=self.choice.organisation, pk=wanted).first() if wanted else None
        if route is None:
            return {}
        rule = CaptureRule.objects.filter(organisation=self.choice.organisation, route_id=str(route.pk), ended_at=None).first()
        return {"route": route.name} if rule is None else {"route": route.name, "percent": rule.percent, "days": rule.days}

    def title(self) -> str:
        return "Capture a route's requests"

    def change(self, form: Any) -> CaptureRule:
        values = form.cleaned_data
        return services.capture_route_set(
            actor=self.actor, organisation=self.choice.organisation, route_id=str(values["route"].pk), route_name=values["route"].name,
            percent=values["percent"], days=values["days"], reason=self.reason,
        )  # fmt: skip

    def done_message(self, result: CaptureRule) -> str:
        return f"{result.percent:g} % of the requests of {result.route_name} are kept from now on."


class KeyView(CaptureEditView):
    """``/captures/key/``: keep the next requests of a key; ``?key=<id>`` names it."""

    form_class = KeyCaptureForm
    reason_required = True

    def initial(self) -> dict[str, Any]:
        wanted = _uuid(self.request.GET.get("key", ""))
        key = VirtualKey.objects.filter(organisation=self.choice.organisation, pk=wanted).first() if wanted else None
        return {"key": key.name} if key is not None else {}

    def title(self) -> str:
        return "Capture a key's next requests"

    def change(self, form: Any) -> CaptureRule:
        values = form.cleaned_data
        return services.capture_key_start(
            actor=self.actor, organisation=self.choice.organisation, key_id=str(values["key"].pk), key_name=values["key"].name,
            requests=values["requests"], minutes=values["minutes"], days=values["days"], reason=self.reason or "not said yet",
        )  # fmt: skip

    def done_message(self, result: CaptureRule) -> str:
        return f"The next {result.wanted} requests of {result.key_name} are kept."


class PatternsView(CaptureEditView):
    """``/captures/patterns/``: what the organisation wants taken out of its samples."""

    form_class = PatternsForm
    kind = "organisation"

    def subject(self) -> CapturePatterns:
        organisation = self.choice.organisation
        found = CapturePatterns.objects.filter(organisation=organisation).first()
        return found if found is not None else CapturePatterns(organisation=organisation)

    def initial(self) -> dict[str, Any]:
        return {"patterns": "\n".join(f"{kind} = {template}" for kind, template in self.object.patterns)}

    def form_kwargs(self) -> dict[str, Any]:
        return {}

    def title(self) -> str:
        return "What else is taken out of samples"

    def change(self, form: Any) -> CapturePatterns:
        return services.capture_patterns_set(
            actor=self.actor, organisation=self.choice.organisation, patterns=form.cleaned_data["patterns"], reason=self.reason
        )

    def done_message(self, result: CapturePatterns) -> str:
        return "Taken out of every sample from now on."


class EndView(ActionView):
    """POST ``/captures/<id>/end/``."""

    permission = "capture.change"
    reason_required = False
    reversible = False

    def subject(self) -> CaptureRule:
        return get_object_or_404(CaptureRule, pk=self.kwargs["capture_id"], organisation=self.choice.organisation)

    def change(self, reason: str) -> CaptureRule:
        return services.capture_end(actor=self.actor, rule=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("captures:list")

    def done_message(self, result: CaptureRule) -> str:
        return f"The capture of {result.name} has ended; what it kept stays until it expires."


class SampleView(ScopedView):
    """POST ``/requests/<id>/sample/``: what was kept of a request. Whoever looks is in the audit; GET leads to the request."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "sample.view"

    def get(self, request: HttpRequest, request_id: UUID) -> HttpResponseBase:
        return redirect("dashboard:request", request_id=request_id)

    def post(self, request: HttpRequest, request_id: UUID) -> HttpResponseBase:
        sample = selectors.sample_of(request_id)
        if sample is None or sample.organisation_id != self.choice.organisation.pk:
            raise Http404
        try:
            asked, answered = services.sample_read(actor=self.actor, sample=sample)
        except VaultError as error:
            toast(request, f"The sample cannot be opened: {error}.", tone="bad")
            return redirect("dashboard:request", request_id=request_id)
        context = {
            "choice": self.choice,
            "sample": sample,
            "asked": _readable(asked),
            "answered": _readable(answered),
            "looks": selectors.sample_looks(request_id),
        }
        return unstored(render(request, "dashboard/sample.html", context))


def _readable(text: str) -> str:
    """JSON over several lines; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
