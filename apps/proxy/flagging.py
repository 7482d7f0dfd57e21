"""Flags that are on, as a request meets them. What holds for all requests of a route is compiled into it (``apps.proxy.assembly``); here is
what has to be asked: rules, a team, a feature, a region, a drill's share.

A route that no such flag touches has no ``RouteFlags``, and its requests pay one attribute test. On the others each flag is asked once per
request, and the route as it is while just those act is made when it is first needed.

Invariants: a flag's answer depends on the request and the config alone (drills and rollouts by hash), so asking twice says the same; of
several degradations the severest acts; what no flag acts on is the route itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from apps.contracts.flag_buckets import murmur3
from apps.contracts.flag_constraints import NOW
from apps.contracts.flag_rules import CompiledRules

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute

MAX_BUILT = 256
"""Combinations of acting flags remembered per route."""
SESSION = b"x-bulkhead-session"


class Tally:
    """How often a flag was asked, by what it said."""

    __slots__ = ("off", "on")

    def __init__(self) -> None:
        self.on = 0
        self.off = 0


class ActiveFlag:
    """One flag that is on.

    rules: None: holds for every request (``decided`` False: holds, or not, by ``default_on``, because this proxy cannot read its rules).
    seed: of a drill's share. tally: how often this process has asked it.
    """

    __slots__ = (
        "id",
        "kind",
        "level",
        "name",
        "organisation",
        "rules",
        "seed",
        "share",
        "simulated_only",
        "static",
        "subject",
        "subject_id",
        "tally",
    )

    def __init__(
        self,
        id: str,
        name: str,
        organisation: str,
        kind: str,
        subject: str,
        subject_id: str,
        level: str,
        rules: CompiledRules | None,
        share: int,
        simulated_only: bool,
    ) -> None:
        self.id = id
        self.name = name
        self.organisation = organisation
        self.kind = kind
        self.subject = subject
        self.subject_id = subject_id
        self.level = level
        self.rules = rules
        self.share = share
        self.seed = murmur3(id.encode())
        self.simulated_only = simulated_only
        self.static = rules is None and share >= 100
        """Says the same to all requests of its subject."""
        self.tally = Tally()

    def concerns(self, exchange: Exchange) -> bool:
        """Whether this request is of its subject; that of routes, providers, models and regions is known beforehand."""
        subject = self.subject
        if subject == "team":
            return exchange.key is not None and exchange.key.team == self.subject_id
        if subject == "feature":
            return exchange.attribution[0] == self.subject_id
        if subject == "key":
            return exchange.key is not None and exchange.key.id == self.subject_id
        return True

    def says(self, exchange: Exchange, context: dict[str, str]) -> bool:
        """Whether it acts on this request, which concerns it. Counted."""
        acts = True
        if self.share < 100:
            acts = murmur3(exchange.id, self.seed) % 100 < self.share
        rules = self.rules
        if acts and rules is not None:
            acts = rules.enabled(context)
        if acts:
            self.tally.on += 1
        else:
            self.tally.off += 1
        return acts


class RouteFlags:
    """Of one route: the flags to ask, and the route as it is while some of them act.

    flags: asked before the plan. regional: asked after it, by the region of its first target. fields: of the context that rules look at.
    """

    __slots__ = ("_assemble", "_built", "fields", "flags", "regional")

    def __init__(
        self,
        flags: tuple[ActiveFlag, ...],
        regional: tuple[ActiveFlag, ...],
        assemble: Callable[[tuple[ActiveFlag, ...]], CompiledRoute],
    ) -> None:
        self.flags = flags
        self.regional = regional
        self._assemble = assemble
        self._built: dict[int, CompiledRoute] = {}
        fields: set[str] = set()
        for flag in (*flags, *regional):
            if flag.rules is not None:
                fields |= flag.rules.fields
        self.fields = tuple(sorted(fields))

    def acting(self, exchange: Exchange, route: CompiledRoute) -> int:
        """Which of ``flags`` act, a bit each."""
        found = 0
        bit = 1
        context: dict[str, str] | None = None
        for flag in self.flags:
            if flag.concerns(exchange):
                if context is None:
                    context = context_of(exchange, route, self.fields)
                if flag.says(exchange, context):
                    found |= bit
            bit <<= 1
        return found

    def acting_in(self, region: str, exchange: Exchange, route: CompiledRoute) -> int:
        """Which of ``regional`` act, a bit each, above those of ``flags``."""
        found = 0
        bit = 1 << len(self.flags)
        for flag in self.regional:
            if flag.subject_id == region and flag.says(exchange, context_of(exchange, route, self.fields)):
                found |= bit
            bit <<= 1
        return found

    def route_while(self, acting: int, route: CompiledRoute) -> CompiledRoute:
        """The route while the flags of these bits act: itself while none does."""
        if not acting:
            return route
        found = self._built.get(acting)
        if found is None:
            if len(self._built) >= MAX_BUILT:
                self._built.clear()
            flags = [flag for place, flag in enumerate((*self.flags, *self.regional)) if acting >> place & 1]
            found = self._built[acting] = self._assemble(tuple(flags))
            found.retries, found.slots = route.retries, route.slots
        return found


def context_of(exchange: Exchange, route: CompiledRoute, fields: tuple[str, ...]) -> dict[str, str]:
    """What rules are asked about: the fields that they look at, as far as this request has them (docs/flags.md lists them)."""
    context: dict[str, str] = {}
    for field in fields:
        value = _field(exchange, route, field)
        if value is not None:
            context[field] = value
    return context


def _field(exchange: Exchange, route: CompiledRoute, field: str) -> str | None:
    key = exchange.key
    if field == "userId":
        return exchange.attribution[2] or None
    if field == "sessionId":
        session = exchange.request.headers.get(SESSION)
        return None if session is None else session.decode("latin-1")
    if field == "remoteAddress":
        return exchange.engine.authenticator.client_of(exchange.request) or None
    if field == NOW:
        # the database's time, as each proxy has measured it: their own clocks may differ
        return datetime.fromtimestamp(exchange.started_us / 1e6, UTC).isoformat()
    if field == "feature":
        return exchange.attribution[0] or None
    if field == "route":
        return route.name
    if field == "model":
        return exchange.requested_model
    if field == "kind":
        return exchange.kind
    if field == "stream":
        return "true" if exchange.stream else "false"
    if field == "tags":
        return ",".join(exchange.attribution[1])
    if key is not None:
        if field == "environment":
            return key.environment
        if field == "appName" or field == "service":
            return key.service or None
        if field == "team":
            return key.team or None
        if field == "key":
            return key.name
    return exchange.attribution[3].get(field)
