"""Filters of requests: a name and a text, as URLs carry them, to a condition. One explicit table, so that anyone can read what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Q

MOST_MS = 86_400_000


class FilterError(ValueError):
    """A filter whose value makes no sense; the message says what to write."""


def _equal(column: str) -> Callable[[str], Q]:
    return lambda value: Q(**{column: value})


def _provider(value: str) -> Q:
    """Called it in any attempt."""
    return Q(provider=value) | Q(attempts__contains=[{"provider": value}])


def _model(value: str) -> Q:
    """Asked for it, or was answered by it."""
    return Q(requested_model=value) | Q(model=value)


def _region(value: str) -> Q:
    """Called a target there in any attempt."""
    return Q(region=value) | Q(attempts__contains=[{"region": value}])


EMPTY_ABLE = {"team", "service", "feature", "user", "key", "route", "model", "provider", "region"}


def _without(value: str) -> Q:
    """Has none of what is named."""
    if value not in EMPTY_ABLE:
        raise FilterError(f"“{value[:20]}” is nothing that a request can be without: one of {', '.join(sorted(EMPTY_ABLE))}.")
    return Q(**{"key_id" if value == "key" else value: ""})


def _status(value: str) -> Q:
    """A code such as 429, or a class such as 5xx."""
    if len(value) == 3 and value[0] in "12345" and value[1:].lower() == "xx":
        return Q(status__gte=int(value[0]) * 100, status__lt=int(value[0]) * 100 + 100)
    if value.isascii() and value.isdecimal() and len(value) <= 3:
        return Q(status=int(value))
    raise FilterError(f"“{value[:20]}” is no status: write a code such as 429, or a class such as 5xx.")


def _stream(value: str) -> Q:
    if value not in ("yes", "no"):
        raise FilterError("stream is yes or no.")
    return Q(stream=value == "yes")


def _least(value: str) -> Q:
    """Milliseconds to the whole answer."""
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds <= MOST_MS:
        raise FilterError(f"“{value[:20]}” is no latency: write milliseconds, such as 1500.")
    return Q(total_us__gte=round(milliseconds * 1_000))


CONDITIONS: dict[str, Callable[[str], Q]] = {
    "route": _equal("route"),
    "provider": _provider,
    "key_id": _equal("key_id"),
    "outcome": _equal("outcome"),
    "error_code": _equal("error_code"),
    "status": _status,
    "stream": _stream,
    "feature": _equal("feature"),
    "user": _equal("user"),
    "tag": lambda value: Q(tags__contains=[value]),
    "model": _model,
    "min_ms": _least,
    "team": _equal("team"),
    "service": _equal("service"),
    "region": _region,
    "without": _without,
    "trace_id": _equal("trace_id"),
    "input_hash": _equal("input_hash"),
}
INDEXED = frozenset({"route", "key_id", "outcome", "trace_id"})
"""An index leads to their rows; of the others, a page looks at so many requests at most and says so."""


def condition(filters: Mapping[str, str]) -> Q:
    """All of the filters together. Raises FilterError for a value, ValueError for a name that is no filter."""
    whole = Q()
    for name, value in filters.items():
        if name not in CONDITIONS:
            raise ValueError(f"{name!r} is no filter of requests: one of {', '.join(CONDITIONS)}")
        whole &= CONDITIONS[name](value)
    return whole


def scans(filters: Mapping[str, Any]) -> bool:
    """Whether no index leads to what is asked for, so that it takes looking at requests one by one."""
    return bool(filters) and not (INDEXED & filters.keys() - {"outcome"} or filters.get("outcome") not in (None, "ok"))
