"""Pure checks of what a person may ask of a budget. Every refusal says what to write instead."""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import cast
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from apps.audit.errors import ServiceError
from apps.budgets import choices
from apps.contracts.money import dollars_text
from apps.contracts.snapshot import EACH, RELIEFS, BudgetAction, Relief

MAX_LIMIT_NANO = 10**18
"""One billion dollars: far above any limit that means something, far below int64, so that totals of leases fit too."""

MAX_PERCENT = 1_000
"""Of a limit, where a threshold may be: what only counts goes beyond its limit."""


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


def check_limit(limit_nano: object, *, field: str = "limit_nano", what: str = "a limit") -> int:
    """A limit, or what else is such an amount, in nano-dollars, above zero."""
    if isinstance(limit_nano, bool) or not isinstance(limit_nano, int):
        raise ServiceError(
            f"{limit_nano!r} is not {what}: write whole nano-dollars (5000000000 is $5), or exact dollars as text where a form asks", field
        )
    if limit_nano <= 0:
        raise ServiceError(f"{what} must be above zero: delete the budget to lift it, or switch a kill flag on to stop its spending", field)
    if limit_nano > MAX_LIMIT_NANO:
        raise ServiceError(
            f"${dollars_text(limit_nano)} is beyond the largest limit, ${dollars_text(MAX_LIMIT_NANO)}: delete the budget to have no limit",
            field,
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


def check_actions(actions: object, kind: str) -> str:
    """Thresholds and what they do, ``80: cheaper, 95: limited``, as they are stored: in order, once each. A throttle needs one."""
    if not isinstance(actions, str):
        raise ServiceError(f"{actions!r} are no thresholds: write them as 80: cheaper, 95: limited", "actions")
    found: dict[int, str] = {}
    for part in filter(None, (part.strip() for part in actions.split(","))):
        percent, _, do = (piece.strip() for piece in part.partition(":"))
        percent = percent.removesuffix("%").strip()
        if not (percent.isascii() and percent.isdigit() and len(percent) < 5 and 1 <= int(percent) <= MAX_PERCENT) or do not in RELIEFS:
            raise ServiceError(
                f"{part[:60]!r} is no threshold: write a percentage from 1 to {MAX_PERCENT} and what it does, one of {', '.join(RELIEFS)}, "
                "as in 80: cheaper, 95: limited",
                "actions",
            )
        if int(percent) in found:
            raise ServiceError(f"{percent} percent is there twice: a threshold does one thing", "actions")
        found[int(percent)] = do
    if kind == "soft" and found:
        raise ServiceError("a soft budget only counts and alerts: choose the kind throttle for thresholds that act", "actions")
    if kind == "throttle" and not found:
        raise ServiceError("a throttle needs a threshold, such as 80: cheaper", "actions")
    text = ", ".join(f"{percent}: {found[percent]}" for percent in sorted(found))
    if len(text) > 200:
        raise ServiceError("that are too many thresholds: a handful says it all", "actions")
    return text


def actions_of(text: str) -> tuple[BudgetAction, ...]:
    """What ``check_actions`` gave."""
    parts = (part.partition(":") for part in text.split(",") if part.strip())
    return tuple(BudgetAction(at_percent=int(percent), do=cast(Relief, do.strip())) for percent, _, do in parts)


def check_shares(shares: object) -> str:
    """Percentages of the limit at which the owner is told, ``50, 80, 100``; empty: never."""
    if not isinstance(shares, str):
        raise ServiceError(f"{shares!r} are no shares of a limit: write percentages, such as 50, 80, 100", "alert_shares")
    found = set()
    for part in filter(None, (part.strip().removesuffix("%").strip() for part in shares.split(","))):
        if not (part.isascii() and part.isdigit() and len(part) < 5 and 1 <= int(part) <= MAX_PERCENT):
            raise ServiceError(
                f"{part[:40]!r} is no share of a limit: write percentages from 1 to {MAX_PERCENT}, such as 50, 80, 100", "alert_shares"
            )
        found.add(int(part))
    if len(found) > 10:
        raise ServiceError("at most ten alerts: nobody reads more", "alert_shares")
    return ", ".join(str(share) for share in sorted(found))


def check_address(address: object, field: str) -> str:
    """An e-mail address, or nothing."""
    text = address.strip() if isinstance(address, str) else address
    if text == "":
        return ""
    try:
        validate_email(text)
    except ValidationError:
        raise ServiceError(f"{str(address)[:60]!r} is not an e-mail address: write one such as team@example.com", field) from None
    return str(text)


def check_webhook(url: object, field: str) -> str:
    """An http(s) address without credentials in it, or nothing. Whether its host may be called is judged when it is."""
    text = url.strip() if isinstance(url, str) else ""
    if not text and url in ("", None):
        return ""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or not text.isprintable() or len(text) > 1000:
        raise ServiceError("a webhook is an address such as https://hooks.example.com/budgets, without a user in it", field)
    return text


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
