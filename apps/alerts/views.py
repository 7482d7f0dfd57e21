"""Pages of alerts: the list, one with its evidence and what helps, and what people do to it, also from a phone in two taps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.scope import Choice
from apps.alerts import choices, services
from apps.alerts.evidence import burn_lines, evidence_pairs
from apps.alerts.models import Alert, Silence
from apps.alerts.plots import alert_plot
from apps.alerts.remedies import flips_for, runbook_of, with_runbooks
from apps.alerts.rule_checks import seconds_read
from apps.alerts.rule_forms import LENGTHS
from apps.alerts.selectors import alert_events, alerts, provider_notes
from apps.alerts.series import SERIES, value_text
from apps.alerts.subjects import names_of_subjects, subject_of
from apps.alerts.tables import SHOWS, alerts_list
from apps.alerts.timeline import alert_entries
from apps.alerts.wording import about_text, bound_text
from apps.ownership.selectors import teams
from apps.publishing.editing import ActionView, ScopedView

TABS = (
    ("Alerts", "list"),
    ("Rules", "rules"),
    ("SLOs", "slos"),
    ("Silences", "silences"),
    ("Routing", "routing"),
    ("Channels", "channels"),
    ("Deliveries", "deliveries"),
)


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
        row = with_runbooks(alerts(self.choice.organisation).select_related("organisation")).filter(pk=self.kwargs["alert_id"]).first()
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
        **places(alert, now),
        "entries": alert_entries(alert, events),
        "silenced": alert.silenced(now) and alert.open,
        "lengths": LENGTHS,
        **powers(choice, alert),
    }


_TOLD_APART = ("route", "provider", "model", "key", "team")
"""What requests can be filtered by, and dashboards are of."""


def places(alert: Alert, now: datetime) -> dict[str, str]:
    """Addresses of the requests and of the dashboard of an alert's time; narrowed to what it is about, where that can be."""
    start, end = alert.started_at - timedelta(minutes=5), min((alert.resolved_at or now) + timedelta(minutes=5), now)
    query = {"from": f"{start:%Y-%m-%dT%H:%M:%SZ}", "to": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    if alert.by in _TOLD_APART and alert.subject and alert.subject != choices.OTHER:
        requests, board = {**query, alert.by: alert.subject}, reverse("dashboard:board", args=[alert.by])
        dashboard = f"{board}?{urlencode({**query, 'value': alert.subject})}"
    else:
        requests, dashboard = query, f"{reverse('dashboard:boards')}?{urlencode(query)}"
    return {"requests_url": f"{reverse('dashboard:requests')}?{urlencode(requests)}", "dashboard_url": dashboard}


def powers(choice: Choice, alert: Alert) -> dict[str, bool]:
    """What a person may do to an alert as it is now."""
    owner = alert.rule.owner_id
    take, mute = (choice.may(action, team=owner) if owner else choice.may(action) for action in ("alert.acknowledge", "silence.change"))
    return {
        "may_take": take and alert.state == choices.FIRING,
        "may_silence": mute and alert.open,
        "may_resolve": take and alert.open,
        "may_note": take,
        "may_declare": choice.may("incident.declare"),
    }


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
