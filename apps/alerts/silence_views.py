"""What nobody is told of: the list of silences, the form that adds one, and ending one before its time."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.alerts import services
from apps.alerts.models import Silence
from apps.alerts.rule_checks import seconds_read
from apps.alerts.rule_forms import SilenceForm
from apps.alerts.selectors import silences as silences_of
from apps.alerts.tables import silence_words, silences_list
from apps.alerts.views import frame
from apps.audit.errors import ServiceError
from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.ui.toasts import toast


class SilencesView(ScopedView):
    """``/alerts/silences/``: what nobody is told of, and a form to silence more."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        if csv:
            return silences_list(self.choice, request.GET, csv=True).csv("bulkhead-silences.csv")
        return self._page(SilenceForm(initial={"rule": request.GET.get("rule", ""), "length": "1h"}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = SilenceForm(request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        try:
            until = clock.now() + timedelta(seconds=seconds_read(form.cleaned_data["length"], "length"))
            services.alert_silence(
                actor=self.actor,
                organisation=self.choice.organisation,
                matcher=form.matcher(),
                until=until,
                reason=form.cleaned_data["reason"],
            )
        except ServiceError as error:
            message, field = refusal_text(error)
            form.add_error({"until": "length"}.get(field or "", field) if field in (*form.fields, "until") else None, message)
            return self._page(form, status=400)
        toast(request, "Silenced. Whoever was told of something hears of its end all the same.")
        return redirect("alerts:silences")

    def _page(self, form: SilenceForm, status: int = 200) -> HttpResponseBase:
        now = clock.now()
        listing = silences_list(self.choice, self.request.GET)
        context = frame(self.choice, "silences") | {
            "listing": listing,
            "rows": [(row, row.holds(now), about_silence(row)) for row in listing.rows],
            "form": form if self.choice.may("silence.change") else None,
        }
        return render(self.request, "alerts/silences.html", context, status=status)


def about_silence(row: Silence) -> tuple[str, str]:
    """(words, address) of what is silenced."""
    return silence_words(row), reverse("alerts:detail", args=[row.alert_id]) if row.alert_id else ""


class SilenceEndView(ActionView):
    """POST ``/alerts/silences/<id>/end/``."""

    permission = "silence.change"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False

    def subject(self) -> Silence:
        row = silences_of(self.choice.organisation).select_related("organisation").filter(pk=self.kwargs["silence_id"]).first()
        if row is None:
            raise Http404("There is no such silence.")
        return row

    def change(self, reason: str) -> Silence:
        return services.silence_end(actor=self.actor, silence=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("alerts:silences")

    def done_message(self, result: Silence) -> str:
        return "The silence is over: what still fires is told with the next minute."
