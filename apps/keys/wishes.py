"""A key that somebody wishes for, and the bounds of a team inside which it needs nobody's consent. Pure.

Invariant: what ``outside`` finds nothing against, ``filled`` keeps inside the bounds; a key made from it has every limit, budget and
expiry that the bounds ask for, at most as large, as wide and as long as they allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

from apps.audit.errors import ServiceError
from apps.contracts.limits import MEASURES, AmountError, LimitKind, amount_check
from apps.contracts.money import dollars_text
from apps.contracts.snapshot import BudgetPeriod
from apps.keys import rules

EVERYTHING = ("*",)
MOST_NANO = 10**18


@dataclass(frozen=True, slots=True)
class Wish:
    """service: slug of one of the team's services, or empty. limits: kind of limit -> amount. budget_nano: nano-dollars per
    ``budget_window``, 0: none. expires_at: None: never."""

    name: str
    environment: str = "production"
    service: str = ""
    routes: tuple[str, ...] = EVERYTHING
    feature: str = ""
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    expires_at: datetime | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    budget_nano: int = 0
    budget_window: str = "month"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a team's template allows (``apps.keys.template_models.KeyTemplate``). longest_days, budget_nano: None: no bound."""

    routes: tuple[str, ...]
    environments: tuple[str, ...]
    most_keys: int
    longest_days: int | None
    limits: Mapping[str, int]
    budget_nano: int | None
    budget_window: str


def check_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """Limits of one key by kind. Raises ServiceError."""
    for kind, amount in limits.items():
        if kind not in MEASURES:
            raise ServiceError(f"{kind!r} is not a kind of limit: choose one of {', '.join(MEASURES)}", "limits")
        try:
            amount_check(amount)
        except AmountError as error:
            raise ServiceError(str(error), kind) from None
    return dict(limits)


def check_budget(nano: int | None, window: str, *, name: str = "budget") -> int | None:
    """A budget in nano-dollars; None and 0: none. Raises ServiceError."""
    if window not in get_args(BudgetPeriod):
        raise ServiceError(f"{window!r} is not a budget's window: choose one of {', '.join(get_args(BudgetPeriod))}", "budget_window")
    if nano is not None and not 0 <= nano <= MOST_NANO:
        raise ServiceError("a budget is above zero and at most a billion dollars; leave it empty for none", name)
    return nano


def check(wish: Wish) -> Wish:
    """The wish in canonical form. Raises ServiceError for what no key could be."""
    rules.check_name(wish.name)
    rules.check_environment(wish.environment)
    rules.check_expiry(wish.expires_at)
    check_budget(wish.budget_nano, wish.budget_window)
    return replace(
        wish,
        feature=rules.check_feature(wish.feature),
        tags=tuple(rules.check_tags(wish.tags)),
        routes=tuple(rules.check_routes(wish.routes)),
        addresses=tuple(rules.check_addresses(wish.addresses)),
        limits=check_limits(wish.limits),
    )


def outside(bounds: Bounds | None, wish: Wish, *, keys: int, now: datetime) -> list[str]:
    """What of the wish lies outside the bounds, in words; empty: it needs nobody's consent.

    bounds: None: the team lets nobody make keys alone. keys: how many active keys the team has by now.
    """
    if bounds is None:
        return ["the team has no template for keys"]
    found: list[str] = []
    if keys >= bounds.most_keys:
        found.append(f"the team has {keys} keys, and its members make at most {bounds.most_keys}")
    if wish.environment not in bounds.environments:
        found.append(f"the environment {wish.environment}: the template has {', '.join(bounds.environments) or 'none'}")
    if "*" not in bounds.routes:
        more = [route for route in wish.routes if route not in bounds.routes and route != "*"]
        if more:
            found.append(f"the routes {', '.join(more)}: the template has {', '.join(bounds.routes)}")
    if bounds.longest_days is not None and wish.expires_at is not None and wish.expires_at > now + timedelta(days=bounds.longest_days):
        found.append(f"it lives longer than {bounds.longest_days} days")
    for kind, most in bounds.limits.items():
        if wish.limits.get(kind, most) > most:
            found.append(f"{wish.limits[kind]:,} {MEASURES[cast(LimitKind, kind)].words}: at most {most:,}")
    if bounds.budget_nano is not None and wish.budget_nano:
        if wish.budget_window != bounds.budget_window:
            found.append(f"a budget per {wish.budget_window}: the template has one per {bounds.budget_window}")
        elif wish.budget_nano > bounds.budget_nano:
            found.append(
                f"a budget of ${dollars_text(wish.budget_nano)} per {wish.budget_window}: at most ${dollars_text(bounds.budget_nano)}"
            )
    return found


def outgrown(bounds: Bounds | None, key: Wish, *, now: datetime) -> list[str]:
    """What of a key that is there lies outside the bounds by now, in words. As for ``outside``, but a key has what it has: nothing is
    filled in any more, and how many keys there are says nothing about this one. Its limits and budget are the budgets' matter."""
    found = outside(bounds, replace(key, limits={}, budget_nano=0), keys=-1, now=now)
    if bounds is not None:
        if "*" in key.routes and "*" not in bounds.routes:
            found.append(f"every route: the template has {', '.join(bounds.routes)}")
        if bounds.longest_days is not None and key.expires_at is None:
            found.append(f"it never expires: the template says after {bounds.longest_days} days at most")
    return found


def filled(bounds: Bounds | None, wish: Wish, *, now: datetime) -> Wish:
    """The wish with what the bounds give a key that asks for nothing: their limits, budget and longest life, and their routes where it
    asks for all. What it asks for itself stays as it is."""
    if bounds is None:
        return wish
    routes = wish.routes if "*" not in wish.routes or "*" in bounds.routes else bounds.routes
    expires_at = wish.expires_at
    if expires_at is None and bounds.longest_days is not None:
        expires_at = now + timedelta(days=bounds.longest_days)
    nano, window = wish.budget_nano, wish.budget_window
    if not nano and bounds.budget_nano is not None:
        nano, window = bounds.budget_nano, bounds.budget_window
    limits = {**bounds.limits, **wish.limits}
    return replace(wish, routes=routes, expires_at=expires_at, limits=limits, budget_nano=nano, budget_window=window)


def as_json(wish: Wish) -> dict[str, Any]:
    """What a request keeps."""
    return {
        "environment": wish.environment,
        "service": wish.service,
        "routes": list(wish.routes),
        "feature": wish.feature,
        "tags": list(wish.tags),
        "addresses": list(wish.addresses),
        "expires_at": None if wish.expires_at is None else wish.expires_at.astimezone(UTC).isoformat(),
        "limits": dict(wish.limits),
        "budget_nano": wish.budget_nano,
        "budget_window": wish.budget_window,
    }


def of_json(name: str, facts: Mapping[str, Any]) -> Wish:
    """``as_json`` read back."""
    values = dict(facts)
    for part in ("routes", "tags", "addresses"):
        values[part] = tuple(values[part])
    if values["expires_at"] is not None:
        values["expires_at"] = datetime.fromisoformat(values["expires_at"])
    return Wish(name=name, **values)


def limit_words(limits: Mapping[str, int]) -> list[str]:
    """``60 requests per minute`` and so on."""
    return [f"{amount:,} {MEASURES[cast(LimitKind, kind)].words}" for kind, amount in limits.items()]
