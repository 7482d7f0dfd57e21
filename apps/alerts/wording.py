"""What people and programs are told of alerts, in one place: titles, sentences, facts, links. Each channel cuts it to its receiver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.urls import reverse

from apps.alerts import channel_choices as choices
from apps.alerts.channels.base import Message, moment
from apps.alerts.choices import OTHER, RANK, SEVERITIES
from apps.alerts.models import Alert
from apps.alerts.remedies import absolute, flips_for, runbook_of
from apps.alerts.series import SERIES, threshold_text, value_text
from apps.alerts.subjects import names_of_subjects, owner_of_alert, subject_of

_NO_NAMES: Mapping[str, str] = {}
MOST_TOLD = 10
"""Alerts that one message tells of by name; the rest is a number."""
_BEGINS = {
    choices.FIRING: "",
    choices.ESCALATION: "Nobody has taken it: ",
    choices.REMINDER: "Still open: ",
    choices.ACKNOWLEDGED: "Taken: ",
    choices.RESOLVED: "Over: ",
}


def message_of(alerts: Sequence[Alert], *, key: str, what: str, at: datetime, by: str = "") -> Message:
    """One telling of one group, the worst first. key: what joins everything told of it. by: who took it."""
    first, more = alerts[0], len(alerts) - 1
    severity = max((alert.severity for alert in alerts), key=RANK.__getitem__)
    subject, runbook, names = subject_of(first), runbook_of(first), names_of_subjects(alerts)
    team = owner_of_alert(first, subject)
    level = SEVERITIES[severity].label
    title = f"{_BEGINS[what]}{level}: {headline(first, names)}{f' and {more} more' if more else ''}"
    lines = [sentence(alert, names=names, over=what == choices.RESOLVED) for alert in alerts[:MOST_TOLD]]
    if len(alerts) > MOST_TOLD:
        lines.append(f"And {len(alerts) - MOST_TOLD} more.")
    if by:
        lines.append(f"Taken by {by}.")
    lines.append(f"Owner: {team.name if team else 'nobody owns it'}.")
    links = []
    if runbook is not None and runbook.url:
        links.append(("Runbook", absolute(runbook.url)))
    if what in choices.PAGES:
        links += [(f"{flip.label}: {flip.name}", absolute(flip.url)) for flip in flips_for(first, subject)[:3] if not flip.on]
    return Message(
        what=what,
        key=key,
        at=moment(at),
        severity=severity,
        title=title,
        text="\n".join(lines),
        organisation=first.organisation.slug,
        environment=settings.ENVIRONMENT_NAME,
        alerts=[facts(alert) for alert in alerts[:MOST_TOLD]],
        url=absolute(reverse("alerts:detail", args=[first.pk])),
        answer_url=absolute(reverse("alerts:answer", args=[first.pk])) if what in choices.PAGES else "",
        links=[(label, url) for label, url in links if url],
    )


def test_message(*, name: str, key: str, organisation: str, by: str, at: datetime) -> Message:
    """What *Send a test page* sends."""
    return Message(
        what=choices.TEST,
        key=key,
        at=moment(at),
        severity="warning",
        title=f"Test: the channel {name} works",
        text=f"{by} sent this test from Bulkhead. Nothing is wrong, and nothing has to be done.",
        organisation=organisation,
        environment=settings.ENVIRONMENT_NAME,
        url=absolute(reverse("alerts:channels")),
    )


test_message.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for one of its own


def headline(alert: Alert, names: Mapping[str, str] = _NO_NAMES) -> str:
    """``Errors of routes: route chat``."""
    about = about_text(alert, names)
    return f"{alert.rule.title}: {about}" if about else alert.rule.title


def about_text(alert: Alert, names: Mapping[str, str] = _NO_NAMES) -> str:
    """``route chat``; empty for everything. names: of ``subjects.names_of_subjects``."""
    if not alert.subject:
        return ""
    if alert.subject == OTHER:
        return f"the other {alert.by}s together"
    return f"{alert.by} {names.get(alert.subject, alert.subject)}".strip()


def sentence(alert: Alert, *, names: Mapping[str, str] = _NO_NAMES, over: bool = False) -> str:
    """``Error rate of route chat is 7.3 %, threshold 5 %, since 2026-01-05 14:02 UTC.``"""
    series = SERIES[alert.rule.series]
    of = f" of {about_text(alert, names)}" if alert.subject else ""
    if over:
        end = f"{alert.resolved_at:%Y-%m-%d %H:%M} UTC" if alert.resolved_at else "now"
        return f"{series.label}{of}: over at {end}, begun at {alert.started_at:%Y-%m-%d %H:%M} UTC."
    if alert.value is None:
        return f"{series.label}{of} is not measured, since {alert.started_at:%Y-%m-%d %H:%M} UTC."
    return (
        f"{series.label}{of} is {value_text(series, alert.value)}, {bound_text(alert)},"
        f" since {alert.started_at:%Y-%m-%d %H:%M} UTC ({SEVERITIES[alert.severity].label.lower()})."
    )


def span_text(seconds: int) -> str:
    """``5 min``, ``6 h``, ``3 days``; rules and windows are whole minutes."""
    for size, word in ((86_400, "days"), (3_600, "h")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {word}" if seconds // size != 1 or word == "h" else "1 day"
    return f"{seconds // 60} min"


def bound_text(alert: Alert) -> str:
    """``threshold 5 %``, with what it is a multiple of where it is one."""
    rule, series = alert.rule, SERIES[alert.rule.series]
    bound = rule.critical if alert.severity == "critical" and rule.critical is not None else rule.warn
    said = threshold_text(series, rule.comparison, bound)
    if rule.comparison == "times_baseline" and alert.threshold is not None:
        return f"threshold {said} ({value_text(series, alert.threshold)})"
    return f"threshold {said}"


def facts(alert: Alert) -> dict[str, Any]:
    """An alert for programs. Figures in the series' unit, which is named."""
    series = SERIES[alert.rule.series]
    about: dict[str, Any] = {}
    if series.source == "budget" and "budget_id" in alert.evidence:
        window = alert.evidence.get("window", {})
        about["budget"] = {
            "id": alert.evidence["budget_id"],
            "window": window.get("of", ""),
            **{name: alert.evidence.get(name) for name in ("spent_nano", "day_nano", "limit_nano")},
            **{name: window.get(name) for name in ("starts_at", "ends_at")},
        }
    return {
        **about,
        "id": str(alert.pk),
        "rule": alert.rule.name,
        "title": alert.rule.title,
        "series": series.name,
        "unit": series.unit,
        "subject_kind": alert.by,
        "subject": alert.subject,
        "severity": alert.severity,
        "state": alert.state,
        "value": alert.value,
        "threshold": alert.threshold,
        "started_at": moment(alert.started_at),
        "fired_at": moment(alert.fired_at) if alert.fired_at else None,
        "resolved_at": moment(alert.resolved_at) if alert.resolved_at else None,
        "acknowledged_by": alert.acked_by,
        "labels": alert.rule.labels,
        "url": absolute(reverse("alerts:detail", args=[alert.pk])),
    }
