"""The editor of a postmortem: texts that keep themselves, who has it open, and the facts beside them.

A text is sent with the mark that it had when somebody began, so two people who write different sections do not disturb each other, and of
two who write the same the second keeps theirs aside. What was sent and could not be taken over is shown again, never thrown away.
"""

from __future__ import annotations

import secrets
from typing import Any, ClassVar, cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.errors import ServiceError
from apps.postmortems import postmortem_choices as choices
from apps.postmortems import postmortem_services
from apps.postmortems.incident_selectors import people_of
from apps.postmortems.models import Factor, Postmortem, PostmortemText
from apps.postmortems.postmortem_blameless import Hint, hints
from apps.postmortems.postmortem_drafts import draft_ask, drafts_on
from apps.postmortems.postmortem_forms import FactsForm
from apps.postmortems.postmortem_rules import mark_of, text_clean
from apps.postmortems.postmortem_selectors import factors, holder_of, template_now
from apps.postmortems.postmortem_services import Saved
from apps.postmortems.postmortem_views import OnePostmortem, PostmortemAction
from apps.postmortems.tabs import frame
from apps.publishing.editing import EditView, refusal_text
from apps.ui.toasts import toast

FIELD, MARK = "text-", "mark-"


class Part:
    """A section as the editor shows it. mark: of what the person began from; theirs: what somebody else wrote meanwhile, where it
    differs."""

    def __init__(self, section: choices.Section, text: str, mark: str, found: list[Hint], theirs: str = "", error: str = "") -> None:
        self.section, self.text, self.mark, self.hints, self.theirs, self.error = section, text, mark, found, theirs, error
        self.rows = min(max(text.count("\n") + 3, 5), 24)


class EditorView(OnePostmortem):
    """``/postmortems/<id>/edit/``: GET the sections as text fields; POST keeps what is sent, a part of the page for the page itself
    (htmx), else the whole page."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "postmortem.change"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        row = self.subject()
        if row.state == choices.PUBLISHED:
            toast(request, "It is published: open it again first, with a reason.", tone="info")
            return redirect(self.url)
        holder = holder_of(row)  # looking takes nothing: the page itself says that it is open, once it is
        other = holder if holder is not None and holder.pk != request.user.pk else None
        names = _names(row)
        parts = [Part(part, text := row.texts.get(part.key, ""), mark_of(text), hints(text, names)) for part in row.parts]
        return self._editor(row, parts, other=other)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        row = self.subject()
        keys = [part.key for part in row.parts]
        sent = {key: text_clean(request.POST[FIELD + key]) for key in keys if FIELD + key in request.POST}
        marks = {key: request.POST.get(MARK + key, "") for key in keys}
        mine = [key for key in request.POST.getlist("mine") if key in keys]
        if "restored" in request.POST:
            parts = [self._part(row, part, sent, marks[part.key]) for part in row.parts]
            return self._editor(row, parts, restored=True)
        try:
            saved = postmortem_services.texts_save(
                actor=self.actor, postmortem=row, texts=sent, marks=marks, mine=mine, page=self._page_name()
            )
        except ServiceError as error:
            message, field = refusal_text(error)
            wrong = (field or "").removeprefix(FIELD)
            parts = [self._part(row, part, sent, marks[part.key], message if part.key == wrong else "") for part in row.parts]
            if _asks_for_part(request):
                return self._told(row, parts, refused=message)
            return self._editor(row, parts, refused=message, status=400)
        now, names = saved.postmortem, _names(row)
        parts = []
        for part in now.parts:
            text = now.texts.get(part.key, "")
            if part.key in saved.conflicts:  # theirs stays where it is; the person's own stands in the field, on their old mark
                parts.append(Part(part, saved.conflicts[part.key], marks[part.key], [], theirs=text or "(nothing)"))
            else:
                parts.append(Part(part, text, mark_of(text), hints(text, names)))
        if _asks_for_part(request):
            return self._told(now, parts, saved=saved, sent=sent)
        if not saved.conflicts and "done" in request.POST:
            postmortem_services.editor_release(actor=self.actor, postmortem=now, user=cast(User, request.user))
            toast(request, "Saved.")
            return redirect(self.url)
        return self._editor(now, parts, saved=saved, status=409 if saved.conflicts else 200)

    def _part(self, row: Postmortem, part: choices.Section, sent: dict[str, str], mark: str, error: str = "") -> Part:
        now = row.texts.get(part.key, "")
        text = sent.get(part.key, now)
        return Part(part, text, mark or mark_of(now), [], error=error)

    def _told(
        self, row: Postmortem, parts: list[Part], *, saved: Saved | None = None, sent: dict[str, str] | None = None, refused: str = ""
    ) -> HttpResponse:
        """The part of the page that says what became of an autosave, with the marks from now on. A section that somebody else wrote
        meanwhile keeps its old mark: the page still shows what it showed."""
        theirs = []
        for part in parts:
            key = part.section.key
            if sent is not None and not part.theirs and part.text != sent.get(key, part.text):
                part.mark = self.request.POST.get(MARK + key, "")
                theirs.append(part)
        context = {"postmortem": row, "parts": parts, "meanwhile": theirs, "saved": saved, "refused": refused}
        return render(self.request, "postmortems/editor_saved.html", context)

    def _page_name(self) -> str:
        """Names this open page among all that write the same postmortem."""
        return self.request.POST.get("submission", "")[:64]

    def _editor(
        self, row: Postmortem, parts: list[Part], *, other: User | None = None, saved: Saved | None = None, refused: str = "",
        restored: bool = False, status: int = 200,
    ) -> HttpResponse:  # fmt: skip
        context = frame(self.choice, "postmortems") | {
            "postmortem": row,
            "incident": row.incident,
            "parts": parts,
            "submission": self._page_name() or secrets.token_urlsafe(16),
            "other": other,
            "saved": saved,
            "refused": refused,
            "restored": restored,
            "first": True,
            "aside": list(PostmortemText.objects.filter(postmortem=row, aside=True, by_id=str(self.request.user.pk)).defer("texts")[:5]),
            "may_draft": drafts_on(template_now(row.organisation)),
            "crumbs": [*self.crumbs(), (row.incident.reference, self.url)],
        }
        return render(self.request, "postmortems/editor.html", context, status=status)


def _asks_for_part(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def _names(row: Postmortem) -> list[str]:
    """By what people of the organisation are known in a text."""
    found = []
    for person in people_of(row.organisation):
        found += [person.name, *person.name.split()[:1], person.email, person.email.partition("@")[0]]
    return [name for name in found if name]


class HoldView(OnePostmortem):
    """POST ``/postmortems/<id>/hold/``: the editor's sign of life; with ``take`` it is taken over. Says who has it."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "postmortem.change"

    def post(self, request: HttpRequest, postmortem_id: object) -> HttpResponseBase:
        row = self.subject()
        other = postmortem_services.editor_hold(
            actor=self.actor, postmortem=row, user=cast(User, request.user), take="take" in request.POST
        )
        if _asks_for_part(request):
            return render(request, "postmortems/editor_holder.html", {"postmortem": row, "other": other})
        return redirect(reverse("postmortems:postmortem_edit", args=[row.pk]))


