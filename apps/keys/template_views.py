"""Pages of teams' templates and of imports."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.keys import template_services
from apps.keys.bulk import Report, keys_import
from apps.keys.import_reading import COLUMNS as FILE_COLUMNS
from apps.keys.import_reading import read
from apps.keys.models import KeyTemplate
from apps.keys.self_service_forms import KeysFileForm, TemplateForm, bounds_words, packed, template_initial
from apps.keys.tables import keys_tabs
from apps.ownership.models import Team
from apps.publishing.editing import ActionView, EditView, ScopedView, refusal_text
from apps.publishing.preview import change_publish
from apps.ui.tables import Column, Empty, listing_build
from apps.ui.toasts import toast

MOST_SHOWN = 200
"""Rows of a report that the page shows; refused ones first."""

COLUMNS: tuple[Column[Team], ...] = (
    Column("Team", "name", value=lambda row: row.name),
    Column("What members make by themselves", value=lambda row: "; ".join(bounds_of(row))),
)


def bounds_of(team: Team) -> list[str]:
    """A team's bounds in phrases; none where it has no template."""
    row = getattr(team, "key_template", None)
    return list(bounds_words(row)) if row is not None else []


class TemplatesView(ScopedView):
    """``/keys/templates/``: every team, with what its members may make by themselves."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "key.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        listing = listing_build(
            request.GET,
            label="teams",
            columns=COLUMNS,
            rows=Team.objects.filter(organisation=self.choice.organisation).select_related("key_template"),
            default_sort="name",
            nothing_yet=Empty(
                "nothing-yet",
                "No team yet",
                "A template is of a team: make a team first, then say what its members may.",
                reverse("ownership:team_create") if self.choice.may("team.change") else "",
                "New team",
            ),
        )
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-key-templates.csv")
        context = {
            "choice": self.choice,
            "listing": listing,
            "rows": [(team, bounds_of(team)) for team in listing.rows],
            "tabs": keys_tabs("keys:templates"),
            "may_change": self.choice.may("key_template.change"),
        }
        return render(request, "keys/templates.html", context)


class TeamMixin(ScopedView):
    """A view of one team's template; ``object`` is the template, None where there is none yet."""

    def team(self) -> Team:
        """Raises Http404."""
        found = Team.objects.select_related("organisation").filter(organisation=self.choice.organisation, pk=self.kwargs["team_id"]).first()
        if found is None:
            raise Http404
        return found

    def subject(self) -> KeyTemplate | None:
        return KeyTemplate.objects.select_related("team").filter(team=self.team()).first()


class TemplateView(TeamMixin, EditView):
    """``/keys/templates/<team>/``: a team's bounds."""

    form_class = TemplateForm
    permission = "key_template.change"
    kind = "key_template"
    template = "keys/template.html"
    reversible = False

    def initial(self) -> dict[str, Any]:
        return template_initial(self.object)

    def change(self, form: Any) -> KeyTemplate:
        return template_services.key_template_set(actor=self.actor, team=self.team(), reason=self.reason, **form.facts())

    def title(self) -> str:
        return f"What members of {self.team().name} may make"

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Keys", reverse("keys:list")), ("Templates", reverse("keys:templates"))]

    def cancel_url(self) -> str:
        return reverse("keys:templates")

    def done_url(self, result: KeyTemplate) -> str:
        return reverse("keys:templates")

    def done_message(self, result: KeyTemplate) -> str:
        return f"Template of {result.team.name} saved."


class TemplateDeleteView(TeamMixin, ActionView):
    """POST ``/keys/templates/<team>/delete/``: members ask for every key from now on."""

    permission = "key_template.change"
    reversible = False

    def change(self, reason: str) -> None:
        template_services.key_template_delete(actor=self.actor, team=self.team(), reason=reason)

    def done_url(self) -> str:
        return reverse("keys:templates")

    def done_message(self, result: None) -> str:
        return "Template deleted: members ask for every key."


class ImportView(ScopedView):
    """``/keys/import/``: a file, then a report on every row, then the keys. What was reported on is what is imported."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "key.import"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(KeysFileForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = KeysFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._page(form, status=400)
        content, reason = form.cleaned_data["bytes"], form.cleaned_data["reason"].strip()
        try:
            rows = read(content)
            report = self._import(rows, dry_run=True)
            if "import" not in request.POST or report.refused:
                shown = KeysFileForm(initial={"content": packed(content), "reason": reason})
                return self._page(shown, report=report, status=400 if report.refused else 200)
            report, _ = change_publish(
                actor=self.actor, reason=reason or f"{len(rows)} keys imported", change=lambda: self._import(rows, reason=reason)
            )
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        toast(request, f"Imported: {report.summary}.")
        if report.handover is not None:
            return redirect("keys:handover", handover_id=report.handover.pk)
        return redirect("keys:list")

    def _import(self, rows: Any, *, dry_run: bool = False, reason: str = "") -> Report:
        return keys_import(actor=self.actor, organisation=self.choice.organisation, rows=rows, dry_run=dry_run, reason=reason)

    def _page(self, form: KeysFileForm, *, report: Report | None = None, status: int = 200) -> HttpResponseBase:
        rows = sorted(report.rows, key=lambda reported: reported.state != "refused")[:MOST_SHOWN] if report is not None else []
        context = {
            "choice": self.choice,
            "form": form,
            "report": report,
            "shown": rows,
            "columns": FILE_COLUMNS,
            "crumbs": [("Keys", reverse("keys:list"))],
        }
        return render(self.request, "keys/import.html", context, status=status)
