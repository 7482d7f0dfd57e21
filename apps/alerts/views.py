"""Pages of alerts: the list, one with its evidence and what helps, and what people do to it, also from a phone in two taps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.scope import Choice
from apps.alerts import choices, services
from apps.alerts.models import Alert, ProviderNote, Silence
from apps.alerts.plots import alert_plot
from apps.alerts.remedies import flips_for, runbook_of
from apps.alerts.rule_checks import seconds_read
from apps.alerts.rule_forms import LENGTHS, NoteForm, SilenceForm
from apps.alerts.selectors import alert_events, alerts, provider_notes
from apps.alerts.selectors import silences as silences_of
from apps.alerts.series import SERIES, value_text
from apps.alerts.sources.slos import BUDGET_USED
from apps.alerts.subjects import names_of_subjects, subject_of
from apps.alerts.tables import SHOWS, alerts_list, silence_words, silences_list
from apps.alerts.timeline import alert_entries
from apps.alerts.wording import about_text, bound_text, span_text
from apps.audit.errors import ServiceError
from apps.ownership.selectors import teams
from apps.providers.models import Provider
from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.ui.status import Status
from apps.ui.toasts import toast

TABS = (
    ("Alerts", "list"),
    ("Rules", "rules"),
    ("SLOs", "slos"),
    ("Silences", "silences"),
    ("Routing", "routing"),
    ("Channels", "channels"),
    ("Deliveries", "deliveries"),
)

_QUIET = Status("quiet", "No", "good")


def tabs_of(current: str) -> list[tuple[str, str, bool, None]]:
    """The pages of alerts, as tabs."""
    return [(label, reverse(f"alerts:{name}"), name == current, None) for label, name in TABS]


def frame(choice: Choice, current: str) -> dict[str, Any]:
    """What every page of alerts shows: its tabs."""
    return {"choice": choice, "tabs": tabs_of(current)}


class ListView(ScopedView):
    """``/alerts/``: what fires, the worst first; with ``?show=all`` what was, too. CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = alerts_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-alerts.csv")
        now = clock.now()
        context = frame(self.choice, "list") | {
            "listing": listing,
            "rows": shown(listing.rows, now),
            "shows": SHOWS.items(),
            "states": choices.STATES.values(),
            "severities": choices.SEVERITIES.values(),
            "teams": teams(organisation=self.choice.organisation),
            "notes": list(provider_notes(self.choice.organisation)),
        }
        return render(request, "alerts/list.html", context)


class Shown:
    """An alert as lists show it."""

    def __init__(self, alert: Alert, now: datetime, names: Mapping[str, str]) -> None:
        self.alert = alert
        self.state, self.severity = choices.STATES[alert.state], choices.SEVERITIES[alert.severity]
        self.about = about_text(alert, names) or "everything"
        self.value = value_text(SERIES[alert.rule.series], alert.value)
        self.silenced = alert.silenced(now) and alert.open


def shown(alerts: Sequence[Alert], now: datetime) -> list[Shown]:
    """Alerts as lists show them; one query where some are about keys."""
    names = names_of_subjects(alerts)
    return [Shown(alert, now, names) for alert in alerts]


class OneAlert(ScopedView):
    """A view of one alert of the chosen organisation."""

    def subject(self) -> Any:
        """Raises Http404."""
        row = alerts(self.choice.organisation).select_related("organisation").filter(pk=self.kwargs["alert_id"]).first()
        if row is None:
            raise Http404("There is no such alert.")
        return row


