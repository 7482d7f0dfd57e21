"""Reads for what a flip would do and did: the published config, the rollups of the last hour, breakers, budgets.

The config is the one that proxies run (``apps.publishing.state.head_state``), so that a preview and what follows cannot mean two things.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.contracts.snapshot import FlagFragment, RouteFragment
from apps.flags.afterwards import Outcome
from apps.flags.consequences import LEAST_MEASURED, BudgetChange, Load, Prediction, RouteCase, blended, p95, predict, runs_out_ms
from apps.flags.flip_events import WINDOW, flipped_last, flips_since
from apps.flags.neighbours import BudgetStanding, budgets_standing
from apps.flags.plans import NOBODY, STOPPING, Place, Plan, acts, plan
from apps.flags.published import Config
from apps.providers.live import LiveTarget, live_targets
from apps.publishing.state import ConfigState, head_state
from apps.usage.covering import ceil, floor
from apps.usage.moves import EVERYTHING, LATELY, PAST, RECENT, USUAL, VOLUME, Whose, Work, work_before, work_of

SPREADING = timedelta(seconds=5)
"""A flip is everywhere within a second; requests that began before it are booked when they end."""
SETTLING = timedelta(seconds=3)
"""The youngest records are still on their way."""
FOLLOWED = timedelta(minutes=5)
"""So long after a flip it is watched."""
SHORTEST = timedelta(seconds=30)
LONGEST_STOP = timedelta(hours=46)
"""What came before a stop that has lasted longer is not known any more: rollups of ten seconds are kept two days."""
OF_REQUESTS: dict[str, Whose] = {"key": "key_id", "team": "team", "feature": "feature"}
"""Subjects that are a part of every route's requests, and the dimension of usage that tells them."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A flip as it is asked for: of which flag (as it would be published), on or off, for which share of its requests."""

    flag: FlagFragment
    on: bool
    share: int = 100
    simulated_only: bool = False


