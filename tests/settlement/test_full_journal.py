"""Nobody settles: a real proxy says so at 80% of its bound, refuses at 100%, and recovers by itself when a shipper comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.contracts.snapshot import Endpoint, KeyFragment, ProviderFragment, RouteFragment, Target
from apps.settlement.models import SettlementJournal
from apps.settlement.shipper import Shipper
from apps.simulator.harness import SimulatorServer
from apps.usage.models import UsageRequest
from tests.proxy.standalone import StandaloneProxy, digest_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_usage")]

KEY = "bk-fulljournal-secret-of-this-test"
MAX_BYTES = 1 << 20
LARGE = {f"field-{n}": "x" * 512 for n in range(16)}
"""Metadata that makes a record of 9 KB."""
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, "metadata": LARGE}
DEADLINE_SECONDS = 60.0


def world(base_url: str) -> list[Any]:
    organisation = "organisation-1"
    return [
        ProviderFragment(
            id="p",
            name="east",
            kind="openai",
            organisation=organisation,
            allow_private_addresses=True,
            endpoints=[Endpoint(name="main", base_url=base_url)],
        ),
        RouteFragment(id="r", name="chat", organisation=organisation, targets=[Target(provider="east", model="sim-fault/ok")]),
        KeyFragment(id="k", name="k", public_id="fulljournal", organisation=organisation, digests=[digest_of(KEY)]),
    ]


def until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def test_a_full_journal_refuses_and_recovers_when_it_is_settled(tmp_path: Path) -> None:
    with (
        SimulatorServer("sim-east", process=True) as east,
        StandaloneProxy(world(east.base_url), tmp_path, environ={"BULKHEAD_JOURNAL_MAX_BYTES": str(MAX_BYTES)}) as proxy,
        httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client,
    ):

        def ready() -> httpx.Response:
            return httpx.get(f"{proxy.admin_url}/readyz")

        answered: set[str] = set()

        def ask() -> httpx.Response:
            answer = client.post("/v1/chat/completions", json=BODY)
            if answer.status_code == 200:
                answered.add(answer.headers["x-bulkhead-request-id"].replace("-", ""))
            return answer

        warned_at = 0
        while (answer := ask()).status_code == 200:
            assert len(answered) < 1_000, "the bound is not kept"
            if not warned_at and ready().status_code == 503:
                warned_at = len(answered)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "journal_full")
        assert "shipper" in answer.json()["error"]["message"]
        assert 0 < warned_at < len(answered), "not ready must come before refusing"
        assert "journal" in ready().json()["reasons"][0]
        assert sum(path.stat().st_size for path in proxy.journal_dir.glob("*/*.seg")) <= MAX_BYTES
        refused = client.post("/v1/chat/completions", json={**BODY, "stream": True})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "journal_full")

        shipper = Shipper(proxy.journal_dir)
        until(lambda: shipper.round() and ready().status_code == 200, "a settled journal does not make the proxy ready")
        assert ask().status_code == 200
        assert ask().status_code == 200
        assert proxy.process is not None
        proxy.stop()
        until(lambda: not any(shipper.round(force=True)), "the journal is not settled to its end")
        shipper.close()
        assert not list(proxy.journal_dir.glob("*/*.seg"))
    stored = {row.id.hex: row for row in UsageRequest.objects.all()}
    assert answered <= stored.keys()
    assert {row.outcome for name, row in stored.items() if name in answered} == {"ok"}
    assert not [row for name, row in stored.items() if name not in answered and row.outcome in ("ok", "unknown")]
    assert SettlementJournal.objects.get().unknown == 0
