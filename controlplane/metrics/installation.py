"""What the control plane knows of the whole installation: config, proxies, settlement, budgets, Celery's queues. Asked when scraped.

Whatever cannot be asked is left out, and a family says so: Postgres away is ``bulkhead_database_up 0``, not a scrape that fails.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from django.db import InterfaceError, OperationalError
from django.utils import timezone as clock

from apps.budgets.models import Budget
from apps.budgets.selectors import budget_statuses
from apps.contracts.exposition import Family, Folding, Labels, Sample, gauge
from apps.publishing.selectors import FleetStatus, fleet_status
from apps.settlement.presence import lags_read
from apps.usage.broker import BrokerAway, celery_depths

PROXY_STATES = ("starting", "ready", "unready", "draining", "silent")
MOST_BUDGETS = 200
"""Budgets told, the oldest; of the others only how many there are."""
MOST_HOSTS = 100


def families(*, now: datetime | None = None) -> list[Family]:
    """Six queries and one look at the broker."""
    found: list[Family] = []
    try:
        found += [*_fleet(fleet_status()), *_settlement(now or clock.now()), *_budgets()]
        up = 1
    except (OperationalError, InterfaceError):
        found, up = [], 0
    return [gauge("bulkhead_database_up", "1 when Postgres answers.", up), *found, *_broker()]


def _fleet(fleet: FleetStatus) -> list[Family]:
    states = Counter("silent" if proxy["silent"] else proxy["state"] for proxy in fleet["proxies"])
    return [
        gauge("bulkhead_config_head_version", "Newest config version.", fleet["head"]),
        gauge("bulkhead_proxies_current", "Proxies that are known to run it.", fleet["applied"]),
        Family(
            "bulkhead_proxies",
            "gauge",
            "Proxies that are not known to be gone, by state; silent: not heard of for ten seconds.",
            [Sample((("state", state),), states.get(state, 0)) for state in PROXY_STATES],
        ),
    ]


def _settlement(now: datetime) -> list[Family]:
    hosts = Folding("host", MOST_HOSTS)
    values: dict[Labels, float] = {}
    for host, seconds in sorted(lags_read(now=now).items()):
        labels = (("host", hosts.place(host)),)
        values[labels] = max(seconds, values.get(labels, 0.0))
    samples = [Sample(labels, seconds) for labels, seconds in values.items()]
    return [
        Family(
            "bulkhead_settlement_lag_seconds",
            "gauge",
            "How far settlement is behind a host's proxies; grows with time where its shipper is not heard of.",
            samples,
            "seconds",
        )
    ]


def _budgets() -> list[Family]:
    rows = Budget.objects.filter(deleted_at=None)
    statuses = budget_statuses(rows.select_related("organisation").order_by("created_at", "pk")[:MOST_BUDGETS])
    of = {
        status.budget.pk: (
            ("organisation", status.budget.organisation.slug),
            ("budget", status.budget.name),
            ("window", status.budget.window),
        )
        for status in statuses
    }
    told = [
        Family(
            f"bulkhead_budget_{name}_dollars",
            "gauge",
            text,
            [Sample(of[row.budget.pk], getattr(row, name) / 1e9) for row in statuses],
            "dollars",
        )
        for name, text in (
            ("limit", "What a budget allows in its window."),
            ("spent", "What of it is settled."),
            ("leased", "What of it proxies hold, spent or not."),
            ("remaining", "What nobody spent or holds."),
        )
    ]
    rest = rows.count() - len(statuses) if len(statuses) == MOST_BUDGETS else 0
    return [*told, gauge("bulkhead_budgets_untold", "Budgets of which nothing is said here, because there are too many.", max(0, rest))]


def _broker() -> list[Family]:
    try:
        depths = celery_depths()
    except BrokerAway:
        return [gauge("bulkhead_broker_up", "1 when Celery's broker answers.", 0)]
    return [
        gauge("bulkhead_broker_up", "1 when Celery's broker answers.", 1),
        Family(
            "bulkhead_celery_queue_jobs",
            "gauge",
            "Jobs that wait in a queue of Celery.",
            [Sample((("queue", queue),), depth) for queue, depth in sorted(depths.items())],
        ),
    ]
