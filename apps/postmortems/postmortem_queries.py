"""What a postmortem's evidence is made of: named questions to the store, each with its parameters, its answer as plain JSON and the page
that shows the same. A new one is a function here and a line in ``QUERIES``.

Answers are bounded, hold times as ISO 8601 in UTC and money as integer nano-dollars, and mean what the page that they link to means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.alerts.models import Slo
from apps.alerts.selectors import alerts_between
from apps.alerts.sources.slos import counted_by, counted_in
from apps.flags.models import FlagFlip
from apps.postmortems.impact import impact_minutes, impact_of, scope_of
from apps.postmortems.incident_selectors import severity_spans
from apps.postmortems.models import Incident
from apps.postmortems.timeline import entries_of
from apps.publishing.models import Version
from apps.usage.detail import traffic_detail
from apps.usage.selectors import traffic_by

MOST_ROWS = 200
MOST_MINUTES = 31 * 24 * 60
POINTS = 240
"""Steps of a series at most: a longer window has wider ones."""
BEFORE = timedelta(hours=1)
"""What is shown before the window, so that what is usual can be seen."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What everything is asked about. since, until: the window in which people felt it."""

    incident: Incident
    since: datetime
    until: datetime
    now: datetime

    @property
    def organisation(self) -> Organisation:
        return self.incident.organisation

    @property
    def parameters(self) -> dict[str, Any]:
        """So that the same can be asked again."""
        return {
            "organisation": self.organisation.slug,
            "simulated": self.incident.simulated,
            "since": stamp(self.since),
            "until": stamp(self.until),
            "routes": list(self.incident.routes),
        }


@dataclass(frozen=True, slots=True)
class Query:
    """One question. ask: gets a function that takes percent done. page: URL name of what shows the same, with the window as its range."""

    title: str
    ask: Callable[[Question, Progress], dict[str, Any]]
    page: str = ""

    def url(self, question: Question) -> str:
        """The page that shows the same."""
        if not self.page:
            return reverse("postmortems:detail", args=[question.incident.pk])
        asked = {"from": stamp(question.since), "to": stamp(question.until)}
        if self.page == "dashboard:requests" and len(question.incident.routes) == 1:
            asked["route"] = question.incident.routes[0]
        return f"{reverse(self.page)}?{urlencode(asked)}"


def question_of(incident: Incident, *, now: datetime | None = None) -> Question:
    """The window that people set or the data proposed, else from its beginning to its end (or to now); at least a minute, at most a
    month."""
    now = now or datetime.now(UTC)
    since = incident.impact_from or incident.started_at
    until = incident.impact_until or incident.mitigated_at or incident.resolved_at or now
    until = max(until, since + timedelta(minutes=1))
    return Question(incident, since, min(until, since + timedelta(days=31)), now)


def stamp(at: datetime) -> str:
    """``2026-11-22T06:55:00Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _impact(question: Question, progress: Progress) -> dict[str, Any]:
    found = impact_of(
        organisation=question.organisation, routes=question.incident.routes, since=question.since, until=question.until,
        simulated=question.incident.simulated, progress=progress, now=question.now,
    )  # fmt: skip
    return found.document()


def _minutes(question: Question, progress: Progress) -> dict[str, Any]:
    rows = impact_minutes(
        organisation=question.organisation, routes=question.incident.routes, since=question.since - BEFORE,
        until=question.until + BEFORE / 2, simulated=question.incident.simulated, now=question.now,
    )  # fmt: skip
    width = max(1, -(-len(rows) // POINTS))
    steps = [rows[at : at + width] for at in range(0, len(rows), width)]
    return {
        "step_s": width * 60,
        "points": [
            {
                "at": stamp(step[0].at),
                "requests": sum(one.requests for one in step),
                "failed": sum(one.failed for one in step),
                "attempt_errors": sum(one.attempt_errors for one in step),
                "cost_nano": sum(one.cost_nano for one in step),
            }
            for step in steps
        ],
    }


def _latency(question: Question, progress: Progress) -> dict[str, Any]:
    scope, routes = scope_of(question.organisation, question.incident.simulated), question.incident.routes
    series = traffic_detail(
        scope, question.since - BEFORE, question.until + BEFORE / 2, dimension="route" if routes else "", values=list(routes) or [""],
        now=question.now,
    )  # fmt: skip
    return {
        "points": [
            {"at": stamp(point.at), "p50_us": point.total.p50, "p95_us": point.total.p95, "first_token_p95_us": point.first_token.p95}
            for point in series.points[-POINTS * 2 :]
        ],
    }


def _classes(question: Question, progress: Progress) -> dict[str, Any]:
    scope, routes = scope_of(question.organisation, question.incident.simulated), question.incident.routes
    series = traffic_detail(
        scope, question.since, question.until, dimension="route" if routes else "", values=list(routes) or [""], now=question.now
    )
    ordered = sorted(series.classes.items(), key=lambda one: (-one[1], one[0]))
    return {
        "requests": {code: count for code, count in ordered if not code.startswith("~")},
        "attempts": {code[1:]: count for code, count in ordered if code.startswith("~")},
    }


def _providers(question: Question, progress: Progress) -> dict[str, Any]:
    scope = scope_of(question.organisation, question.incident.simulated)
    found = traffic_by(scope, question.since, question.until, ("provider", "model", "team"), now=question.now, limit=50)
    return {
        dimension: [
            {
                "name": group.value or "(none)",
                "requests": group.totals.requests,
                "failed": group.totals.failed,
                "attempts": group.totals.attempts,
                "attempt_errors": group.totals.attempt_errors,
                "cost_nano": group.totals.cost_nano,
            }
            for group in groups
        ]
        for dimension, groups in found.items()
        if dimension
    }


def _slos(question: Question, progress: Progress) -> dict[str, Any]:
    """How much of each SLO's error budget (of its whole window, as it stood at the end) went in the time of the incident."""
    scope = scope_of(question.organisation)
    rows = list(Slo.objects.filter(organisation=question.organisation, deleted_at=None).order_by("name")[:MOST_ROWS])
    since, until = (at.replace(second=0, microsecond=0) for at in (question.since, question.until + timedelta(seconds=59)))
    during = counted_in(scope, rows, {0: since}, until)
    whole = counted_by(scope, rows, until)
    found = []
    for row in rows:
        counted, window = during[row.pk][0], whole[row.pk][0]
        allowed = window.total * (100_000 - row.objective) / 100_000
        found.append(
            {
                "name": row.name,
                "title": row.title,
                "id": str(row.pk),
                "objective": row.objective_text,
                "window_days": row.window_days,
                "counted": counted.total,
                "bad": counted.bad,
                "budget_burned": round(counted.bad / allowed, 6) if allowed else None,
                "budget_used": round(window.bad / allowed, 6) if allowed else None,
            }
        )
    return {"slos": found}


