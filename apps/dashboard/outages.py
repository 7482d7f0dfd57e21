"""What is away while pages still work, with what goes on without it. The database has a page of its own: no page works without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from apps.alerts.reachability import Gap
from apps.alerts.selectors import EvaluationHealth
from apps.dashboard.redis_watch import RedisState
from apps.dashboard.selectors import Fleet
from apps.ui.status import Tone


@dataclass(frozen=True, slots=True)
class Outage:
    """A banner. ``since``: when it was first seen away. ``url``, ``action``: where somebody can do something about it, and what."""

    tone: Tone
    title: str
    text: str
    since: datetime | None
    url: str = ""
    action: str = ""


def outages(fleet: Fleet, redis: RedisState, evaluation: EvaluationHealth | None = None, gaps: Sequence[Gap] = ()) -> list[Outage]:
    """Redis that does not answer, proxies of which not one is heard, limits that are not shared, alerts that nobody evaluates. A proxy
    that never was is no outage, and neither are alerts that never were evaluated."""
    found: list[Outage] = []
    if fleet.proxies and all(proxy.status.value == "silent" for proxy in fleet.proxies):
        text = (
            "What they last said is old: they may run and serve from their last good config, or be gone. Look at the hosts, and at"
            " DATA_DIR/log there. What is published now reaches them when they are back."
        )
        last = max(proxy.last_seen_at for proxy in fleet.proxies)
        found.append(Outage("bad", "No proxy has been heard of", text, last, reverse("dashboard:proxies"), "Look at proxies"))
    if gaps:
        said = " ".join(f"{gap.rotation}: {gap.why}" for gap in gaps[:3])
        text = f"{said} What fires goes to the next step of its escalation at once, until somebody is on or has a channel."
        title = f"Nobody can be reached on {len(gaps)} rotation{'' if len(gaps) == 1 else 's'}"
        found.append(Outage("bad", title, text, None, reverse("ownership:rotations"), "Look at rotations"))
    if redis.away:
        text = (
            "Apps' requests go on: no proxy needs it. Background work waits, such as probes, roll-ups and upkeep, and catches up by"
            " itself. Start Redis again; DATA_DIR/log/redis.log says why it ended."
        )
        found.append(Outage("warn", "Redis does not answer", text, redis.since))
    if evaluation is not None and not evaluation.well:
        text = (
            "No alert can fire until they are: is a Celery worker running, and beat? DATA_DIR/log says why it ended. The last hour is"
            f" made up for when it is back.{f' The last try failed: {evaluation.error}' if evaluation.error else ''}"
        )
        stopped = evaluation.status.value == "stopped"
        title = "Alert rules are not evaluated" if stopped else "Alert rules are evaluated late"
        found.append(Outage("bad" if stopped else "warn", title, text, evaluation.finished_at))
    alone = [proxy.name for proxy in fleet.proxies if proxy.limits_local and proxy.status.value != "silent"]
    if alone:
        text = (
            f"{', '.join(alone[:8])}: each keeps to its equal part of every limit, by itself, until Redis answers it again or"
            " BULKHEAD_PROXY_REDIS_URL names one. Together they let through at most each limit, once what was used before has passed."
        )
        found.append(Outage("warn", "Limits are not shared between proxies", text, None))
    return found
