"""Processes are killed under load: every request that was answered is recorded exactly once, every open without an end is 'unknown'."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import httpx
import pytest

from tests.accept.conftest import FULL, Instance
from tests.accept.load import Crowd
from tests.launcher.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.kill]


def test_every_answer_is_recorded_exactly_once(instance: Callable[..., Instance]) -> None:
    one = instance("--proxies", "2")
    facts = one.facts
    for simulator in facts["simulators"]:
        httpx.put(f"{simulator['url']}/sim/control", json={"server": {"first_byte_ms": {"kind": "fixed", "value": 30}}}).raise_for_status()
    crowd = Crowd(facts["proxy_url"], facts["key"], facts["model"])
    rounds = 3 if FULL else 1

    async def fire() -> None:
        for _ in range(rounds):
            for name in ("proxy-1", "shipper", "postgres", "redis", "proxy-2"):
                await asyncio.sleep(2.0 if FULL else 1.2)
                pid = one.facts["pids"][name]
                os.kill(pid, signal.SIGKILL)
                print(f"killed {name} ({pid}) after {len(crowd.answered)} answers")
        await asyncio.sleep(2.5)
        crowd.stop.set()

    async def both() -> None:
        await asyncio.gather(crowd.run(24, 600), fire())

    asyncio.run(both())
    print(dict(crowd.codes), "broken", crowd.broken)
    assert crowd.codes["ok"] > 100
    assert set(crowd.codes) <= {"ok", "cut", "budget_unavailable", "not_ready", "shutting_down"}, crowd.codes
    wait_for(lambda: one.status()["proxies"] and all(p["ready"] for p in one.status()["proxies"]), what="both proxies are ready again")

    def missing() -> set[str]:
        return set(crowd.answered) - {str(row[0]) for row in one.query("SELECT id FROM usage_request")}

    wait_for(lambda: not missing(), seconds=60, what="every answered request is in the database")
    assert one.query("SELECT id FROM usage_request GROUP BY id HAVING count(*) > 1") == []
    live = tuple(p["boot_id"] for p in one.facts["proxies"])

    def dead_settled() -> bool:
        return one.query("SELECT count(*) FROM publishing_proxy WHERE gone_at IS NULL")[0][0] == len(live)

    wait_for(dead_settled, seconds=60, what="the dead proxies' journals are settled to their end")
    unknown = one.query("SELECT count(*), coalesce(sum(cost_nano), 0) FROM usage_request WHERE outcome = 'unknown'")[0]
    print("outcome unknown:", unknown)
    assert unknown[0] > 0, "proxies were killed with requests in flight"
    recorded = dict(one.query("SELECT id::text, cost_nano FROM usage_request WHERE outcome <> 'unknown'"))
    for id, (status, cost) in crowd.answered.items():
        if cost is not None:
            assert recorded[id] == cost, (id, status)

    def sums() -> tuple[int, int, int]:
        total = one.query("SELECT sum(cost_nano) FROM usage_request")[0][0]
        rolled = one.query("SELECT sum(cost_nano) FROM usage_rollup_1m")[0][0]
        spent = one.query("SELECT max(spent_nano + overrun_nano) FROM budgets_budgetwindow")[0][0]
        return int(total), int(rolled), int(spent)

    total, rolled, spent = sums()
    assert total == rolled == spent
    assert one.query("SELECT sum(overrun_nano) FROM budgets_budgetwindow")[0][0] == 0
