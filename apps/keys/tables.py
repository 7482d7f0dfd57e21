"""The list of keys: what its URL asks for, its rows, and the same rows as CSV.

Rows are read in two steps, because a list may be sorted by use and have ten thousand keys: names, states and counts of all, then
last use and budgets of the page that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.contracts.money import dollars_text
from apps.keys import choices, rules, selectors
from apps.keys.neighbours import BudgetLine, budgets_known
from apps.ui.format import dollars
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, lines_build
from apps.ui.timerange import TimeRange
from apps.usage import selectors as usage
from apps.usage.measures import Totals
from apps.usage.recency import last_requests

LOOK_BACK = timedelta(days=35)
"""How far back the last use of a key is looked for."""


@dataclass(slots=True)
class KeyRow:
    """One key as the list shows it. ``last_used`` and ``budgets`` are filled for the rows that are shown."""

    id: UUID
    name: str
    public_id: str
    environment: str
    team: str
    service: str
    status: Status
    expires_at: datetime | None
    totals: Totals = field(default_factory=Totals)
    last_used: datetime | None = None
    budgets: list[BudgetLine] = field(default_factory=list)

    @property
    def owner(self) -> str:
        return f"{self.team} / {self.service}" if self.service else self.team

    @property
    def budget_text(self) -> str:
        return ", ".join(f"{budget.name}: {budget.spent_share:.0f}% of {dollars(budget.limit)}" for budget in self.budgets)


_COLUMNS: tuple[Column[KeyRow], ...] = (
    Column("Key", "name", value=lambda row: row.name),
    Column("Status", "status", value=lambda row: row.status.label),
    Column("Environment", "environment", value=lambda row: row.environment),
    Column("Owner", "owner", extra=True, value=lambda row: row.owner or None),
    Column("Requests", "requests", numeric=True, value=lambda row: row.totals.requests),
    Column("Failed", "failed", numeric=True, extra=True, value=lambda row: row.totals.failed),
    Column("Spend", "spend", numeric=True, value=lambda row: row.totals.cost_nano),
    Column("Budgets", value=lambda row: row.budget_text, help="Those of the key itself; the organisation's apply to every key."),
    Column("Last used", numeric=True, value=lambda row: row.last_used.isoformat() if row.last_used else None),
)
_CSV_COLUMNS: tuple[Column[KeyRow], ...] = (
    *_COLUMNS[:1],
    Column("Public id", value=lambda row: row.public_id),
    *_COLUMNS[1:6],
    Column("Dollars", value=lambda row: dollars_text(row.totals.cost_nano)),
    Column("Nano-dollars", "spend", value=lambda row: row.totals.cost_nano),
    Column("Budgets", value=lambda row: row.budget_text),
    Column("Last used (UTC)", value=lambda row: row.last_used.isoformat(timespec="seconds") if row.last_used else None),
    Column("Expires (UTC)", value=lambda row: row.expires_at.isoformat(timespec="seconds") if row.expires_at else None),
)


PAGES = (("Keys", "keys:list"), ("Requests", "keys:requests"), ("Templates", "keys:templates"))


def keys_tabs(current: str) -> list[tuple[str, str, bool, None]]:
    """The pages of keys, as tabs; ``current``: the URL name of the one that is shown."""
    return [(label, reverse(name), name == current, None) for label, name in PAGES]


IN_DATABASE = ("name", "environment")
"""The columns that the database can sort by."""


def keys_list(choice: Choice, time_range: TimeRange, query: Mapping[str, str], *, csv: bool = False) -> Listing[KeyRow]:
    """One page of the organisation's keys, or with ``csv`` all that the filters leave: four queries.

    Revoked keys are listed only where ``?state=revoked`` asks for them.
    """
    now = datetime.now(UTC)
    asked, state = query.get("q", "").replace("\x00", "").strip()[:200], query.get("state", "")
    environment = query.get("environment", "")
    lines = selectors.key_lines(choice.organisation, asked=asked, revoked=state == "revoked")
    if environment in dict(choices.ENVIRONMENTS):
        lines = lines.filter(environment=environment)
    chips = [Chip("Name", asked, "q")] if asked else []
    chips += [Chip("Status", choices.STATES[state].label, "state")] if state in choices.STATES else []
    chips += [Chip("Environment", environment, "environment")] if environment in dict(choices.ENVIRONMENTS) else []
    return lines_build(
        query,
        label="keys",
        columns=_COLUMNS,
        lines=lines,
        row=lambda line: _row(line, now),
        fill=lambda rows: _add_counts(choice, time_range, rows, now),
        complete=lambda rows: _complete(choice, rows, now),
        in_database=IN_DATABASE,
        default_sort="name",
        nothing_yet=Empty(
            "nothing-yet",
            "No key yet",
            "Apps present a virtual key to the proxy. It says whose spend a request is and what it may use; it is never a provider's key.",
            reverse("keys:create") if choice.may("key.create") else "",
            "Create a key",
        ),
        chips=chips,
        keep=(lambda row: row.status.value == state) if state in choices.STATES else None,
        csv=_CSV_COLUMNS if csv else (),
    )


def _row(line: selectors.Line, now: datetime) -> KeyRow:
    pk, name, public_id, environment, stored, enabled, expires_at, team, service, service_team = line
    status = _status(stored, enabled, expires_at, now)
    return KeyRow(pk, name, public_id, environment, team or service_team or "", service or "", status, expires_at)


def _status(stored: str, enabled: bool, expires_at: datetime | None, now: datetime) -> Status:
    return choices.STATES[rules.state_of(state=stored, enabled=enabled, expires_at=expires_at, now=now)]


def _add_counts(choice: Choice, time_range: TimeRange, rows: list[KeyRow], now: datetime) -> None:
    if not rows:
        return
    ids = [str(row.id) for row in rows] if len(rows) <= 200 else None
    groups = usage.traffic_of(choice.scope, time_range.start, time_range.end, "key_id", ids, latency=False, now=now)
    found = {group.value: group.totals for group in groups}
    for row in rows:
        row.totals = found.get(str(row.id), row.totals)


def _complete(choice: Choice, rows: Sequence[KeyRow], now: datetime) -> None:
    ids = [str(row.id) for row in rows]
    last = last_requests(choice.scope, ids, since=now - LOOK_BACK)
    budgets: dict[str, list[BudgetLine]] = {}
    for budget in budgets_known(choice.organisation, now=now, key_ids=ids) if ids else []:
        budgets.setdefault(budget.key_id, []).append(budget)
    for row in rows:
        row.last_used, row.budgets = last.get(str(row.id)), budgets.get(str(row.id), [])
