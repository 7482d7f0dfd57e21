"""The list of requests: what its URL asks for, the page of rows, its filters as choices and as chips, its CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from apps.accounts.scope import Choice
from apps.contracts.money import dollars_text
from apps.dashboard import choices, selectors
from apps.ui.status import Status
from apps.ui.timerange import TimeRange
from apps.usage import selectors as usage
from apps.usage.choices import OUTCOMES
from apps.usage.models import UsageRequest
from apps.usage.narrowing import FilterError, condition
from apps.usage.requests import LOOKED_AT, SORTS, CursorError, RequestPage, request_page, request_rows

DEFAULT_FROM = "now-6h"
PAGE_SIZES = (50, 100, 250)
MOST_CSV_ROWS = 10_000
CSV_PART = 1_000
"""Requests whose keys' names are looked up at a time."""
# parameter of the URL -> filter of apps.usage.narrowing
PARAMETERS: dict[str, str] = {
    "route": "route", "provider": "provider", "key": "key_id", "outcome": "outcome", "code": "error_code", "status": "status",
    "stream": "stream", "feature": "feature", "user": "user", "tag": "tag", "model": "model", "min_ms": "min_ms",
    "team": "team", "service": "service", "region": "region", "without": "without", "trace": "trace_id", "input": "input_hash",
}  # fmt: skip
LABELS = {
    "route": "Route", "provider": "Provider", "key": "Key", "outcome": "Outcome", "code": "Error code", "status": "Status",
    "stream": "Streamed", "feature": "Feature", "user": "User", "tag": "Tag", "model": "Model", "min_ms": "Took at least",
    "team": "Team", "service": "Service", "region": "Region", "without": "Without", "trace": "Trace", "input": "Input",
}  # fmt: skip
TYPED = {
    "status": "429 or 5xx", "feature": "", "user": "", "tag": "", "model": "", "team": "", "service": "", "region": "", "min_ms": "ms",
}  # fmt: skip
"""Filters that are typed, with what stands in their empty fields."""
SORT_LABELS = {"newest": "Newest", "slowest": "Slowest", "costliest": "Costliest", "largest": "Most tokens out"}


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """An applied filter; removing it is leaving out ``parameter``."""

    parameter: str
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Row:
    """One request as the list shows it."""

    record: UsageRequest
    status: Status
    key_name: str


class Listing:
    """One view of the list. Everything comes from the URL; a damaged cursor starts at the first page and says so."""

    def __init__(self, choice: Choice, time_range: TimeRange, query: Mapping[str, str]) -> None:
        self.choice = choice
        self.range = time_range
        self.query = query
        self.applied = {name: query[name][:200].replace("\x00", "") for name in PARAMETERS if query.get(name)}
        self.filters = {PARAMETERS[name]: value for name, value in self.applied.items()}
        self.sort = query.get("sort", "") if query.get("sort") in SORTS else "newest"
        self.limit = next((size for size in PAGE_SIZES if str(size) == query.get("limit")), PAGE_SIZES[0])
        self.problem = time_range.problem

    @cached_property
    def page(self) -> RequestPage:
        try:
            return self._page(after=self.query.get("after", ""), before=self.query.get("before", ""))
        except CursorError as error:
            self.problem = f"{str(error).capitalize()}."
        except FilterError as error:
            self.problem = str(error)
            return RequestPage([], None, None)
        return self._page()

    def _page(self, **place: str) -> RequestPage:
        return request_page(
            self.choice.scope, self.range.start, self.range.end, filters=self.filters, limit=self.limit, sort=self.sort, **place
        )

    @property
    def unusable(self) -> bool:
        """Whether a filter's value makes no sense; ``problem`` says which."""
        try:
            condition(self.filters)
        except FilterError as error:
            self.problem = str(error)
            return True
        return False

    @property
    def looked_at(self) -> str:
        """How many requests a page looks at where no index leads to what is asked for."""
        return f"{LOOKED_AT:,}"

    @property
    def can_tail(self) -> bool:
        """Whether the newest requests are shown, so that new ones belong on top."""
        return self.range.live and self.sort == "newest" and not self.query.get("after") and not self.query.get("before")

    @property
    def tails(self) -> bool:
        """Whether new ones are to appear by themselves."""
        return self.can_tail and self.query.get("tail") == "1"

    @property
    def sorts(self) -> list[Option]:
        return [Option(value, label, value == self.sort) for value, label in SORT_LABELS.items()]

    @property
    def typed(self) -> list[tuple[str, str, str, str]]:
        """(parameter, label, value, placeholder) of each filter that is typed."""
        return [(name, LABELS[name], self.applied.get(name, ""), hint) for name, hint in TYPED.items()]

    @property
    def more_applied(self) -> int:
        """How many of the filters that are folded away are applied."""
        return sum(name in self.applied for name in (*TYPED, "stream"))

    @cached_property
    def key_names(self) -> dict[str, str]:
        """Of the keys that this page names: in its rows, its choices and its filter."""
        ids = {record.key_id for record in self.page.rows} | {*self.seen["key_id"], self.applied.get("key", "")}
        return selectors.key_names(self.choice.organisation, ids)

    @cached_property
    def rows(self) -> list[Row]:
        return rows_made(self.page.rows, self.key_names)

    @cached_property
    def seen(self) -> dict[usage.Dimension, list[str]]:
        return usage.values_seen(self.choice.scope, self.range.start, self.range.end)

    @property
    def fields(self) -> list[tuple[str, str, list[Option]]]:
        """(parameter, label, options) of each select. What is applied is always among the options."""
        pairs: dict[str, list[tuple[str, str]]] = {
            "outcome": [(status.value, status.label) for status in OUTCOMES.values()],
            "route": [(value, value) for value in self.seen["route"]],
            "provider": [(value, value) for value in self.seen["provider"]],
            "key": selectors.named(self.seen["key_id"], self.key_names),
            "stream": [("yes", "Yes"), ("no", "No")],
        }
        found = []
        for name, options in pairs.items():
            applied = self.applied.get(name, "")
            if applied and applied not in (value for value, _ in options):
                options = [(applied, self.shown_value(name, applied)), *options]
            found.append((name, LABELS[name], [Option(value, label, value == applied) for value, label in options]))
        return found

    def shown_value(self, name: str, value: str) -> str:
        """A filter's value in words."""
        if name == "key":
            return self.key_names.get(value, value)
        if name == "min_ms":
            return f"{value} ms"
        return OUTCOMES[value].label if name == "outcome" and value in OUTCOMES else value

    @property
    def chips(self) -> list[Chip]:
        return [Chip(name, LABELS[name], self.shown_value(name, value)) for name, value in self.applied.items()]

    @cached_property
    def empty_kind(self) -> str:
        """Why there are no rows: ``no-match`` (filters), ``no-range`` (other times have some), ``nothing-yet``. Empty with rows."""
        if self.rows:
            return ""
        if self.page.looked_back_to is not None and self.page.after:
            return "no-match-yet"
        if self.applied:
            return "no-match"
        return "no-range" if usage.any_request(self.choice.scope) else "nothing-yet"

    @property
    def proxy_url(self) -> str:
        """Where a first request could be sent: a proxy that is there, else a word to replace."""
        return selectors.fleet().proxy_url


