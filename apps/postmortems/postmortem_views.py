"""Pages of postmortems: the list, one as people read and print it, its evidence, what people do to it, its Markdown."""

from __future__ import annotations

from datetime import UTC
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.audit.selectors import audit_events
from apps.ownership.markdown import render as markdown
from apps.postmortems import postmortem_choices as choices
from apps.postmortems import postmortem_evidence, postmortem_services
from apps.postmortems.incident_choices import SEVERITIES
from apps.postmortems.incident_selectors import incident_get
from apps.postmortems.models import ActionItem, Postmortem, PostmortemEvidence, PostmortemText
from apps.postmortems.postmortem_figures import impact_figures, time_figures
from apps.postmortems.postmortem_markdown import Document, written
from apps.postmortems.postmortem_plots import incident_marks, latency_plot, requests_plot
from apps.postmortems.postmortem_queries import QUERIES, shown_order
from apps.postmortems.postmortem_rules import may_sign, missing_sections
from apps.postmortems.postmortem_selectors import evidence_of, holder_of, lacking_signs, postmortem_get, signs_of, versions_of
from apps.postmortems.postmortem_sheets import parameters_of, sheet_of
from apps.postmortems.postmortem_tables import asked, due_status, postmortems_list
from apps.postmortems.tabs import frame
from apps.publishing.editing import ActionView, ScopedView
from apps.publishing.trail import trail

ROW_PAGES = {"alerts": "alerts:detail", "slos": "alerts:slo", "versions": "publishing:version"}
"""Query -> URL name of what a row of its answer is about."""


class PostmortemsView(ScopedView):
    """``/postmortems/``: every postmortem, the latest first. CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = postmortems_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-postmortems.csv")
        now = clock.now()
        context = frame(self.choice, "postmortems") | {
            "listing": listing,
            "rows": [(row, SEVERITIES[row.incident.severity], due_status(row, now)) for row in listing.rows],
            "states": choices.STATES.values(),
            "severities": SEVERITIES.values(),
        }
        return render(request, "postmortems/postmortems.html", context)


class OnePostmortem(ScopedView):
    """A view of one postmortem of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        row = postmortem_get(self.choice.organisation, self.kwargs["postmortem_id"])
        if row is None:
            raise Http404("There is no such postmortem.")
        return row

    @property
    def url(self) -> str:
        return reverse("postmortems:postmortem", args=[self.kwargs["postmortem_id"]])

    def crumbs(self) -> list[tuple[str, str]]:
        """The pages above."""
        return [("Postmortems", reverse("postmortems:postmortems"))]


