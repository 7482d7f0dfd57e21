"""The status page as people outside see it, and its settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from apps.ownership.markdown import render as markdown
from apps.postmortems import status_services
from apps.postmortems.incident_choices import OPEN, STATES
from apps.postmortems.models import Incident, IncidentUpdate, StatusComponent, StatusPage
from apps.postmortems.postmortem_forms import StatusPageForm, component_written
from apps.postmortems.status_models import OFF, PUBLIC, SIGNED_IN
from apps.postmortems.status_rules import Said, overall, status_of
from apps.publishing.editing import EditView

HISTORY = timedelta(days=90)
MOST_INCIDENTS = 100


class StatusView(View):
    """``/status/<organisation>/``: its components, and what was said of incidents in 90 days. Says nothing that nobody wrote for it.

    Whoever may not see it is told what they are told where there is none: a page that is off is not there.
    """

    http_method_names: ClassVar[list[str]] = ["get", "head"]

    @method_decorator(never_cache)
    def get(self, request: HttpRequest, slug: str) -> HttpResponseBase:
        page = StatusPage.objects.exclude(audience=OFF).select_related("organisation").filter(organisation__slug=slug).first()
        if page is None:
            raise Http404("There is no such page.")
        if page.audience == SIGNED_IN:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not request.user.memberships.filter(organisation=page.organisation).exists():
                raise Http404("There is no such page.")
        return render(request, "postmortems/status.html", status_context(page))


def status_context(page: StatusPage) -> dict[str, Any]:
    """What the page shows: three queries. An incident is spoken of once it has a public summary or a public update."""
    now = clock.now()
    rows = Incident.objects.filter(organisation=page.organisation).exclude(state__in=("cancelled", "merged"))
    recent = rows.filter(started_at__gte=now - HISTORY) | rows.filter(state__in=OPEN)
    incidents = {row.pk: row for row in recent.order_by("-started_at")[:MOST_INCIDENTS]}
    updates: dict[object, list[IncidentUpdate]] = {}
    for update in IncidentUpdate.objects.filter(incident__in=list(incidents), public=True).order_by("-at"):
        updates.setdefault(update.incident_id, []).append(update)
    told = [row for row in incidents.values() if row.public_summary.strip() or row.pk in updates]
    said = [Said(row.severity, row.state, frozenset(row.routes), frozenset(row.services)) for row in told if row.state in OPEN]
    components = [
        (row, status_of(said, routes=row.routes, services=row.services))
        for row in StatusComponent.objects.filter(organisation=page.organisation)
    ]
    shown = [
        {
            "title": markdown(row.public_summary) if row.public_summary.strip() else "",
            "number": row.number,
            "state": STATES[row.state],
            "open": row.state in OPEN,
            "from": row.started_at,
            "until": row.resolved_at or row.mitigated_at,
            "updates": [(update, STATES[update.state], markdown(update.text, top=4)) for update in updates.get(row.pk, ())],
        }
        for row in told
    ]
    whole = status_of(said, routes=(), services=()) if not components else overall([status for _, status in components])
    return {
        "page": page,
        "text": markdown(page.text) if page.text else "",
        "components": components,
        "now": [one for one in shown if one["open"]],
        "before": [one for one in shown if not one["open"]],
        "overall": whole,
        "at": now,
    }


class StatusSettingsView(EditView):
    """``/status-page/``: who may see it, and its components."""

    permission = "status_page.change"
    kind = "status_page"
    form_class = StatusPageForm
    reversible: ClassVar[bool] = False
    template: ClassVar[str] = "postmortems/status_settings.html"

    def subject(self) -> Any:
        return StatusPage.objects.filter(organisation=self.choice.organisation).first()

    def title(self) -> str:
        return "Status page"

    def initial(self) -> dict[str, Any]:
        organisation = self.choice.organisation
        page = self.object or StatusPage(organisation=organisation, title=f"Status of {organisation.name}"[:100])
        components = StatusComponent.objects.filter(organisation=organisation)
        return {
            "audience": page.audience, "title": page.title, "text": page.text,
            "components": "\n".join(component_written(row) for row in components),
        }  # fmt: skip

    def change(self, form: Any) -> StatusPage:
        given = {name: form.cleaned_data[name] for name in ("audience", "title", "text", "components")}
        return status_services.status_page_set(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **given)

    def done_url(self, result: StatusPage) -> str:
        return reverse("postmortems:status_settings")

    def done_message(self, result: StatusPage) -> str:
        return "Status page saved."

    def cancel_url(self) -> str:
        return reverse("postmortems:postmortems")

    def context(self) -> dict[str, Any]:
        address = reverse("postmortems:status", args=[self.choice.organisation.slug])
        shown = self.object is not None and self.object.audience != OFF
        return {"address": address if shown else "", "public": shown and self.object.audience == PUBLIC}
