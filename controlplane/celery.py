"""The Celery application: which kind of work goes to which queue, and what runs when.

Tasks are envelopes (``apps/<app>/tasks.py``): ids in, a service called. They are acknowledged after they ran, so every one
of them must be safe to run twice.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery
from celery.schedules import crontab
from kombu import Exchange, Queue

from controlplane import env
from controlplane.broker import transports_take

# As root (a container) everything of ours runs as root but Postgres; a worker that takes JSON only is no worse than the rest.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")

QUEUES = ("default", "alerts", "rollups", "probes", "webhooks", "jobs", "fleet")
"""One queue per kind of work, so that a flood of one kind never delays another."""

ROUTES: dict[str, dict[str, str]] = {
    "apps.alerts.tasks.*": {"queue": "alerts"},
    "apps.budgets.tasks.*": {"queue": "alerts"},
    "apps.flags.tasks.*": {"queue": "alerts"},
    "apps.fleet.tasks.*": {"queue": "fleet"},
    "apps.settlement.tasks.*": {"queue": "rollups"},
    "apps.usage.tasks.*": {"queue": "rollups"},
    "apps.providers.tasks.*": {"queue": "probes"},
    "apps.prices.tasks.*": {"queue": "jobs"},
    "apps.catalogue.tasks.*": {"queue": "probes"},
    "apps.keys.tasks.*": {"queue": "jobs"},
    "apps.responses.tasks.*": {"queue": "jobs"},
    "apps.postmortems.tasks.*": {"queue": "jobs"},
}

SCHEDULE: dict[str, dict[str, Any]] = {
    "alerts": {"task": "apps.alerts.tasks.alerts_evaluate", "schedule": 15.0},
    "old alerts": {"task": "apps.alerts.tasks.alerts_forget", "schedule": 3600.0},
    "telling of alerts": {"task": "apps.alerts.tasks.alerts_tell", "schedule": 5.0},
    "who can be reached": {"task": "apps.alerts.tasks.reachability_watch", "schedule": 60.0},
    "postmortems": {"task": "apps.postmortems.tasks.postmortems_run", "schedule": 300.0},
    "action items": {"task": "apps.postmortems.tasks.actions_run", "schedule": 300.0},
    "evidence that is asked for": {"task": "apps.postmortems.tasks.evidence_wanted", "schedule": 5.0},
    "incidents": {"task": "apps.postmortems.tasks.incidents_follow", "schedule": 15.0},
    "old slash commands": {"task": "apps.postmortems.tasks.chat_calls_forget", "schedule": 3600.0},
    "budgets": {"task": "apps.budgets.tasks.budgets_watch", "schedule": 30.0},
    "weekly e-mails": {"task": "apps.budgets.tasks.weekly_watch", "schedule": 600.0},
    "performance budgets": {"task": "apps.budgets.tasks.performance_watch", "schedule": 60.0},
    "scheduled flips": {"task": "apps.flags.tasks.changes_run", "schedule": 5.0},
    "what proxies tell of flags": {"task": "apps.flags.tasks.proxies_hear", "schedule": 10.0},
    "old exposures": {"task": "apps.flags.tasks.exposures_forget", "schedule": 3600.0},
    "expired flags": {"task": "apps.flags.tasks.flags_expire", "schedule": 60.0},
    "neglected flags": {"task": "apps.flags.tasks.flags_neglected", "schedule": 3600.0},
    "what came of flips": {"task": "apps.flags.tasks.flips_measure", "schedule": 60.0},
    "e-mails about flags": {"task": "apps.flags.tasks.notices_send", "schedule": 30.0},
    "users' windows": {"task": "apps.settlement.tasks.windows_forget", "schedule": 3600.0},
    "usage partitions": {"task": "apps.usage.tasks.partitions_maintain", "schedule": crontab(minute="5")},
    "gauges": {"task": "apps.usage.tasks.gauges_sample", "schedule": 10.0},
    "old gauges": {"task": "apps.usage.tasks.gauges_forget", "schedule": 3600.0},
    "feedback without its request": {"task": "apps.usage.tasks.feedback_match", "schedule": 60.0},
    "usage rollups, slow tier": {"task": "apps.usage.tasks.rollups_compact", "schedule": 60.0},
    "spend, by dimension": {"task": "apps.usage.tasks.spend_count", "schedule": 60.0},
    "spend, forecasts": {"task": "apps.usage.tasks.forecasts_keep", "schedule": crontab(minute="10")},
    "spend, runaway keys": {"task": "apps.usage.tasks.runaways_keep", "schedule": 300.0},
    "spend, changed prices": {"task": "apps.prices.tasks.changes_keep", "schedule": 300.0},
    "captures that are over": {"task": "apps.usage.tasks.captures_finish", "schedule": 60.0},
    "stored responses past their time": {"task": "apps.responses.tasks.responses_expire", "schedule": 600.0},
    "publishing upkeep": {"task": "apps.publishing.tasks.publishing_upkeep", "schedule": 3600.0},
    "audit chain, new links": {"task": "apps.audit.tasks.chain_check", "schedule": 600.0},
    "audit chain, whole": {"task": "apps.audit.tasks.chain_check_whole", "schedule": crontab(hour="3", minute="20")},
    "sign-in upkeep": {"task": "apps.accounts.tasks.signin_upkeep", "schedule": 900.0},
    "base prices": {"task": "apps.prices.tasks.book_follow", "schedule": 600.0},
    "re-pricings": {"task": "apps.prices.tasks.repricings_run", "schedule": 60.0},
    "secrets that nobody fetched": {"task": "apps.keys.tasks.handovers_expire", "schedule": 600.0},
    "what packages say of models": {"task": "apps.catalogue.tasks.packages_follow", "schedule": 600.0},
    "providers' lists of models": {"task": "apps.catalogue.tasks.listings_look", "schedule": 900.0},
    "provider checks": {"task": "apps.providers.tasks.providers_check", "schedule": 300.0},
    "replicas": {"task": "apps.fleet.tasks.fleet_run", "schedule": 2.0},
    "autoscaling": {"task": "apps.fleet.tasks.autoscaling_run", "schedule": 1.0},
    "hours of GPUs": {"task": "apps.fleet.tasks.gpu_time_keep", "schedule": 30.0},
    "fleet upkeep": {"task": "apps.fleet.tasks.fleet_upkeep", "schedule": 3600.0},
    "targets in trouble": {"task": "apps.providers.tasks.targets_watch", "schedule": 5.0},
}
"""Name -> entry, all of them. ``expires`` is added below: a run that waited longer than its own period is worth nothing."""

VISIBILITY_SECONDS = 3600
"""After this long without an acknowledgement Redis hands a task to another worker; the longest task must be shorter."""


def schedule() -> dict[str, dict[str, Any]]:
    return {
        name: {**entry, "options": {"expires": entry["schedule"] if isinstance(entry["schedule"], float) else 3600.0}}
        for name, entry in SCHEDULE.items()
    }


transports_take()
app = Celery("bulkhead", task_cls="controlplane.task:AwayTask")
app.conf.update(
    broker_url=env.redis_url(),
    result_backend=None,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_default_queue="default",
    task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES],
    task_default_exchange="default",
    task_default_routing_key="default",
    task_create_missing_queues=False,
    task_routes=ROUTES,
    task_time_limit=VISIBILITY_SECONDS // 2,
    beat_schedule=schedule(),
    timezone="UTC",
    # Redis may be away for minutes: workers and beat wait for it, for ever; a publisher gives up soon, because a web
    # request waits behind it.
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_publish_retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
    },
    worker_hijack_root_logger=False,
    worker_enable_remote_control=True,
)
app.autodiscover_tasks()
