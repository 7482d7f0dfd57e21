"""What keys' pages show of apps that stand above keys: the routes a key may use, the budgets that wall it in, its limits.

Those apps know keys, not the other way round; each names its read here in its ``AppConfig.ready()``. Without one a page shows
less and never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.db.models import Value

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.ui.status import Status


@dataclass(frozen=True, slots=True)
class KnownRoute:
    """A route that a key could use. ``names``: its name and its aliases."""

    id: str
    name: str
    enabled: bool
    names: tuple[str, ...]


class BudgetLine(Protocol):
    """A budget in its current window, amounts in nano-dollars (``apps.budgets.selectors.BudgetBar``)."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def limit(self) -> int: ...
    @property
    def spent_share(self) -> float: ...
    @property
    def status(self) -> Status: ...


class BudgetRead(Protocol):
    """The budgets of some keys and of their whole organisation, the fullest first, in one query."""

    def __call__(self, organisation: Organisation, *, now: datetime, key_ids: Collection[str] | None = None) -> Sequence[BudgetLine]: ...


class LimitLine(Protocol):
    """A limit that holds a key, its team or its whole organisation (``apps.budgets.limit_selectors.LimitLine``)."""

    @property
    def id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def words(self) -> str: ...


class LimitRead(Protocol):
    """The limits that a key's requests fall under whatever their route, in few queries."""

    def __call__(self, organisation: Organisation, *, key_id: str, team_id: str) -> Sequence[LimitLine]: ...


@dataclass(frozen=True, slots=True)
class KeyWalls:
    """What holds a new key from its first request on. limits: kind of limit -> amount. budget_nano: nano-dollars per ``budget_window``,
    0: none. name, public_id: of the key, of which the limits' and the budget's names are made."""

    key_id: str
    name: str
    public_id: str
    limits: Mapping[str, int]
    budget_nano: int = 0
    budget_window: str = "month"
    owner_email: str = ""


class WallWrite(Protocol):
    """Sets limits and budgets of keys that were made in the same transaction. It asks for no permission: whoever may make such a key may
    make it with these walls, and the keys' service has asked."""

    def __call__(self, *, actor: Actor, organisation: Organisation, walls: Sequence[KeyWalls], reason: str) -> None: ...


RouteName = Callable[[Any], Any]
"""From a query's expression of a route's id to one of its name: what lists name routes by without a query of their own."""

RouteRead = Callable[[Organisation, int | None], Sequence[KnownRoute]]

_routes: RouteRead | None = None
_route_name: RouteName | None = None
_budgets: BudgetRead | None = None
_limits: LimitRead | None = None
_walls: WallWrite | None = None


def register_routes(read: RouteRead) -> None:
    """Names who knows an organisation's routes: by name, in one query, all of them or so many."""
    global _routes
    _routes = read


def register_route_name(name: RouteName) -> None:
    """Names who knows a route's name within another query."""
    global _route_name
    _route_name = name


def route_name_expression(route_id: Any) -> Any:
    """An expression of the name of the route whose id ``route_id`` is, in somebody else's query; empty text where nobody knows routes."""
    return _route_name(route_id) if _route_name else Value("")


def register_budgets(read: BudgetRead) -> None:
    """Names who knows the budgets."""
    global _budgets
    _budgets = read


def register_limits(read: LimitRead) -> None:
    """Names who knows the limits."""
    global _limits
    _limits = read


def register_walls(write: WallWrite) -> None:
    """Names who sets limits and budgets."""
    global _walls
    _walls = write


def walls_set(*, actor: Actor, organisation: Organisation, walls: Sequence[KeyWalls], reason: str) -> None:
    """Limits and budgets of new keys, in the transaction that made them. Raises LookupError where nobody sets them: a key must never be
    made without the walls it was asked for."""
    walls = [wall for wall in walls if wall.limits or wall.budget_nano]
    if not walls:
        return
    if _walls is None:
        raise LookupError("nobody sets limits and budgets of keys: apps.budgets registers itself in its ready()")
    _walls(actor=actor, organisation=organisation, walls=walls, reason=reason)


def limits_known(organisation: Organisation, *, key_id: str, team_id: str) -> list[LimitLine]:
    """The limits that hold a key, its team or its organisation."""
    return list(_limits(organisation, key_id=key_id, team_id=team_id)) if _limits else []


def routes_known(organisation: Organisation, *, most: int | None = None) -> list[KnownRoute]:
    """The organisation's routes by name, or the first ``most``."""
    return list(_routes(organisation, most)) if _routes else []


def budgets_known(organisation: Organisation, *, now: datetime, key_ids: Collection[str]) -> list[BudgetLine]:
    """The budgets that wall these keys in, or their whole organisation."""
    return list(_budgets(organisation, now=now, key_ids=key_ids)) if _budgets else []
