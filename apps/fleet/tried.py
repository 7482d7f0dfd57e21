"""What a scaling policy would have done with the load of the last day: a rough answer while a change of it is reviewed.

Of a day that is over only tokens, requests and times are kept, by some minutes each, so only the signal of tokens in flight can be tried:
requests a second x tokens of one x its median time. Queues, KV caches and first tokens depended on the replicas that ran then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from apps.accounts.scope import Scope
from apps.contracts.fleet import PROVIDER_PREFIX
from apps.fleet.scaling import Memory, Policy, Sample, decide
from apps.usage.measures import Point
from apps.usage.selectors import traffic_series

DAY = timedelta(days=1)
LOOK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """Some minutes of the past. seconds: from ``at`` (since the epoch). tokens: in flight in the mean; None: not known. requests: begun."""

    at: float
    seconds: float
    tokens: float | None
    requests: int


@dataclass(frozen=True, slots=True)
class Tried:
    """least, most, mean: replicas that the day would have had, after a quarter of an hour to settle. steps: decisions that changed it.
    peak: tokens in flight at most. hours: of replicas; at_most: hours of as many as the bounds allow all day. requests: of the day.
    unknown: why nothing can be said, as a sentence; empty where it can."""

    least: int = 0
    most: int = 0
    mean: float = 0.0
    steps: int = 0
    peak: float = 0.0
    hours: float = 0.0
    at_most: float = 0.0
    requests: int = 0
    unknown: str = ""


def day_of(scope: Scope, deployment: str, *, now: datetime) -> list[Load]:
    """The last day of a deployment: three queries."""
    series = traffic_series(scope, now - DAY, now, dimension="provider", value=PROVIDER_PREFIX + deployment, now=now)
    return [load_of(point) for point in series.points]


def load_of(point: Point) -> Load:
    totals, median = point.totals, point.total.p50
    tokens: float | None = None
    if not totals.requests:
        tokens = 0.0
    elif median is not None and point.seconds:
        tokens = (totals.tokens_input + totals.tokens_output) * median / 1e6 / point.seconds
    return Load(point.at.timestamp(), point.seconds, tokens, totals.requests)


def policy_try(policy: Policy, day: Sequence[Load]) -> Tried:
    """The policy, asked every minute of the day. Pure."""
    requests = sum(load.requests for load in day)
    if not policy.tokens_each:
        return Tried(unknown="Give “Tokens in flight, for each” a number: of the past only that signal can be tried.")
    if not requests:
        return Tried(unknown="No request reached it in the last day, so there is no load to try this on.")
    policy = replace(policy, dry_run=False, waiting_each=0.0, kv_target=0.0, ttft_target=0.0)
    samples: deque[Sample] = deque(maxlen=100)
    memory, standing, steps, counts = Memory(), policy.minimum, 0, []
    for load in day:
        at = load.at
        while at < load.at + load.seconds:
            samples.append(Sample(at=at, ready=standing, tokens=load.tokens, held=0, requests=float(load.requests)))
            decision = decide(policy, samples, memory, standing=standing, now=at)
            memory = decision.memory
            steps += decision.changes
            standing = decision.desired
            counts.append(standing)
            at += LOOK_SECONDS
    settled = counts[15:] or counts
    return Tried(
        least=min(settled),
        most=max(settled),
        mean=sum(settled) / len(settled),
        steps=steps,
        peak=max(load.tokens or 0.0 for load in day),
        hours=sum(counts) * LOOK_SECONDS / 3600,
        at_most=policy.maximum * len(counts) * LOOK_SECONDS / 3600,
        requests=requests,
    )
