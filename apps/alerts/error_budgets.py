"""Error budgets of SLOs as pages and the API show them: what is left, how fast it burns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.accounts.scope import Scope
from apps.alerts.burn import Counted, bad_left, budget_used, burn_rate
from apps.alerts.models import Slo
from apps.alerts.sources.slos import counted_by, counted_in
from apps.ui.status import Status

HOUR = 3_600
BUDGETS: dict[str, Status] = {
    status.value: status
    for status in (
        Status("well", "In budget", "good"),
        Status("low", "Budget low", "warn", hint="Less than a quarter of the error budget is left."),
        Status("spent", "Budget spent", "bad", hint="More went wrong than the SLO allows."),
        Status("unknown", "Too little counted", "unknown", hint="With so few requests nothing is said."),
    )
}
LOW = 0.25


@dataclass(frozen=True, slots=True)
class Budget:
    """An SLO's error budget now. used, left: parts of it, None where nothing was counted; left below 0: overspent.

    good: the share that was good. burns: the burn rate of the last hour. may_fail: requests that may still go wrong.
    """

    counted: Counted
    hour: Counted
    used: float | None
    burns: float | None
    may_fail: int
    enough: bool

    @property
    def left_text(self) -> str:
        if self.used is None:
            return "–"
        return f"{100 * (1 - self.used):,.1f} %" if self.used <= 1 else f"0 % ({self.used:.3g}× used)"

    @property
    def good_text(self) -> str:
        return "–" if not self.counted.total else f"{100 * (1 - self.counted.bad / self.counted.total):.3f} %"

    @property
    def burns_text(self) -> str:
        return "–" if self.burns is None else f"{self.burns:.3g}×"

    @property
    def status(self) -> Status:
        """Whether the budget holds."""
        if self.used is None or not self.enough:
            return BUDGETS["unknown"]
        return BUDGETS["spent" if self.used > 1 else "low" if self.used > 1 - LOW else "well"]


def budgets_now(rows: list[Slo], scope: Scope, now: datetime) -> dict[Any, Budget]:
    """The error budget of each SLO until the last whole minute; a few queries however many there are."""
    at = now.replace(second=0, microsecond=0)
    whole = {pk: found[0] for pk, found in counted_by(scope, rows, at).items()}
    hours = counted_in(scope, rows, {HOUR: at - timedelta(seconds=HOUR)}, at)
    found = {}
    for row in rows:
        counted, hour = whole[row.pk], hours[row.pk][HOUR]
        enough = counted.total >= row.min_requests
        found[row.pk] = Budget(
            counted,
            hour,
            budget_used(counted, row.objective),
            burn_rate(hour, row.objective),
            bad_left(counted, row.objective),
            enough,
        )
    return found
