"""Reads of feedback: what was said of one request, and how answers of each route and variant were received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db.models import JSONField
from django.db.models.expressions import RawSQL

from apps.accounts.scope import Scope
from apps.usage.selectors import rows_of

MOST_OUTCOMES = 10
"""Outcomes told apart for each route and variant; the rest is ``other``."""
OTHER = "other"


@dataclass(frozen=True, slots=True)
class FeedbackSaid:
    """What one key said of a request. score: -1 to 1. client_ms: how long the user waited, as the app measured it. None: not said."""

    key_id: str
    said_at: datetime
    score: float | None
    reason: str | None
    outcome: str | None
    tags: Sequence[str]
    client_ms: int | None


@dataclass(frozen=True, slots=True)
class RouteFeedback:
    """How answers of a route were received; variant: of a split, empty outside one.

    given: requests that anything was said of, as often as keys said it. scored, good, bad: with a score, one above and one below zero.
    score: their mean. waits: how often the user's wait was told; client_us, total_us: medians over those, of that wait and of what the
    same requests took here. outcomes: by name, the most frequent first.
    """

    route: str
    variant: str
    given: int
    scored: int
    good: int
    bad: int
    score: float | None
    waits: int
    client_us: float | None
    total_us: float | None
    outcomes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long users waited for a route's answers. count: requests whose app told it. client_us, total_us: medians over those, of that
    wait and of what the same requests took here."""

    count: int
    client_us: float
    total_us: float


TOLD = RawSQL(
    "(SELECT jsonb_agg(jsonb_build_object('key_id', said.key_id, 'said_us', said.said_us, 'score', said.score, 'reason', said.reason, "
    "'outcome', said.outcome, 'tags', said.tags, 'client_ms', said.client_ms) ORDER BY said.said_us DESC, said.key_id) "
    "FROM usage_feedback AS said WHERE said.request_id = usage_request.id AND said.organisation = usage_request.organisation "
    "AND said.state = 'kept')",
    [],
    output_field=JSONField(null=True),
)
"""What was said of a request, to come with its row."""


def feedback_told(told: Sequence[Mapping[str, Any]] | None) -> list[FeedbackSaid]:
    """``TOLD`` of one request, the latest first."""
    return [
        FeedbackSaid(
            key_id=row["key_id"],
            said_at=datetime.fromtimestamp(row["said_us"] / 1e6, UTC),
            score=row["score"],
            reason=row["reason"],
            outcome=row["outcome"],
            tags=row["tags"] or [],
            client_ms=row["client_ms"],
        )
        for row in told or ()
    ]


def feedback_by_route(scope: Scope, start: datetime, end: datetime, *, route: str | None = None) -> list[RouteFeedback]:
    """Feedback on requests of a range, by route and variant, the most first; of one route alone where it is named. Two queries."""
    where = "organisation = %s AND simulated = %s AND state = 'kept' AND started_at >= %s AND started_at < %s"
    parameters: list[Any] = [scope.organisation, scope.simulated, start, end]
    if route is not None:
        where += " AND route = %s"
        parameters.append(route)
    rows = rows_of(
        "SELECT route, variant, count(*), count(score), count(*) FILTER (WHERE score > 0), count(*) FILTER (WHERE score < 0), avg(score), "
        "count(client_ms), percentile_cont(0.5) WITHIN GROUP (ORDER BY client_ms) * 1000, "
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY total_us) FILTER (WHERE client_ms IS NOT NULL) "
        f"FROM usage_feedback WHERE {where} GROUP BY route, variant ORDER BY count(*) DESC, route, variant",
        parameters,
    )
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    for name, variant, outcome, count in rows_of(
        f"SELECT route, variant, outcome, count(*) FROM usage_feedback WHERE {where} AND outcome IS NOT NULL GROUP BY 1, 2, 3", parameters
    ):
        outcomes.setdefault((name, variant), Counter())[outcome] = count
    return [RouteFeedback(*row, _named(outcomes.get((row[0], row[1]), Counter()))) for row in rows]


def waits_of_route(scope: Scope, route: str, start: datetime, end: datetime) -> Waits | None:
    """Of a route's requests of a range; None where no app told a wait. One query."""
    [(count, client_us, total_us)] = rows_of(
        "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY client_ms) * 1000, "
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY total_us) FROM usage_feedback WHERE organisation = %s AND simulated = %s "
        "AND state = 'kept' AND started_at >= %s AND started_at < %s AND route = %s AND client_ms IS NOT NULL",
        [scope.organisation, scope.simulated, start, end, route],
    )
    return Waits(count, client_us, total_us) if count else None


def _named(counts: Counter[str]) -> dict[str, int]:
    told = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found = dict(told[:MOST_OUTCOMES])
    rest = sum(count for _, count in told[MOST_OUTCOMES:])
    return {**found, OTHER: found.get(OTHER, 0) + rest} if rest else found
