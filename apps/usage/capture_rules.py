"""What a capture may ask for. Pure; each check returns the value or raises ServiceError."""

from __future__ import annotations

import re

from apps.audit.errors import ServiceError
from apps.contracts.redaction import MAX_PATTERN_NAME, MAX_PATTERNS, PatternRefused, pattern_read

MOST_DAYS, DAYS = 30, 7
MOST_REQUESTS, REQUESTS = 100, 20
MOST_MINUTES, MINUTES = 60, 60
LEAST_PERCENT = 0.01
BUILT_IN = frozenset({"credential", "email", "iban", "card", "phone", "attachment"})
_KIND = re.compile(r"[a-z][a-z0-9 _-]*")


def check_percent(percent: float) -> float:
    if not LEAST_PERCENT <= percent <= 100:
        raise ServiceError(f"the share is {LEAST_PERCENT} to 100 percent of the route's requests", "percent")
    return percent


def check_days(days: int) -> int:
    if not 1 <= days <= MOST_DAYS:
        raise ServiceError(f"samples are kept for 1 to {MOST_DAYS} days", "days")
    return days


def check_requests(requests: int) -> int:
    if not 1 <= requests <= MOST_REQUESTS:
        raise ServiceError(f"a key's next 1 to {MOST_REQUESTS} requests can be captured at a time", "requests")
    return requests


def check_minutes(minutes: int) -> int:
    if not 1 <= minutes <= MOST_MINUTES:
        raise ServiceError(f"a key is captured for 1 to {MOST_MINUTES} minutes", "minutes")
    return minutes


def patterns_read(text: str) -> list[tuple[str, str]]:
    """``kind = template``, one a line, as people write them. Raises ServiceError with the line's number."""
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        kind, equals, template = (part.strip() for part in line.partition("="))
        if not equals or not _KIND.fullmatch(kind) or len(kind) > MAX_PATTERN_NAME:
            message = f"line {number}: write a kind in small letters, =, and a template, such as: employee = EMP-######"
            raise ServiceError(message, "patterns")
        if kind in BUILT_IN:
            raise ServiceError(f"line {number}: {kind!r} is looked for already: choose another word for the kind", "patterns")
        try:
            pattern_read(template)
        except PatternRefused as error:
            raise ServiceError(f"line {number}: {error}", "patterns") from None
        found.append((kind, template))
    if len(found) > MAX_PATTERNS:
        raise ServiceError(f"at most {MAX_PATTERNS} patterns: each is looked for in every sample", "patterns")
    return found
