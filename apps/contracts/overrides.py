"""Overrides: switches thrown on a proxy's host, for its proxies only, while the control plane is away. What the command, the proxies and,
afterwards, the control plane agree on. Times are milliseconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from apps.contracts.snapshot import FlagKind, FlagSubject, Level

MAX_MS = 24 * 3_600_000
"""No override is longer than a day: by then the control plane is back, or something else is wrong."""
MAX_IN_FORCE = 64
KEPT_MS = 7 * 24 * 3_600_000
"""How long an override that has ended is remembered, so that a control plane that comes back late still hears of it."""
MAX_TOLD = 20
TOKEN_HEADER = "x-bulkhead-override-token"
"""Carries what only whoever may read the proxy's data directory knows."""


class OverrideAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator asks of each proxy of a host, in names: the control plane that knows ids is away.

    flag: the flag to switch ``on`` or off; or, without one, kind, subject and name of what shall be switched on.
    organisation: its id, where a name alone would be several things.
    """

    id: str
    by: str
    reason: str
    until_ms: int
    on: bool = True
    flag: str = ""
    kind: FlagKind | None = None
    subject: FlagSubject | None = None
    name: str = ""
    level: Level = "full"
    organisation: str = ""


class Override(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One override as a proxy keeps it. flag, flag_id: of the flag that it switches, empty where it stands by itself.
    ended_ms: when it was taken back or ran out; None while it is in force."""

    id: str
    by: str
    reason: str
    made_ms: int
    until_ms: int
    organisation: str
    kind: FlagKind
    subject: FlagSubject
    subject_id: str
    subject_name: str
    on: bool = True
    level: Level = "full"
    flag: str = ""
    flag_id: str = ""
    ended_ms: int | None = None

    def in_force(self, now_ms: int) -> bool:
        return self.ended_ms is None and now_ms < self.until_ms

    def words(self) -> str:
        """For people: what it does."""
        if self.flag:
            return f"flag {self.flag} {'on' if self.on else 'off'}"
        level = f" to {self.level}" if self.kind == "degrade" else ""
        return f"{self.kind} {self.subject} {self.subject_name}{level}"


def overrides_in(detail: Mapping[str, Any]) -> list[Override]:
    """The overrides that a heartbeat tells of; what cannot be read is left out."""
    found = []
    told = detail.get("overrides")
    for value in told[:MAX_TOLD] if isinstance(told, list) else ():
        try:
            found.append(msgspec.convert(value, Override))
        except msgspec.ValidationError:
            continue
    return found