class PostmortemView(OnePostmortem):
    """``/postmortems/<id>/``: everything, as it is read and printed."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest, postmortem_id: object) -> HttpResponseBase:
        row = self.subject()
        if asked(request.GET, "tab") == "history":
            return self._history(row)
        taken, now = evidence_of(row), clock.now()
        results = {name: one.result for name, one in taken.items()}
        signs, person = signs_of(row), str(request.user.pk)
        marks = incident_marks(results.get("times", {}))
        drawn = (requests_plot(results.get("minutes", {}), marks), latency_plot(results.get("latency", {}), marks))
        may_change, may_sign_any = self.choice.may("postmortem.change"), self.choice.may("postmortem.sign")
        context = frame(self.choice, "postmortems") | {
            "postmortem": row,
            "incident": row.incident,
            "severity": SEVERITIES[row.incident.severity],
            "due": due_status(row, now),
            "parts": [(part, markdown(row.texts.get(part.key, ""), top=3)) for part in row.parts],
            "missing": missing_sections(row.parts, row.texts) if row.state == choices.DRAFT else [],
            "factors": list(row.factors.all()),
            "actions": list(ActionItem.objects.filter(postmortem=row).select_related("owner").order_by("due_on", "number")),
            "taken": taken.get("impact"),
            "evidence": [(taken[name], QUERIES[name].title) for name in shown_order(taken)],
            "figures": [(figure, taken[figure.query].url) for figure in impact_figures(results)],
            "times": time_figures(results),
            "plots": [plot for plot in drawn if plot],
            "timeline": results.get("timeline", {}).get("entries", ()),
            "signs": signs,
            "lacking": lacking_signs(row, signs),
            "holder": holder_of(row),
            "may_change": may_change,
            "may_edit": may_change and row.state != choices.PUBLISHED,
            "may_act": self.choice.may("action_item.change"),
            "may_sign": may_sign_any and row.state == choices.REVIEW and not may_sign(
                person, owner=str(row.owner_id or ""), authors=row.authors) and person not in {sign.person for sign in signs},
            "crumbs": self.crumbs(),
        }  # fmt: skip
        return render(request, "postmortems/postmortem.html", context)

    def _history(self, row: Postmortem) -> HttpResponseBase:
        """Earlier texts, and who changed what."""
        context = frame(self.choice, "postmortems") | {
            "postmortem": row,
            "incident": row.incident,
            "versions": versions_of(row),
            "crumbs": self.crumbs(),
        }
        if self.choice.may("audit.view"):
            context["entries"] = trail(list(audit_events(subject_kind="postmortem", subject_id=row.pk)[:50]))
        return render(self.request, "postmortems/postmortem_history.html", context)


class EvidenceSheetView(OnePostmortem):
    """``/postmortems/<id>/evidence/<take>/<query>/``: one answer as it was kept, with its parameters."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest, postmortem_id: object, take: int, query: str) -> HttpResponseBase:
        row = self.subject()
        held = PostmortemEvidence.objects.filter(postmortem=row, take=take, query=query).first()
        if held is None or query not in QUERIES:
            raise Http404("There is no such evidence.")
        others = PostmortemEvidence.objects.filter(postmortem=row, query=query).exclude(take=take).order_by("-take")[:20]
        context = frame(self.choice, "postmortems") | {
            "postmortem": row,
            "held": held,
            "title": QUERIES[query].title,
            "sheet": sheet_of(query, held.result),
            "row_page": ROW_PAGES.get(query, ""),
            "parameters": parameters_of(held.parameters),
            "others": list(others.defer("result", "parameters")),
            "crumbs": [*self.crumbs(), (row.incident.reference, self.url)],
        }
        return render(request, "postmortems/evidence.html", context)


