"""Everything a route's page shows, gathered: each property is one query, made when first needed and never twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
from django.urls import reverse

from apps.accounts.scope import Choice
from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.budgets.limit_selectors import LimitLine, limits_applying
from apps.contracts.snapshot import Deadlines, Resilience
from apps.flags.models import Flag
from apps.flags.selectors import flags_on
from apps.keys.models import VirtualKey
from apps.keys.selectors import keys_of
from apps.providers.choices import BREAKER_CLOSED, BREAKER_STATES, BREAKER_UNKNOWN
from apps.providers.live import LiveTarget, at_place, live_targets
from apps.routes import choices, drawing, plots, rules, selectors, snapshot
from apps.routes.models import Route, RouteSwitch, RouteTarget
from apps.routes.resilience import OWN_DEADLINES, TargetSpec
from apps.routes.selectors import HeldBreaker
from apps.routes.words import resilience_words
from apps.ui.plots import Plot
from apps.ui.status import Status
from apps.ui.timerange import TimeRange
from apps.usage.choices import OUTCOMES
from apps.usage.requests import request_page
from apps.usage.targets import TargetTraffic, traffic_by_target_in

HOUR = timedelta(hours=1)
FAILURES = 10
EVENTS = 30
KEYS = 50
TABS = (("traffic", "Traffic"), ("access", "Keys and limits"), ("config", "Config"), ("history", "History"))


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target with its traffic. ``number``: its place in the chain, from 1; 0 where the route names it no more."""

    number: int
    label: str
    provider: str
    model: str
    endpoint: str
    status: Status
    traffic: TargetTraffic | None
    share: float
    """Of the route's answered and failed requests, 0 to 1."""
    value: str = ""
    """For URLs and forms: its place in the chain of targets, counted from 0; empty where it cannot be switched to."""
    options: str = ""
    """What was chosen for it, in words."""
    live: LiveTarget | None = None
    """What proxies say of it while it is in trouble."""
    held: HeldBreaker | None = None
    """Its breaker, while a person holds it."""
    rate: float = 0.0
    """Requests a second that it answered or failed, over the range so far."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one target did over the last hour: what a switch to it can be judged by."""

    requests: int
    rate: float
    failed: int
    attempts: int
    cost_per_thousand: int | None
    """Nano-dollars for a thousand requests that it answered; None where it answered none."""
    p95: float | None


@dataclass(frozen=True, slots=True)
class Switchable:
    """A target that all traffic can be sent to, with what is known of it."""

    row: TargetRow
    measured: Measured
    question: str
    rate_now: float
    """Requests a second of the whole route over the last hour."""
    cost_now: int | None
    """Nano-dollars for a thousand answers of the whole route."""


