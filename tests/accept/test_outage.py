"""Postgres is away for a while: killed, then hung. Keys without hard budgets are served throughout, the others as long as leases
have room; a proxy that is restarted meanwhile boots from last-known-good; afterwards everything settles exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.launcher.postgres import PROXY, Postgres
from tests.accept import ledger
from tests.accept.conftest import FULL, Instance
from tests.accept.load import Crowd, until
from tests.launcher.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(600)]

AWAY_SECONDS = 45.0 if FULL else 4.0
NO_DEMO_BUDGETS = "budgets:\n- name: demo-day\n  absent: true\n- name: demo-key-month\n  absent: true\n"


def outage(one: Instance, *, away: Callable[[], None], back: Callable[[], None], kill: bool) -> None:
    """Load on a free and on a walled key while Postgres is away; ``kill``: a proxy dies in the middle of it."""
    url, model = one.facts["proxy_url"], one.facts["model"]
    free = Crowd(url, (one.data_dir / "free.key").read_text().strip(), model)
    walled = Crowd(url, (one.data_dir / "held.key").read_text().strip(), model)
    known = {row[0] for row in one.query("SELECT id::text FROM usage_request")}
    left = dict(one.query("SELECT id::text, cost_nano FROM usage_request WHERE outcome = 'unknown'"))
    one.simulate(first_byte_ms=50)
    during: dict[str, int] = {}

    async def play() -> None:
        await until(lambda: walled.codes["ok"] > 150, seconds=120, what="traffic")  # leases are held, and sized to the rate
        away()
        began, first = time.monotonic(), walled.codes["ok"]
        try:
            await asyncio.sleep(AWAY_SECONDS / 3)
            during["walled"] = walled.codes["ok"] - first
            if kill:
                pid = one.pid("proxy-1")
                left.update(await asyncio.to_thread(ledger.kill_proxy, one, "proxy-1"))
                await until(lambda: one.facts["pids"].get("proxy-1", pid) != pid, seconds=120, what="a new proxy-1")
                await until(lambda: booted_alone(one.readiness()["proxy-1"]), seconds=120, what="proxy-1 is ready from last-known-good")
            answered = free.codes["ok"]
            await asyncio.sleep(max(2.0, began + AWAY_SECONDS - time.monotonic()))
            during["free"] = free.codes["ok"] - answered
        finally:
            back()
        refused = walled.codes["ok"]
        await until(lambda: walled.codes["ok"] > refused + 20, seconds=120, what="the walled key is served again")
        await asyncio.sleep(1.0)
        free.stop.set()
        walled.stop.set()

    def booted_alone(answer: dict[str, Any]) -> bool:
        return bool(answer) and answer["ready"] and answer["config_version"] > 0 and not answer["database"]

    async def both() -> None:
        await asyncio.gather(free.run(8, 300), walled.run(8, 300), play())

    asyncio.run(both())
    print("free", dict(free.codes), dict(free.broken), "walled", dict(walled.codes), dict(walled.broken), "during", during)
    assert set(free.codes) <= {"ok", "cut"}, "nothing is refused to a key without a hard budget"
    assert set(walled.codes) <= {"ok", "cut", "budget_unavailable"}
    assert during["free"] > 20
    assert during["walled"] > 0, "what was leased is spent"
    ledger.wait_settled(one, free, walled)
    for crowd in (free, walled):
        ledger.check_answers(one, crowd)
    ledger.check_unknown(one, left)
    ledger.check_sums(one)
    new = {row[0] for row in one.query("SELECT id::text FROM usage_request")} - known
    assert len(new) >= len(free.recorded) + len(walled.recorded)
    ledger.check_logs(one)


def test_what_was_served_without_postgres_settles_exactly_once(
    make_instance: Callable[..., Instance], postgres_server: Callable[..., Postgres]
) -> None:
    server = postgres_server(migrated=True)
    urls = {"DATABASE_URL": server.url(), "BULKHEAD_PROXY_DATABASE_URL": server.url(user=PROXY)}
    one = make_instance("--proxies", "2", **urls)
    one.new_key("free", rest=NO_DEMO_BUDGETS)
    one.new_key("held", dollars="50")
    kept = [one.data_dir / "proxy" / f"proxy-{number}" / "config.lkg" for number in (1, 2)]
    head = one.query("SELECT max(number) FROM publishing_version")[0][0]
    wait_for(lambda: all(path.exists() for path in kept), what="last-known-good is on disk")

    outage(one, away=server.kill, back=server.start, kill=True)

    def hung(signum: signal.Signals) -> None:
        assert server.process is not None
        main = server.process.pid
        for pid in [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]:
            os.kill(pid, signum)

    if FULL:
        outage(one, away=lambda: hung(signal.SIGSTOP), back=lambda: hung(signal.SIGCONT), kill=False)
    assert one.query("SELECT max(number) FROM publishing_version")[0][0] == head
