"""The panels of an incident: what it does to users now, what changed before, what helps, and a flip's consequences. Each asks for itself,
so that no page waits for all of them; each is a page, too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone as clock

from apps.flags.foretelling import flip_foretell
from apps.flags.models import Flag
from apps.postmortems import incident_choices as choices
from apps.postmortems.impact import Impact
from apps.postmortems.impact_rules import MinuteImpact, window_propose
from apps.postmortems.impact_services import minutes_around
from apps.postmortems.incident_models import Incident, TimelineEntry
from apps.postmortems.incident_plots import impact_plot
from apps.postmortems.incident_remedies import answerable, flips_in_reach
from apps.postmortems.incident_suggestions import suggestions_of
from apps.postmortems.incident_views import OneIncident
from apps.postmortems.suspicion_selectors import begin_of, suspects_of
from apps.postmortems.timeline import entries_of
from apps.postmortems.timeline_sources import places_of
from apps.ui.fragments import tagged

LATELY = 1
"""Minutes of *now*: the last whole ones. A mean over several tells of a fault that began a minute ago as if it were hardly one."""


class Panel(OneIncident, ABC):
    """A panel: alone where htmx asks for it, else a page."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    template: ClassVar[str] = ""
    heading: ClassVar[str] = ""

    def get(self, request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        alone = bool(request.htmx)  # type: ignore[attr-defined]
        context = {
            "choice": self.choice,
            "incident": self.incident,
            "heading": self.heading,
            "may_change": self.may_change,
            "url": request.path,
            "fragment": alone,
            "layout": "ui/fragment.html" if alone else "postmortems/panel_page.html",
            **self.content(),
        }
        response = render(request, self.template, context)
        return tagged(request, response) if alone else response

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """What the template shows."""


class ImpactView(Panel):
    """``/incidents/<id>/impact/``: requests, users, tokens and money by the minute, the window, and what else the data say is hit."""

    template = "postmortems/impact.html"
    heading = "Impact"

    def content(self) -> dict[str, Any]:
        row, now = self.incident, clock.now()
        before, during = minutes_around(row, now=now)
        proposed = window_propose(before, during, noticed=row.started_at)
        measured = Impact.of_document(row.impact) if row.impact else None
        shown_from = begin_of(row) - timedelta(minutes=20)
        shown = [one for one in (*before, *during) if one.at >= shown_from]
        return {
            "now": lately(during, now) if row.open else None,
            "measured": measured,
            "proposed": proposed,
            "differs": proposed is not None
            and row.impact_set_by
            and (proposed.since, proposed.until) != (row.impact_from, row.impact_until),
            "plot": impact_plot(shown, since=row.impact_from, until=row.impact_until),
            "suggestions": suggestions_of(row, now=now) if row.open else [],
            "requests_url": requests_url(row, now),
        }


def lately(minutes: list[MinuteImpact], now: datetime) -> dict[str, Any] | None:
    """The last whole minutes, by the minute; None where there are none."""
    whole = [one for one in minutes if one.at <= now - timedelta(seconds=65)][-LATELY:]
    if not whole:
        return None
    count = len(whole)
    requests, failed = sum(one.requests for one in whole), sum(one.failed for one in whole)
    return {
        "minutes": count,
        "requests": requests / count,
        "failed": failed / count,
        "share_text": f"{failed / requests:.1%} of requests".replace("%", " %") if requests else "",
        "rescued_attempts": sum(one.attempt_errors for one in whole) / count,
        "tokens": sum(one.tokens for one in whole) / count,
        "cost_nano": round(sum(one.cost_nano for one in whole) / count),
        "failures": [one.failed for one in minutes[-60:]],
        "costs": [one.cost_nano for one in minutes[-60:]],
        "all": [one.requests for one in minutes[-60:]],
    }


def requests_url(row: Any, now: datetime) -> str:
    """The failed requests of its window, or since it began."""
    start, end = row.impact_from or row.started_at, row.impact_until or row.resolved_at or now
    query = {"from": f"{start:%Y-%m-%dT%H:%M:%SZ}", "to": f"{end + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}", "outcome": "error"}
    if len(row.routes) == 1:
        query["route"] = row.routes[0]
    return f"{reverse('dashboard:requests')}?{urlencode(query)}"


class ChangesView(Panel):
    """``/incidents/<id>/changes/``: what changed in the hour before, the most suspect first."""

    template = "postmortems/changes.html"
    heading = "What changed before"

    def content(self) -> dict[str, Any]:
        row: Any = self.incident
        told = {*row.pinned_sources}
        return {"suspects": [(one, one.change.key in told) for one in suspects_of(row, now=clock.now())], "begin": begin_of(row)}

    def rows(self) -> QuerySet[Incident]:
        """With what its pinned entries were made of."""
        pinned = TimelineEntry.objects.filter(incident=OuterRef("pk"), pinned=True).exclude(source="")
        return super().rows().annotate(pinned_sources=ArraySubquery(pinned.values("source")))


class HelpView(Panel):
    """``/incidents/<id>/help/``: flips in reach, owners and who is on call, runbooks."""

    template = "postmortems/help.html"
    heading = "What helps"

    def content(self) -> dict[str, Any]:
        row = self.incident
        found = answerable(row)
        return {
            "flips": flips_in_reach(row, places_of(row.organisation)),
            "owners": found.owners,
            "runbooks": found.runbooks,
            "may_flip": self.choice.may("flag.flip"),
        }


class FlipView(Panel):
    """``/incidents/<id>/flips/<flag>/``: what turning a flag on would do, measured as its own page does."""

    template = "postmortems/flip.html"
    heading = "What a flip would do"

    def content(self) -> dict[str, Any]:
        flag = Flag.objects.select_related("organisation").filter(organisation=self.choice.organisation, name=self.kwargs["flag"]).first()
        if flag is None:
            raise Http404("There is no such flag.")
        return {"flag": flag, "prediction": flip_foretell(flag, on=True), "may_flip": self.choice.may("flag.flip")}


class TimelineView(Panel):
    """``/incidents/<id>/timeline/``: everything that happened, oldest last; ``?kind=`` one kind, ``?hidden=1`` also what was left out."""

    template = "postmortems/timeline_page.html"
    heading = "Timeline"

    def content(self) -> dict[str, Any]:
        asked = self.request.GET
        rows = entries_of(self.incident, hidden=asked.get("hidden") == "1")
        kind = asked.get("kind", "")
        if kind in choices.ENTRY_KINDS:
            rows = rows.filter(kind=kind)
        return {"entries": list(rows)[::-1], "kinds": choices.ENTRY_KINDS.items(), "kind": kind, "hidden": asked.get("hidden") == "1"}
