"""Pure checks of what a person may ask of a budget. Every refusal says what to write instead."""

from __future__ import annotations

import zoneinfo
from functools import cache

from apps.audit.errors import ServiceError
from apps.budgets import choices
from apps.contracts.money import dollars_text
from apps.contracts.snapshot import EACH

MAX_LIMIT_NANO = 10**18
"""One billion dollars: far above any limit that means something, far below int64, so that totals of leases fit too."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def check_name(name: object) -> str:
    """The name without surrounding blanks."""
    if not isinstance(name, str) or not name.strip():
        raise ServiceError("a budget needs a name, such as 'production per day'", "name")
    name = name.strip()
    if len(name) > 80 or not name.isprintable():
        raise ServiceError("a budget's name has at most 80 characters and no control characters or line breaks", "name")
    return name


def check_limit(limit_nano: object) -> int:
    """A limit in nano-dollars, above zero."""
    if isinstance(limit_nano, bool) or not isinstance(limit_nano, int):
        raise ServiceError(
            f"{limit_nano!r} is not a limit: write whole nano-dollars (5000000000 is $5), or exact dollars as text where a form asks",
            "limit_nano",
        )
    if limit_nano <= 0:
        raise ServiceError(
            "a limit must be above zero: delete the budget to lift it, or switch a kill flag on to stop its spending", "limit_nano"
        )
    if limit_nano > MAX_LIMIT_NANO:
        raise ServiceError(
            f"${dollars_text(limit_nano)} is beyond the largest limit, ${dollars_text(MAX_LIMIT_NANO)}: delete the budget to have no limit",
            "limit_nano",
        )
    return limit_nano


def check_window(window: object) -> str:
    if not isinstance(window, str) or window not in choices.WINDOWS:
        raise ServiceError(f"{window!r} is not a budget's window: choose one of {', '.join(choices.WINDOWS)}", "window")
    return window


def check_kind(kind: object) -> str:
    if not isinstance(kind, str) or kind not in choices.KINDS:
        raise ServiceError(f"{kind!r} is not a kind of budget: choose one of {', '.join(choices.KINDS)}", "kind")
    return kind


TEXT_SCOPES = {"user": 256, "model": 200, "feature": 64, "tag": 64}
"""Scopes whose objects have no row: they are what apps or providers call them, in at most so many characters."""


def check_text(scope: str, name: object) -> str:
    """The user, model, feature or tag that a budget is for."""
    most = TEXT_SCOPES[scope]
    if not isinstance(name, str) or not name.strip() or len(name.strip()) > most or not name.strip().isprintable():
        more = f", or {EACH} for every user by themselves" if scope == "user" else ""
        raise ServiceError(f"name the {scope} as requests name it, in at most {most} characters{more}", "scope_id")
    return name.strip()


def check_timezone(name: object) -> str:
    """A name of the IANA time zone database; whether Postgres knows it too is asked by the service."""
    if not isinstance(name, str) or name not in _zones():
        raise ServiceError(f"{name!r} is not a time zone: use a name such as UTC, Europe/Berlin or America/New_York", "timezone")
    return name


def check_scope(scope: object) -> str:
    if not isinstance(scope, str) or scope not in choices.SCOPES:
        raise ServiceError(f"{scope!r} is not what a budget can be for: choose one of {', '.join(choices.SCOPES)}", "scope")
    return scope


def state_of(*, limit: int, spent: int, leased: int, overrun: int, hard: bool = True) -> str:
    """The key in ``choices.BUDGET_STATES`` for a window's amounts."""
    if not hard:
        part, whole = choices.NEAR_FRACTION
        return "over" if spent + overrun > limit else "near" if (spent + overrun) * whole >= limit * part else "within"
    if overrun and spent + overrun > limit:
        return "overrun"
    if spent + overrun >= limit:
        return "exhausted"
    part, whole = choices.NEAR_FRACTION
    return "near" if (spent + overrun + leased) * whole >= limit * part else "within"