def rows_made(records: Iterable[UsageRequest], key_names: Mapping[str, str]) -> list[Row]:
    """Requests as the list shows them; a key without a name is its id."""
    return [Row(record, choices.outcome(record.outcome), key_names.get(record.key_id, record.key_id)) for record in records]


_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("Request", lambda row: str(row.record.id)),
    ("Started (UTC)", lambda row: row.record.started_at.isoformat(timespec="microseconds")),
    ("Outcome", lambda row: row.status.label),
    ("Status", lambda row: row.record.status),
    ("Error code", lambda row: row.record.error_code),
    ("Route", lambda row: row.record.route),
    ("Requested model", lambda row: row.record.requested_model),
    ("Provider", lambda row: row.record.provider),
    ("Model", lambda row: row.record.model),
    ("Key", lambda row: row.key_name),
    ("Attempts", lambda row: row.record.attempt_count),
    ("Feature", lambda row: row.record.feature),
    ("User", lambda row: row.record.user),
    ("Stream", lambda row: "yes" if row.record.stream else "no"),
    ("Tokens in", lambda row: row.record.tokens_input),
    ("Tokens out", lambda row: row.record.tokens_output),
    ("Dollars", lambda row: dollars_text(row.record.cost_nano)),
    ("Nano-dollars", lambda row: row.record.cost_nano),
    ("Cost is an upper bound", lambda row: "yes" if row.record.estimated else "no"),
    ("First token us", lambda row: row.record.first_token_us if row.record.first_token_us >= 0 else None),
    ("Total us", lambda row: row.record.total_us),
    ("Simulated", lambda row: "yes" if row.record.simulated else "no"),
)


def csv_header() -> Sequence[str]:
    return [name for name, _ in _COLUMNS]


def csv_rows(listing: Listing) -> Iterator[Sequence[Any]]:
    """The rows that the URL's filters and range select, in its order, at most ``MOST_CSV_ROWS``."""
    window = (listing.choice.scope, listing.range.start, listing.range.end)
    records = request_rows(*window, filters=listing.filters, limit=MOST_CSV_ROWS, sort=listing.sort)
    remaining = iter(records)
    while part := list(islice(remaining, CSV_PART)):
        names = selectors.key_names(listing.choice.organisation, {record.key_id for record in part})
        for row in rows_made(part, names):
            yield [read(row) for _, read in _COLUMNS]
