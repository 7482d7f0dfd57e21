"""Kinds, scopes and use of limits, as people read them."""

from __future__ import annotations

from typing import get_args

from apps.contracts.limits import DAY_MS, MEASURES, MINUTE_MS, LimitKind, LimitScope
from apps.ui.status import Status

KINDS: dict[str, str] = {kind: MEASURES[kind].words for kind in get_args(LimitKind)}
SCOPES: dict[str, str] = {scope: scope.capitalize() for scope in get_args(LimitScope)}
SPANS: dict[int, str] = {MINUTE_MS: "the last 60 seconds", DAY_MS: "the last 24 hours", 0: "what runs at this moment"}
"""Milliseconds of a window -> what is counted."""
KIND_HELP = (
    "A minute and a day are the last 60 seconds and the last 24 hours, at every moment. Tokens are reserved as the most that a request can "
    "use, and settled to what it used."
)

NEARLY = 0.9
"""From this part of the limit on, it is nearly used up."""
USE_STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("idle", "Unused", "neutral", hint="Nothing of it is in use, or was in its window."),
        Status("within", "Within", "good", hint="There is room."),
        Status("nearly", "Nearly used up", "warn", hint="Nine tenths or more are used: requests may be refused soon."),
        Status("full", "Used up", "bad", hint="Requests beyond it are refused until some of it is free again."),
        Status("unknown", "Not known", "unknown", hint="Nobody knows what all proxies use together."),
    )
}
