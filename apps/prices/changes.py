"""Prices that changed suddenly: from the versions in the price book, of models that are in use.

Every version says when it began to count (it was created, or its validity began) and when it ceased (it was replaced, or its validity
ended). At each such moment the price before is held against the price after, at what the model was used for lately. A change is kept once,
by the model and the moment, whoever made it: a person, a schedule, or an upgrade of the base prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q

from apps.accounts.models import Organisation
from apps.providers import rules
from apps.providers.models import Price, ProviderModel
from apps.providers.selectors import models_with_prices, price_spec, prices_in_force
from apps.usage.anomalies import anomaly_keep
from apps.usage.choices import PRICE_CHANGE
from apps.usage.selectors import rows_of

LOOKED_BACK = timedelta(days=3)
"""A change that nobody found within so long (the workers were away) is old news; re-pricing and the price book have it still."""
USED_DAYS = 7
SUDDEN_PERCENT = 20
TOGETHER = timedelta(seconds=2)
"""Versions that one save replaces and makes: their moments are one change."""
PER = 1_000_000


@dataclass(frozen=True, slots=True)
class PriceEvidence:
    """What says that a price changed. before, after: labels of versions, empty for none. Amounts are nano-dollars per million tokens, and
    per day at the tokens of the last days; percent: how much a day's cost changes, None where it was nothing before."""

    before: str
    after: str
    before_input: int
    before_output: int
    after_input: int
    after_output: int
    tokens_input_day: int
    tokens_output_day: int
    before_day: int
    after_day: int
    percent: float | None

    @property
    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)


def changes_keep(*, now: datetime | None = None) -> int:
    """Find and keep sudden changes of every organisation's prices; returns how many are new. Safe to run twice."""
    now = now or datetime.now(UTC)
    since = now - LOOKED_BACK
    moved = Price.objects.filter(
        Q(created_at__gte=since) | Q(retired_at__gte=since) | Q(valid_from__range=(since, now)) | Q(valid_to__range=(since, now))
    )
    touched = ProviderModel.objects.filter(pk__in=moved.values("model_id"))
    if not touched.exists():
        return 0
    new = 0
    for organisation in Organisation.objects.filter(providers__models__in=touched).distinct():
        models = list(models_with_prices(touched.filter(provider__organisation=organisation)))
        used = _used(organisation, models, now)
        for model in models:
            rows = list(model.prices.all())
            for at in change_moments(rows, since, now):
                for simulated in (False, True):
                    tokens = used.get((model.provider.name, model.name, simulated))
                    evidence = _evidence(rows, at, *tokens) if tokens else None
                    if evidence is not None:
                        new += anomaly_keep(
                            organisation=organisation,
                            simulated=simulated,
                            kind=PRICE_CHANGE,
                            subject=f"{model.provider.name}/{model.name}",
                            starts_at=at,
                            ends_at=at,
                            evidence=evidence.document,
                        )
    return new


def _used(organisation: Organisation, models: Sequence[ProviderModel], now: datetime) -> dict[tuple[str, str, bool], tuple[int, int]]:
    """Tokens in and out a day of the models that were used lately, by provider, model and whether simulated: one query."""
    pairs = [(model.provider.name, model.name) for model in models]
    rows = rows_of(
        "SELECT provider, model, simulated, sum(tokens_input), sum(tokens_output) FROM usage_rollup_1h "
        "JOIN unnest(%s::text[], %s::text[]) AS changed (p, m) ON provider = p AND model = m "
        "WHERE organisation = %s AND simulated = ANY (ARRAY[false, true]) AND bucket >= %s GROUP BY 1, 2, 3",
        [[p for p, _ in pairs], [m for _, m in pairs], str(organisation.pk), now - timedelta(days=USED_DAYS)],
    )
    return {(p, m, simulated): (int(into) // USED_DAYS, int(out) // USED_DAYS) for p, m, simulated, into, out in rows if into or out}


def change_moments(rows: Iterable[Price], since: datetime, now: datetime) -> list[datetime]:
    """When something about a model's prices changed, oldest first; moments that lie together are the first of them."""
    moments = sorted(
        at for row in rows for at in (row.created_at, row.retired_at, row.valid_from, row.valid_to) if at is not None and since <= at <= now
    )
    found: list[datetime] = []
    last = None
    for at in moments:
        if last is None or at - last > TOGETHER:
            found.append(at)
        last = at
    return found


def price_at(rows: Iterable[Price], at: datetime) -> Price | None:
    """The price in force at a past moment, of no region in particular, by the versions that there were then."""
    there = [row for row in rows if row.created_at <= at and (row.retired_at is None or row.retired_at > at)]
    live = prices_in_force(_unretired(row) for row in there)
    spec = rules.price_in_force([price_spec(row) for row in live], at)
    return None if spec is None else next(row for row in live if price_spec(row) == spec)


def _unretired(row: Price) -> Price:
    """The row as it was before it was replaced; never saved."""
    values = {field.attname: getattr(row, field.attname) for field in Price._meta.concrete_fields}
    return Price(**{**values, "retired_at": None})


def _evidence(rows: Sequence[Price], at: datetime, tokens_in: int, tokens_out: int) -> PriceEvidence | None:
    """None where a day at these tokens costs about the same before and after."""
    before, after = price_at(rows, at - timedelta(milliseconds=1)), price_at(rows, at + TOGETHER)
    if before is None:
        return None  # the model's first price: nothing changed
    costs = [0 if one is None else (tokens_in * one.input + tokens_out * one.output) // PER for one in (before, after)]
    if after is not None and abs(costs[1] - costs[0]) * 100 < SUDDEN_PERCENT * max(costs[0], 1):
        return None
    return PriceEvidence(
        before=before.version,
        after=after.version if after is not None else "",
        before_input=before.input,
        before_output=before.output,
        after_input=after.input if after is not None else 0,
        after_output=after.output if after is not None else 0,
        tokens_input_day=tokens_in,
        tokens_output_day=tokens_out,
        before_day=costs[0],
        after_day=costs[1],
        percent=round(100 * (costs[1] - costs[0]) / costs[0], 1) if costs[0] else None,
    )