@dataclass
class Question:
    """What would come of one flip, gathered: at most six queries where the config is known, each made once."""

    organisation: Organisation
    scope: Scope
    flip: Flip
    heard: Sequence[Mapping[str, Any]] = ()
    """The details of all proxies' last heartbeats."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    flips: Sequence[tuple[str, datetime]] | None = None
    """(id of the flag, when) of the last hour's flips, where they are known already (``recent_flips``)."""
    flipped_at: datetime | None = None
    """When the flag was flipped last, where that is known already."""
    state: ConfigState | None = None
    """The published config, where it is known already."""

    @cached_property
    def config(self) -> Config:
        return Config(self.state or head_state(), str(self.organisation.pk))

    @property
    def now_ms(self) -> int:
        return int(self.now.timestamp() * 1000)

    @cached_property
    def live(self) -> dict[Place, LiveTarget]:
        """Targets in trouble, as proxies see them."""
        found = live_targets(self.organisation, self.heard)
        return {Place(one.place.provider, one.place.endpoint, one.place.model): one for one in found}

    @cached_property
    def _others(self) -> list[FlagFragment]:
        """The flags beside this one that act now."""
        return [one for one in self.config.flags if one.id != self.flip.flag.id and acts(one, self.now_ms)]

    @cached_property
    def plans(self) -> dict[str, tuple[Plan, Plan]]:
        """The routes that would answer otherwise than now: how they do and how they would, by name."""
        flag, others = self.flip.flag, self._others
        without, having = others, [*others, _whole(flag)]
        before, after = (without, having) if self.flip.on else (having, without)
        shut = {place for place, one in self.live.items() if one.state == "open"}
        found = {}
        for route in self.config.routes:
            if flag.subject == "route" and route.id != flag.subject_id:
                continue
            old = plan(route, self.config.providers, before, self.now_ms, shut)
            new = plan(route, self.config.providers, after, self.now_ms, shut)
            if (old.options, old.stopped) != (new.options, new.stopped):
                found[route.name] = (old, new)
        return found

    @property
    def whose(self) -> tuple[Whose, str] | None:
        """The part of every route's requests that the flag is about."""
        name = OF_REQUESTS.get(self.flip.flag.subject)
        return (name, self.flip.flag.subject_id) if name else None

    @property
    def _step(self) -> int:
        """Seconds of the buckets that are looked at; a bucket that is not whole would count as one that is."""
        return 10 if self.whose is None else 60

    @cached_property
    def _flips(self) -> Sequence[tuple[str, datetime]]:
        return flips_since(self.now - WINDOW) if self.flips is None else self.flips

    @cached_property
    def begin(self) -> datetime:
        """From when on things have been as they are: an hour ago, or since a flag that these routes look at was flipped last."""
        flipped = {flag_id for flag_id, _ in self._flips}
        own = {one.id for one in self.config.flags if one.id in flipped and (one.id == self.flip.flag.id or self._concerns(one))}
        since = max((at + SPREADING for flag_id, at in self._flips if flag_id in own), default=self.now - WINDOW)
        return ceil(since, self._step)

    def _concerns(self, flag: FlagFragment) -> bool:
        """Whether another flag changes what these routes do, or how many of their requests are let through."""
        if flag.kind == "release":
            return False
        if flag.subject in OF_REQUESTS:
            return True
        rest = [one for one in self._others if one.id != flag.id]
        having = [*rest, _whole(flag)]

        def differs(route: RouteFragment) -> bool:
            with_it = plan(route, self.config.providers, having, self.now_ms)
            without = plan(route, self.config.providers, rest, self.now_ms)
            return (with_it.options, with_it.stopped) != (without.options, without.stopped)

        return any(differs(route) for route in self.config.routes if self.whose is not None or route.name in self.plans)

    @cached_property
    def work(self) -> list[Work]:
        if not self.plans and self.whose is None:
            return []
        models = {option.place.model for _, new in self.plans.values() for option in new.options}
        routes = None if self.whose is not None else list(self.plans)
        return work_of(self.scope, self.begin, self.end, routes=routes, models=models, whose=self.whose, whole=True)

    @property
    def end(self) -> datetime:
        return floor(self.now - SETTLING, self._step)

    @cached_property
    def _before(self) -> list[Work]:
        """What targets did that answer little now; and where everything is refused until the flag goes off, what answers were like in the
        hour before it went on."""
        usual: tuple[datetime, datetime] | None = None
        stopped = self._stops if self.whose is not None else any(_calls_nobody(old) for old, _ in self.plans.values())
        if stopped and not self.flip.on:
            lately = max((at for flag_id, at in self._flips if flag_id == self.flip.flag.id), default=None)
            at = self.flipped_at or lately or flipped_last(self.flip.flag.id)
            usual = (at - WINDOW, at) if at is not None and self.now - at < LONGEST_STOP else None
        routes = None if self.whose is not None else list(self.plans)
        return work_before(self.scope, _models(self._few), now=self.now, before=usual, routes=routes, whose=self.whose)

    @property
    def _stops(self) -> bool:
        """Whether the flag refuses the part of requests that it is about."""
        return self.flip.flag.kind == "kill" or self.flip.flag.level in STOPPING

    @cached_property
    def _usual(self) -> dict[str, dict[Place, Load]]:
        """By route and place: what answers were like before the flag went on."""
        found: dict[str, dict[Place, Load]] = {}
        for one in self._before:
            if one.route.startswith(USUAL):
                place = Place(one.provider, one.endpoint, one.model)
                loads = found.setdefault(one.route.removeprefix(USUAL), {})
                loads[place] = loads.get(place, Load()) + _load(one)
        return found

    def answer(self) -> Prediction:
        """What the flip would do."""
        flag, gaps = self.flip.flag, []
        if flag.kind == "release":
            return Prediction(minutes=0, requests=0, gaps=["Apps ask for this flag and act on it themselves: proxies move nothing."])
        if flag.rules and self.flip.on:
            gaps.append("Its rules decide for each request: this much would move if they held for all.")
        if flag.kind == "degrade" and flag.level == "limited":
            gaps.append("Answers become shorter where they are longer than the route's cap: what that saves is not known.")
        if flag.kind == "degrade" and flag.level in STOPPING:
            gaps.append("Requests that no stored or prepared answer fits are refused.")
        if self.end - self.begin < SHORTEST:
            gaps.append("It was flipped a moment ago: too little was measured since.")
            return Prediction(minutes=0, requests=0, routes=sorted(self.plans), gaps=gaps)
        first = min((one.first for one in self.work if one.route not in (EVERYTHING, VOLUME)), default=self.begin)
        minutes = max((self.end - max(first, self.begin)).total_seconds(), 10.0) / 60
        asked = sum(one.requests for one in self.work if one.route in self.plans)
        found = predict(
            self._cases(self._steadier(asked, minutes)),
            minutes=minutes,
            price=lambda place: self.config.price(place, self.now_ms),
            elsewhere=lambda place: self._elsewhere.get(place, Load()),
            proxies=len(self.heard),
            states={place: one.status.label for place, one in self.live.items()},
            caps=self.config.most_at_once(),
            gaps=gaps,
        )
        asked = asked if self.whose is None else found.requests
        return msgspec.structs.replace(found, requests=asked, budgets=self._budgets(found))

    def _steadier(self, asked: float, minutes: float) -> float:
        """By how much to scale what was measured in a short while since the last flip: how many requests come does not hang on who answers
        them, and a quarter of an hour says that better than a minute."""
        lately = next((one for one in self.work if one.route == VOLUME), None)
        if lately is None or not asked or minutes * 60 >= LATELY.total_seconds():
            return 1.0
        seconds = (floor(self.end, 60) - lately.first).total_seconds()
        return lately.requests / seconds * minutes * 60 / asked if seconds > minutes * 60 and lately.requests else 1.0

    def _cases(self, factor: float) -> list[RouteCase]:
        flag = self.flip.flag
        reach = self.flip.share / 100 if self.flip.on else 1.0
        if self.flip.on and self.flip.simulated_only and not self.scope.simulated:
            reach = 0.0
        by_route: dict[str, dict[Place, Load]] = {}
        for one in self.work:
            loads = by_route.setdefault(one.route, {})
            place = Place(one.provider, one.endpoint, one.model) if one.provider else NOBODY
            loads[place] = loads.get(place, Load()) + _load(one).times(factor)
        if self.whose is not None:
            return self._part(by_route, reach)
        stay = self.flip.on and flag.kind == "kill" and flag.subject in ("provider", "model")
        cases = []
        for name, (old, new) in self.plans.items():
            back = _calls_nobody(old)
            usual = self._usual.get(name, {}) if back else {}
            cases.append(RouteCase(name, new, by_route.get(name, {}), reach, stay, back=back, usual=usual))
        return cases

    def _part(self, by_route: dict[str, dict[Place, Load]], reach: float) -> list[RouteCase]:
        """A key's, team's or feature's requests: stopped when the flag goes on, answered as their routes are when it goes off."""
        routes = {route.name: route for route in self.config.routes}
        back = self._stops and not self.flip.on
        if back and (refused := by_route.pop("", {}).get(NOBODY)) is not None:  # a key is refused before its route is known
            asked = {name: sum(load.requests for load in loads.values()) for name, loads in self._usual.items()}
            for name, count in asked.items():
                loads = by_route.setdefault(name, {})
                loads[NOBODY] = loads.get(NOBODY, Load()) + refused.times(count / max(1.0, sum(asked.values())))
        cases = []
        for name, loads in by_route.items():
            if name in routes:
                as_ever = plan(routes[name], self.config.providers, self._others, self.now_ms)
                stopped = Plan(stopped=f"the flag {self.flip.flag.name} stops it")
                after = stopped if self.flip.on and self._stops else as_ever
                stay = self.flip.on and not self._stops
                usual = self._usual.get(name, {}) if back else {}
                cases.append(RouteCase(name, after, loads, reach, stay, back=back, usual=usual))
        return cases

    @cached_property
    def _now(self) -> dict[Place, Load]:
        """What each target does on all routes since things are as they are."""
        found: dict[Place, Load] = {}
        for one in self.work:
            if one.provider:
                place = Place(one.provider, one.endpoint, one.model)
                found[place] = found.get(place, Load()) + _load(one)
        return found

    @cached_property
    def _few(self) -> set[Place]:
        """The targets wanted that have answered little since."""
        wanted = {option.place for _, new in self.plans.values() for option in new.options}
        busiest = max((load.requests for load in self._now.values()), default=0.0)
        return {
            place
            for place in wanted
            if (now := self._now.get(place, Load())).requests * 5 < busiest or sum(now.first_token.values()) < LEAST_MEASURED
        }

    @cached_property
    def _elsewhere(self) -> dict[Place, Load]:
        """What each target did on all routes; where it has answered little since things are as they are, how quickly it did in the last
        hour, else in the last days."""
        found = dict(self._now)
        before = {(one.route, Place(one.provider, one.endpoint, one.model)): one for one in self._before}
        for place in self._few:
            recent, past = before.get((RECENT, place)), before.get((PAST, place))
            one = recent if recent is not None and sum(recent.first_token.values()) >= LEAST_MEASURED else past or recent
            if one is not None and one.requests:
                now = found.get(place, Load())
                found[place] = Load(
                    now.requests, now.ok, now.tokens_input, now.tokens_output, now.tokens_cache_read, now.cost_nano, now.busy_us,
                    dict(one.first_token), one.busy_us / one.requests,
                )  # fmt: skip
        return found

    def _budgets(self, found: Prediction) -> list[BudgetChange]:
        """Budgets of the organisation, the routes and the providers that would be used up earlier or later."""
        more = found.cost_more
        if not more:
            return []
        standing = [one for one in budgets_standing(self.organisation) if one.scope in ("organisation", "route")]
        if not standing:
            return []
        whole = sum(one.cost_nano for one in self.work if one.route == EVERYTHING)
        burn = whole / max((self.end - self.begin).total_seconds() / 3600, 1 / 60)
        ids = {route.id: route.name for route in self.config.routes}
        changes = []
        for one in standing:
            if one.scope == "route" and ids.get(one.scope_id) not in found.routes:
                continue
            rate, extra = (burn, more) if one.scope == "organisation" else self._of_route(ids[one.scope_id], found)
            changes.append(_change(one, rate, extra, self.now_ms))
        return [one for one in changes if one.ends_ms != one.would_end_ms]

    def _of_route(self, name: str, found: Prediction) -> tuple[float, float]:
        """(cost an hour, more of it) of one of the routes: of several, by its part of what they cost."""
        cost = sum(one.cost_nano for one in self.work if one.route == name) / found.minutes * 60
        return cost, (found.cost_more or 0) * (cost / found.cost_now if found.cost_now else 1.0 / len(found.routes))


