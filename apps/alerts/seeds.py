"""Rules that every organisation has from its first minute on, switched on. A person may change one or switch it off; none is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.accounts.models import MAIN_ORGANISATION
from apps.alerts.choices import ABOVE, BELOW, TIMES_BASELINE
from apps.alerts.models import AlertRule
from apps.alerts.rule_services import rule_facts
from apps.audit.actors import Actor
from apps.audit.services import change_record
from apps.ownership.runbook_seeds import runbook_ensure

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


@dataclass(frozen=True, slots=True)
class Seed:
    """Fields as ``AlertRule``'s. installation: for the organisation ``main`` alone. runbook: one that ships
    (``ownership.runbook_seeds``)."""

    name: str
    title: str
    series: str
    by: str
    warn: float | None
    critical: float | None
    comparison: str = ABOVE
    window_s: int = 300
    for_s: int = 60
    hold_s: int = 300
    min_samples: int = 0
    on_missing: str = "hold"
    labels: Mapping[str, str] = field(default_factory=dict)
    installation: bool = False
    runbook: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """For a new row."""
        return {
            "title": self.title,
            "series": self.series,
            "scope": {"by": self.by},
            "comparison": self.comparison,
            "warn": self.warn,
            "critical": self.critical,
            "window_s": self.window_s,
            "for_s": self.for_s,
            "hold_s": self.hold_s,
            "min_samples": self.min_samples,
            "on_missing": self.on_missing,
            "labels": dict(self.labels),
            "runbook": self.runbook,
            "is_default": True,
        }


SEEDS: tuple[Seed, ...] = (
    Seed(
        "latency", "Answers take much longer than usual", "latency_p95", "route", 2.0, 5.0, TIMES_BASELINE, for_s=120, min_samples=50,
        labels={"layer": "application"}, runbook="slow-first-token",
    ),
    Seed(
        "errors", "Requests fail", "error_rate", "route", 0.01, 0.05, min_samples=20, labels={"layer": "application"}, runbook="bad-deploy"
    ),
    Seed(
        "queue", "Requests pile up", "queue_depth", "", 1_000, 10_000, window_s=60, on_missing="alert", labels={"layer": "proxy"},
        runbook="rate-limit-storm",
    ),
    Seed(
        "celery-queue", "Background work piles up", "celery_queue_depth", "queue", 1_000, 10_000, window_s=60, labels={"layer": "data"},
        installation=True, runbook="postgres-down",
    ),
    Seed(
        "daily-spend", "A budget's day is overspent", "budget_day_share", "budget", 120, 150, for_s=0, labels={"layer": "application"},
        runbook="budget-exhausted",
    ),
    Seed(
        "key-spend", "A key spends out of proportion", "key_spend_times", "key", 1.0, 3.0, for_s=0, labels={"layer": "application"},
        runbook="runaway-key",
    ),
    Seed("provider", "A provider is not well", "provider_state", "provider", 1, 2, labels={"layer": "provider"}, runbook="provider-down"),
    Seed(
        "no-traffic", "No traffic where there should be", "requests_per_s", "", 0, None, BELOW, window_s=600, for_s=600,
        on_missing="alert", labels={"layer": "proxy"}, runbook="region-down",
    ),
)  # fmt: skip


@transaction.atomic
def defaults_ensure(organisation: Organisation) -> int:
    """Make the default rules that an organisation lacks; how many. Safe to run at any time, also side by side. One query where none is
    lacking. A rule of a person's own that has the name of a default one stands in for it."""
    wanted = [seed for seed in SEEDS if organisation.slug == MAIN_ORGANISATION or not seed.installation]
    known = set(
        AlertRule.objects.filter(organisation=organisation, name__in=[seed.name for seed in wanted], deleted_at=None).values_list(
            "name", flat=True
        )
    )
    lacking = [seed for seed in wanted if seed.name not in known]
    if not lacking:
        return 0
    type(organisation).objects.select_for_update(no_key=True).get(pk=organisation.pk)  # one at a time: the second finds them
    return sum(_made(organisation, seed)[1] for seed in lacking)


@transaction.atomic
def default_ensure(organisation: Organisation, name: str) -> AlertRule | None:
    """The one default rule of that name, made where it is missing; None: there is no such rule in this organisation."""
    seed = next((one for one in SEEDS if one.name == name), None)
    if seed is None or (seed.installation and organisation.slug != MAIN_ORGANISATION):
        return None
    return _made(organisation, seed)[0]


def _made(organisation: Organisation, seed: Seed) -> tuple[AlertRule, bool]:
    row, new = AlertRule.objects.get_or_create(organisation=organisation, name=seed.name, deleted_at=None, defaults=seed.fields)
    if new:
        if seed.runbook:
            runbook_ensure(organisation, seed.runbook)
        why = "one of the rules that every organisation has"
        change_record(Actor.system("alerts"), "alert_rule.create", row, {}, rule_facts(row), why)
    return row, new
