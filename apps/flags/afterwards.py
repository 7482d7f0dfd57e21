"""What came of a flip beside what was predicted of it. Pure; units as in ``apps.flags.consequences``."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from apps.flags.consequences import Prediction

WITHIN = 0.15
"""A prediction that is off by no more than this was right."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a flip, in the units of ``Prediction``, over ``seconds`` that begin once every proxy had it."""

    seconds: float
    requests: int
    targets: dict[str, float] = {}
    refused_per_minute: float = 0.0
    cost: int = 0
    ttft: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One figure beside what was predicted. unit: ``rate`` (requests a minute), ``dollars`` (an hour), ``thousand`` (a thousand requests)
    or ``time``. off: how far the prediction was off, as a share of it; None where one of the two is not known."""

    name: str
    unit: str
    predicted: float | None
    measured: float | None

    @property
    def off(self) -> float | None:
        if self.predicted is None or self.measured is None:
            return None
        if not self.predicted:
            return 0.0 if not self.measured else None
        return (self.measured - self.predicted) / abs(self.predicted)

    @property
    def right(self) -> bool | None:
        """Whether it was within ``WITHIN``; None where nobody can tell."""
        return None if self.off is None else abs(self.off) <= WITHIN


def compared(prediction: Prediction, outcome: Outcome) -> list[Line]:
    """What was predicted beside what came of it: traffic, cost, time to the first token."""
    rate = outcome.requests / outcome.seconds * 60 if outcome.seconds else None
    lines = [Line("Requests", "rate", prediction.rate, rate)]
    for one in sorted(prediction.targets, key=lambda one: -one.then_per_minute):
        if one.gained > 0 or one.then_per_minute > 0:
            lines.append(Line(f"To {one.target}", "rate", one.then_per_minute, outcome.targets.get(one.target, 0.0)))
    if prediction.refused_then > 0 or outcome.refused_per_minute > 0:
        lines.append(Line("Refused", "rate", prediction.refused_then, outcome.refused_per_minute))
    lines.append(Line("Cost", "dollars", prediction.cost_then, outcome.cost))
    thousand = prediction.cost_then / (prediction.rate * 60) * 1000 if prediction.cost_then is not None and prediction.rate else None
    lines.append(Line("Cost of 1,000 requests", "thousand", thousand, outcome.cost / (rate * 60) * 1000 if rate else None))
    lines.append(Line("p95 to first token", "time", prediction.ttft_then, outcome.ttft))
    return lines