def _change(one: BudgetStanding, rate: float, more: float, now_ms: int) -> BudgetChange:
    window = int(one.ends_at.timestamp() * 1000)
    return BudgetChange(
        name=one.name,
        ends_ms=runs_out_ms(remaining=one.remaining, per_hour=rate, now_ms=now_ms, window_ends_ms=window),
        would_end_ms=runs_out_ms(remaining=one.remaining, per_hour=rate + more, now_ms=now_ms, window_ends_ms=window),
    )


def _whole(flag: FlagFragment) -> FlagFragment:
    """The flag as if it were on, for all."""
    return msgspec.structs.replace(flag, on=True, until_ms=None, share=100, simulated_only=False, rules={})


def _calls_nobody(found: Plan) -> bool:
    return bool(found.stopped) or not found.options


def _models(places: Iterable[Place]) -> set[str]:
    return {place.model for place in places}


def _load(one: Work) -> Load:
    return Load(
        one.requests, one.ok, one.tokens_input, one.tokens_output, one.tokens_cache_read, one.cost_nano, one.busy_us, dict(one.first_token)
    )


def outcome_of(
    scope: Scope, routes: Collection[str], start: datetime, end: datetime, *, whose: tuple[Whose, str] | None = None
) -> Outcome | None:
    """What these routes did in whole buckets of ``[start, end)``: one query; None for less than one bucket."""
    step = 60 if whose else 10
    first, last = floor(start + timedelta(seconds=step - 1), step), floor(end, step)
    seconds = (last - first).total_seconds()
    if seconds < step:
        return None
    work = work_of(scope, first, last, routes=list(routes), whose=whose)
    called = [one for one in work if one.provider]
    targets: dict[str, float] = {}
    for one in called:
        label = Place(one.provider, one.endpoint, one.model).label
        targets[label] = targets.get(label, 0.0) + one.requests / seconds * 60
    times = blended((one.first_token, 1.0) for one in called)
    return Outcome(
        seconds=seconds,
        requests=sum(one.requests for one in work),
        targets=targets,
        refused_per_minute=sum(one.requests for one in work if not one.provider) / seconds * 60,
        cost=round(sum(one.cost_nano for one in work) / seconds * 3600),
        ttft=p95(times) if sum(times.values()) >= LEAST_MEASURED else None,
    )


def subject_names(flags: Iterable[Any], state: ConfigState) -> dict[str, str]:
    """Id -> name of what flags are about, as the published config names it."""
    found = {}
    for flag in flags:
        for section in ("providers", "routes", "keys"):
            fragment = state.fragments[section].get(flag.subject_id)
            if fragment is not None:
                found[flag.subject_id] = str(getattr(fragment, "name", ""))
    return found
