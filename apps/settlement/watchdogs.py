"""What the shipper looks after beside its own work, because it runs where nothing else may: each says what is wrong, in a sentence.

An app that stands above names its watchdog in its ``AppConfig.ready()``. A watchdog that fails, or is slow, never holds up settling for
longer than one look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from controlplane.away import database_away

log = logging.getLogger("bulkhead.shipper")

LOOK_SECONDS = 60.0
Watchdog = Callable[[], str]

_watchdogs: dict[str, Watchdog] = {}


def register_watchdog(name: str, watchdog: Watchdog) -> None:
    """watchdog: one cheap query; what is wrong in a sentence, empty where all is well."""
    _watchdogs[name] = watchdog


class Watchdogs:
    """Looks once in ``LOOK_SECONDS``, and writes to the log what changed. ``warnings``: what is wrong now, by name."""

    def __init__(self) -> None:
        self.warnings: dict[str, str] = {}
        self._looked_at: float | None = None

    def look(self, now: float) -> None:
        """now: seconds of a clock that only goes forward."""
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for name, watchdog in _watchdogs.items():
            try:
                said = watchdog()
            except Exception as error:
                if database_away(error):
                    raise  # the shipper knows what to do then
                log.exception("the watchdog %r failed", name)
                continue
            before = self.warnings.pop(name, "")
            if said:
                self.warnings[name] = said
            if said and not before:
                log.warning("%s", said)
            elif before and not said:
                log.warning("%s: well again", name)
