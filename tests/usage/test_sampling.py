"""What heartbeats and the broker say becomes gauges; who cannot be asked says nothing, and nobody takes that for zero."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.contracts.reports import GaugesReport, QueueReport, TargetReport, gauges_in
from apps.publishing.selectors import ProxyStatus
from apps.usage import sampling
from apps.usage.broker import BrokerAway
from apps.usage.gauges import GAUGES, Sample, Samples, folded

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def proxy(name: str, detail: dict[str, Any], *, silent: bool = False, applied: bool = True, state: str = "ready") -> ProxyStatus:
    return ProxyStatus(
        boot_id="b", name=name, host="h", pid=1, public_url="", admin_url="", state=state, detail=detail, version=1, applied=applied,
        silent=silent, acked_at=None, registered_at=NOW, last_seen_at=NOW,
    )  # fmt: skip


def said(running: int, waiting: int, *queues: QueueReport, wait: float | None = None) -> dict[str, Any]:
    report = GaugesReport(running=running, waiting=waiting, wait_p95_ms=wait, journal_fill=0.25, lease_room_nano=7, queues=list(queues))
    return {"gauges": report.plain()}


def rows(found: Samples, name: str) -> dict[tuple[str, str], float]:
    return {(organisation, subject): value for organisation, subject, value in folded(GAUGES[name], found[name])}


def test_heartbeats_add_up() -> None:
    chat, target = QueueReport("o", "route:chat", 3, 4, 120.0), QueueReport("o", "target:east/main/m", 2, 1)
    shut = [TargetReport(key=f"o/east/main/{model}", state=state).plain() for model, state in (("m", "open"), ("n", "forced_closed"))]
    found = sampling.proxy_samples(
        [
            proxy("a", {**said(5, 5, chat, target, wait=120.0), "targets": shut}),
            proxy("b", {**said(2, 3, chat, wait=80.0), "targets": shut[:1]}, applied=False, state="draining"),
            proxy("silent", said(90, 90), silent=True),
            proxy("older", {"gauges": "of another version"}),
        ]
    )
    assert rows(found, "running") == {
        ("", ""): 7, ("", "proxy:a"): 5, ("", "proxy:b"): 2, ("o", "route:chat"): 6, ("o", "target:east/main/m"): 2, ("o", ""): 8,
    }  # fmt: skip
    assert rows(found, "queue_depth") == {
        ("", ""): 8, ("", "proxy:a"): 5, ("", "proxy:b"): 3, ("o", "route:chat"): 8, ("o", "target:east/main/m"): 1, ("o", ""): 9,
    }  # fmt: skip
    assert rows(found, "queue_wait_ms")["", ""] == 120 and rows(found, "queue_wait_ms")["o", "route:chat"] == 120
    assert rows(found, "breaker_open") == {("", ""): 2, ("", "o/east/main/m"): 2, ("o", "east/main/m"): 2, ("o", ""): 2}
    assert rows(found, "journal_fill")["", ""] == 0.25 and rows(found, "lease_room_nano")["", ""] == 14
    assert rows(found, "config_behind") == {("", ""): 2} and rows(found, "proxies_ready") == {("", ""): 2}


def test_without_a_proxy_everything_was_asked_and_is_zero() -> None:
    found = sampling.proxy_samples([])
    assert set(found) == set(GAUGES) - {"celery_queue_depth", "journal_lag_s"}
    assert {name: folded(GAUGES[name], samples) for name, samples in found.items()} == {name: [("", "", 0.0)] for name in found}


@pytest.mark.parametrize(
    "detail", [{}, {"gauges": None}, {"gauges": {"running": "many"}}, {"gauges": {"running": 1, "waiting": 0, "queues": [[1]]}}]
)
def test_what_cannot_be_read_is_left_out(detail: dict[str, Any]) -> None:
    assert gauges_in(detail) is None


def test_a_source_that_is_away_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Samples] = []

    def away() -> dict[str, int]:
        raise BrokerAway("no route to host")

    def settled(now: datetime) -> Samples:
        return {"journal_lag_s": [Sample("", "h", 1.5)]}

    monkeypatch.setattr(sampling, "gauges_record", lambda *, at, samples: kept.append(samples))
    monkeypatch.setattr(sampling, "fleet_status", lambda: {"proxies": []})
    monkeypatch.setattr(sampling, "celery_depths", away)
    monkeypatch.setattr(sampling, "_sources", {"settlement": settled})
    sampling.gauges_sample(now=NOW)
    monkeypatch.setattr(sampling, "celery_depths", lambda: {"alerts": 3})
    sampling.gauges_sample(now=NOW)
    assert "celery_queue_depth" not in kept[0] and "running" in kept[0] and kept[0]["journal_lag_s"] == [Sample("", "h", 1.5)]
    assert kept[1]["celery_queue_depth"] == [Sample("", "alerts", 3)]
