"""What a flip would do: who gets whose requests, what that costs, how soon answers begin. Pure.

It is worked out from two things that are known: the config as proxies have it (``apps.flags.plans``) and what was measured (``Load``).
What neither tells is said in ``Prediction.gaps`` and never guessed. Money is nano-dollars, times are microseconds unless a name says
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from apps.contracts.histogram import quantile
from apps.contracts.pricing import Price
from apps.contracts.usage import Tokens
from apps.flags.plans import NOBODY, Option, Place, Plan

LEAST_MEASURED = 20
"""So many times to the first token are enough to name a p95."""
FINE = 1_000
"""Parts of a request that weighted histograms are counted in: a tail must not weigh more for being rounded up."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured at a place. busy_us: the sum of all durations; each_us: how long one took at another time, where none came now.
    first_token: a histogram of times to the first token."""

    requests: float = 0
    ok: float = 0
    tokens_input: float = 0
    tokens_output: float = 0
    tokens_cache_read: float = 0
    cost_nano: float = 0
    busy_us: float = 0
    first_token: Mapping[int, float] = field(default_factory=dict)
    each_us: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.requests + other.requests,
            self.ok + other.ok,
            self.tokens_input + other.tokens_input,
            self.tokens_output + other.tokens_output,
            self.tokens_cache_read + other.tokens_cache_read,
            self.cost_nano + other.cost_nano,
            self.busy_us + other.busy_us,
            blended([(self.first_token, 1.0), (other.first_token, 1.0)]),
        )

    def times(self, factor: float) -> Load:
        """As many times that."""
        return Load(
            self.requests * factor,
            self.ok * factor,
            self.tokens_input * factor,
            self.tokens_output * factor,
            self.tokens_cache_read * factor,
            self.cost_nano * factor,
            self.busy_us * factor,
            blended([(self.first_token, factor)]),
            self.each_us,
        )


@dataclass(frozen=True, slots=True)
class RouteCase:
    """One route that a flip reaches.

    loads: by place, over the window. reach: the share of its requests that the flip is for, 0 to 1. stay: what still answers keeps what
    it has, because the flip only takes targets away; otherwise everything is shared out anew. back: what nobody answers now is refused
    because of the flag, and comes back. usual: by place, what its answers were like before that.
    """

    name: str
    after: Plan
    loads: Mapping[Place, Load]
    reach: float = 1.0
    stay: bool = False
    back: bool = False
    usual: Mapping[Place, Load] = field(default_factory=dict)


class TargetChange(msgspec.Struct, frozen=True, kw_only=True):
    """One target before and after: requests a minute, requests at once afterwards on average (None: not known), the most that it takes at
    once (0: no cap) and its breaker's state in words, empty where it is closed."""

    target: str
    now_per_minute: float
    then_per_minute: float
    at_once: float | None = None
    most_at_once: int = 0
    state: str = ""

    @property
    def gained(self) -> float:
        """Requests a minute more than now."""
        return self.then_per_minute - self.now_per_minute