class RouteDetail:
    """One route as its page shows it."""

    def __init__(
        self, choice: Choice, route: Route, time_range: TimeRange, *, heard: Sequence[Mapping[str, Any]] = (), judged: bool = True
    ) -> None:
        """heard: the details of all proxies' last heartbeats. judged: whether ``switchable`` is asked for: that takes the last hour too."""
        self._heard, self._judged = heard, judged
        self.choice = choice
        self.route = route
        self.range = time_range
        self.now = datetime.now(UTC)

    @property
    def aliases(self) -> list[str]:
        return list(self.route.alias_names)  # type: ignore[attr-defined]

    @cached_property
    def targets(self) -> list[RouteTarget]:
        """The primary chain."""
        return [row for row in self.route.target_rows.all() if row.chain == choices.PRIMARY]

    @cached_property
    def fallback(self) -> list[RouteTarget]:
        return [row for row in self.route.target_rows.all() if row.chain == choices.FALLBACK]

    @cached_property
    def limits(self) -> list[LimitLine]:
        """Those of the route and of its organisation."""
        return limits_applying(self.choice.organisation, route_id=str(self.route.pk))

    @property
    def limit_url(self) -> str:
        """Where a limit of the route is set; empty for whom may not."""
        return f"{reverse('limits:create')}?for=route:{self.route.pk}" if self.choice.may("limit.change") else ""

    @property
    def switch(self) -> RouteSwitch | None:
        return selectors.switch_in_force(self.route, now=self.now)

    @property
    def switch_label(self) -> str:
        return choices.target_text(selectors.spec_of(self.switch)) if self.switch else ""

    @cached_property
    def held(self) -> list[HeldBreaker]:
        """The breakers that a person holds now, through this route."""
        return selectors.held_breakers(self.route, now=self.now)

    @property
    def held_labels(self) -> list[tuple[str, HeldBreaker]]:
        return [(choices.target_text(held.target), held) for held in self.held]

    @cached_property
    def live(self) -> list[LiveTarget]:
        """The organisation's targets in trouble, as its proxies see them."""
        return live_targets(self.choice.organisation, self._heard)

    @cached_property
    def _settings(self) -> Resilience:
        return selectors.resilience(self.route)

    @property
    def resilience(self) -> list[tuple[str, str]]:
        """What is set, in words."""
        return resilience_words(self._settings)

    def breaker(self, spec: TargetSpec) -> Status:
        """What a target's breaker says: a person's word, then the proxies'; closed only where a proxy is there to say so."""
        held = next((held for held in self.held if held.target == spec.place), None)
        if held is not None:
            return BREAKER_STATES[f"forced_{held.state}"]
        live = at_place(self.live, provider=spec.provider, model=spec.model, endpoint=spec.endpoint)
        if live is not None:
            return live.status
        return BREAKER_CLOSED if self._heard else BREAKER_UNKNOWN

    @cached_property
    def chains(self) -> list[drawing.Chain]:
        """Its chains as they are drawn: which is in force, by what, and whose turn it is."""
        switch, own = self.switch, self.own_flags
        kill = next((flag.name for flag in own if flag.kind == "kill"), "")
        refused = f"the flag {kill} stops this route" if kill else "" if self.route.enabled else "the route is disabled"
        flag = next((flag for flag in own if flag.kind == "fallback"), None)
        standing = drawing.Standing(
            refused=refused,
            switch=f"all traffic goes to {self.switch_label}, by {switch.by[:60]}" if switch is not None else "",
            failover=switch is None or switch.failover,
            fallback=flag.name if flag is not None else "",
            partly=flag is not None and bool(flag.rules or flag.simulated_only or flag.share != 100),
            ordered=self._settings.strategy == "priority",
            order=dict(choices.RESILIENCE_CHOICES["strategy"])[self._settings.strategy],
        )
        return drawing.chains_drawn(self._links(self.targets), self._links(self.fallback), standing)

    def _links(self, rows: Sequence[RouteTarget]) -> list[drawing.Link]:
        found = []
        for number, row in enumerate(rows, 1):
            spec = selectors.spec_of(row)
            blocked = self._target_status(row) if not row.provider.enabled or row.provider_id in self.killed_providers else None
            switched = self.switch is not None and selectors.spec_of(self.switch) == spec.place
            words = ", ".join(choices.option_words(spec))
            found.append(drawing.Link(number, choices.target_text(spec), words, self.breaker(spec), blocked, switched))
        return found

    @property
    def deadlines(self) -> list[drawing.Deadline]:
        """Each with where it comes from."""
        names = Deadlines.__struct_fields__
        values = {name: getattr(self.route, name) for name in names} | {"first_token_ms": self._settings.first_token_ms}
        defaults = {name: getattr(Deadlines(), name) for name in names} | {"first_token_ms": Resilience().first_token_ms}
        specs = [selectors.spec_of(row) for row in (*self.targets, *self.fallback)]
        if any(spec.reasoning for spec in specs):
            values["reasoning_first_byte_ms"] = self._settings.reasoning_first_byte_ms
            defaults["reasoning_first_byte_ms"] = Resilience().reasoning_first_byte_ms
        own = {choices.target_text(spec): {name: getattr(spec, name) for name in OWN_DEADLINES} for spec in specs}
        return drawing.deadlines_drawn(values, defaults, list(own.items()))

    @cached_property
    def flags(self) -> list[Flag]:
        """The flags that are on for this route or for a provider of its targets."""
        providers = {str(row.provider_id) for row in self.route.target_rows.all()}
        rows = flags_on(self.choice.organisation).select_related(None)
        return [flag for flag in rows if flag.subject_id == str(self.route.pk) or flag.subject_id in providers]

    @cached_property
    def killed_providers(self) -> dict[Any, str]:
        return {UUID(flag.subject_id): flag.name for flag in self.flags if flag.kind == "kill" and flag.subject_kind == "provider"}

    @property
    def own_flags(self) -> list[Flag]:
        return [flag for flag in self.flags if flag.subject_kind == "route"]

    @property
    def status(self) -> Status:
        own = self.own_flags
        killed = any(flag.kind == "kill" for flag in own)
        return choices.STATES[
            rules.state_of(enabled=self.route.enabled, killed=killed, switched=self.switch is not None, flagged=bool(own))
        ]

    # --- traffic ----------------------------------------------------------------------------------------------------

    @cached_property
    def _both(self) -> tuple[list[TargetTraffic], list[TargetTraffic]]:
        """The traffic of the range, and of the last hour, by which switches are judged."""
        ranges = [(self.range.start, self.range.end)]
        if self._judged and not (self.range.live and self.range.length == HOUR):
            ranges.append((self.now - HOUR, self.now))
        found = traffic_by_target_in(self.choice.scope, self.route.name, ranges, now=self.now)
        return found[0], found[-1]

    @property
    def traffic(self) -> list[TargetTraffic]:
        return self._both[0]

    @property
    def seconds(self) -> float:
        """How much of the range is over, at least a second: what rates are per."""
        return max(1.0, (min(self.range.end, self.now) - self.range.start).total_seconds())

    @property
    def called(self) -> list[TargetTraffic]:
        """Traffic that reached a provider."""
        return [target for target in self.traffic if target.provider]

    @property
    def refused(self) -> int:
        """Requests that no provider was called for."""
        return sum(target.totals.requests for target in self.traffic if not target.provider)

    @cached_property
    def rows(self) -> list[TargetRow]:
        """The chain in its order, then what else answered in the range and is a target no more."""
        left = list(self.called)
        answered = sum(target.totals.requests for target in left)
        found = []
        for number, row in enumerate(self.targets, 1):
            mine = [target for target in left if _matches(row, target)]
            for target in mine:
                left.remove(target)
            traffic = mine[0] if mine else None
            share = sum(target.totals.requests for target in mine) / answered if answered else 0.0
            spec = selectors.spec_of(row)
            label = choices.target_text(spec)
            live = at_place(self.live, provider=spec.provider, model=spec.model, endpoint=spec.endpoint)
            held = next((held for held in self.held if held.target == spec.place), None)
            status = self._target_status(row)
            if status.value == "in" and (held is not None or live is not None):
                status = BREAKER_STATES[f"forced_{held.state}"] if held is not None else live.status  # type: ignore[union-attr]
            found.append(
                TargetRow(
                    number,
                    label,
                    spec.provider,
                    spec.model,
                    spec.endpoint,
                    status,
                    traffic,
                    share,
                    str(number - 1),
                    options=", ".join(choices.option_words(spec)),
                    live=live,
                    held=held,
                    rate=sum(target.totals.requests for target in mine) / self.seconds,
                )
            )
        for target in left:
            status = Status("former", "Not in the chain", "neutral")
            share = target.totals.requests / answered if answered else 0.0
            rate = target.totals.requests / self.seconds
            found.append(TargetRow(0, target.label, target.provider, target.model, target.endpoint, status, target, share, rate=rate))
        return found

    def _target_status(self, row: RouteTarget) -> Status:
        if not row.provider.enabled:
            return Status("disabled", "Provider disabled", "neutral", "stop")
        if row.provider_id in self.killed_providers:
            return Status("killed", "Provider stopped", "bad", "block", hint=f"By the flag {self.killed_providers[row.provider_id]}.")
        if self.switch is not None:
            if selectors.spec_of(self.switch) == selectors.spec_of(row).place:
                return Status("all", "Takes all traffic", "warn", "routes")
            return Status("spare", "Only on failure" if self.switch.failover else "Left out", "neutral")
        return Status("in", "In use", "good")

    @cached_property
    def plots(self) -> list[Plot]:
        window = {"start": self.range.start, "end": self.range.end}
        return [plots.requests_by_target(self.traffic, **window), plots.latency_by_target(self.called, **window)]

    @cached_property
    def failures(self) -> list[tuple[Any, Status]]:
        """The newest requests of the range that failed, with their outcomes."""
        page = request_page(
            self.choice.scope,
            self.range.start,
            self.range.end,
            filters={"route": self.route.name, "outcome": "error"},
            limit=FAILURES,
        )
        return [(record, OUTCOMES["error"]) for record in page.rows]

    @cached_property
    def switchable(self) -> list[Switchable]:
        """The targets that all traffic could be sent to, with the last hour of each; the one it goes to already is left out."""
        traffic = [target for target in self._both[1] if target.provider]
        whole = _measured(traffic)
        found = []
        for row in self.rows:
            if row.value and row.status.value != "all":
                mine = [target for target in traffic if _matches(self.targets[int(row.value)], target)]
                question = f"Send all {_short(self.route.name)} traffic to {_short(row.label)}?"
                found.append(Switchable(row, _measured(mine), question, whole.rate, whole.cost_per_thousand))
        return found

    # --- who, what, when --------------------------------------------------------------------------------------------

    @cached_property
    def keys(self) -> list[VirtualKey]:
        """The active keys that may use it, by name; one more than ``KEYS`` where there are more."""
        names = {self.route.name, *self.aliases}
        rows = keys_of(self.choice.organisation).prefetch_related(None).filter(routes__overlap=["*", *names]).order_by("name")
        return list(rows[: KEYS + 1])

    @cached_property
    def events(self) -> list[AuditEvent]:
        """Who changed what, newest first."""
        return list(audit_events(subject_kind="route", subject_id=self.route.pk)[:EVENTS])

    @property
    def fragment(self) -> str:
        """What proxies get of it, as JSON."""
        built = snapshot.fragment_of(self.route)
        return msgspec.json.format(msgspec.json.encode(built), indent=2).decode()


def _matches(row: RouteTarget, target: TargetTraffic) -> bool:
    """A target without an endpoint means its provider's first, whatever that was called then."""
    same = row.provider.name == target.provider and row.model == target.model
    return same and (row.endpoint is None or row.endpoint.name == target.endpoint)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _measured(traffic: list[TargetTraffic]) -> Measured:
    requests = sum(target.totals.requests for target in traffic)
    answered = sum(target.totals.ok for target in traffic)
    cost = sum(target.totals.cost_nano for target in traffic)
    return Measured(
        requests=requests,
        rate=requests / HOUR.total_seconds(),
        failed=sum(target.totals.attempt_errors for target in traffic),
        attempts=sum(target.totals.attempts for target in traffic),
        cost_per_thousand=cost * 1_000 // answered if answered else None,
        p95=traffic[0].total.p95 if traffic else None,
    )
