"""Pure decisions about virtual keys. No ORM; every refusal is a ServiceError that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import get_args

from apps.audit.errors import ServiceError
from apps.contracts.networks import MAX_NETWORKS, NetworkError, network_read
from apps.contracts.snapshot import Environment
from apps.contracts.tokens import MAX_LENGTH, MIN_LENGTH, public_id_of

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")
SOON = timedelta(days=14)
"""A key that expires within this time is marked."""
OVERLAP = timedelta(days=90)
"""The longest that a replaced secret opens its key beside the new one."""
MAX_TAGS = 20
MAX_ROUTES = 200
MAX_TOKENS = 8
"""Tokens that may open one key at a time: the present one, and replaced ones that are still valid."""


def check_name(name: str, field: str = "name") -> str:
    """Names are lower case and safe in addresses, labels and YAML."""
    if not NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} is not a name: use 1 to 80 lower-case letters, digits, '.', '_' or '-', starting and ending with a letter or digit",
            field,
        )
    return name


def check_environment(environment: str) -> str:
    if environment not in get_args(Environment):
        raise ServiceError(f"{environment!r} is not an environment: use one of {', '.join(get_args(Environment))}", "environment")
    return environment


def check_priority(priority: str) -> str:
    if priority not in ("high", "normal", "low"):
        raise ServiceError(f"{priority!r} is not a priority: use one of high, normal, low", "priority")
    return priority


def check_feature(feature: str) -> str:
    if feature and not _label(feature):
        raise ServiceError(f"{feature!r} is not a feature: use up to 80 printable characters without commas", "feature")
    return feature


def check_tags(tags: Sequence[str]) -> list[str]:
    """Tags in the order given, none twice."""
    if len(tags) > MAX_TAGS:
        raise ServiceError(f"{len(tags)} tags: use at most {MAX_TAGS}", "tags")
    for tag in tags:
        if not _label(tag):
            raise ServiceError(f"{tag!r} is not a tag: use 1 to 80 printable characters without commas", "tags")
    if len(set(tags)) != len(tags):
        raise ServiceError("a tag is listed twice", "tags")
    return list(tags)


def check_routes(routes: Sequence[str]) -> list[str]:
    """Names of routes or aliases, or ``*`` alone. A name may be of a route that comes later."""
    if not routes:
        raise ServiceError("a key needs at least one route: name some, or '*' for all of the organisation", "routes")
    if "*" in routes and len(routes) > 1:
        raise ServiceError("'*' stands for every route: leave out the others", "routes")
    if len(routes) > MAX_ROUTES:
        raise ServiceError(f"{len(routes)} routes: name at most {MAX_ROUTES}, or '*' for all", "routes")
    if len(set(routes)) != len(routes):
        raise ServiceError("a route is listed twice", "routes")
    for route in routes:
        if not re.fullmatch(r"[\x21-\x7e]{1,120}", route):
            raise ServiceError(f"{route!r} is not a route's name", "routes")
    return list(routes)


def check_addresses(addresses: Sequence[str]) -> list[str]:
    """Ranges of addresses in canonical spelling, in the order given, none twice; none at all: from everywhere."""
    if len(addresses) > MAX_NETWORKS:
        raise ServiceError(f"{len(addresses)} ranges of addresses: use at most {MAX_NETWORKS}, wider ones", "addresses")
    try:
        ranges = [network_read(text) for text in addresses]
    except NetworkError as error:
        raise ServiceError(str(error), "addresses") from None
    if len(set(ranges)) != len(ranges):
        raise ServiceError("a range of addresses is listed twice", "addresses")
    return ranges


def check_hash(text: str) -> str:
    """A SHA-256 of a token, as hexadecimal digits in lower case."""
    digest = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ServiceError(
            "a SHA-256 has 64 hexadecimal digits: this is another digest, or the secret itself, which belongs here never", "sha256"
        )
    return digest


def check_expiry(expires_at: datetime | None) -> datetime | None:
    if expires_at is not None and expires_at.tzinfo is None:
        raise ServiceError("the expiry needs a time zone, such as 2027-01-31T00:00:00Z", "expires_at")
    return expires_at


def check_old_until(old_until: datetime | None, *, now: datetime) -> datetime | None:
    """Until when a replaced token stays valid: in the future, and at most 90 days away."""
    if old_until is None:
        return None
    if old_until.tzinfo is None:
        raise ServiceError("the end of the old secret needs a time zone, such as 2027-01-31T00:00:00Z", "old_until")
    if old_until <= now:
        raise ServiceError("this moment has passed: choose a later one, or end the old secret at once", "old_until")
    if old_until > now + OVERLAP:
        raise ServiceError("a replaced secret stays valid for at most 90 days: choose an earlier moment", "old_until")
    return old_until


def state_of(*, state: str, enabled: bool, expires_at: datetime | None, now: datetime) -> str:
    """The key in ``choices.STATES``: revoked before disabled before expired, because that is what has to be undone first."""
    if state == "revoked":
        return "revoked"
    if not enabled:
        return "disabled"
    if expires_at is None:
        return "active"
    return "expired" if expires_at <= now else "expires-soon" if expires_at <= now + SOON else "active"


def check_token(token: str) -> str:
    """A token that a header can carry and nobody guesses. The token is never part of a message."""
    if not MIN_LENGTH <= len(token) <= MAX_LENGTH:
        raise ServiceError(f"the key's secret has {len(token)} characters: it takes {MIN_LENGTH} to {MAX_LENGTH}", "secret")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ServiceError("the key's secret holds spaces, line breaks or characters that no header may carry", "secret")
    if token.startswith("bk-") and public_id_of(token) is None:
        raise ServiceError("the key's secret starts like one of ours but is cut short: copy the whole of it", "secret")
    return token


def limit_name(name: str, public_id: str, words: str) -> str:
    """What a limit is called that was set together with its key: told apart by the public id, because names are used again."""
    return f"{name[:30]} ({public_id}) {words}"


def budget_name(name: str, public_id: str) -> str:
    """The same of a budget."""
    return f"{name[:50]} ({public_id})"


def _label(text: str) -> bool:
    return 1 <= len(text) <= 80 and text == text.strip() and text.isprintable() and "," not in text
