"""An estimate as its page shows it: what the price book and measured traffic say of a month. Reads only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from apps.audit.errors import ServiceError
from apps.budgets import estimating
from apps.budgets.estimating import Hosting, Meeting, Volume
from apps.contracts.pricing import Price
from apps.contracts.usage import Tokens
from apps.prices.models import GpuPrice
from apps.prices.selectors import Tariffs, gpu_prices_of
from apps.providers.rules import unix_ms
from apps.usage.selectors import rows_of

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.accounts.scope import Scope

DAYS = 30
"""How far back a route is measured."""
SAMPLE = 2_000
"""Newest answered requests of a route whose tokens are looked at one by one."""
LEAST_SPAN = timedelta(hours=1)
"""A rate needs so much time: what began a minute ago would be stretched beyond all reason."""


class Spread(NamedTuple):
    """Tokens of requests: the mean, half of them, nearly all."""

    mean: Fraction
    p50: int
    p95: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a route's requests took lately. a_month: requests, stretched from what was counted since ``since``; model: what answered most
    of them, ``<provider>/<model>``."""

    route: str
    uses: list[Tokens]
    a_month: int
    counted: int
    since: datetime
    model: str


def route_measured(scope: Scope, route: str, *, now: datetime | None = None) -> Measured:
    """A route's requests of the last ``DAYS``: one query. Raises ServiceError where there is nothing to go by."""
    now = now or datetime.now(UTC)
    begin = now - timedelta(days=DAYS)
    where = "organisation = %s AND simulated = %s AND route = %s AND started_at >= %s AND started_at < %s"
    place = [scope.organisation, scope.simulated, route, begin, now]
    rows = rows_of(
        "SELECT tokens_input, tokens_output, tokens_cache_read, tokens_cache_write, tokens_reasoning, provider, model, "
        f"(SELECT min(started_at) FROM usage_request WHERE {where}), "
        "(SELECT sum(ok)::bigint FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = 3600 AND dimension = 'route' "
        "AND value = %s AND bucket >= %s AND bucket < %s) "
        f"FROM usage_request WHERE {where} AND outcome = 'ok' ORDER BY started_at DESC LIMIT %s",
        [*place, *place, *place, SAMPLE],
    )
    if not rows:
        raise ServiceError(
            f"{route!r} has answered nothing in the last {DAYS} days that could be measured: type the tokens of a request instead", "route"
        )
    uses = [Tokens(input=i, output=o, cache_read=r, cache_write=w, reasoning=t) for i, o, r, w, t, *_ in rows]
    since, counted = max(rows[0][7], begin), max(int(rows[0][8] or 0), len(uses))
    hours = Fraction(max(now - since, LEAST_SPAN) // timedelta(seconds=1), 3600)
    ((provider, model), _), *_ = Counter((row[5], row[6]) for row in rows).most_common(1)
    a_month = max(1, round(counted * estimating.HOURS_A_MONTH / hours))
    return Measured(route, uses, min(a_month, estimating.MOST_REQUESTS), counted, since, f"{provider}/{model}")


def gpus_now(organisation: Organisation, *, now: datetime | None = None) -> list[GpuPrice]:
    """Prices of GPU hours that are in force: one query."""
    now = now or datetime.now(UTC)
    begun, lasts = Q(valid_from=None) | Q(valid_from__lte=now), Q(valid_to=None) | Q(valid_to__gt=now)
    return list(gpu_prices_of(organisation).filter(begun, lasts))


def prices_of_a_day(tariffs: Tariffs, model: str, *, now: datetime | None = None) -> Counter[Price]:
    """What prices ``<provider>/<model>`` during the 24 hours from now, each price with the hours that it holds. Raises ServiceError."""
    now = now or datetime.now(UTC)
    provider, _, name = model.partition("/")
    if not tariffs.knows(provider, name):
        raise ServiceError(f"the price book has no model {model[:120]!r}: choose one of the list, as provider/model", "model")
    tariff = tariffs.of(provider, name)
    found: Counter[Price] = Counter()
    for hour in range(24):
        price = tariff.at(unix_ms(now + timedelta(hours=hour)) or 0) if tariff is not None else None
        if price is not None:
            found[price] += 1
    if not found:
        raise ServiceError(f"nothing prices {model[:120]!r} now: give it a price in the price book, or choose another", "model")
    return found


@dataclass(frozen=True, slots=True)
class Estimate:
    """A month. each: nano-dollars of one request, exact. labels: the price versions that it is priced by. hosting: None where no GPU was
    chosen."""

    model: str
    requests: int
    each: Fraction
    labels: tuple[str, ...]
    tokens_in: Spread
    tokens_out: Spread
    cached: Fraction
    measured: Measured | None
    hosting: Hosting | None
    gpu: GpuPrice | None

    @property
    def each_nano(self) -> int:
        """One request, to the next nano-dollar."""
        return estimating.month_cost(self.each, 1)

    @property
    def month(self) -> int:
        return estimating.month_cost(self.each, self.requests)

    @property
    def buffered(self) -> list[tuple[int, int, int]]:
        """Each buffer: times, nano-dollars a month, and that as a limit in whole cents."""
        return [(times, self.month * times, estimating.cents_up(self.month * times)) for times in estimating.BUFFERS]

    @property
    def tokens(self) -> Fraction:
        """Input and output of one request, mean."""
        return self.tokens_in.mean + self.tokens_out.mean

    @property
    def meeting(self) -> Meeting | None:
        return estimating.meeting(self.each, self.hosting, self.tokens) if self.hosting else None

    @property
    def volumes(self) -> list[Volume]:
        return estimating.volumes(self.requests, self.each, self.hosting, self.tokens) if self.hosting else []

    @property
    def hosted(self) -> Volume | None:
        """The comparison at the asked number."""
        return next((row for row in self.volumes if row.requests == self.requests), None)


def estimate_make(
    organisation: Organisation,
    scope: Scope,
    *,
    requests: int | None,
    model: str,
    route: str,
    tokens_in: int | None,
    tokens_out: int | None,
    cached_percent: int,
    gpu: GpuPrice | None,
    gpus: int,
    tokens_a_second: int | None,
    busy_percent: int,
    now: datetime | None = None,
) -> Estimate:
    """What was asked for, priced. route: measured instead of typed tokens; requests and model are then its own where left out.

    Raises ServiceError for what cannot be estimated, with its field.
    """
    measured = route_measured(scope, route, now=now) if route else None
    if measured is not None:
        uses, requests, model = measured.uses, requests or measured.a_month, model or measured.model
    else:
        if requests is None:
            raise ServiceError("say how many requests a month, or choose a route that is measured", "requests")
        if tokens_in is None or tokens_out is None:
            raise ServiceError("say how many tokens a request takes, or choose a route that is measured", "input")
        if not tokens_in + tokens_out:
            raise ServiceError("a request without any token costs nothing: write its input or its output", "input")
        uses = [Tokens(input=tokens_in, output=tokens_out, cache_read=tokens_in * cached_percent // 100)]
    if not model:
        raise ServiceError("choose a model of the price book, as provider/model, or a route that is measured", "model")
    if gpu is not None and tokens_a_second is None:
        raise ServiceError("say how many tokens a second one replica does: nothing can be compared without", "speed")
    prices = prices_of_a_day(Tariffs(organisation, ()), model, now=now)
    hosting = Hosting(gpu.per_hour, gpus, tokens_a_second, busy_percent) if gpu is not None and tokens_a_second is not None else None
    total_in = sum(use.input for use in uses)
    estimate = Estimate(
        model=model,
        requests=requests,
        each=estimating.request_cost(prices, uses),
        labels=tuple(sorted(price.version for price in prices)),
        tokens_in=_spread([use.input for use in uses]),
        tokens_out=_spread([use.output for use in uses]),
        cached=Fraction(100 * sum(use.cache_read for use in uses), total_in) if total_in else Fraction(0),
        measured=measured,
        hosting=hosting,
        gpu=gpu,
    )
    if hosting is not None and not estimate.tokens:
        raise ServiceError("its requests took no tokens: there is nothing that a GPU could be compared by", "gpu")
    return estimate


def _spread(counts: list[int]) -> Spread:
    ordered = sorted(counts)
    return Spread(Fraction(sum(ordered), len(ordered)), estimating.quantile(ordered, 0.5), estimating.quantile(ordered, 0.95))
