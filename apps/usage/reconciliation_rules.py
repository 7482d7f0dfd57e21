"""Comparing what a provider says with what was recorded, by day and model. Pure.

Invariants: the sum of all lines' figures on either side equals the sum of what went in on that side; a line says ``ours`` or ``theirs``
alone exactly where the other side has none of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from apps.contracts.money import NANO
from apps.ui.status import Status
from apps.usage.reconciliation_reading import Figures

TOLERANCE_PERCENT = 1
LEAST_NANO = NANO // 100
"""A cent: exports round to it."""
STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("equal", "Agrees", "good", hint="Tokens and money differ by at most 1 %, or a cent."),
        Status("differs", "Differs", "bad"),
        Status("theirs", "Missing here", "bad", "question", hint="The provider bills it, and no request of it came through the proxies."),
        Status("ours", "Missing there", "warn", "question", hint="It came through the proxies, and the export does not have it."),
    )
}

_DATED = re.compile(r"-(?:latest|\d{4}-\d{2}-\d{2}|20\d{6})$")


def model_key(name: str) -> str:
    """What the names of one model have in common: ``Claude Haiku 4.5``, ``claude-haiku-4-5-20251001`` -> ``claude-haiku-4-5``.

    Snapshots of one model fall together, on both sides alike.
    """
    text = re.sub(r"[\s._/]+", "-", name.strip().lower()).strip("-")
    return _DATED.sub("", text)


@dataclass(frozen=True, slots=True)
class Compared:
    """One day and model. ``model``: as it is called; empty: all of that day, where the export has no models."""

    day: date
    model: str
    ours: Figures | None
    theirs: Figures | None

    @property
    def tokens_ours(self) -> int | None:
        return _tokens(self.ours)

    @property
    def tokens_theirs(self) -> int | None:
        return _tokens(self.theirs)

    @property
    def cost_ours(self) -> int | None:
        """Nano-dollars as booked."""
        return self.ours.cost_nano if self.ours else None

    @property
    def cost_theirs(self) -> int | None:
        """Nano-dollars as billed."""
        return self.theirs.cost_nano if self.theirs else None

    @property
    def tokens_difference(self) -> int | None:
        """Theirs less ours; None where the export counts no tokens."""
        return _difference(self, _tokens)

    @property
    def cost_difference(self) -> int | None:
        """Theirs less ours, nano-dollars; None where the export has no money."""
        return _difference(self, lambda side: side.cost_nano if side else None)

    @property
    def tokens_size(self) -> int:
        """Of the difference, for a share."""
        return abs(self.tokens_difference or 0)

    @property
    def cost_size(self) -> int:
        return abs(self.cost_difference or 0)

    @property
    def state(self) -> str:
        if self.ours is None:
            return "theirs"
        if self.theirs is None:
            return "ours"
        tokens, cost = self.tokens_difference, self.cost_difference
        off_tokens = tokens is not None and abs(tokens) * 100 > TOLERANCE_PERCENT * (self.tokens_theirs or 0)
        most = max(LEAST_NANO, abs(self.theirs.cost_nano or 0) * TOLERANCE_PERCENT // 100)
        return "differs" if off_tokens or (cost is not None and abs(cost) > most) else "equal"

    @property
    def shown(self) -> Status:
        return STATES[self.state]


def _tokens(side: Figures | None) -> int | None:
    if side is None or side.tokens_input is None:
        return None
    return side.tokens_input + (side.tokens_output or 0)


def _difference(line: Compared, measure: Callable[[Figures | None], int | None]) -> int | None:
    ours, theirs = measure(line.ours), measure(line.theirs)
    if line.theirs is None:
        return None if ours is None else -int(ours)
    return None if theirs is None else int(theirs) - int(ours or 0)


def compare(theirs: Mapping[tuple[date, str], Figures], ours: Mapping[tuple[date, str], Figures]) -> list[Compared]:
    """By day, then by name. Ours are held to what the export measures: where it has no models, no tokens or no money, they are summed or
    left out alike. What has neither is no line."""
    by_model = any(model for _, model in theirs)
    has_tokens = any(side.tokens_input is not None for side in theirs.values())
    has_cost = any(side.cost_nano is not None for side in theirs.values())
    names: dict[tuple[date, str], str] = {}
    sides: tuple[dict[tuple[date, str], Figures], dict[tuple[date, str], Figures]] = ({}, {})
    for sums, side in ((theirs, sides[0]), (ours, sides[1])):
        for (day, model), figures in sums.items():
            kept = Figures(
                figures.requests,
                figures.tokens_input or 0 if has_tokens else None,
                figures.tokens_output or 0 if has_tokens else None,
                figures.cost_nano or 0 if has_cost else None,
            )
            if not any((kept.tokens_input, kept.tokens_output, kept.cost_nano)):
                continue
            key = (day, model_key(model) if by_model else "")
            names.setdefault(key, model if by_model else "")
            side.setdefault(key, Figures()).add(kept)
    return [Compared(key[0], names[key], sides[1].get(key), sides[0].get(key)) for key in sorted(names)]


def total(lines: list[Compared]) -> Compared | None:
    """All lines in one; None without any."""
    if not lines:
        return None
    ours, theirs = Figures(), Figures()
    for line in lines:
        for into, side in ((ours, line.ours), (theirs, line.theirs)):
            if side is not None:
                into.add(side)
    return Compared(lines[0].day, "", ours, theirs)