class TextView(OnePostmortem):
    """``/postmortems/<id>/texts/<text>/``: texts as they stood once, or that were set aside."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest, postmortem_id: object, text_id: object) -> HttpResponseBase:
        row = self.subject()
        held = PostmortemText.objects.filter(postmortem=row, pk=self.kwargs["text_id"]).first()
        if held is None:
            raise Http404("There is no such text.")
        parts = [(part, held.texts[part.key], row.texts.get(part.key, "")) for part in row.parts if part.key in held.texts]
        context = frame(self.choice, "postmortems") | {
            "postmortem": row,
            "held": held,
            "parts": [(part, text, text != now) for part, text, now in parts],
            "crumbs": [*self.crumbs(), (row.incident.reference, self.url)],
        }
        return render(request, "postmortems/text.html", context)


class ExportView(OnePostmortem):
    """``/postmortems/<id>/export/``: everything as one Markdown file."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest, postmortem_id: object) -> HttpResponseBase:
        row = self.subject()
        response = HttpResponse(written(document_of(row)), content_type="text/markdown; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{row.incident.reference.lower()}-postmortem.md"'
        return response


def document_of(row: Postmortem) -> Document:
    """What the file of a postmortem says: three queries."""
    taken = evidence_of(row)
    results = {name: one.result for name, one in taken.items()}
    incident = row.incident
    facts = [
        ("Incident", f"{incident.reference} {incident.title}"),
        ("Severity", incident.severity.upper()),
        ("State", row.status.label),
        ("Owner", row.owner.email if row.owner else ""),
        ("Began", f"{incident.began_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),
        ("Noticed by", choices.DETECTED[row.detected]),
        ("Set off by", choices.TRIGGERS[row.trigger]),
        ("Contributing factors", ", ".join(tag.title for tag in row.factors.all())),
        *((figure.name, figure.value) for figure in time_figures(results)),
    ]
    entries = results.get("timeline", {}).get("entries", ())
    actions = ActionItem.objects.filter(postmortem=row).select_related("owner").order_by("due_on", "number")
    return Document(
        title=f"{incident.reference}: {incident.title}",
        facts=facts,
        sections=row.parts,
        texts=row.texts,
        figures=impact_figures(results),
        timeline=[(one["at"].replace("+00:00", "Z"), f"{one['title']} {one['text']}".strip(), one["by"]) for one in entries],
        actions=[
            (one.reference, one.title, one.outcome, one.owner.email if one.owner else "", str(one.due_on), one.status.label)
            for one in actions
        ],
        notes=[
            f"{QUERIES[name].title}: taken {one.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC with config v{one.config_version or 0}"
            for name, one in ((name, taken[name]) for name in shown_order(taken))
        ],
    )


class PostmortemStartView(ActionView):
    """POST ``/incidents/<id>/postmortem/``: begin the postmortem of an incident, or go to the one that there is."""

    permission = "postmortem.change"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def subject(self) -> Any:
        row = incident_get(self.choice.organisation, str(self.kwargs["incident_id"]))
        if row is None:
            raise Http404("There is no such incident.")
        return row

    def change(self, reason: str) -> Postmortem:
        row = postmortem_services.postmortem_create(actor=self.actor, incident=self.object)
        if not row.take:
            postmortem_evidence.evidence_ask(actor=self.actor, postmortem=row)
        self.made = row
        return row

    def done_url(self) -> str:
        made: Postmortem | None = getattr(self, "made", None)
        return reverse("postmortems:postmortem", args=[made.pk]) if made else reverse("postmortems:detail", args=[self.object.pk])

    def done_message(self, result: Postmortem) -> str:
        return "The postmortem is begun; its evidence is being taken."


class PostmortemAction(OnePostmortem, ActionView):
    """One thing that somebody does to a postmortem. It reaches no proxy, so there is nothing to undo by a version."""

    permission = "postmortem.change"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def done_url(self) -> str:
        return self.url


class EvidenceTakeView(PostmortemAction):
    """POST ``/postmortems/<id>/evidence/``: take it (again)."""

    def change(self, reason: str) -> Postmortem:
        return postmortem_evidence.evidence_ask(actor=self.actor, postmortem=self.object)

    def done_message(self, result: Postmortem) -> str:
        return "Evidence is being taken; what is shown stays until it is whole."


class SubmitView(PostmortemAction):
    """POST ``/postmortems/<id>/submit/``."""

    def change(self, reason: str) -> Postmortem:
        return postmortem_services.postmortem_submit(actor=self.actor, postmortem=self.object)

    def done_message(self, result: Postmortem) -> str:
        return "It waits for a review by somebody who did not write it."


class SignView(PostmortemAction):
    """POST ``/postmortems/<id>/sign/`` with the ``revision`` that was read; ``reason`` is a note."""

    permission = "postmortem.sign"

    def change(self, reason: str) -> Any:
        revision = self.request.POST.get("revision", "")
        read = int(revision) if revision.isascii() and revision.isdigit() and len(revision) < 10 else None
        return postmortem_services.postmortem_sign(actor=self.actor, postmortem=self.object, note=reason, revision=read)

    def done_message(self, result: Any) -> str:
        return "Signed off as it stands."


class PublishView(PostmortemAction):
    """POST ``/postmortems/<id>/publish/``."""

    def change(self, reason: str) -> Postmortem:
        return postmortem_services.postmortem_publish(actor=self.actor, postmortem=self.object)

    def done_message(self, result: Postmortem) -> str:
        return "Published: its text and evidence stay as they are."


class ReopenView(PostmortemAction):
    """POST ``/postmortems/<id>/reopen/``, with a reason."""

    reason_required: ClassVar[bool] = True

    def change(self, reason: str) -> Postmortem:
        return postmortem_services.postmortem_reopen(actor=self.actor, postmortem=self.object, reason=reason)

    def done_message(self, result: Postmortem) -> str:
        return "It is a draft again."