class FactsView(OnePostmortem, EditView):
    """``/postmortems/<id>/facts/``: owner, trigger, factors, due date."""

    permission = "postmortem.change"
    kind = "postmortem"
    form_class = FactsForm
    reversible: ClassVar[bool] = False

    def title(self) -> str:
        return f"Facts of {self.object.incident.reference}"

    def initial(self) -> dict[str, Any]:
        row = self.object
        return {
            "owner": str(row.owner_id or ""), "detected": row.detected, "trigger": row.trigger,
            "factors": sorted(row.factors.values_list("slug", flat=True)), "due_on": row.due_at.date() if row.due_at else None,
        }  # fmt: skip

    def form_kwargs(self) -> dict[str, Any]:
        offered = {tag.pk: tag for tag in factors(self.choice.organisation)}
        for tag in self.object.factors.all():
            offered.setdefault(tag.pk, tag)
        tags: list[Factor] = sorted(offered.values(), key=lambda tag: tag.title.lower())
        return {"postmortem": self.object, "tags": tags}

    def change(self, form: Any) -> Postmortem:
        given = form.cleaned_data
        return postmortem_services.facts_set(
            actor=self.actor, postmortem=self.object, owner=given["owner"], trigger=given["trigger"], detected=given["detected"],
            factors=given["factors"], due_at=form.due_at, reason=self.reason,
        )  # fmt: skip

    def field_of(self, name: str | None, form: Any) -> str | None:
        return super().field_of("due_on" if name == "due_at" else name, form)

    def done_url(self, result: Postmortem) -> str:
        return self.url

    def done_message(self, result: Postmortem) -> str:
        return "Facts saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [*super().crumbs(), (self.object.incident.reference, self.url)]

    def cancel_url(self) -> str:
        return self.url


class DraftView(PostmortemAction):
    """POST ``/postmortems/<id>/draft/``: have a model propose a narrative."""

    def change(self, reason: str) -> Postmortem:
        return draft_ask(actor=self.actor, postmortem=self.object)

    def done_message(self, result: Postmortem) -> str:
        return "A draft is being proposed; it comes beside the text, never into it."
