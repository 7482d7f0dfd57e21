"""Which budgets an attempt is charged to: by key at publish time, by route, model and provider once for each combination, by feature, tags
and user with one look-up each.

Invariants: an attempt's budgets are distinct; every budget of its organisation whose scope it falls under is among them; none of another
organisation is. Hard budgets come first, and of soft ones those beyond ``MAX_APPLYING`` are left out, because the journal keeps
room for so many charges only; more hard ones than that refuse the request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from apps.contracts.snapshot import EACH, BudgetFragment, Fragment, KeyFragment
from apps.proxy.resilience import CompileError

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

MAX_APPLYING = 32
"""Budgets that one attempt may be charged to: 32 charges of 19 bytes fit the journal's open record, eight times so many its full one."""
MAX_PERCENT = 1_000
"""Of a limit, where a threshold may be: soft budgets go beyond theirs."""
MAX_SETS = 100_000
"""Combinations remembered; beyond, they are worked out again."""
MAX_USER_SHOWN = 128
"""Characters of a user that name their window; a longer one, or one that cannot be printed, goes by its digest."""
COARSE = ("organisation", "team", "service", "key")
"""Scopes that are known of a key beforehand."""

Ids = tuple[str, ...]


class Spend:
    """ids: hard ones first. hard: one of them is; what has no price or no bound is refused then. soft: never refuse for lack of room.
    open: of the soft ones, those that let requests pass uncounted where nobody can count."""

    __slots__ = ("acting", "hard", "ids", "open", "soft", "too_many")

    def __init__(self, ids: Iterable[str], table: SpendTable) -> None:
        distinct = dict.fromkeys(ids)
        hard = [one for one in distinct if table.budget(one).hard]
        soft = [one for one in distinct if not table.budget(one).hard][: max(0, MAX_APPLYING - len(hard))]
        self.ids: Ids = (*hard, *soft)
        self.hard = bool(hard)
        self.soft = frozenset(soft)
        self.open = frozenset(one for one in soft if table.budget(one).open_when_away)
        self.acting = tuple((one, table.budget(one).actions) for one in self.ids if table.budget(one).actions)
        """Those whose thresholds do something."""
        self.too_many = len(hard) > MAX_APPLYING


class SpendTable:
    """Every budget of a config, by what it is for."""

    def __init__(self, fragments: Mapping[str, Fragment]) -> None:
        """Raises CompileError."""
        self._budgets = cast(Mapping[str, BudgetFragment], fragments)
        self._by_scope: dict[tuple[str, str, str], list[str]] = {}
        scopes = set()
        for budget in self._budgets.values():
            if budget.limit_nano < 0:
                raise CompileError("budgets", budget.id, "limit_nano", "a limit cannot be negative")
            if any(not 0 < action.at_percent <= MAX_PERCENT for action in budget.actions):
                raise CompileError("budgets", budget.id, "actions", f"a threshold is 1 to {MAX_PERCENT} percent of the limit")
            self._by_scope.setdefault((budget.organisation, budget.scope, budget.scope_id), []).append(budget.id)
            scopes.add(budget.scope)
        for ids in self._by_scope.values():
            ids.sort()
        self.finer = not scopes.issubset(COARSE)
        """There are budgets for less than a key's whole traffic."""
        self.acting = any(budget.actions for budget in self._budgets.values())
        """Thresholds of some budget do something."""
        self._by_request = bool(scopes & {"feature", "tag", "user"})
        self._sets: dict[tuple[str, str, str], Spend] = {}
        self._wider: dict[tuple[Spend, Ids], Spend] = {}

    def budget(self, name: str) -> BudgetFragment:
        """By its id, or by ``<id>/<user>``."""
        found = self._budgets.get(name)
        return self._budgets[name.partition("/")[0]] if found is None else found

    def of_key(self, key: KeyFragment) -> Spend:
        found = self._at(key.organisation, "organisation", key.organisation) + self._at(key.organisation, "key", key.id)
        if key.team:
            found += self._at(key.organisation, "team", key.team)
            if key.service:
                found += self._at(key.organisation, "service", f"{key.team}/{key.service}")
        return Spend(sorted(found), self)

    def applying(self, exchange: Exchange, target: CompiledTarget) -> Spend:
        """What an attempt at the target is charged to."""
        key, route = exchange.key, exchange.route
        assert key is not None and route is not None
        at = (key.id, route.id, target.key)
        spend = self._sets.get(at)
        if spend is None:
            found = [*key.spend.ids, *self._at(key.organisation, "route", route.id), *self._at(key.organisation, "model", target.model)]
            found += self._at(key.organisation, "provider", target.provider_id)
            spend = Spend(found, self)
            if len(self._sets) >= MAX_SETS:
                self._sets.clear()
            self._sets[at] = spend
        if not self._by_request:
            return spend
        more = self._of_request(key.organisation, exchange)
        if not more:
            return spend
        wider = self._wider.get((spend, more))
        if wider is None:
            wider = Spend((*spend.ids, *more), self)
            if len(self._wider) >= MAX_SETS:
                self._wider.clear()
            self._wider[spend, more] = wider
        return wider

    def _of_request(self, organisation: str, exchange: Exchange) -> Ids:
        feature, tags, user, _ = exchange.attribution
        found: list[str] = []
        if feature:
            found += self._at(organisation, "feature", feature)
        for tag in tags:
            found += self._at(organisation, "tag", tag)
        if user:
            if user != EACH:
                found += self._at(organisation, "user", user)
            each = self._at(organisation, "user", EACH)
            if each:
                name = user_name(user)
                found += [f"{budget}/{name}" for budget in each]
        return tuple(found)

    def _at(self, organisation: str, scope: str, scope_id: str) -> list[str]:
        return self._by_scope.get((organisation, scope, scope_id), [])


def user_name(user: str) -> str:
    """What names a user's own window: the user as the app names them, where a table can show it."""
    if len(user) <= MAX_USER_SHOWN and user.isprintable():
        return user
    return f"sha256:{hashlib.sha256(user.encode()).hexdigest()}"


def spend_table(fragments: Mapping[str, Fragment]) -> SpendTable | None:
    """None where there are no budgets. Raises CompileError."""
    return SpendTable(fragments) if fragments else None
