"""What an owner's weekly e-mail says: spend, forecasts, breaches, what is overdue.

Amounts are nano-dollars, weeks Monday to Sunday in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from django.template.loader import render_to_string

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.budgets.choices import ALERT_KINDS
from apps.budgets.lines import BudgetLine, budget_lines
from apps.budgets.models import Budget, BudgetAlert, BudgetOverride
from apps.budgets.selectors import budgets_of
from apps.ownership.models import Team
from apps.ui.delta import Delta, delta
from apps.usage.reconciliation_selectors import unreconciled
from apps.usage.selectors import rows_of

MOST = 20
"""An e-mail names so many budgets, breaches and overdue things; the rest is counted."""
RECONCILE_DAYS = 7
"""So many days into a month, last month's exports should have been compared."""


@dataclass(frozen=True, slots=True)
class Owned:
    """What one address answers for."""

    owner: str
    budgets: list[Budget] = field(default_factory=list)
    teams: list[Team] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TeamSpend:
    name: str
    spent: int
    before: int

    @property
    def delta(self) -> Delta | None:
        return delta(self.spent, self.before, better="less")


@dataclass(frozen=True, slots=True)
class Breach:
    """A threshold of the week at or above the limit, or critical."""

    budget: str
    what: str
    share: int
    value: int
    limit: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Weekly:
    """``whole``: the organisation's spend where a budget of theirs is for all of it."""

    organisation: Organisation
    owner: str
    starts: date
    whole: TeamSpend | None
    teams: list[TeamSpend]
    budgets: list[BudgetLine]
    breaches: list[Breach]
    overdue: list[str]

    @property
    def last_day(self) -> date:
        return self.starts + timedelta(days=6)

    @property
    def subject(self) -> str:
        bad = f", {len(self.breaches)} breached" if self.breaches else ""
        due = f", {len(self.overdue)} overdue" if self.overdue else ""
        return " ".join(f"[Bulkhead] {self.organisation.name}: week of {self.starts}{bad}{due}".split())[:250]

    @property
    def most(self) -> str:
        """For templates, as a slice."""
        return f":{MOST}"

    @property
    def fullest(self) -> list[BudgetLine]:
        """The budgets that are named: all of a few, the fullest of many."""
        if len(self.budgets) <= MOST:
            return self.budgets
        return sorted(self.budgets, key=lambda line: -line.percent)[:MOST]

    @property
    def more(self) -> tuple[int, int, int]:
        """How many budgets, breaches and overdue things are not named."""
        budgets, breaches, overdue = (max(0, len(those) - MOST) for those in (self.budgets, self.breaches, self.overdue))
        return budgets, breaches, overdue

    def rendered(self) -> tuple[str, str]:
        """(text, HTML) of the e-mail."""
        context = {"weekly": self}
        text = render_to_string("budgets/weekly.txt", context) + ""  # no SafeString any more: a page that shows the text must escape it
        return text, render_to_string("budgets/weekly.html", context)


def week_before(now: datetime) -> date:
    """The Monday that began the last whole week (UTC)."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday() + 7)


def owners_of(organisation: Organisation) -> dict[str, Owned]:
    """Every address that a living budget or a team names, in lower case, by address: two queries."""
    found: dict[str, Owned] = {}
    for budget in budgets_of(organisation).exclude(owner_email=""):
        address = budget.owner_email.strip().lower()
        found.setdefault(address, Owned(address)).budgets.append(budget)
    for team in Team.objects.filter(organisation=organisation).exclude(contact_email="").order_by("name"):
        address = team.contact_email.strip().lower()
        found.setdefault(address, Owned(address)).teams.append(team)
    return dict(sorted(found.items()))


_SPENT = (
    "SELECT team, coalesce(sum(cost_nano) FILTER (WHERE bucket >= %s), 0)::bigint, "
    "coalesce(sum(cost_nano) FILTER (WHERE bucket < %s), 0)::bigint FROM usage_rollup_1h "
    "WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s GROUP BY team"
)


def weekly_build(organisation: Organisation, owned: Owned, *, starts: date, now: datetime) -> Weekly:
    """The week that ``starts`` on a Monday; budgets stand as they do now. Some eight queries."""
    begin = datetime(starts.year, starts.month, starts.day, tzinfo=UTC)
    end = begin + timedelta(days=7)
    scope = Scope(str(organisation.pk), organisation.simulated)
    rows = rows_of(_SPENT, [begin, begin, scope.organisation, scope.simulated, begin - timedelta(days=7), end])
    spent = {team: (week, before) for team, week, before in rows}
    lines = budget_lines(organisation, owned.budgets)
    whole = None
    if any(budget.scope == "organisation" for budget in owned.budgets):
        whole = TeamSpend(organisation.name, sum(week for week, _ in spent.values()), sum(before for _, before in spent.values()))
    raised = list(
        BudgetAlert.objects.filter(window__budget__in=owned.budgets, raised_at__gte=begin, raised_at__lt=end)
        .select_related("window__budget")
        .order_by("raised_at")
    )
    breaches = [
        Breach(
            alert.window.budget.name,
            f"{ALERT_KINDS[alert.kind]}{f' ({alert.window.subject})' if alert.window.subject else ''}",
            alert.share,
            alert.value_nano,
            alert.limit_nano,
            alert.raised_at,
        )
        for alert in raised
        if alert.critical or (alert.kind == "actual" and alert.share >= 100)
    ]
    return Weekly(
        organisation,
        owned.owner,
        starts,
        whole,
        [TeamSpend(team.name, *spent.get(team.slug, (0, 0))) for team in owned.teams],
        lines,
        breaches,
        _overdue(scope, owned, lines, raised, now=now),
    )


def _overdue(scope: Scope, owned: Owned, lines: list[BudgetLine], raised: list[BudgetAlert], *, now: datetime) -> list[str]:
    """What somebody should have done: raise or override a budget that is used up, mend a way that does not reach them, compare last
    month's exports."""
    full = [line for line in lines if line.spent and line.spent >= line.limit]
    given = BudgetOverride.objects.filter(budget__in=[line.budget for line in full], ended_at=None, expires_at__gt=now)
    running = set(given.values_list("budget_id", flat=True)) if full else set()
    found = [
        f"Budget {line.name} is used up, and nobody has raised it or given an override." for line in full if line.budget.pk not in running
    ]
    found += [
        f"An alert of budget {alert.window.budget.name} could not be told: {alert.told}." for alert in raised if "failed" in alert.told
    ]
    if owned.budgets and not scope.simulated and now.astimezone(UTC).day > RECONCILE_DAYS:
        found += [f"Last month of provider {name} is not compared with its export." for name in unreconciled(scope, now=now)]
    return found
