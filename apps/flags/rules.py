"""Pure decisions about flags. No ORM; every refusal is a ServiceError that says what to do."""

from __future__ import annotations

import re
from datetime import datetime

from apps.audit.errors import ServiceError

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")


def check_name(name: str) -> str:
    """Names are lower case and safe in addresses, labels and YAML."""
    if not NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} is not a name: use 1 to 80 of a-z, 0-9, '.', '_', '-', starting and ending with a letter or digit", "name"
        )
    return name


def check_subject(kind: str, subject_kind: str) -> None:
    """A kill stops a provider, a route or a key; only a route has a fallback chain."""
    if kind not in ("fallback", "kill"):
        raise ServiceError(f"{kind!r} is not a kind of flag: use 'fallback' or 'kill'", "kind")
    if subject_kind not in ("provider", "route", "key"):
        raise ServiceError(f"{subject_kind!r} cannot be switched: use 'provider', 'route' or 'key'", "subject_kind")
    if kind == "fallback" and subject_kind != "route":
        raise ServiceError("only a route has a fallback: name a route, or use the kind 'kill'", "subject_kind")


def check_text(text: str, field: str) -> str:
    if len(text) > 300 or any(ord(c) < 32 and c not in "\t" for c in text):
        raise ServiceError(f"the {field} is one line of up to 300 characters", field)
    return text


def check_until(until: datetime | None) -> datetime | None:
    if until is not None and until.tzinfo is None:
        raise ServiceError("the end needs a time zone, such as 2027-01-31T00:00:00Z", "until")
    return until
