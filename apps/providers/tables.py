"""The list of providers: what its URL asks for, its rows, and the same rows as CSV; the columns of models and credentials.

Rows are read in two steps, because a list may be sorted by state or traffic and have ten thousand providers: names, checks and counts
of all, then endpoints, models, routes and latency of the page that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.contracts.money import dollars_text
from apps.providers import choices, listing, rules
from apps.providers.listing import ModelRow
from apps.providers.models import Credential, Endpoint
from apps.ui.format import NOTHING
from apps.ui.status import SEVERITY, Status
from apps.ui.tables import Chip, Column, Empty, Listing, lines_build
from apps.ui.timerange import TimeRange
from apps.usage import selectors as usage
from apps.usage.measures import Latency, Totals

FEW = 60
"""Up to so many providers, latency is read together with the counts."""
STATE_GROUPS: Mapping[str, tuple[str, frozenset[str]]] = {
    "wrong": ("Something is wrong", frozenset({"warn", "bad", "unknown"})),
    "good": ("Healthy", frozenset({"good"})),
    "disabled": ("Disabled", frozenset({"neutral"})),
}
"""Choices of the list's filter by state: value -> (label, tones)."""
_NO_TOTALS, _NO_LATENCY = Totals(), Latency()


@dataclass(slots=True)
class ProviderRow:
    """A provider in the list. ``endpoints``, ``models``, ``routes`` and ``latency`` are filled for the rows that are shown."""

    pk: UUID
    name: str
    kind: str
    simulated: bool
    enabled: bool
    allow_private: bool
    models: int = 0
    routes: int = 0
    checks: tuple[str, ...] = ()
    checked_at: datetime | None = None
    totals: Totals = _NO_TOTALS
    latency: Latency = _NO_LATENCY
    endpoints: list[Endpoint] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """Of its checks and its traffic together."""
        return choices.PROVIDER_STATES[
            rules.provider_state(enabled=self.enabled, checks=self.checks, attempts=self.totals.attempts, failed=self.totals.attempt_errors)
        ]

    @property
    def kind_label(self) -> str:
        """The wire format, in words."""
        return choices.KINDS[self.kind].label if self.kind in choices.KINDS else self.kind

    @property
    def regions(self) -> list[str]:
        """Of its endpoints, none twice."""
        return list(dict.fromkeys(endpoint.region for endpoint in self.endpoints if endpoint.region))

    @property
    def credentials(self) -> list[Credential]:
        """Of its endpoints, none twice."""
        return list({endpoint.credential_id: endpoint.credential for endpoint in self.endpoints if endpoint.credential}.values())

    @property
    def bare(self) -> int:
        """Endpoints without a credential."""
        return sum(endpoint.credential_id is None for endpoint in self.endpoints)


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value / 1e3:.3f}"


PROVIDERS: tuple[Column[ProviderRow], ...] = (
    Column("Provider", "name", value=lambda row: row.name),
    Column(
        "State", "state", value=lambda row: f"{SEVERITY.index(row.status.tone)} {row.status.label}", help="From its checks and its traffic"
    ),
    Column("Kind", "kind", extra=True, value=lambda row: row.kind_label),
    Column("Regions", extra=True, value=lambda row: ", ".join(row.regions)),
    Column("Endpoints", extra=True, value=lambda row: ", ".join(endpoint.base_url for endpoint in row.endpoints)),
    Column("Credentials", extra=True, value=lambda row: ", ".join(credential.name for credential in row.credentials)),
    Column("Routes", "routes", numeric=True, extra=True, order=("route_count",), value=lambda row: row.routes),
    Column("Models", "models", numeric=True, extra=True, order=("model_count",), value=lambda row: row.models),
    Column("Requests", "requests", numeric=True, value=lambda row: row.totals.requests),
    Column("Failed attempts", "failed", numeric=True, value=lambda row: row.totals.attempt_errors),
    Column("p95", "p95", numeric=True, value=lambda row: row.latency.p95, help="Whole answers of requests it answered"),
)
IN_DATABASE = ("name", "kind", "routes", "models")
"""The columns that the database can sort by."""
CSV_COLUMNS: tuple[Column[ProviderRow], ...] = (
    *(replace(column, value=lambda row: row.status.label) if column.key == "state" else column for column in PROVIDERS[:-1]),
    Column("Attempts", value=lambda row: row.totals.attempts),
    Column("Spend, nano-dollars", value=lambda row: row.totals.cost_nano),
    Column("p95 ms", value=lambda row: _ms(row.latency.p95)),
    Column("Simulated", value=lambda row: "yes" if row.simulated else "no"),
    Column("Private addresses allowed", value=lambda row: "yes" if row.allow_private else "no"),
    Column("Checked at (UTC)", value=lambda row: row.checked_at.isoformat() if row.checked_at else None),
)