class DetailView(OneAlert):
    """``/alerts/<id>/``: what it is about, figure against threshold, evidence, what helps, who was told, what happened."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest, alert_id: object) -> HttpResponseBase:
        alert = self.subject()
        return render(request, "alerts/detail.html", detail_context(self, request, alert))


def detail_context(view: ScopedView, request: HttpRequest, alert: Alert) -> dict[str, Any]:
    """What the page of an alert shows."""
    now, choice = clock.now(), view.choice
    subject, events = subject_of(alert), list(alert_events(alert))
    team = alert.rule.owner or subject.team
    return frame(choice, "list") | {
        "alert": alert,
        "state": choices.STATES[alert.state],
        "severity": choices.SEVERITIES[alert.severity],
        "subject": subject,
        "about": about_text(alert, {alert.subject: subject.name}) or "everything",
        "series": SERIES[alert.rule.series],
        "value": value_text(SERIES[alert.rule.series], alert.value),
        "bound": bound_text(alert),
        "team": team,
        "runbook": runbook_of(alert),
        "flips": flips_for(alert, subject),
        "may_flip": choice.may("flag.flip"),
        "plot": alert_plot(alert, events, now=now),
        "evidence": evidence_pairs(alert),
        "burns": burn_lines(alert),
        "requests_url": requests_url(alert, now),
        "entries": alert_entries(alert, events),
        "silenced": alert.silenced(now) and alert.open,
        "lengths": LENGTHS,
        **powers(choice, alert),
    }


def requests_url(alert: Alert, now: datetime) -> str:
    """The requests of an alert's time; narrowed to its route or provider."""
    start, end = alert.started_at - timedelta(minutes=5), min((alert.resolved_at or now) + timedelta(minutes=5), now)
    query = {"from": f"{start:%Y-%m-%dT%H:%M:%SZ}", "to": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    if alert.by in ("route", "provider", "model") and alert.subject and alert.subject != choices.OTHER:
        query[alert.by] = alert.subject
    return f"{reverse('dashboard:requests')}?{urlencode(query)}"


def powers(choice: Choice, alert: Alert) -> dict[str, bool]:
    """What a person may do to an alert as it is now."""
    owner = alert.rule.owner_id
    take, mute = (choice.may(action, team=owner) if owner else choice.may(action) for action in ("alert.acknowledge", "silence.change"))
    return {
        "may_take": take and alert.state == choices.FIRING,
        "may_silence": mute and alert.open,
        "may_resolve": take and alert.open,
        "may_note": take,
    }


def evidence_pairs(alert: Alert) -> list[tuple[str, str]]:
    """What the last judgement rests on, in words; ``pairs`` of an SLO's burn rates stand in a table of their own."""
    series, facts = SERIES[alert.rule.series], dict(alert.evidence)
    worst = facts.pop("worst", None) or {}
    found = [("Rests on", f"{facts.pop('samples', 0):,} {facts.pop('samples_of', series.samples_of)}")]
    if worst.get("value") is not None:
        found.append(("Worst so far", value_text(series, worst["value"])))
    if "baseline" in facts:
        learning = " (learning: there are no two weeks yet)" if facts.pop("learning", False) else ""
        found.append(("Usual", f"{value_text(series, facts.pop('baseline'))}{learning}"))
    if BUDGET_USED in facts:
        found.append(("Error budget used", f"{facts.pop(BUDGET_USED):,.1f} %"))
    hidden = ("series", "from", "to", "pairs", "slo_id", "learning")
    return [*found, *((name.replace("_", " ").capitalize(), _text(value)) for name, value in facts.items() if name not in hidden)]


def burn_lines(alert: Alert) -> list[dict[str, Any]]:
    """The pairs of windows of an SLO's alert, as a table has them."""
    return [
        {
            "windows": f"{span_text(pair['long_s'])} and {span_text(pair['short_s'])}",
            "factor": f"{pair['factor']:g}×",
            "long": "–" if pair["long"] is None else f"{pair['long']:.3g}×",
            "short": "–" if pair["short"] is None else f"{pair['short']:.3g}×",
            "status": choices.SEVERITIES[pair["severity"]] if pair["burning"] else _QUIET,
        }
        for pair in alert.evidence.get("pairs", ())
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value[:10]) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in list(value.items())[:10]) or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


class AnswerView(OneAlert):
    """``/alerts/<id>/answer/``: where a message leads: the alert in a few words and one large button that takes it."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "alert.view"

    def get(self, request: HttpRequest, alert_id: object) -> HttpResponseBase:
        alert = self.subject()
        subject, now = subject_of(alert), clock.now()
        context = frame(self.choice, "list") | {
            "alert": alert,
            "state": choices.STATES[alert.state],
            "severity": choices.SEVERITIES[alert.severity],
            "about": about_text(alert, {alert.subject: subject.name}) or "everything",
            "value": value_text(SERIES[alert.rule.series], alert.value),
            "series": SERIES[alert.rule.series],
            "bound": bound_text(alert),
            "flips": [flip for flip in flips_for(alert, subject) if not flip.on],
            "may_flip": self.choice.may("flag.flip"),
            "runbook": runbook_of(alert),
            "lengths": LENGTHS,
            "silenced": alert.silenced(now) and alert.open,
            **powers(self.choice, alert),
        }
        return render(request, "alerts/answer.html", context)


class AlertAction(OneAlert, ActionView):
    """One thing that somebody does to an alert. It reaches no proxy, so there is nothing to undo by a version."""

    reversible: ClassVar[bool] = False

    def done_url(self) -> str:
        return reverse("alerts:detail", args=[self.object.pk])


class AcknowledgeView(AlertAction):
    """POST ``/alerts/<id>/acknowledge/``: one tap; ``reason`` is a note that may be left away."""

    permission = "alert.acknowledge"
    reason_required: ClassVar[bool] = False

    def change(self, reason: str) -> Alert:
        return services.alert_acknowledge(actor=self.actor, alert=self.object, note=reason)

    def done_message(self, result: Alert) -> str:
        return "Taken: nobody further along is told."


class ResolveView(AlertAction):
    """POST ``/alerts/<id>/resolve/``."""

    permission = "alert.acknowledge"

    def change(self, reason: str) -> Alert:
        return services.alert_resolve(actor=self.actor, alert=self.object, note=reason)

    def done_message(self, result: Alert) -> str:
        return "Ended by hand; where the rule still holds, the next minute begins another one."


class NoteView(AlertAction):
    """POST ``/alerts/<id>/note/``."""

    permission = "alert.acknowledge"

    def change(self, reason: str) -> Alert:
        return services.alert_note(actor=self.actor, alert=self.object, note=reason)

    def done_message(self, result: Alert) -> str:
        return "Written down."


class SilenceAlertView(AlertAction):
    """POST ``/alerts/<id>/silence/`` with ``length`` (``30m``, ``4h``) and a reason."""

    permission = "silence.change"

    def change(self, reason: str) -> Silence:
        until = clock.now() + timedelta(seconds=seconds_read(self.request.POST.get("length", ""), "length"))
        return services.alert_silence(actor=self.actor, alert=self.object, until=until, reason=reason)

    def done_message(self, result: Silence) -> str:
        return f"Silenced until {result.until:%Y-%m-%d %H:%M} UTC. Whoever was told hears of its end all the same."


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
