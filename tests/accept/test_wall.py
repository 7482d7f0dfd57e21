"""A budget is a wall: four proxies, a hundred callers, SIGKILLs; settled + held is never above the limit at any observed moment."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.accept.conftest import FULL, Instance
from tests.accept.load import Crowd
from tests.launcher.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.kill]


class Watcher(threading.Thread):
    """Asks Postgres again and again what is spent and held."""

    def __init__(self, one: Instance, budget: str) -> None:
        super().__init__(daemon=True)
        self._one, self._budget = one, budget
        self.done = threading.Event()
        self.looks = 0
        self.most = 0
        self.over: list[tuple[int, int, int, int]] = []

    def run(self) -> None:
        with self._one.connect() as connection:
            while not self.done.is_set():
                rows = connection.execute(
                    "SELECT w.spent_nano, w.leased_nano, w.overrun_nano, w.limit_nano FROM budgets_budgetwindow w"
                    " JOIN budgets_budget b ON b.id = w.budget_id WHERE b.name = %s",
                    (self._budget,),
                ).fetchall()
                for spent, leased, overrun, limit in rows:
                    self.looks += 1
                    self.most = max(self.most, spent + leased)
                    if spent + leased + overrun > limit:
                        self.over.append((spent, leased, overrun, limit))
                time.sleep(0.002)


def test_settled_and_held_never_exceed_the_limit(instance: Callable[..., Instance]) -> None:
    one = instance("--proxies", "4")
    document = one.data_dir / "wall.yaml"
    dollars = "0.05" if FULL else "0.01"
    document.write_text(
        "organisation: demo\n"
        "keys:\n- name: walled\n  service: demo/demo-app\n  secret: file:walled.key\n"
        f"budgets:\n- name: wall\n  scope: key\n  key: walled\n  window: day\n  limit: '{dollars}'\n"
    )
    print(one.command("apply", "-f", str(document)))
    key = (one.data_dir / "walled.key").read_text().strip()
    facts = one.facts
    watcher = Watcher(one, "wall")
    watcher.start()
    crowd = Crowd(facts["proxy_url"], key, facts["model"])
    dice = random.Random(7)

    async def fire() -> None:
        for _ in range(6 if FULL else 3):
            await asyncio.sleep(dice.uniform(0.8, 1.6))
            name = f"proxy-{dice.randint(1, 4)}"
            os.kill(one.facts["pids"][name], signal.SIGKILL)
            print(f"killed {name} after {len(crowd.answered)} answers")
        until = time.monotonic() + 60
        while crowd.codes["budget_exceeded"] < 200 and time.monotonic() < until:
            await asyncio.sleep(0.1)
        crowd.stop.set()

    async def both() -> None:
        await asyncio.gather(crowd.run(100, 120), fire())

    asyncio.run(both())
    print(dict(crowd.codes), "broken", crowd.broken, "looks", watcher.looks, "most", watcher.most)
    assert crowd.codes["budget_exceeded"] > 0, "the wall was reached"
    missing = lambda: set(crowd.answered) - {str(r[0]) for r in one.query("SELECT id FROM usage_request")}  # noqa: E731
    wait_for(lambda: not missing(), seconds=60, what="every answered request is in the database")
    wait_for(
        lambda: one.query("SELECT count(*) FROM publishing_proxy WHERE gone_at IS NULL")[0][0] == 4,
        seconds=60,
        what="the dead proxies are settled",
    )
    watcher.done.set()
    watcher.join()
    assert watcher.looks > 100
    assert watcher.over == []
    limit = int(float(dollars) * 1e9)
    key_id = one.query("SELECT id::text FROM keys_virtualkey WHERE name = 'walled'")[0][0]
    spent = one.query(
        "SELECT w.spent_nano, w.overrun_nano FROM budgets_budgetwindow w JOIN budgets_budget b ON b.id = w.budget_id WHERE b.name = 'wall'"
    )[0]
    recorded = int(one.query("SELECT sum(cost_nano) FROM usage_request WHERE key_id::text = %s", key_id)[0][0])
    assert spent == (recorded, 0)
    assert recorded <= limit
    print(f"spent {recorded / limit:.1%} of the limit")
    assert recorded > 0.9 * limit
