"""The list of routes: what its URL asks for, its rows, and the same rows as CSV.

Rows are read in two steps, because a list may be sorted by traffic and have ten thousand routes: names and counts of all, then
targets and latency of the page that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.contracts.money import dollars_text
from apps.flags.selectors import flags_on
from apps.routes import choices, rules, selectors
from apps.routes.models import RouteTarget
from apps.routes.rules import TargetSpec
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, lines_build
from apps.ui.timerange import TimeRange
from apps.usage import selectors as usage
from apps.usage.measures import Latency, Totals

FEW = 200
"""Up to so many routes, latency is read together with the counts."""


@dataclass(slots=True)
class ShownTarget:
    """A target in a list: its text, and why it is out, if it is."""

    spec: TargetSpec
    out: str = ""

    @property
    def text(self) -> str:
        return choices.target_text(self.spec)


@dataclass(slots=True)
class RouteRow:
    """One route as the list shows it. ``targets`` and ``latency`` are filled for the rows that are shown."""

    id: UUID
    name: str
    owner: str
    enabled: bool
    switched: bool
    switched_to: str
    totals: Totals = field(default_factory=Totals)
    latency: Latency = field(default_factory=Latency)
    seconds: float = 1.0
    flags: list[str] = field(default_factory=list)
    killed: bool = False
    targets: list[ShownTarget] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """What stands out first: a kill, disabled, a switch, a flag."""
        state = rules.state_of(enabled=self.enabled, killed=self.killed, switched=self.switched, flagged=bool(self.flags))
        return choices.STATES[state]

    @property
    def rate(self) -> float:
        """Requests a second in the range."""
        return self.totals.requests / self.seconds

    @property
    def target_texts(self) -> str:
        return ", ".join(target.text for target in self.targets)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value / 1e3:.3f}"


COLUMNS: tuple[Column[RouteRow], ...] = (
    Column("Route", "name", value=lambda row: row.name),
    Column("Status", "status", value=lambda row: row.status.label),
    Column("Targets", value=lambda row: row.target_texts, help="In the order in which they are tried."),
    Column("Requests / s", "rate", numeric=True, value=lambda row: row.totals.requests, help="Over the range; sorted by requests."),
    Column("Failed", "failed", numeric=True, value=lambda row: row.totals.failed),
    Column("p95", numeric=True, value=lambda row: _ms(row.latency.p95), help="95 of 100 answers came at least this fast."),
    Column("Spend", "spend", numeric=True, value=lambda row: row.totals.cost_nano),
    Column("Owner", "owner", extra=True, order=("owner__name",), value=lambda row: row.owner or None),
)
IN_DATABASE = ("name", "owner")
"""The columns that the database can sort by."""
CSV_COLUMNS: tuple[Column[RouteRow], ...] = (
    Column("Route", "name", value=lambda row: row.name),
    Column("Status", "status", value=lambda row: row.status.label),
    Column("Targets", value=lambda row: row.target_texts),
    Column("Flags in force", value=lambda row: ", ".join(row.flags)),
    Column("Requests", "rate", value=lambda row: row.totals.requests),
    Column("Failed", "failed", value=lambda row: row.totals.failed),
    Column("p95 ms", value=lambda row: _ms(row.latency.p95)),
    Column("Dollars", value=lambda row: dollars_text(row.totals.cost_nano)),
    Column("Nano-dollars", "spend", value=lambda row: row.totals.cost_nano),
    Column("Owner", "owner", value=lambda row: row.owner or None),
)


def routes_list(choice: Choice, time_range: TimeRange, query: Mapping[str, str], *, csv: bool = False) -> Listing[RouteRow]:
    """One page of the organisation's routes, or with ``csv`` all that the filters leave: at most six queries for a page."""
    now = datetime.now(UTC)
    asked, state = query.get("q", "").replace("\x00", "").strip()[:200], query.get("state", "")
    stopped: dict[UUID, str] = {}

    def fill(rows: list[RouteRow]) -> None:
        stopped.update(_add_flags(choice, rows))
        _add_counts(choice, time_range, rows, now)

    chips = [Chip("Name", asked, "q")] if asked else []
    chips += [Chip("Status", choices.STATES[state].label, "state")] if state in choices.STATES else []
    return lines_build(
        query,
        label="routes",
        columns=COLUMNS,
        lines=selectors.route_lines(choice.organisation, asked=asked),
        row=lambda line: _row(line, now),
        fill=fill,
        complete=lambda rows: _complete(choice, time_range, rows, stopped, now),
        in_database=IN_DATABASE,
        default_sort="name",
        nothing_yet=Empty(
            "nothing-yet",
            "No route yet",
            "A route is what apps name as “model”; it sends their requests to its targets, in order.",
            reverse("routes:create") if choice.may("route.change") else "",
            "Create a route",
        ),
        chips=chips,
        keep=(lambda row: row.status.value == state) if state in choices.STATES else None,
        csv=CSV_COLUMNS if csv else (),
    )


