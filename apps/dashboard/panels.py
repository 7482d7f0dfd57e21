"""The panels: each has its own address, template, data and CSV, and stands on pages beside others.

A panel's data is built from ``Reads``, which asks each question of the database once, however many panels of a page need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest

from apps.accounts.scope import Choice
from apps.budgets.selectors import BudgetBar, budget_bars
from apps.contracts.money import dollars_text
from apps.dashboard import selectors
from apps.dashboard.verdict import verdict
from apps.providers.live import live_targets
from apps.publishing.selectors import fleet_status_of
from apps.ui.timerange import TimeRange
from apps.usage import plots
from apps.usage import selectors as usage
from apps.usage.glance import LIVE_SECONDS, Glance
from apps.usage.glance import glance as usage_glance
from apps.usage.measures import Group, Series
from apps.usage.selectors import EVERYTHING, Dimension


class Reads:
    """What a page knows: each property is one or two queries, made when first needed and never twice."""

    def __init__(self, request: HttpRequest, choice: Choice, time_range: TimeRange, dimensions: Sequence[Dimension]) -> None:
        self.request = request
        self.choice = choice
        self.range = time_range
        self.dimensions = dimensions
        self.now = datetime.now(UTC)

    @cached_property
    def series(self) -> Series:
        return usage.traffic_series(self.choice.scope, self.range.start, self.range.end, now=self.now, whole=self.groups[EVERYTHING])

    @cached_property
    def groups(self) -> dict[str, list[Group]]:
        """Under ``""`` the whole, always."""
        return usage.traffic_by(self.choice.scope, self.range.start, self.range.end, self.dimensions, now=self.now)

    @cached_property
    def glance(self) -> Glance:
        return usage_glance(self.choice.scope, now=self.now)

    @cached_property
    def marks(self) -> list[plots.Mark]:
        """What happened in the range: publishes, switches, outages."""
        return selectors.marks(self.choice.organisation, self.range.start, self.range.end)

    @cached_property
    def bars(self) -> list[BudgetBar]:
        return budget_bars(self.choice.organisation, now=self.now)

    @cached_property
    def nothing_yet(self) -> bool:
        """Whether this scope never had a request; asks only where the range shows none."""
        return not self.series.totals.requests and not usage.any_request(self.choice.scope)

    @cached_property
    def fleet(self) -> selectors.Fleet:
        return selectors.fleet_of(self.request)

    @cached_property
    def key_names(self) -> dict[str, str]:
        """Of the keys that the range has traffic of."""
        return selectors.key_names(self.choice.organisation, (group.value for group in self.groups["key_id"]))


@dataclass(frozen=True, slots=True)
class Table:
    """What a CSV holds."""

    header: Sequence[str]
    rows: list[Sequence[Any]]


def now_data(reads: Reads) -> dict[str, Any]:
    """The tiles: rates of the last minute, latency, tokens and failures of the range, spend of the day."""
    series, glance = reads.series, reads.glance
    return {
        "series": series,
        "live": glance.live,
        "live_rate": glance.live.requests / LIVE_SECONDS,
        "spent_today": glance.spent_today,
        "rates": [point.totals.requests / point.seconds for point in series.points],
        "failures": [point.totals.failed / point.seconds for point in series.points],
        "p95s": [point.total.p95 for point in series.points],
        "first_p95s": [point.first_token.p95 for point in series.points],
        "tokens": [point.totals.tokens_input + point.totals.tokens_output for point in series.points],
        "spends": [point.totals.cost_nano for point in series.points],
    }


def now_table(data: dict[str, Any]) -> Table:
    plot = plots.latency(data["series"])
    return Table(plot.header, plot.rows)


def verdict_data(reads: Reads) -> dict[str, Any]:
    """Is something wrong, where, since when; and for each finding what can be flipped and who owns it."""
    bars = reads.bars if reads.choice.may("budget.view") else ()
    fleet, said = reads.fleet, selectors.shipper_said()
    heard = [proxy["detail"] for proxy in fleet_status_of(reads.request)["proxies"]]
    found = verdict(
        glance=reads.glance,
        proxies=fleet.proxies,
        version=fleet.version,
        bars=bars,
        shipper=said,
        now=reads.now,
        targets=live_targets(reads.choice.organisation, heard),
    )
    advised = selectors.advice(reads.choice.organisation, found.findings)
    return {"verdict": found, "findings": list(zip(found.findings, advised, strict=True))}


def _plotted(make: Callable[[Series, Sequence[plots.Mark]], plots.Plot]) -> Callable[[Reads], dict[str, Any]]:
    def build(reads: Reads) -> dict[str, Any]:
        marks = reads.marks if reads.choice.may("config.view") else []
        return {"plot": make(reads.series, marks), "series": reads.series, "marks": marks}

    return build


def plot_table(data: dict[str, Any]) -> Table:
    return Table(data["plot"].header, data["plot"].rows)


def _grouped(dimension: Dimension) -> Callable[[Reads], dict[str, Any]]:
    def build(reads: Reads) -> dict[str, Any]:
        names = reads.key_names if dimension == "key_id" else {}
        groups = reads.groups[dimension]
        return {
            "dimension": dimension,
            "rows": [(group, names.get(group.value, group.value)) for group in groups],
            "range": urlencode(reads.range.query),
            "seconds": max((min(reads.range.end, reads.now) - reads.range.start).total_seconds(), 1),
        }

    return build


def group_table(data: dict[str, Any]) -> Table:
    header = ("Name", "Requests", "Answered", "Failed", "Refused", "Cancelled", "Outcome unknown", "Attempts", "Failed attempts",
              "Tokens in", "Tokens out", "Dollars", "Nano-dollars", "p50 ms", "p95 ms", "p99 ms", "First token p95 ms")  # fmt: skip

    def ms(value: float | None) -> str:
        return "" if value is None else f"{value / 1e3:.3f}"

    rows = [
        (
            name,
            g.totals.requests,
            g.totals.ok,
            g.totals.error,
            g.totals.refused,
            g.totals.cancelled,
            g.totals.unknown,
            g.totals.attempts,
            g.totals.attempt_errors,
            g.totals.tokens_input,
            g.totals.tokens_output,
            dollars_text(g.totals.cost_nano),
            g.totals.cost_nano,
            ms(g.total.p50),
            ms(g.total.p95),
            ms(g.total.p99),
            ms(g.first_token.p95),
        )
        for g, name in data["rows"]
    ]
    return Table(header, rows)


def proxies_data(reads: Reads) -> dict[str, Any]:
    return {"fleet": reads.fleet, "lag_warns_ms": selectors.LAG_WARNS_MS}


def proxies_table(data: dict[str, Any]) -> Table:
    header = ("Name", "Host", "Process id", "State", "Reason", "Config version", "Last seen (UTC)", "Shipping lag ms", "Settled records")
    return Table(
        header,
        [
            (p.name, p.host, p.pid, p.status.label, p.reason, p.version, p.last_seen_at.isoformat(), p.lag_ms, p.settled)
            for p in data["fleet"].proxies
        ],
    )


def budgets_data(reads: Reads) -> dict[str, Any]:
    return {"bars": reads.bars}


def budgets_table(data: dict[str, Any]) -> Table:
    header = ("Budget", "Of", "Per", "State", "Limit nano-dollars", "Spent nano-dollars", "Leased nano-dollars", "Overrun nano-dollars")
    return Table(header, [(b.name, b.scope, b.window, b.status.label, b.limit, b.spent, b.leased, b.overrun) for b in data["bars"]])


@dataclass(frozen=True, slots=True)
class Panel:
    """``name``: of its URL, element and file. ``action``: the permission it takes. ``every``: seconds between polls.

    ``ranged``: whether a time range changes it. ``bare``: it is the panel's whole face, without header bar (the tiles).
    ``url``: the name of its address where that is not the dashboard's. ``strip``: it stands on top of Overview, for whom ``shown`` says,
    and is fetched by itself, so that whatever it asks of others never holds up the page.
    """

    name: str
    title: str
    action: str
    build: Callable[[Reads], dict[str, Any]]
    table: Callable[[dict[str, Any]], Table] | None = None
    every: int = 10
    ranged: bool = True
    bare: bool = False
    dimensions: tuple[Dimension, ...] = ()
    template: str = ""
    url: str = ""
    strip: bool = False
    shown: Callable[[Choice], bool] = lambda choice: True

    @property
    def template_name(self) -> str:
        return self.template if "/" in self.template else f"dashboard/panels/{self.template or self.name}.html"

    @property
    def has_table(self) -> bool:
        """For templates, which would call ``table``."""
        return self.table is not None

    @property
    def url_name(self) -> str:
        return self.url or f"dashboard:{self.name}"


PANELS: dict[str, Panel] = {
    panel.name: panel
    for panel in (
        Panel("verdict", "Verdict", "overview.view", verdict_data, every=5, ranged=False, bare=True),
        Panel("now", "Now", "overview.view", now_data, now_table, every=5, bare=True),
        Panel("traffic", "Requests per second", "overview.view", _plotted(plots.traffic), plot_table, template="plot"),
        Panel("latency", "Latency", "overview.view", _plotted(plots.latency), plot_table, template="plot"),
        Panel("cost", "Spend over time", "usage.view", _plotted(plots.spend), plot_table, template="plot"),
        Panel("routes", "Routes", "usage.view", _grouped("route"), group_table, dimensions=("route",), template="groups"),
        Panel("providers", "Providers", "usage.view", _grouped("provider"), group_table, dimensions=("provider",), template="groups"),
        Panel("keys", "Keys", "usage.view", _grouped("key_id"), group_table, dimensions=("key_id",), template="groups"),
        Panel("budgets", "Budgets", "budget.view", budgets_data, budgets_table, every=5, ranged=False),
        Panel("proxies", "Proxies", "config.view", proxies_data, proxies_table, every=5, ranged=False),
    )
}


def panel_register(panel: Panel) -> None:
    """Add a panel of another app, in its ``ready()``. The same again is harmless; another of that name raises ValueError."""
    if PANELS.setdefault(panel.name, panel) != panel:
        raise ValueError(f"a panel {panel.name!r} is registered already")


def strips(choice: Choice) -> list[Panel]:
    """The panels on top of Overview that this person sees now."""
    return [panel for panel in PANELS.values() if panel.strip and choice.may(panel.action) and panel.shown(choice)]
