"""The way from the proxies to one machine is cut for a minute, while its agent is heard and says that all is well: a substitute serves on
another machine long before the way is mended, and nothing stands twice afterwards. Replicas are **simulated** engines.

``BULKHEAD_FLEET_CUT=1`` runs it alone; it takes root and iproute2.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.accept.conftest import FULL, Instance
from tests.accept.machines import Machine, machines_possible
from tests.accept.test_fleet_chaos import CONVERGED_SECONDS, Stage
from tests.accept.trace_load import Callers, Row
from tests.accept.trouble import Auditor, Operator, eventually, kept

NAME = "cut"
CUT_SECONDS = 60.0
SERVES_SECONDS = 45.0
"""Within this a substitute serves, on a machine that is busy with other things; 20 s are usual: ADR 0239."""
EACH_SECONDS = 0.25
"""Between two requests."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not FULL and not os.environ.get("BULKHEAD_FLEET_CUT"), reason="minutes of cuts: make accept, or BULKHEAD_FLEET_CUT=1"
    ),
]


@pytest.fixture
def stage(make_instance: Callable[..., Instance], tmp_path: Path) -> Iterator[Stage]:
    if why := machines_possible():
        pytest.skip(f"LOUD SKIP: no machines can be made here: {why}")
    one = make_instance("--proxies", "2", BULKHEAD_WEB_HOST="0.0.0.0")
    operator = Operator(one)
    machines = [Machine(number, tmp_path / "machines", one.web_port) for number in range(3)]
    route = (
        f"routes:\n- name: {NAME}\n  default_price: sim-east/sim-chat\n  targets:\n  - provider: deployment:{NAME}\n    model: sim-{NAME}\n"
        "    prefill: true\n  resilience:\n    queue: 20s\n"
    )
    try:
        for machine in machines:
            machine.build()
            machine.token = operator.join_token()
            machine.wanted = True
        operator.deploy(
            name=NAME, engine="simulated", model=f"sim-{NAME}", pool="chaos", gpus=1, memory=20_000_000_000, least=2, most=2, wanted=2,
            drain_seconds=10, arguments={"ttft_ms": "60", "itl_ms": "12", "load_seconds": "1"},
        )  # fmt: skip
        yield Stage(one, machines, operator, one.new_key(NAME, rest=route), {NAME: 2})
    finally:
        for machine in machines:
            machine.destroy()
        for machine in machines:
            shutil.copy(machine.log, one.data_dir / "log" / f"machine-{machine.number}.txt") if machine.log.exists() else None


def test_what_proxies_cannot_reach_is_replaced_before_it_is_mended(stage: Stage) -> None:
    asyncio.run(play(stage))


def serves_elsewhere(stage: Stage, before: frozenset[str], name: str) -> bool:
    """Whether a replica that was not there before is in every proxy's rotation, and not on the machine of this name."""
    new = {id for id, (_, _, where) in stage.replicas().items() if id not in before and where != name}
    return any(all(id in stage.seen(proxy) for proxy in stage.one.facts["proxies"]) for id in new)


async def play(stage: Stage) -> None:
    one, machines = stage.one, stage.machines
    stop, over = asyncio.Event(), asyncio.Event()
    manager = asyncio.create_task(kept(machines, stop))
    auditor = Auditor(one, machines, alone=f"sim-{NAME}")
    await eventually(lambda: not stage.differences(), seconds=CONVERGED_SECONDS, what="the fleet", said=stage.differences)
    audit = asyncio.create_task(auditor.play(stop))
    callers = Callers("through the proxies", lambda: (one.facts["proxy_url"], {"authorization": f"Bearer {stage.key}"}, NAME))
    rows = [Row(EACH_SECONDS * number, 50, 60) for number in range(4_000)]
    crowd = asyncio.create_task(callers.play(rows, asyncio.get_running_loop().time(), over))
    told = 0
    for kind in ("silent", "refused"):
        await eventually(lambda: not stage.differences(), seconds=CONVERGED_SECONDS, what="what is wanted", said=stage.differences)
        before = stage.replicas()
        victim, (_, _, name) = next(iter(before.items()))
        machine = next(machine for machine in machines if machine.name == name)
        began = time.monotonic()
        await asyncio.to_thread(machine.cut_refused if kind == "refused" else lambda m=machine: m.cut_silent(agent=False))
        served = partial(serves_elsewhere, stage, frozenset(before), name)
        took = await eventually(served, seconds=SERVES_SECONDS, what="a substitute that serves", said=stage.replicas)
        print(f"\n{kind} cut of {name}: a substitute served after {took:.1f} s")
        await asyncio.sleep(max(0.0, CUT_SECONDS - (time.monotonic() - began)))
        await asyncio.to_thread(machine.mend)
        settled = await eventually(
            lambda: not stage.differences(), seconds=CONVERGED_SECONDS, what="what is wanted", said=stage.differences
        )
        print(f"as wanted {settled:.1f} s after it was mended: {sorted(row[2] for row in stage.replicas().values())}")
        assert victim not in stage.replicas() and len(stage.replicas()) == 2
        events = one.query(
            "SELECT data->>'why' FROM audit_fact WHERE kind = 'fleet.deployment' AND data->>'what' = 'substitute'"
            " AND subject_name = %s ORDER BY at", NAME,
        )  # fmt: skip
        print(*(why for (why,) in events[told:]), sep="\n")
        assert len(events) == told + 1 and f" on {name} " in events[-1][0], "one cut, one substitute"
        told = len(events)
        [[unplaced]] = one.query("SELECT unplaced FROM fleet_deployment WHERE name = %s", NAME)
        assert unplaced == {}
    over.set()
    await crowd
    stop.set()
    await asyncio.gather(manager, audit)
    auditor.look()
    assert auditor.faults == {} and auditor.looks > 10, dict(auditor.faults)
    slowest = max(outcome.seconds for outcome in callers.outcomes)
    print(f"{len(callers.outcomes)} requests, the slowest {slowest:.1f} s; {auditor.looks} looks at the books")
    failed = [outcome for outcome in callers.outcomes if outcome.cause]
    assert not failed, f"{len(failed)} of {len(callers.outcomes)} failed: {failed[:5]}"
