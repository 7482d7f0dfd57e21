"""What performance budgets measure: their figure, the verdict that follows, and the evidence for it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from apps.accounts.scope import Scope
from apps.budgets import performance_choices as choices
from apps.budgets import performance_rules as rules
from apps.budgets.models import PerformanceBudget
from apps.contracts.money import ceil_div
from apps.keys.neighbours import routes_known
from apps.usage.measures import Latency, Totals
from apps.usage.performance import Dimension, Gaps, Traffic, gap_points, gaps_in, least_of, traffic_in, traffic_points

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

GONE = "what it is for is not there any more"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verdict and what it rests on; times as ISO 8601 in UTC. measured, bound: whole numbers in the metric's unit
    (``performance_rules``), beside their texts. samples, needed: measurements there are, and that a verdict takes."""

    state: str
    why: str
    metric: str
    measured: int | None
    measured_text: str
    bound: int
    bound_text: str
    warn_percent: int
    samples: int
    needed: int
    samples_of: str
    window: str
    starts_at: str
    ends_at: str
    how: str
    simulated: bool

    def document(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a budget's figure over time; value: None where nothing was measured."""

    at: datetime
    value: int | None
    samples: int


def scope_of(organisation: Organisation) -> Scope:
    """Whose traffic is judged: an organisation's real one, a simulated organisation's simulated one."""
    return Scope(organisation=str(organisation.pk), simulated=organisation.simulated)


def subjects_of(organisation: Organisation, budgets: Iterable[PerformanceBudget]) -> dict[UUID, str]:
    """What each budget is for, by its name in the traffic; one that is for a route that is gone is left out. At most one query."""
    rows = list(budgets)
    routes = {route.id: route.name for route in routes_known(organisation)} if any(row.scope == "route" for row in rows) else {}
    names = {row.pk: row.scope_id if row.scope == "model" else routes.get(row.scope_id, "") for row in rows}
    return {pk: name for pk, name in names.items() if name}


def budgets_measure(organisation: Organisation, budgets: Sequence[PerformanceBudget], *, now: datetime) -> dict[UUID, Evidence]:
    """The evidence on each of an organisation's budgets over its window until now.

    One query for the routes' names, and one for each window and kind of scope; one more for each where inter-token latency is bounded.
    """
    scope, names = scope_of(organisation), subjects_of(organisation, budgets)
    found: dict[UUID, Evidence] = {}
    groups: dict[tuple[str, str, bool], list[PerformanceBudget]] = {}
    for row in budgets:
        start = now - choices.WINDOWS[row.window].length
        if row.pk not in names:
            found[row.pk] = _evidence(row, rules.Figure(None, 0, 0, GONE), start, now, scope)
        elif row.metric == "gpu_hours":
            found[row.pk] = _evidence(row, rules.Figure(None, 0, 0, choices.NO_GPUS), start, now, scope)
        else:
            groups.setdefault((row.scope, row.window, row.metric == "inter_token_p95"), []).append(row)
    for (dimension, window, of_gaps), rows in groups.items():
        start = now - choices.WINDOWS[window].length
        wanted = sorted({names[row.pk] for row in rows})
        if of_gaps:
            gaps = gaps_in(scope, cast(Dimension, dimension), wanted, start, now, now=now)
            for row in rows:
                found[row.pk] = _evidence(row, _of_gaps(gaps[names[row.pk]]), gaps[names[row.pk]].start, now, scope)
            continue
        traffic = traffic_in(scope, cast(Dimension, dimension), wanted, start, now, now=now)
        for row in rows:
            measured: Traffic = traffic[names[row.pk]]
            figure = figure_of(row.metric, row.scope, measured.totals, measured.first_token)
            found[row.pk] = _evidence(row, figure, measured.start, measured.end, scope)
    return found


def figure_of(metric: str, scope: str, totals: Totals, first_token: Latency) -> rules.Figure:
    """The figure of one metric that counts and histograms give."""
    if metric == "ttft_p95":
        if first_token.p95 is None:
            return rules.Figure(None, 0, 0)
        return rules.Figure(round(first_token.p95), int(least_of(first_token.p95)), first_token.count)
    if metric == "error_rate":
        failed = totals.attempt_errors if scope == "model" else totals.failed
        samples = totals.attempts if scope == "model" else totals.ok + totals.failed
        value = ceil_div(failed * rules.WHOLE, samples) if samples else None
        return rules.Figure(value, failed * rules.WHOLE // samples if samples else 0, samples)
    samples = totals.attempts if scope == "model" else totals.requests - totals.refused
    units = totals.tokens_input + totals.tokens_output if metric == "cost_per_1k_tokens" else samples
    if units <= 0 or samples <= 0:
        return rules.Figure(None, 0, max(samples, 0), "no token was counted in the window" if samples > 0 else "")
    cost = totals.cost_nano * (1_000 if metric == "cost_per_1k_tokens" else 1)
    return rules.Figure(ceil_div(cost, units), cost // units, samples)


def _of_gaps(gaps: Gaps) -> rules.Figure:
    if gaps.p95 is None:
        return rules.Figure(None, 0, 0, "no finished stream with a counted answer in the window")
    return rules.Figure(round(gaps.p95), int(least_of(gaps.p95)), gaps.count)


def steps_of(budget: PerformanceBudget, name: str, start: datetime, end: datetime, *, now: datetime) -> list[Step]:
    """The budget's figure over a range, step by step; nothing where none is measured. Three queries at most."""
    scope, dimension = scope_of(budget.organisation), cast(Dimension, budget.scope)
    if budget.metric == "gpu_hours" or not name:
        return []
    if budget.metric == "inter_token_p95":
        return [Step(point.at, round(point.p95), point.count) for point in gap_points(scope, dimension, name, start, end, now=now)]
    steps = []
    for point in traffic_points(scope, dimension, name, start, end, now=now):
        figure = figure_of(budget.metric, budget.scope, point.totals, point.first_token)
        steps.append(Step(point.at, figure.value, figure.samples))
    return steps


def _evidence(row: PerformanceBudget, figure: rules.Figure, start: datetime, end: datetime, scope: Scope) -> Evidence:
    metric = choices.METRICS[row.metric]
    samples_of = metric.calls if row.scope == "model" else metric.samples
    terms = {"bound": row.bound, "warn_percent": row.warn_percent, "min_samples": row.min_samples}
    judgement = rules.judge(row.metric, figure=figure, samples_of=samples_of, **terms)
    return Evidence(
        state=judgement.state,
        why=judgement.why,
        metric=row.metric,
        measured=figure.value,
        measured_text=rules.value_text(row.metric, figure.value),
        bound=row.bound,
        bound_text=rules.value_text(row.metric, row.bound),
        warn_percent=row.warn_percent,
        samples=figure.samples,
        needed=rules.needed_samples(row.metric, row.bound, row.min_samples),
        samples_of=samples_of,
        window=row.window,
        starts_at=start.isoformat(timespec="seconds"),
        ends_at=end.isoformat(timespec="seconds"),
        how=metric.how_model if row.scope == "model" else metric.how,
        simulated=scope.simulated,
    )
