"""Every page says when proxies do not share limits: read from what the proxies themselves say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.contracts.identifiers import uuid7
from apps.dashboard.outages import outages
from apps.dashboard.redis_watch import RedisState
from apps.dashboard.selectors import fleet
from apps.publishing.models import ProxyProcess

pytestmark = pytest.mark.django_db


def heard(name: str, detail: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    facts = {"name": name, "host": "h", "pid": 1, "state": "ready", "version": 0, "detail": detail}
    ProxyProcess.objects.create(boot_id=uuid7(), registered_at=now, last_seen_at=now, **facts)


def test_a_banner_names_who_is_on_its_own() -> None:
    heard("proxy-1", {"limits": "local"})
    heard("proxy-2", {})
    [outage] = outages(fleet(), RedisState(watched=False))
    assert outage.title == "Limits are not shared between proxies" and outage.text.startswith("proxy-1: each keeps to its equal part")


def test_none_while_limits_are_shared() -> None:
    heard("proxy-1", {})
    assert outages(fleet(), RedisState(watched=False)) == []
