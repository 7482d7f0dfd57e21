"""Kinds and scopes of limits, as people read them."""

from __future__ import annotations

from typing import get_args

from apps.contracts.limits import MEASURES, LimitKind, LimitScope

KINDS: dict[str, str] = {kind: MEASURES[kind].words for kind in get_args(LimitKind)}
SCOPES: dict[str, str] = {scope: scope.capitalize() for scope in get_args(LimitScope)}
KIND_HELP = (
    "A minute and a day are the last 60 seconds and the last 24 hours, at every moment. Tokens are reserved as the most that a request can "
    "use, and settled to what it used."
)
