"""Pages of what postmortems are made of: the template, the vocabulary."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.postmortems import postmortem_template_services
from apps.postmortems.models import Factor
from apps.postmortems.postmortem_forms import FactorForm, TemplateForm, sections_written
from apps.postmortems.postmortem_selectors import Template, factors, template_now
from apps.postmortems.tabs import frame
from apps.publishing.editing import EditView, ScopedView
from apps.routes.models import Route

PERMISSION = "postmortem_template.change"
MOST_ROUTES = 500


class TemplateView(EditView):
    """``/postmortems/template/``: sections, due days, sign-offs, drafts, tracker. Every change is a new version."""

    permission = PERMISSION
    kind = "postmortem_template"
    form_class = TemplateForm
    reversible: ClassVar[bool] = False
    template: ClassVar[str] = "postmortems/template.html"

    def subject(self) -> Any:
        return Held(template_now(self.choice.organisation), self.choice.organisation.pk)

    def title(self) -> str:
        return "Template of postmortems"

    def initial(self) -> dict[str, Any]:
        now: Template = self.object.now
        row = now.row
        return {
            "sections": sections_written(now.sections), "due_days": now.due_days, "sign_offs": now.sign_offs,
            "draft_route": row.draft_route if row else "", "draft_key": str(row.draft_key_id or "") if row else "",
            "tracker": str(row.tracker_id or "") if row else "",
        }  # fmt: skip

    def form_kwargs(self) -> dict[str, Any]:
        routes = Route.objects.filter(organisation=self.choice.organisation).order_by("name").values_list("name", flat=True)
        held = self.object.now.row.draft_route if self.object.now.row else ""
        names = list(routes[:MOST_ROUTES])
        return {"organisation": self.choice.organisation, "routes": names if not held or held in names else [held, *names]}

    def change(self, form: Any) -> Template:
        return postmortem_template_services.template_set(
            actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **form.facts()
        )

    def done_url(self, result: Template) -> str:
        return reverse("postmortems:template")

    def done_message(self, result: Template) -> str:
        return f"Template v{result.version} holds for postmortems that are begun from now on."

    def cancel_url(self) -> str:
        return reverse("postmortems:postmortems")

    def context(self) -> dict[str, Any]:
        return {"version": self.object.now.version}


class Held:
    """What the editing flow takes for the thing that is edited. pk: of the organisation, by which the audit knows its template."""

    def __init__(self, now: Template, pk: object) -> None:
        self.now, self.pk = now, pk


class FactorsView(ScopedView):
    """``/postmortems/factors/``: the vocabulary with how often each tag is used."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        context = frame(self.choice, "factors") | {
            "factors": list(factors(self.choice.organisation, retired=True)),
            "may_change": self.choice.may(PERMISSION),
        }
        return render(request, "postmortems/factors.html", context)


class FactorEditView(EditView):
    """What adding and changing a tag have in common."""

    permission = PERMISSION
    kind = "factor"
    form_class = FactorForm
    reversible: ClassVar[bool] = False

    def change(self, form: Any) -> Factor:
        given = form.cleaned_data
        return postmortem_template_services.factor_set(
            actor=self.actor, organisation=self.choice.organisation, slug=self.object.slug if self.object else given["slug"],
            title=given["title"], help=given["help"], retired=given["retired"], reason=self.reason,
        )  # fmt: skip

    def done_url(self, result: Factor) -> str:
        return reverse("postmortems:factors")

    def done_message(self, result: Factor) -> str:
        return f"“{result.title}” saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Vocabulary", reverse("postmortems:factors"))]

    def cancel_url(self) -> str:
        return reverse("postmortems:factors")


class FactorCreateView(FactorEditView):
    """``/postmortems/factors/new/``."""

    def title(self) -> str:
        return "New tag"


class FactorUpdateView(FactorEditView):
    """``/postmortems/factors/<id>/edit/``."""

    def subject(self) -> Any:
        row = Factor.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["factor_id"]).first()
        if row is None:
            raise Http404("There is no such tag.")
        return row

    def title(self) -> str:
        return f"Edit “{self.object.title}”"

    def initial(self) -> dict[str, Any]:
        row: Factor = self.object
        return {"slug": row.slug, "title": row.title, "help": row.help, "retired": row.retired_at is not None}
