"""Where gauges come from: proxies' last heartbeats, Celery's broker, and what apps above this one register. One pass every ten seconds.

A source that cannot be asked leaves its gauges out: for that moment they are unknown, not zero.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from django.utils import timezone as clock

from apps.contracts.reports import gauges_in, place_of, targets_in
from apps.publishing.selectors import ProxyStatus, fleet_status
from apps.usage.broker import BrokerAway, celery_depths
from apps.usage.gauges import Sample, Samples, gauges_record

log = logging.getLogger("bulkhead.usage")

Source = Callable[[datetime], Samples]
SHUT = ("open", "half_open", "forced_open")
"""States of a breaker that lets nothing through, or a probe only."""


class SourceAway(Exception):
    """A source cannot be asked now."""


_sources: dict[str, Source] = {}
_away: set[str] = set()
"""Sources that did not answer the last time: said once."""


def register_source(name: str, source: Source) -> None:
    """In ``ready()``: ``source`` gives the samples of some gauges at a moment. It raises SourceAway where it cannot know them."""
    _sources[name] = source


def gauges_sample(*, now: datetime | None = None) -> None:
    """Ask every source once and keep what it says."""
    now = now or clock.now()
    found: dict[str, list[Sample]] = {}
    for name, source in {"proxies": _proxies, "celery": _celery, **_sources}.items():
        try:
            told = source(now)
        except SourceAway as error:
            if name not in _away:
                log.warning("gauges: %s cannot be asked: %s", name, error)
            _away.add(name)
            continue
        _away.discard(name)
        for gauge, samples in told.items():
            found.setdefault(gauge, []).extend(samples)
    gauges_record(at=now, samples=found)


def _proxies(now: datetime) -> Samples:
    return proxy_samples(fleet_status()["proxies"])


def _celery(now: datetime) -> Samples:
    try:
        depths = celery_depths()
    except BrokerAway as error:
        raise SourceAway(str(error)) from error
    return {"celery_queue_depth": [Sample("", queue, depth) for queue, depth in depths.items()]}


def proxy_samples(proxies: Sequence[ProxyStatus]) -> Samples:
    """What the heartbeats of some proxies say. One that is not heard of says nothing: it is only counted as behind."""
    heard = [proxy for proxy in proxies if not proxy["silent"]]
    found: dict[str, list[Sample]] = {
        name: [] for name in ("running", "queue_depth", "queue_wait_ms", "breaker_open", "journal_fill", "lease_room_nano")
    }
    for name in ("running", "queue_depth", "lease_room_nano"):
        found[name].append(Sample("", "", 0.0))  # the whole is told, because its subjects overlap
    for proxy in heard:
        subject = f"proxy:{proxy['name']}"
        report = gauges_in(proxy["detail"])
        if report is not None:
            for name, value in (("running", report.running), ("queue_depth", report.waiting), ("lease_room_nano", report.lease_room_nano)):
                found[name] += [Sample("", "", value), Sample("", subject, value)]
            found["journal_fill"].append(Sample("", subject, report.journal_fill))
            if report.wait_p95_ms is not None:
                found["queue_wait_ms"].append(Sample("", subject, report.wait_p95_ms))
            for queue in report.queues:
                found["running"].append(Sample(queue.organisation, queue.subject, queue.running))
                found["queue_depth"].append(Sample(queue.organisation, queue.subject, queue.waiting))
                if queue.wait_p95_ms is not None:
                    found["queue_wait_ms"].append(Sample(queue.organisation, queue.subject, queue.wait_p95_ms))
        for target in targets_in(proxy["detail"]):
            place = place_of(target.key)
            if place is not None and target.state in SHUT:
                found["breaker_open"] += [
                    Sample("", target.key, 1.0),
                    Sample(place.organisation, f"{place.provider}/{place.endpoint}/{place.model}", 1.0),
                ]
    found["config_behind"] = [Sample("", "", float(sum(proxy["silent"] or not proxy["applied"] for proxy in proxies)))]
    found["proxies_ready"] = [Sample("", "", float(sum(proxy["state"] == "ready" for proxy in heard)))]
    return found
