"""What a month of requests costs at a provider, what it would cost on GPUs of one's own, and where they meet. Pure; nano-dollars.

Invariants: costs are exact fractions until the month's total, which rounds up once; more requests never cost less, on either side; at
``break_even`` self-hosting costs no more than the API, one request fewer and it does; from ``surely`` on it never costs more again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from apps.contracts.pricing import Price
from apps.contracts.usage import Tokens

HOURS_A_MONTH = 730
"""A twelfth of a year: what GPU hours of a month are counted by, and what a measured rate is stretched to."""
MOST_REQUESTS = 10**12
MOST_TOKENS = 100_000_000
MOST_GPUS = 10_000
MOST_TOKENS_A_SECOND = 100_000_000
BUFFERS = (1, 2, 3)
"""Times the expected month: what may be saved as a budget, because traffic and prompts grow before anybody plans again."""
VOLUMES = (Fraction(1, 10), Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3), Fraction(10))
"""Times the asked number of requests: the rows of the comparison."""


class Hosting(NamedTuple):
    """Replicas of one's own. per_hour: nano-dollars of one GPU hour. gpus: of one replica. tokens_a_second: what one replica reads and
    writes at full load. busy_percent: how full the month keeps it on average."""

    per_hour: int
    gpus: int
    tokens_a_second: int
    busy_percent: int

    @property
    def replica_month(self) -> int:
        """Nano-dollars of one replica for a month, busy or idle."""
        return self.per_hour * self.gpus * HOURS_A_MONTH


class Meeting(NamedTuple):
    """Where self-hosting meets the API, in requests a month. at: the fewest that make it cost no more; None: no volume does.
    surely: from here on it never costs more again, whatever the last replica's idle part; None: that cannot be said."""

    at: int | None
    surely: int | None


class Volume(NamedTuple):
    """One row of the comparison; amounts a month."""

    requests: int
    api: int
    hosted: int
    replicas: int

    @property
    def hosted_wins(self) -> bool:
        return self.hosted < self.api


def request_cost(prices: Mapping[Price, int], uses: Sequence[Tokens]) -> Fraction:
    """Mean nano-dollars of one request. prices: each with its weight, such as the hours of the day in which it holds. uses: what requests
    took, one after the other; each is priced by itself, because tiers look at the single request."""
    if not uses or not prices:
        raise ValueError("a mean needs a use and a price")
    total = sum(weight * sum(price.cost(use) for use in uses) for price, weight in prices.items())
    return Fraction(total, sum(prices.values()) * len(uses))


def month_cost(each: Fraction, requests: int) -> int:
    """Nano-dollars of a month, rounded up once."""
    return ceil(each * requests)


def replica_requests(hosting: Hosting, tokens: Fraction) -> Fraction:
    """Requests of ``tokens`` (input and output, mean) that one replica serves in a month."""
    return Fraction(hosting.tokens_a_second * HOURS_A_MONTH * 3600 * hosting.busy_percent, 100) / tokens


def replicas_for(requests: int, hosting: Hosting, tokens: Fraction) -> int:
    """Replicas that so many requests a month take; one stands there for any."""
    return max(1, ceil(requests / replica_requests(hosting, tokens)))


def hosted_cost(requests: int, hosting: Hosting, tokens: Fraction) -> int:
    """Nano-dollars of a month on replicas of one's own."""
    return replicas_for(requests, hosting, tokens) * hosting.replica_month


def meeting(each: Fraction, hosting: Hosting, tokens: Fraction) -> Meeting:
    """Where self-hosting costs no more than ``each`` nano-dollars a request.

    A replica costs S and serves K requests, for which the API takes c*K. Below c*K = S no number of replicas is ever cheap enough; above,
    the first one pays from S/c on. The n-th is begun at (n-1)*K requests, for which the API takes c*K*(n-1): once that covers n*S, and
    so for every further n, even a replica that was only just begun pays.
    """
    most, price = replica_requests(hosting, tokens), hosting.replica_month
    if each <= 0:
        return Meeting(1, 1) if price == 0 else Meeting(None, None)
    first = max(1, ceil(price / each))
    if first > most:
        return Meeting(None, None)
    gain = each * most - price
    if gain <= 0:
        return Meeting(first, None)
    replicas = max(1, ceil(each * most / gain))
    return Meeting(first, max(first, floor((replicas - 1) * most) + 1) if replicas > 1 else first)


def volumes(requests: int, each: Fraction, hosting: Hosting, tokens: Fraction) -> list[Volume]:
    """The comparison at parts and multiples of the asked number."""
    rows = sorted({max(1, ceil(requests * times)) for times in VOLUMES})
    return [
        Volume(count, month_cost(each, count), hosted_cost(count, hosting, tokens), replicas_for(count, hosting, tokens)) for count in rows
    ]


def quantile(counts: Sequence[int], share: float) -> int:
    """Nearest rank of sorted counts; ``counts`` is not empty."""
    return counts[min(len(counts) - 1, max(0, ceil(share * len(counts)) - 1))]


def cents_up(nano: int) -> int:
    """The next whole cent: what a limit is proposed as."""
    return -(-nano // 10_000_000) * 10_000_000
