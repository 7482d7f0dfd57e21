"""When to tell news before its time: at once where nothing was told lately, and never faster than was agreed. Pure.

Agents and proxies report in a rhythm. What a scale decision hangs on does not wait for it: where it ``moved``, it is told early.
"""

from __future__ import annotations

BURST = 2.0
"""So many early reports may follow each other without a pause."""
SHARE = 0.25
"""Of the greater of two figures: what differs by less is the same, near enough."""


class Early:
    """A bucket of early reports: one more each ``seconds``, at most ``BURST``. now: seconds of any one clock."""

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self._left = BURST
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one may be sent now; it counts as sent then."""
        self._left = min(BURST, self._left + (now - self._at) / max(0.001, self.seconds))
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def moved(before: float | None, now: float | None, least: float) -> bool:
    """Whether a figure is another one: by ``least`` and by a quarter of the greater; or it is known and was not. Unknown tells nothing."""
    if now is None:
        return False
    if before is None:
        return now >= least
    return abs(now - before) >= max(least, SHARE * max(abs(now), abs(before)))
