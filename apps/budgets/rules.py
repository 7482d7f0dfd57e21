"""Pure checks of what a person may ask of a budget. Every refusal says what to write instead."""

from __future__ import annotations

import zoneinfo
from functools import cache

from apps.audit.errors import ServiceError
from apps.budgets import choices
from apps.contracts.money import dollars_text

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
        raise ServiceError(f"{window!r} is not a budget's window: choose {' or '.join(choices.WINDOWS)}", "window")
    return window


def check_timezone(name: object) -> str:
    """A name of the IANA time zone database; whether Postgres knows it too is asked by the service."""
    if not isinstance(name, str) or name not in _zones():
        raise ServiceError(f"{name!r} is not a time zone: use a name such as UTC, Europe/Berlin or America/New_York", "timezone")
    return name


def check_scope(scope: object) -> str:
    if not isinstance(scope, str) or scope not in choices.SCOPES:
        raise ServiceError(f"{scope!r} is not what a budget can be for: choose {' or '.join(choices.SCOPES)}", "scope")
    return scope


def state_of(*, limit: int, spent: int, leased: int, overrun: int) -> str:
    """The key in ``choices.BUDGET_STATES`` for a window's amounts."""
    if overrun and spent + overrun > limit:
        return "overrun"
    if spent + overrun >= limit:
        return "exhausted"
    part, whole = choices.NEAR_FRACTION
    return "near" if (spent + overrun + leased) * whole >= limit * part else "within"