def _row(line: selectors.Line, now: datetime) -> RouteRow:
    pk, name, owner, enabled, switched, until = line
    return RouteRow(
        id=pk, name=name, owner=owner or "", enabled=enabled, switched=_in_force(switched, until, now), switched_to=switched or ""
    )


def _in_force(switched: str | None, until: datetime | None, now: datetime) -> bool:
    return switched is not None and (until is None or until > now)


def _out(target: RouteTarget, stopped: Mapping[UUID, str]) -> str:
    """Why a target takes no requests now; empty where it does."""
    if not target.provider.enabled:
        return "its provider is disabled"
    return f"its provider is stopped by the flag {stopped[target.provider_id]}" if target.provider_id in stopped else ""


def _add_counts(choice: Choice, time_range: TimeRange, rows: list[RouteRow], now: datetime) -> None:
    if not rows:
        return
    latency = len(rows) <= FEW
    groups = usage.traffic_of(
        choice.scope, time_range.start, time_range.end, "route", [row.name for row in rows] if latency else None, latency=latency, now=now
    )
    found = {group.value: group for group in groups}
    seconds = max((min(time_range.end, now) - time_range.start).total_seconds(), 1.0)
    for row in rows:
        row.seconds = seconds
        if row.name in found:
            row.totals, row.latency = found[row.name].totals, found[row.name].total


def _add_flags(choice: Choice, rows: list[RouteRow]) -> dict[UUID, str]:
    """The flags that are on for each route, in one query; returns those that stop providers, by the provider's id."""
    by_id: dict[UUID, list[Any]] = {}
    stopped: dict[UUID, str] = {}
    for flag in flags_on(choice.organisation).select_related(None).filter(subject_kind__in=("route", "provider")):
        if flag.subject_kind == "route":
            by_id.setdefault(UUID(flag.subject_id), []).append(flag)
        elif flag.kind == "kill":
            stopped[UUID(flag.subject_id)] = flag.name
    for row in rows:
        flags = by_id.get(row.id, [])
        row.flags, row.killed = [flag.name for flag in flags], any(flag.kind == "kill" for flag in flags)
    return stopped


def _complete(choice: Choice, time_range: TimeRange, rows: Sequence[RouteRow], stopped: Mapping[UUID, str], now: datetime) -> None:
    """Targets, and latency where it was not read with the counts."""
    targets = selectors.targets_of([row.id for row in rows])
    groups = {}
    if any(row.totals.requests and not row.latency.count for row in rows):
        names = [row.name for row in rows]
        groups = {group.value: group for group in usage.traffic_of(choice.scope, time_range.start, time_range.end, "route", names, now=now)}
    for row in rows:
        row.targets = [ShownTarget(selectors.spec_of(target), _out(target, stopped)) for target in targets.get(row.id, [])]
        if row.name in groups:
            row.latency = groups[row.name].total
