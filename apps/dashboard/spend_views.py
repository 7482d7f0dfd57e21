"""The pages of spend: what it cost, by whom, for nothing, what it will, and what is odd. All days are UTC."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from apps.contracts.money import dollars_text
from apps.dashboard import spend_lines, spend_plots
from apps.dashboard.spend_page import (
    MOST_ANOMALIES,
    SHOWN_ANOMALIES,
    SpendReads,
    anomalies_named,
    tabs_of,
)
from apps.dashboard.spend_period import PERIODS, Chosen, period_read
from apps.fleet.waste import by_team, suggestions
from apps.fleet.waste_selectors import gpu_uses
from apps.prices.selectors import corrections_by
from apps.publishing.editing import ActionView, ScopedView
from apps.ui.csvfile import csv_response
from apps.ui.tables import MOST_CSV_ROWS, Empty, listing_build
from apps.usage import selectors as usage
from apps.usage.anomalies import anomalies_of, anomaly_acknowledge
from apps.usage.choices import SPEND_DIMENSIONS, WASTE
from apps.usage.forecast import LEAST_DAYS, SURE
from apps.usage.models import SpendAnomaly
from apps.usage.spend import Period, Spend, spend_by, waste_by

SHOWN_LINES = 8
SHOWN_FORECASTS = 14
"""In each table; the CSV has all."""
DEFAULT_DIMENSION = "team"
NOTHING_YET = Empty("nothing-yet", "Nothing spent yet", "What requests cost appears here within a minute of the first one.")


class SpendView(ScopedView):
    """A page of spend. tab: its URL name."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"
    tab: ClassVar[str] = ""

    def reads(self) -> SpendReads:
        return SpendReads(self.choice)

    def frame(self, *, open_anomalies: int | None = None, **more: Any) -> dict[str, Any]:
        """What every tab's template needs."""
        return {"choice": self.choice, "tabs": tabs_of(self.tab, open_anomalies=open_anomalies), **more}


class OverviewView(SpendView):
    """``/spend/?by=team``: today, the month, its forecast, who spends, what is odd."""

    tab = "dashboard:spend"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        reads = self.reads()
        slug = request.GET.get("by", DEFAULT_DIMENSION)
        if slug not in spend_lines.SLUGS:
            slug = DEFAULT_DIMENSION
        dimension = spend_lines.SLUGS[slug]
        spend = spend_by(self.choice.scope, reads.month, dimension)
        names = spend_lines.names_of(self.choice.organisation, dimension, [row.value for row in spend.rows[:SHOWN_LINES]])
        lines = spend_lines.lines_made(reads.month, dimension, spend, names, {})
        anomalies = reads.open_anomalies
        context = self.frame(
            open_anomalies=len(anomalies),
            reads=reads,
            nothing_yet=not any(reads.days.values()) and not usage.any_request(self.choice.scope),
            plot=spend_plots.days_plot(reads.days, reads.later_days, today=reads.today),
            spend=spend,
            uncounted=max(0, reads.spent_month - spend.total.cost_nano),
            lines=lines[:SHOWN_LINES],
            more_lines=len(lines) - SHOWN_LINES,
            dimension=SPEND_DIMENSIONS[dimension],
            slug=slug,
            dimensions=[(label, f"?by={key}", key == slug, None) for key, label in _labels()],
            anomalies=anomalies_named(self.choice, anomalies[:SHOWN_ANOMALIES]),
            more_anomalies=len(anomalies) - SHOWN_ANOMALIES,
            may_acknowledge=self.choice.may("anomaly.acknowledge"),
            least_days=LEAST_DAYS,
            sure=round(100 * SURE),
        )
        return render(request, "dashboard/spend.html", context)


def _labels() -> list[tuple[str, str]]:
    return [(slug, SPEND_DIMENSIONS[name]) for slug, name in spend_lines.SLUGS.items()]


