"""Keys that spend out of proportion to their own history, as ``apps.usage.anomalies`` finds them: one query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from apps.alerts.series import Sample
from apps.alerts.sources.look import MOST_SUBJECTS, Look, Samples
from apps.usage.anomalies import anomalies_of
from apps.usage.choices import RUNAWAY_KEY

if TYPE_CHECKING:
    from apps.alerts.models import AlertRule

RUNS = timedelta(minutes=15)
"""A runaway whose last hour ended longer ago is over."""

_MONEY = ("spent", "usual", "highest", "allowed")


def read(look: Look, rules: Sequence[AlertRule]) -> Samples:
    """``look.Read``. value: the worst hour's spend, times what would not have been flagged; 0 for keys that do not run away."""
    rows = anomalies_of(look.scope).filter(kind=RUNAWAY_KEY, starts_at__lt=look.at, ends_at__gt=look.at - RUNS, acknowledged_at=None)
    found: dict[str, Sample] = {}
    for row in rows.order_by("starts_at"):
        spent, allowed = int(row.evidence.get("spent", 0)), int(row.evidence.get("allowed", 0))
        value = spent / allowed if allowed > 0 else 0.0
        evidence = {f"{name}_nano" if name in _MONEY else name: found_value for name, found_value in row.evidence.items()}
        evidence["anomaly_id"] = str(row.pk)
        if row.subject not in found or value > (found[row.subject].value or 0):
            found[row.subject] = Sample(value, int(row.evidence.get("requests", 0)), evidence=evidence)
    worst = sorted(found, key=lambda key: (-(found[key].value or 0), key))[:MOST_SUBJECTS]
    quiet = Sample(0.0, 0)
    return {
        rule.pk: {subject: found.get(subject, quiet) for subject in dict.fromkeys([*(rule.values or worst), *look.kept.get(rule.pk, ())])}
        for rule in rules
    }
