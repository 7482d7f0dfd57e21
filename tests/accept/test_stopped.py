"""A stopped process is not a dead one: a proxy under SIGSTOP keeps its journal and its leases, and goes on when it is continued."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.accept import ledger
from tests.accept.conftest import FULL, Instance
from tests.accept.load import Crowd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not FULL, reason="it waits for what must not happen: make accept"),
]


def test_a_stopped_proxy_is_not_declared_dead(instance: Instance) -> None:
    one, dollars = instance, "5"
    crowd = Crowd(one.facts["proxy_url"], one.new_key("stopped", dollars=dollars), one.facts["model"], timeout=1.0)
    unknown = dict(one.query("SELECT id::text, cost_nano FROM usage_request WHERE outcome = 'unknown'"))
    one.simulate(first_byte_ms=200)
    pid = one.pid("proxy-3")
    boot = one.readiness()["proxy-3"]["boot_id"]
    seconds = 15.0 if FULL else 4.0  # well beyond the shipper's look at locks and the proxies' heartbeats

    async def stop_and_continue() -> None:
        await asyncio.sleep(1.0)
        os.kill(pid, signal.SIGSTOP)
        try:
            before = len(crowd.answered)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await asyncio.sleep(0.25)
                gone, opened = await asyncio.to_thread(state)
                assert gone is None
            assert opened > 0, "its leases are kept"
            assert len(crowd.answered) > before + 20, "the other proxies go on"
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(1.0)

    def state() -> tuple[object, int]:
        gone = one.query("SELECT gone_at FROM publishing_proxy WHERE boot_id = %s", boot)[0][0]
        opened = one.query("SELECT count(*) FROM budgets_lease WHERE boot_id = %s AND state = 'open'", boot)[0][0]
        return gone, int(opened)

    crowd.play(24, stop_and_continue)
    print(dict(crowd.codes), "broken", dict(crowd.broken))
    assert set(crowd.codes) <= {"ok", "cut"}
    assert sum(crowd.broken.values()) > 0, "callers of the stopped proxy gave up"
    assert one.pid("proxy-3") == pid, "the same process"
    ledger.wait_settled(one, crowd)
    ledger.check_answers(one, crowd)
    ledger.check_unknown(one, unknown)
    ledger.check_sums(one)
    ledger.check_logs(one)
