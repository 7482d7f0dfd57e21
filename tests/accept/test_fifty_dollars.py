"""A $50 budget, a route whose requests state no ``max_tokens``, 200 callers at once: what fits is not refused.

Each answer costs $0.002, and each request reserves twenty times as much, because nothing but the route's output cap bounds it. So 200 of
them at once could hold $8; yet nobody is refused while less than $48 is spent, since what does not fit waits for settlements and recalls.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from apps.contracts.money import NANO
from tests.accept import ledger
from tests.accept.conftest import FULL, SERVICE, Instance
from tests.accept.load import Crowd, until
from tests.accept.test_wall import check_refusals, spent_of, watched

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(not FULL, reason="it spends $50 in 25,000 requests: make accept (BULKHEAD_ACCEPT=1)"),
]

NAME = "fifty"
CALLERS = 200
LIMIT = 50 * NANO
PRICE = 10 * NANO  # a million output tokens
TOKENS = 200
COST = TOKENS * PRICE // 1_000_000
CAP = 4_096  # the route's default
BOUND = CAP * PRICE // 1_000_000


@dataclass
class Spenders(Crowd):
    """Callers that state no ``max_tokens``. spent: of the answers seen so far; before: that, when the first refusal was seen."""

    spent: int = 0
    before: int | None = None

    def _body(self, dice: Any) -> dict[str, Any]:
        return {"model": self.model, "stream": False, "messages": [{"role": "user", "content": "Hi"}]}

    def _remember(self, answer: httpx.Response, text: str, *, stream: bool) -> str:
        code = super()._remember(answer, text, stream=stream)
        if answer.status_code == 200:
            self.spent += int(answer.headers["x-bulkhead-cost-nano"])
        elif code == "budget_exceeded" and self.before is None:
            self.before = self.spent
        return code


def document(one: Instance) -> str:
    """A provider that asks $10 for a million output tokens, a route to it, and a key under $50 a day."""
    url = one.facts["simulators"][0]["url"]
    return json.dumps(
        {
            "organisation": "demo",
            "providers": [
                {
                    "name": NAME,
                    "simulated": True,
                    "allow_private_addresses": True,
                    "endpoints": [{"base_url": f"{url}/v1"}],
                    "prices": [{"model": NAME, "input": "0", "output": "10"}],
                }
            ],
            "routes": [{"name": NAME, "targets": [{"provider": NAME, "model": NAME}]}],
            "keys": [{"name": NAME, "service": SERVICE, "secret": f"file:{NAME}.key"}],
            "budgets": [{"name": NAME, "scope": "key", "key": NAME, "window": "day", "limit": "50"}],
        }
    )


def test_what_fits_is_not_refused(instance: Instance) -> None:
    one = instance
    one.simulate(first_byte_ms=5, output_tokens=TOKENS, tokens_per_event=50)
    simulator = one.facts["simulators"][0]["url"]
    httpx.put(f"{simulator}/sim/control", json={"prices": {NAME: {"input": 0, "output": PRICE}}}).raise_for_status()
    one.apply(document(one))
    # The demo's own budget of the day is no part of this.
    one.apply("organisation: demo\nbudgets:\n- {name: demo-day, scope: organisation, window: day, limit: 100000}\n")
    key = (one.data_dir / f"{NAME}.key").read_text().strip()
    crowd = Spenders(one.facts["proxy_url"], key, NAME, timeout=60.0)

    async def wall() -> None:
        await until(lambda: crowd.codes["budget_exceeded"] > 2 * CALLERS, seconds=900, what="the wall")

    with watched(one, NAME) as watcher:
        crowd.play(CALLERS, wall, seconds=1_000)
        ledger.wait_settled(one, crowd)
    spent, recorded = spent_of(one, NAME)
    assert crowd.before is not None
    print(dict(crowd.codes), f"first refusal after ${crowd.before / NANO:.3f}, at the end ${spent / NANO:.3f}")
    print(crowd.refusals["budget_exceeded"][0]["bulkhead"])
    assert watcher.over == [] and watcher.looks > 100
    slow = crowd.codes["budget_unavailable"]  # Postgres did not answer within the wait: a machine under load, and not the wall
    assert set(crowd.codes) <= {"ok", "budget_exceeded", "budget_unavailable"} and crowd.broken == {}
    assert slow <= crowd.codes["ok"] / 100
    check_refusals(crowd, budget=NAME, limit=LIMIT)
    told = [refusal["bulkhead"] for refusal in crowd.refusals["budget_exceeded"]]
    assert all(each["bound_nano"] >= BOUND for each in told)
    early = [each for each in told if each["spent_nano"] + each["reserved_nano"] + each["bound_nano"] <= LIMIT]
    print(f"{len(early)} of {len(told)} refusals although the database had told of room, the first of them {early[:1]}")
    assert crowd.before >= 48 * NANO, f"refused when only ${crowd.before / NANO:.3f} was spent"
    assert spent == recorded == crowd.spent <= LIMIT
    assert spent > LIMIT - BOUND, "whatever still fits is not refused"
    ledger.check_bill(one, NAME, {})
    ledger.check_answers(one, crowd)
    ledger.check_sums(one)
    ledger.check_logs(one)
    assert not early, f"{len(early)} requests were told that the budget is exceeded although the database had told of room"