def _alerts(question: Question, progress: Progress) -> dict[str, Any]:
    own = Q(incidents=question.incident)
    rows = alerts_between(question.organisation, question.since - BEFORE, question.until + BEFORE)
    mine = set(question.organisation.alerts.filter(own).values_list("pk", flat=True))  # type: ignore[attr-defined]
    return {
        "alerts": [
            {
                "id": str(row.pk),
                "title": row.rule.title,
                "subject": row.subject,
                "severity": row.severity,
                "fired_at": stamp(row.fired_at),
                "resolved_at": stamp(row.resolved_at) if row.resolved_at else None,
                "acknowledged_by": row.acked_by,
                "part_of_it": row.pk in mine,
            }
            for row in rows[:MOST_ROWS]
            if row.fired_at is not None
        ]
    }


def _flips(question: Question, progress: Progress) -> dict[str, Any]:
    rows = FlagFlip.objects.filter(
        organisation=question.organisation, at__gte=question.since - BEFORE, at__lt=question.until + BEFORE
    ).order_by("at")
    return {
        "flips": [
            {"flag": row.flag_name, "on": row.turn_on, "share": row.share, "at": stamp(row.at), "by": row.by, "reason": row.reason}
            for row in rows[:MOST_ROWS]
        ]
    }


def _versions(question: Question, progress: Progress) -> dict[str, Any]:
    rows = Version.objects.filter(created_at__gte=question.since - BEFORE, created_at__lt=question.until + BEFORE).order_by("number")
    return {
        "versions": [
            {
                "number": row.number,
                "at": stamp(row.created_at),
                "by": row.actor_name,
                "reason": row.reason,
                "restores": row.restores,
                "sections": sorted(row.counts),
            }
            for row in rows.defer("diff", "manifest")[:MOST_ROWS]
        ]
    }


def _times(question: Question, progress: Progress) -> dict[str, Any]:
    incident = question.incident
    found: dict[str, Any] = {"started_at": stamp(incident.began_at)}
    moments = ("detected_at", "acknowledged_at", "mitigated_at", "resolved_at")
    found |= {name: stamp(at) if (at := getattr(incident, name)) else None for name in moments}
    for name, end in (
        ("detect", "detected_at"),
        ("acknowledge", "acknowledged_at"),
        ("mitigate", "mitigated_at"),
        ("resolve", "resolved_at"),
    ):
        moment: datetime | None = getattr(incident, end)
        found[f"{name}_s"] = round((moment - incident.began_at).total_seconds()) if moment else None
    return found


def _severities(question: Question, progress: Progress) -> dict[str, Any]:
    seconds: dict[str, int] = {}
    for severity, since, until in severity_spans(question.incident, now=question.now):
        seconds[severity] = seconds.get(severity, 0) + max(0, round((until - since).total_seconds()))
    return {"severity": question.incident.severity, "seconds": {level: held for level, held in seconds.items() if held}}


def _timeline(question: Question, progress: Progress) -> dict[str, Any]:
    rows = list(entries_of(question.incident)[: MOST_ROWS * 5])
    return {
        "entries": [
            {
                "at": row.at.astimezone(UTC).isoformat(timespec="seconds"),
                "kind": row.kind,
                "title": row.title,
                "text": row.text[:2_000],
                "by": row.by,
                "tone": row.tone,
                "pinned": row.pinned,
            }
            for row in rows
        ]
    }


QUERIES: Mapping[str, Query] = {
    "times": Query("Detection and recovery", _times),
    "severities": Query("Minutes by severity", _severities),
    "impact": Query("Impact", _impact, "dashboard:requests"),
    "minutes": Query("Requests by the minute", _minutes, "dashboard:boards"),
    "latency": Query("Latency", _latency, "dashboard:boards"),
    "classes": Query("Failures by class", _classes, "dashboard:boards"),
    "providers": Query("Providers, models and teams", _providers, "dashboard:boards"),
    "slos": Query("Error budgets", _slos, "alerts:slos"),
    "alerts": Query("Alerts", _alerts, "alerts:list"),
    "flips": Query("Flips", _flips, "flags:list"),
    "versions": Query("Published configs", _versions, "publishing:history"),
    "timeline": Query("Timeline", _timeline),
}
"""By name, in the order in which they are asked."""


def shown_order(names: Iterable[str]) -> list[str]:
    """Names of queries as pages show them."""
    held = set(names)
    return [name for name in QUERIES if name in held]
