"""What people know of providers before any figure shows it: the notes that hold, the form that adds one, and taking one back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.alerts import choices, services
from apps.alerts.models import ProviderNote
from apps.alerts.rule_checks import seconds_read
from apps.alerts.rule_forms import NoteForm
from apps.alerts.selectors import provider_notes
from apps.alerts.views import frame
from apps.audit.errors import ServiceError
from apps.providers.models import Provider
from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.ui.toasts import toast


class NotesView(ScopedView):
    """``/alerts/notes/``: what people know of providers before any figure shows it."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(self._form(initial={"provider": request.GET.get("provider", "")}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = self._form(request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        facts = form.cleaned_data
        try:
            until = clock.now() + timedelta(seconds=seconds_read(facts["length"], "length")) if facts["length"].strip() else None
            provider = Provider.objects.select_related("organisation").get(pk=facts["provider"], organisation=self.choice.organisation)
            services.provider_note_set(actor=self.actor, provider=provider, state=facts["state"], text=facts["text"], until=until)
        except ServiceError as error:
            message, field = refusal_text(error)
            form.add_error({"until": "length"}.get(field or "", field) if field in (*form.fields, "until") else None, message)
            return self._page(form, status=400)
        toast(request, f"{provider.name} is {choices.NOTE_WORDS[facts['state']].lower()}: its rules know with the next minute.")
        return redirect("alerts:notes")

    def _form(self, *args: Any, **kwargs: Any) -> NoteForm:
        rows = Provider.objects.filter(organisation=self.choice.organisation).order_by("name").values_list("pk", "name")
        return NoteForm(*args, providers=[(str(pk), name) for pk, name in rows], **kwargs)

    def _page(self, form: NoteForm, status: int = 200) -> HttpResponseBase:
        context = frame(self.choice, "list") | {
            "notes": list(provider_notes(self.choice.organisation)),
            "form": form if self.choice.may("provider_note.change") else None,
            "crumbs": [("Alerts", reverse("alerts:list"))],
        }
        return render(self.request, "alerts/notes.html", context, status=status)


class NoteEndView(ActionView):
    """POST ``/alerts/notes/<id>/end/``."""

    permission = "provider_note.change"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False

    def subject(self) -> ProviderNote:
        rows = ProviderNote.objects.select_related("provider", "organisation")
        row = rows.filter(organisation=self.choice.organisation, pk=self.kwargs["note_id"]).first()
        if row is None:
            raise Http404("Nobody said such a thing.")
        return row

    def change(self, reason: str) -> ProviderNote:
        return services.provider_note_end(actor=self.actor, note=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("alerts:notes")

    def done_message(self, result: ProviderNote) -> str:
        return f"Nothing is said of {result.provider.name} any more."