class BudgetChange(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that would be used up at another moment, milliseconds since the epoch; None: it lasts its window."""

    name: str
    ends_ms: int | None
    would_end_ms: int | None

    @property
    def earlier_ms(self) -> int | None:
        """By how much earlier (negative: later); None where either end is not within the window."""
        return None if self.ends_ms is None or self.would_end_ms is None else self.ends_ms - self.would_end_ms


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a flip is expected to do, as shown before it and kept with it.

    minutes: what it was measured over; requests: how many that were. Rates are requests a minute (refused_per_minute: more than
    now, refused_then: in all), costs nano-dollars an hour of the routes that it reaches, ttft the p95 to the first token in microseconds;
    None where that is not known, and ``gaps`` says why.
    """

    minutes: float
    requests: int
    routes: list[str] = []
    targets: list[TargetChange] = []
    moved_per_minute: float = 0.0
    refused_per_minute: float = 0.0
    refused_then: float = 0.0
    rate: float = 0.0
    cost_now: int = 0
    cost_then: int | None = 0
    ttft_now: float | None = None
    ttft_then: float | None = None
    budgets: list[BudgetChange] = []
    gaps: list[str] = []

    @property
    def cost_more(self) -> int | None:
        """Nano-dollars an hour more than now."""
        return None if self.cost_then is None else self.cost_then - self.cost_now

    @property
    def ttft_more(self) -> float | None:
        """Microseconds more than now."""
        return None if self.ttft_now is None or self.ttft_then is None else self.ttft_then - self.ttft_now

    @property
    def gaining(self) -> list[TargetChange]:
        """The targets that get requests from others, the most first."""
        return sorted((one for one in self.targets if one.gained > 0), key=lambda one: -one.gained)


# --- who gets what ----------------------------------------------------------------------------------------------------


def shares(
    options: Sequence[Option], strategy: str, *, cost: Callable[[Place], float | None], first: Callable[[Place], float | None]
) -> dict[Place, float]:
    """Which share of a route's requests each target gets, summing to 1; empty without targets.

    cost, first: what an answer costs and how soon it begins at a place, None where that is not known; then the order as listed decides.
    """
    if not options:
        return {}
    rank = min(option.priority for option in options)
    group = [option for option in options if option.priority == rank]
    if strategy == "weighted":
        total = sum(option.weight for option in group)
        if total:
            found: dict[Place, float] = {}
            for option in group:
                found[option.place] = found.get(option.place, 0.0) + option.weight / total
            return {place: share for place, share in found.items() if share}
    known: Callable[[Place], float | None] | None = {"least_cost": cost, "least_latency": first}.get(strategy)
    if known is not None and all(known(option.place) is not None for option in group):
        return {min(group, key=lambda option: known(option.place) or 0.0).place: 1.0}
    return {group[0].place: 1.0}


def moved(case: RouteCase, *, cost: Callable[[Place], float | None], first: Callable[[Place], float | None]) -> dict[Place, float]:
    """The requests of the window by the place that would have answered them. Its sum is that of ``case.loads``."""
    now = {place: load.requests for place, load in case.loads.items()}
    refused = now.pop(NOBODY, 0.0)
    comes_back = refused * case.reach if case.back else 0.0
    total = sum(now.values())
    wanted = {} if case.after.stopped else shares(case.after.options, case.after.strategy, cost=cost, first=first)
    full: dict[Place, float] = {}
    if case.stay and wanted:
        stays = {option.place for option in case.after.options}
        full = {place: count for place, count in now.items() if place in stays}
        homeless = total - sum(full.values())
        for place, share in wanted.items():
            full[place] = full.get(place, 0.0) + homeless * share
    else:
        full = {place: total * share for place, share in wanted.items()} or {NOBODY: total}
    then = {place: now.get(place, 0.0) * (1 - case.reach) + full.get(place, 0.0) * case.reach for place in now.keys() | full.keys()}
    then[NOBODY] = then.get(NOBODY, 0.0) + refused - comes_back
    for place, share in (wanted or {NOBODY: 1.0}).items():
        then[place] = then.get(place, 0.0) + comes_back * share
    return {place: count for place, count in then.items() if count}


def blended(parts: Iterable[tuple[Mapping[int, float], float]]) -> dict[int, float]:
    """Histograms added, each weighted."""
    found: dict[int, float] = {}
    for histogram, weight in parts:
        for index, count in histogram.items():
            found[index] = found.get(index, 0.0) + count * weight
    return found


def p95(histogram: Mapping[int, float]) -> float | None:
    """The p95 of a histogram whose counts need not be whole; None where too little was measured."""
    return quantile({index: round(count * FINE) for index, count in histogram.items()}, 0.95)


def predict(
    cases: Sequence[RouteCase],
    *,
    minutes: float,
    price: Callable[[Place], Price | None],
    elsewhere: Callable[[Place], Load],
    proxies: int = 1,
    states: Mapping[Place, str] | None = None,
    caps: Mapping[Place, int] | None = None,
    gaps: Sequence[str] = (),
) -> Prediction:
    """What a flip would do to these routes. minutes: the length of the window that was measured.

    price: what a place costs now. elsewhere: what was measured there on all routes, for how soon answers begin and how long they take.
    states: breakers that are not closed, in words. caps: requests at once that a provider's endpoint takes from one proxy.
    """
    known = _Known(price, elsewhere)
    told = list(dict.fromkeys(gaps))
    now: dict[Place, float] = {}
    then: dict[Place, float] = {}
    limit: dict[Place, int] = dict(caps or {})
    cost_now, cost_then, unpriced = 0.0, 0.0, set()
    times_now: list[tuple[Mapping[int, float], float]] = []
    times_then: list[tuple[Mapping[int, float], float]] = []
    untimed: set[Place] = set()
    unseen: set[str] = set()
    for case in cases:
        answered = sum((load for place, load in case.loads.items() if place != NOBODY), Load())
        whole = answered if answered.requests else sum(case.usual.values(), Load())
        mean = _mean(whole)
        went = moved(case, cost=lambda place, mean=mean: known.cost(place, mean), first=known.first)  # type: ignore[misc]
        for option in case.after.options:
            if option.cap:
                limit[option.place] = min(option.cap, limit.get(option.place) or option.cap)
        for place in case.loads.keys() | went.keys():
            load = case.loads.get(place, Load())
            before, after = load.requests, went.get(place, 0.0)
            now[place] = now.get(place, 0.0) + before
            then[place] = then.get(place, 0.0) + after
            if place == NOBODY:
                continue
            kept, gained = min(before, after), max(0.0, after - before)
            cost_now += load.cost_nano
            cost_then += load.cost_nano * kept / before if before else 0.0
            times_now.append((load.first_token, 1.0))
            if kept:
                times_then.append((load.first_token, kept / before))
            if gained < 1e-9:
                continue
            if not whole.requests:
                unseen.add(case.name)
                continue
            each = known.cost(place, mean)
            if each is None:
                unpriced.add(place)
            else:
                cost_then += each * gained
            # whoever answers few of a route's requests answers what others failed first, and is timed with their failures
            own = load if answered.requests else case.usual.get(place, load)
            told_by_own = own.requests * 2 >= whole.requests and sum(own.first_token.values()) >= LEAST_MEASURED
            there = own if told_by_own else elsewhere(place)
            streams = sum(whole.first_token.values()) / whole.requests
            if not streams:
                continue  # such answers have no first token
            if sum(there.first_token.values()) < LEAST_MEASURED:
                untimed.add(place)
            else:
                times_then.append((there.first_token, gained * streams / sum(there.first_token.values())))
    requests = sum(now.values())
    if not requests:
        told.append("No request reached it while it was measured: what would move is not known.")
    told += [f"{place.label} has no price: what it costs is not known." for place in sorted(unpriced)]
    told += [f"{place.label} has answered too little lately: how soon its answers begin is not known." for place in sorted(untimed)]
    told += [
        f"No answer of {name} was measured lately: what its answers cost, and how soon they begin, is not known." for name in sorted(unseen)
    ]
    per_hour = 60.0 / minutes if minutes else 0.0
    measured, expected = blended(times_now), blended(times_then)
    known_then = not untimed and not unseen and sum(expected.values()) >= LEAST_MEASURED - 0.5
    targets = _targets(now, then, minutes, known, {place: most * max(1, proxies) for place, most in limit.items()}, states or {})
    return Prediction(
        minutes=minutes,
        requests=round(requests),
        routes=sorted({case.name for case in cases}),
        targets=targets,
        moved_per_minute=sum(max(0.0, one.gained) for one in targets),
        refused_per_minute=(then.get(NOBODY, 0.0) - now.get(NOBODY, 0.0)) / minutes if minutes else 0.0,
        refused_then=then.get(NOBODY, 0.0) / minutes if minutes else 0.0,
        rate=requests / minutes if minutes else 0.0,
        cost_now=round(cost_now * per_hour),
        cost_then=None if unpriced or unseen else round(cost_then * per_hour),
        ttft_now=p95(measured) if sum(measured.values()) >= LEAST_MEASURED else None,
        ttft_then=p95(expected) if known_then else None,
        gaps=told,
    )


def _targets(
    now: Mapping[Place, float],
    then: Mapping[Place, float],
    minutes: float,
    known: _Known,
    most: Mapping[Place, int],
    states: Mapping[Place, str],
) -> list[TargetChange]:
    """By name: endpoints of one provider that have the same model are one target to look at."""
    by_label: dict[str, list[Place]] = {}
    for place in sorted(now.keys() | then.keys()):
        if place != NOBODY:
            by_label.setdefault(place.label, []).append(place)
    found = []
    for label, places in by_label.items():
        at_once = [known.at_once(place, max(0.0, then.get(place, 0.0) - now.get(place, 0.0)), minutes) for place in places]
        found.append(
            TargetChange(
                target=label,
                now_per_minute=sum(now.get(place, 0.0) for place in places) / minutes if minutes else 0.0,
                then_per_minute=sum(then.get(place, 0.0) for place in places) / minutes if minutes else 0.0,
                at_once=None if any(one is None for one in at_once) else sum(one or 0.0 for one in at_once),
                most_at_once=sum(most.get(place, 0) for place in places),
                state=", ".join(dict.fromkeys(states[place] for place in places if place in states)),
            )
        )
    return found


class _Known:
    """What is known of places, each asked once."""

    def __init__(self, price: Callable[[Place], Price | None], elsewhere: Callable[[Place], Load]) -> None:
        self._price, self._elsewhere = price, elsewhere
        self._prices: dict[Place, Price | None] = {}

    def cost(self, place: Place, mean: Tokens) -> int | None:
        """Nano-dollars of one answer of so many tokens."""
        if place not in self._prices:
            self._prices[place] = self._price(place)
        price = self._prices[place]
        return None if price is None else price.cost(mean)

    def first(self, place: Place) -> float | None:
        """The p95 to the first token there."""
        return p95(self._elsewhere(place).first_token)

    def at_once(self, place: Place, more: float, minutes: float) -> float | None:
        """Requests at once on average after ``more`` come in ``minutes``, by Little's law; None where nothing was measured there."""
        there = self._elsewhere(place)
        each = there.busy_us / there.requests if there.requests else there.each_us
        return (there.requests + more) * each / (minutes * 60e6) if each and minutes else None


def _mean(load: Load) -> Tokens:
    """The tokens of an average answer."""
    answers = load.ok or load.requests
    if not answers:
        return Tokens()
    return Tokens(
        input=round(load.tokens_input / answers),
        output=round(load.tokens_output / answers),
        cache_read=round(load.tokens_cache_read / answers),
    )


# --- money over time --------------------------------------------------------------------------------------------------


def runs_out_ms(*, remaining: int, per_hour: float, now_ms: int, window_ends_ms: int) -> int | None:
    """When a budget's rest is used up at this rate; None: it lasts its window."""
    if per_hour <= 0:
        return None
    at = now_ms + remaining / per_hour * 3_600_000
    return int(at) if at < window_ends_ms else None