class ByView(SpendView):
    """``/spend/by/team/?period=month&sort=-spend``: a period by one dimension, with the requests behind each row; as CSV too."""

    tab = "dashboard:spend_breakdown"

    def get(self, request: HttpRequest, dimension: str = DEFAULT_DIMENSION) -> HttpResponseBase:
        column = spend_lines.SLUGS.get(dimension)
        if column is None:
            raise Http404(f"Spend is not kept by {dimension!r}: one of {', '.join(spend_lines.SLUGS)}.")
        reads = self.reads()
        chosen = period_read(request.GET, today=reads.today)
        scope, period = self.choice.scope, chosen.period
        spend = spend_by(scope, period, column)
        corrections = corrections_by(scope, period.first, period.last, column)
        names = spend_lines.names_of(self.choice.organisation, column, [*(row.value for row in spend.rows), *corrections])
        lines = spend_lines.lines_made(period, column, spend, names, corrections)
        told_apart = column not in spend_lines.UNKNOWN_TO_CORRECTIONS
        correction = sum(corrections.values())
        listing = listing_build(
            request.GET,
            label=f"{SPEND_DIMENSIONS[column].lower()}s" if column != "key_id" else "keys",
            columns=spend_lines.columns(column, corrected=bool(correction or corrections) and told_apart),
            rows=lines,
            default_sort="-spend",
            nothing_yet=self._nothing(chosen),
        )
        if request.GET.get("format") == "csv":
            header = [column.label for column in spend_lines.CSV]
            rows = ([column.value(line) for column in spend_lines.CSV if column.value] for line in listing.everything[:MOST_CSV_ROWS])
            return csv_response(f"bulkhead-spend-{dimension}-{period.first}-{period.last}.csv", header, rows)
        context = self.frame(
            chosen=chosen,
            periods=_periods(chosen),
            listing=listing,
            spend=spend,
            correction=correction,
            told_apart=told_apart,
            corrected=spend.total.cost_nano + correction,
            uncounted=_uncounted(reads, period, spend),
            dimension=SPEND_DIMENSIONS[column],
            dimensions=_dimension_tabs(request, dimension),
            before=period.before,
        )
        return render(request, "dashboard/spend_by.html", context)

    def _nothing(self, chosen: Chosen) -> Empty:
        if usage.any_request(self.choice.scope):
            return Empty("no-match", "Nothing spent in this period", "Choose a longer one.", "?period=90d", "The last 90 days")
        return NOTHING_YET


def _uncounted(reads: SpendReads, period: Period, spend: Spend) -> int:
    """What the period cost beside what is counted by dimension; only of periods that are not over, and never negative."""
    if period.last < reads.today or period.first < min(reads.days, default=reads.today):
        return 0
    whole = sum(nano for day, nano in reads.days.items() if period.first <= day <= period.last)
    return max(0, whole - spend.total.cost_nano)


def _dimension_tabs(request: HttpRequest, current: str) -> list[tuple[str, str, bool, None]]:
    """To the same period by another dimension."""
    kept = request.GET.copy()
    for name in ("page", "format"):
        kept.pop(name, None)
    query = f"?{kept.urlencode()}" if kept else ""
    return [(label, reverse("dashboard:spend_by", args=[slug]) + query, slug == current, None) for slug, label in _labels()]


def _periods(chosen: Chosen) -> list[tuple[str, str, bool]]:
    return [(name, label, name == chosen.name) for name, label in PERIODS.items()]


class WasteView(SpendView):
    """``/spend/waste/?period=month``: what was paid for and reached nobody, by why."""

    tab = "dashboard:spend_waste"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        reads = self.reads()
        chosen = period_read(request.GET, today=reads.today)
        whole = spend_by(self.choice.scope, chosen.period, "route")
        found = [(WASTE[why], row) for why, row in waste_by(self.choice.scope, chosen.period)]
        if request.GET.get("format") == "csv":
            header = ("Why", "Dollars", "Nano-dollars", "Nano-dollars in as many days before", "Attempts", "Tokens in", "Tokens out")
            rows = [
                (name, dollars_text(a.cost_nano), a.cost_nano, row.before_nano, a.attempts, a.tokens_input, a.tokens_output)
                for (name, _), row in found
                for a in (row.amounts,)
            ]
            return csv_response(f"bulkhead-spend-in-vain-{chosen.period.first}-{chosen.period.last}.csv", header, rows)
        lines = spend_lines.lines_made(chosen.period, "route", whole, {}, {})
        context = self.frame(
            chosen=chosen,
            gpus=self._gpus(chosen.period),
            periods=_periods(chosen),
            found=found,
            whole=whole,
            routes=sorted((line for line in lines if line.amounts.waste_nano), key=lambda line: -line.amounts.waste_nano)[:SHOWN_LINES],
        )
        return render(request, "dashboard/spend_waste.html", context)

    def _tokens(self, period: Period) -> dict[str, int]:
        """Read and written, by provider's name."""
        rows = spend_by(self.choice.scope, period, "provider").rows
        return {row.value: row.amounts.tokens_input + row.amounts.tokens_output for row in rows}

    def _gpus(self, period: Period) -> dict[str, Any]:
        """Own GPUs by deployment and team, and what would cost less."""
        scope = self.choice.scope
        uses = gpu_uses(
            organisation=scope.organisation,
            simulated=scope.simulated,
            start=period.start,
            end=period.end,
            tokens=lambda: self._tokens(period),
        )
        idle = [use.idle_nano for use in uses]
        return {
            "uses": uses,
            "teams": by_team(uses),
            "suggestions": suggestions(uses)[:SHOWN_LINES],
            "hours": sum(use.total for use in uses),
            "idle": sum(use.hours.get("idle", 0.0) for use in uses),
            "idle_nano": None if None in idle else sum(nano or 0 for nano in idle),
        }