def providers_list(choice: Choice, time_range: TimeRange, query: Mapping[str, str], *, csv: bool = False) -> Listing[ProviderRow]:
    """One page of the organisation's providers, or with ``csv`` all that the filters leave: at most six queries for a page."""
    now = datetime.now(UTC)
    asked, state = query.get("q", "").replace("\x00", "").strip()[:200], query.get("state", "")
    by_latency = query.get("sort", "").endswith("p95")
    label, tones = STATE_GROUPS.get(state, ("", frozenset()))
    chips = [Chip("Name", asked, "q")] if asked else []
    chips += [Chip("State", label, "state")] if label else []
    may = choice.may("provider.change")
    return lines_build(
        query,
        label="providers",
        columns=PROVIDERS,
        lines=listing.provider_lines(choice.organisation, asked=asked),
        row=lambda line: ProviderRow(*line),
        fill=lambda rows: _fill(choice, time_range, rows, latency=by_latency, now=now),
        complete=lambda rows: _complete(choice, time_range, rows, now=now),
        in_database=IN_DATABASE,
        default_sort="name",
        nothing_yet=Empty(
            "nothing-yet",
            "No provider yet",
            "A provider is where models are served: a company's API, or a server of your own.",
            reverse("providers:connect") if may else "",
            "Connect a provider" if may else "",
        ),
        chips=chips,
        keep=(lambda row: row.status.tone in tones) if label else None,
        csv=CSV_COLUMNS if csv else (),
    )


def _fill(choice: Choice, time_range: TimeRange, rows: list[ProviderRow], *, latency: bool, now: datetime) -> None:
    """Checks and counts, which the state is made of: two queries, whatever their number. latency: read too, to sort by it."""
    if not rows:
        return
    few = len(rows) <= FEW
    if few:
        endpoints = listing.provider_endpoints([row.pk for row in rows])
        for row in rows:
            row.endpoints = endpoints.get(row.pk, [])
        checks = {row.pk: listing.checks_in(row.endpoints) for row in rows}
    else:
        checks = listing.provider_checks(choice.organisation)
    names = [row.name for row in rows] if few else None
    groups = usage.traffic_of(choice.scope, time_range.start, time_range.end, "provider", names, latency=few or latency, now=now)
    traffic = {group.value: group for group in groups}
    for row in rows:
        if said := checks.get(row.pk):
            row.checks = tuple(listing.check_now(state, at, now=now) for state, at in said)
            row.checked_at = max(at for _, at in said)
        if group := traffic.get(row.name):
            row.totals, row.latency = group.totals, group.total


def _complete(choice: Choice, time_range: TimeRange, rows: Sequence[ProviderRow], *, now: datetime) -> None:
    """Endpoints, counts of models and routes, and latency where it was not read with the counts."""
    endpoints = listing.provider_endpoints([row.pk for row in rows if not row.endpoints])
    counts = listing.provider_counts([row.pk for row in rows])
    groups = {}
    if any(row.totals.requests and not row.latency.count for row in rows):
        names = [row.name for row in rows if row.totals.requests]
        found = usage.traffic_of(choice.scope, time_range.start, time_range.end, "provider", names, now=now)
        groups = {group.value: group.total for group in found}
    for row in rows:
        row.endpoints = row.endpoints or endpoints.get(row.pk, [])
        row.models, row.routes = counts.get(row.pk, (0, 0))
        row.latency = groups.get(row.name, row.latency)


def price_text(row: ModelRow, kind: str) -> str:
    """A price in dollars per million tokens; a dash where there is none."""
    amount = None if row.price is None else getattr(row.price, kind)
    return NOTHING if amount is None else dollars_text(amount)


MODELS: tuple[Column[ModelRow], ...] = (
    Column("Model", "name", value=lambda row: row.model.name),
    Column("Input $/M", numeric=True, value=lambda row: price_text(row, "input")),
    Column("Output $/M", numeric=True, value=lambda row: price_text(row, "output")),
    Column("Cached input $/M", numeric=True, extra=True, value=lambda row: price_text(row, "cache_read")),
    Column("Source", value=lambda row: row.source),
    Column("Price version", value=lambda row: row.price.version if row.price else None, extra=True),
    Column("Context", numeric=True, extra=True, value=lambda row: row.facts.context_window),
    Column("Can do", extra=True, value=lambda row: ", ".join(row.facts.capabilities)),
    Column("Routes", value=lambda row: ", ".join(row.routes)),
)

CREDENTIALS: tuple[Column[Credential], ...] = (
    Column("Credential", "name", value=lambda row: row.name),
    Column("Secret", value=lambda row: row.source or (f"…{row.last_four}" if row.last_four else "typed")),
    Column("Used by", value=lambda row: ", ".join(str(endpoint) for endpoint in row.used_by)),
    Column("Changed", "changed", order=("changed_at",), value=lambda row: row.changed_at.isoformat()),
    Column("Actions"),
)
