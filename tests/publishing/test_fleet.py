"""Who runs which version, as the dashboard shows it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Subquery
from django.http import HttpRequest

from apps.audit.models import Event
from apps.dashboard.selectors import fleet
from apps.publishing import selectors
from apps.publishing.history import propagation
from apps.publishing.models import ProxyProcess, Version
from apps.publishing.selectors import SILENT_AFTER, fleet_status
from apps.publishing.services import proxy_gone, publish
from tests.publishing.rows import ACTOR, key, rows_write, sections

pytestmark = pytest.mark.usefixtures("rows")


def beat(boot: int, version: int, state: str = "ready") -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT proxy_api.register(%s, %s, 'h', 1, 'http://p', 'http://a')", [uuid.UUID(int=boot), f"proxy-{boot}"])
        cursor.execute("SELECT * FROM proxy_api.heartbeat(%s, %s, %s, '{}')", [uuid.UUID(int=boot), version, state])


def test_before_anything_happened() -> None:
    assert fleet_status() == {"head": 0, "applied": 0, "total": 0, "label": "v0 · 0/0", "proxies": []}


def test_a_version_spreads_over_the_fleet() -> None:
    rows_write("keys", key("k1"))
    publish(actor=ACTOR, sections=sections())
    for boot in (1, 2, 3, 4):
        beat(boot, 0, "starting")
    assert fleet_status()["label"] == "v1 · 0/4"
    for boot in (1, 2, 3):
        beat(boot, 1)
    status = fleet_status()
    assert (status["label"], status["applied"], status["total"]) == ("v1 · 3/4", 3, 4)
    assert [(proxy["name"], proxy["applied"], proxy["state"]) for proxy in status["proxies"]][3] == ("proxy-4", False, "starting")


def test_a_proxy_counts_until_it_is_declared_gone() -> None:
    beat(1, 0)
    ProxyProcess.objects.update(last_seen_at=ProxyProcess.objects.get().last_seen_at - SILENT_AFTER - timedelta(seconds=1))
    (silent,) = fleet_status()["proxies"]
    assert silent["silent"] and fleet_status()["total"] == 1
    assert proxy_gone(boot_id=uuid.UUID(int=1)) is True
    assert fleet_status()["total"] == 0
    assert Event.objects.get(kind="proxy.gone").subject_name == "proxy-1"
    assert ProxyProcess.objects.get().state == "gone"


def test_a_proxy_is_declared_gone_once() -> None:
    beat(1, 0)
    assert proxy_gone(boot_id=str(uuid.UUID(int=1))) is True
    assert proxy_gone(boot_id=uuid.UUID(int=1)) is False
    assert proxy_gone(boot_id=uuid.UUID(int=2)) is False
    assert Event.objects.filter(kind="proxy.gone").count() == 1


def test_a_late_heartbeat_does_not_bring_a_proxy_back() -> None:
    beat(1, 0)
    proxy_gone(boot_id=uuid.UUID(int=1))
    beat(1, 5, "ready")
    assert fleet_status()["total"] == 0
    assert ProxyProcess.objects.get().state == "gone"


def test_a_registration_that_arrives_after_the_end_counts_for_nothing() -> None:
    assert proxy_gone(boot_id=uuid.UUID(int=1)) is False
    beat(1, 5, "ready")
    assert fleet_status()["total"] == 0
    assert ProxyProcess.objects.get().state == "gone"
    assert not Event.objects.filter(kind="proxy.gone").exists()


def test_pages_say_why_a_proxy_is_not_ready() -> None:
    beat(1, 0, "unready")
    with connection.cursor() as cursor:  # as apps.proxy.process reports what its readiness() says
        detail = '{"reasons": ["no config yet", "journal: no space left"]}'
        cursor.execute("SELECT * FROM proxy_api.heartbeat(%s, 0, 'unready', %s)", [uuid.UUID(int=1), detail])
    beat(2, 0)
    assert (
        [row.reason for row in propagation().proxies]
        == [row.reason for row in fleet().proxies]
        == ["no config yet; journal: no space left", ""]
    )


def test_what_every_page_asks_is_compiled_once_and_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact comes as its field would give it, beside proxies and without any, and is what it is now."""
    made: list[None] = []

    def newest_reason() -> Subquery:
        made.append(None)
        return Subquery(Version.objects.order_by("-number").values("reason")[:1])

    monkeypatch.setattr(selectors, "_page_facts", {"reason": newest_reason, "lineage": selectors.newest_lineage})

    def facts() -> dict[str, Any]:
        return selectors.page_facts_of(HttpRequest())

    assert facts() == {}
    rows_write("keys", key("k1"))
    first = publish(actor=ACTOR, reason="one", sections=sections())
    assert first is not None and facts() == {"reason": "one", "lineage": first.lineage}
    beat(1, 1)
    rows_write("keys", key("k2"))
    second = publish(actor=ACTOR, reason="two", sections=sections())
    assert second is not None and facts() == {"reason": "two", "lineage": second.lineage}
    assert len(made) == 2, "once for each of the two queries"