class ForecastView(SpendView):
    """``/spend/forecast/``: the month's end, how it comes about, and how good such forecasts were."""

    tab = "dashboard:spend_forecast"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        reads = self.reads()
        of_days, of_months = reads.kept
        ended = [one for one in of_months if one.actual is not None]
        if request.GET.get("format") == "csv":
            header = ("Made on", "Of", "From", "Nano-dollars", "At least", "At most", "Came", "Held")
            rows = (
                (one.made_on, what, one.of, one.forecast.nano, one.forecast.low, one.forecast.high, one.actual, one.held)
                for what, kept in (("day", of_days), ("month", of_months))
                for one in kept
            )
            return csv_response("bulkhead-spend-forecasts.csv", header, rows)
        context = self.frame(
            reads=reads,
            plot=spend_plots.days_plot(reads.days, reads.later_days, today=reads.today),
            record=reads.day_record,
            months=reads.month_record,
            record_plot=spend_plots.record_plot(of_days),
            of_days=[one for one in of_days if one.actual is not None][:SHOWN_FORECASTS],
            of_months=ended[:SHOWN_FORECASTS],
            weekdays=_weekdays(reads),
            least_days=LEAST_DAYS,
            sure=round(100 * SURE),
        )
        return render(request, "dashboard/spend_forecast.html", context)


def _weekdays(reads: SpendReads) -> list[tuple[str, int]]:
    """(weekday, percent of a mean day), where they are told apart."""
    if reads.model is None or not reads.model.weekday_aware:
        return []
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return [(name, round(100 * share)) for name, share in zip(names, reads.model.shares, strict=True)]


class AnomaliesView(SpendView):
    """``/spend/anomalies/``: what was found, with its evidence; the open ones, or with ``?state=all`` every one."""

    tab = "dashboard:spend_anomalies"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        every = request.GET.get("state") == "all"
        rows = anomalies_of(self.choice.scope)
        shown = list((rows if every else rows.filter(acknowledged_at=None))[:MOST_ANOMALIES])
        found = anomalies_named(self.choice, shown)
        context = self.frame(
            open_anomalies=sum(row.acknowledged_at is None for row in shown),
            found=found,
            every=every,
            most=MOST_ANOMALIES,
            any_kept=bool(shown) or rows.exists(),
            may_acknowledge=self.choice.may("anomaly.acknowledge"),
        )
        return render(request, "dashboard/spend_anomalies.html", context)


class AcknowledgeView(ActionView):
    """``POST /spend/anomalies/<id>/acknowledge/`` with a reason."""

    permission = "anomaly.acknowledge"
    reversible = False

    def subject(self) -> SpendAnomaly:
        row = SpendAnomaly.objects.filter(pk=self._id, organisation=self.choice.organisation).first()
        if row is None:
            raise Http404("There is no such anomaly in this organisation.")
        return row

    @property
    def _id(self) -> UUID:
        return UUID(str(self.kwargs["anomaly_id"]))

    def change(self, reason: str) -> SpendAnomaly:
        return anomaly_acknowledge(actor=self.actor, organisation=self.choice.organisation, anomaly_id=self._id, reason=reason)

    def done_url(self) -> str:
        return reverse("dashboard:spend_anomalies")

    def done_message(self, result: SpendAnomaly) -> str:
        return "Anomaly acknowledged"
