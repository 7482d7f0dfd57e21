"""Ten machines serve the Azure trace while their processes are killed and stopped, their cables cut and they themselves drained, cordoned
and removed, at random: no request fails before its first byte, nothing is placed twice, nothing stays behind, everything comes back.

Beside the callers of the proxies, others call the replicas themselves, round robin, as they stood at the beginning: what the same troubles
cost without Bulkhead. ``BULKHEAD_CHAOS_FLEET=machines,seconds,seed`` runs it at another size, or again. Replicas are **simulated** engines.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.accept.conftest import FULL, MATERIAL, Instance
from tests.accept.ledger import check_answers, check_logs, check_sums, wait_settled
from tests.accept.load import Answer, Crowd
from tests.accept.machines import Machine, living, machines_possible
from tests.accept.trace_load import Callers, Figures, azure, figures
from tests.accept.trouble import CONNECTION, LONG_SECONDS, SILENCE, Auditor, Chaos, Operator, eventually, kept

WISH = os.environ.get("BULKHEAD_CHAOS_FLEET", "10,600" if FULL else "")
TRACE = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"
CALM_SECONDS = (10.0, 60.0)
"""Before the first trouble and after the last: a tenth of the time of trouble, within these."""
SPEED, READ, WROTE = 1.6, 1_000, 120
"""How much faster than it was the trace is played, and the tokens to which prompts and answers are cut, so that two cores carry it all."""
CONVERGED_SECONDS = 240.0
SIZES = {"chaos": 10, "chaos-small": 3}
"""Replicas of each deployment; ``chaos`` has its GPUs alone, ``chaos-small`` shares them."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.timeout(2_400),
    pytest.mark.skipif(not WISH, reason="ten minutes of chaos: make accept, or BULKHEAD_CHAOS_FLEET=machines,seconds,seed"),
]


@dataclass
class Stage:
    """The instance, the machines that serve in it, and who works with them."""

    one: Instance
    machines: list[Machine]
    operator: Operator
    key: str
    sizes: dict[str, int]

    def replicas(self) -> dict[str, tuple[str, str, str]]:
        """What the books hold: id -> (state, want, worker's name)."""
        rows = self.one.query(
            "SELECT r.id::text, r.state, r.want, w.name FROM fleet_replica r JOIN fleet_worker w ON w.id = r.worker_id"
            " JOIN fleet_deployment d ON d.id = r.deployment_id WHERE r.ended_at IS NULL AND d.name = ANY(%s)",
            list(self.sizes),
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def facts(self) -> set[str]:
        """The replicas that proxies are told to use."""
        rows = self.one.query(
            "SELECT replica::text FROM fleet_replicafact WHERE NOT gone AND coalesce(body->>'state', 'ready') = 'ready'"
            " AND body->>'deployment' = ANY(%s)",
            list(self.sizes),
        )
        return {row[0] for row in rows}

    def seen(self, proxy: dict[str, Any]) -> set[str]:
        """The replicas that a proxy would send something to now."""
        states = httpx.get(f"{proxy['admin_url']}/states", timeout=10, trust_env=False).json()
        return {
            replica["replica"]
            for deployment in states["fleet"]
            if deployment["deployment"].rpartition("/")[2] in self.sizes
            for replica in deployment["replicas"]
            if replica["state"] == "ready" and not replica["out"] and replica["breaker"] != "open"
        }

    def differences(self) -> list[str]:
        """Between what is wanted, what the books say, what proxies know and what runs; empty once all is as it shall be."""
        found = []
        replicas = self.replicas()
        odd = {id: row for id, row in replicas.items() if row[:2] != ("ready", "serve")}
        if odd or len(replicas) != sum(self.sizes.values()):
            found.append(f"{len(replicas)} replicas, of which not ready: {odd}")
        if told := self.facts() ^ set(replicas):
            found.append(f"told to proxies or there, not both: {told}")
        for proxy in self.one.facts["proxies"]:
            if unlike := self.seen(proxy) ^ set(replicas):
                found.append(f"{proxy['name']} would use or shall use, not both: {unlike}")
        for name, processes in living(self.machines).items():
            runs = {one.replica for one in processes if one.kind == "engine"}
            ordered = {id[-12:] for id, row in replicas.items() if row[2] == name}
            if runs != ordered or sum(one.kind == "guardian" for one in processes) != len(runs):
                found.append(f"{name} runs {processes} and shall run {ordered}")
        workers = self.one.query("SELECT name, state FROM fleet_worker WHERE revoked_at IS NULL AND pool = 'chaos' AND state <> 'ready'")
        return [*found, *(f"{name} is {state}" for name, state in workers)]


def document() -> str:
    routes = "".join(
        f"- name: {name}\n  default_price: sim-east/sim-chat\n  targets:\n  - provider: deployment:{name}\n    model: sim-{name}\n"
        "    prefill: true\n  resilience:\n    queue: 45s\n"
        for name in SIZES
    )
    return f"routes:\n{routes}"


@pytest.fixture
def stage(make_instance: Callable[..., Instance], tmp_path: Path) -> Iterator[Stage]:
    if not TRACE.is_file():
        pytest.skip(f"LOUD SKIP: it takes the Azure trace at {TRACE}")
    if why := machines_possible():
        pytest.skip(f"LOUD SKIP: no machines can be made here: {why}")
    count = int(WISH.split(",")[0])
    one = make_instance("--proxies", "2", BULKHEAD_WEB_HOST="0.0.0.0")
    operator = Operator(one)
    sizes = {name: max(1, size * count // 10) for name, size in SIZES.items()}
    machines = [Machine(number, tmp_path / "machines", one.web_port) for number in range(count)]
    try:
        for machine in machines:
            machine.build()
            machine.token = operator.join_token()
            machine.wanted = True
        for name, size in sizes.items():
            operator.deploy(
                name=name, engine="simulated", model=f"sim-{name}", pool="chaos", gpus=1, memory=20_000_000_000, exclusive=name == "chaos",
                least=0, most=size, wanted=size, drain_seconds=10, arguments={"ttft_ms": "60", "itl_ms": "12", "load_seconds": "1"},
            )  # fmt: skip
        yield Stage(one, machines, operator, one.new_key("chaos", rest=document()), sizes)
    finally:
        for machine in machines:
            machine.destroy()
        for machine in machines:
            shutil.copy(machine.log, one.data_dir / "log" / f"machine-{machine.number}.txt") if machine.log.exists() else None


def test_nobody_notices_what_befalls_the_machines(stage: Stage) -> None:
    words = WISH.split(",")
    seconds = float(words[1])
    seed = int(words[2]) if len(words) > 2 else random.SystemRandom().randrange(10**6)
    print(f"\nseed {seed}: BULKHEAD_CHAOS_FLEET={words[0]},{words[1]},{seed}")
    asyncio.run(play(stage, seconds, seed))


async def play(stage: Stage, seconds: float, seed: int) -> None:
    one, operator, machines = stage.one, stage.operator, stage.machines
    stop = asyncio.Event()
    manager = asyncio.create_task(kept(machines, stop))
    took = await eventually(lambda: not stage.differences(), seconds=CONVERGED_SECONDS, what="the fleet", said=stage.differences)
    print(f"{len(machines)} machines, {sum(stage.sizes.values())} replicas ready after {took:.0f} s")
    auditor = Auditor(one, machines, alone="sim-chaos")
    await asyncio.to_thread(auditor.look)
    audit = asyncio.create_task(auditor.play(stop))

    calm = max(CALM_SECONDS[0], min(CALM_SECONDS[1], seconds / 10))
    rows = azure(TRACE, seconds=2 * calm + seconds + 2 * LONG_SECONDS + CONVERGED_SECONDS, speed=SPEED, read=READ, wrote=WROTE)
    proxied, naive = callers(stage, auditor)
    loop = asyncio.get_running_loop()
    began = loop.time()
    over = asyncio.Event()
    crowds = [asyncio.create_task(each.play(rows, began, over)) for each in (proxied, naive)]
    chaos = Chaos(operator, machines, seed)
    await asyncio.sleep(calm)
    since = time.time()
    await chaos.play(seconds)
    until = time.time()
    converged = await eventually(lambda: not stage.differences(), seconds=CONVERGED_SECONDS, what="what is wanted", said=stage.differences)
    await asyncio.sleep(calm)
    over.set()
    await asyncio.gather(*crowds)
    auditor.look()

    report(chaos, proxied, naive, since, until, converged, auditor)
    calls = Crowd(one.facts["proxy_url"], stage.key, "chaos")
    for outcome in proxied.outcomes:
        if outcome.id:
            calls.answered[outcome.id] = Answer(outcome.status, outcome.code, None, not outcome.cause, "")
    await asyncio.to_thread(wait_settled, one, calls)
    evictions = await asyncio.to_thread(ejections, one, chaos)
    spans(evictions)
    for outcome in (outcome for outcome in proxied.outcomes if outcome.cause):
        print(outcome.cause, await asyncio.to_thread(tried, one, outcome.id))

    # the end: nothing is wanted, then nothing is there
    for name in stage.sizes:
        await asyncio.to_thread(operator.scale, name, 0)
    await eventually(lambda: not any(living(machines).values()), seconds=120, what="the end of all engines", said=lambda: living(machines))
    await eventually(lambda: not stage.replicas(), seconds=120, what="the end of all replicas", said=stage.replicas)
    stop.set()
    await asyncio.gather(manager, audit)
    for machine in machines:
        machine.wanted = False
        machine.signal(signal.SIGTERM)
    for machine in machines:
        assert machine.process is not None and await asyncio.to_thread(machine.process.wait) == 0
    assert not any(living(machines).values()), "orphans"

    assert auditor.faults == {}, dict(auditor.faults)
    failed = [outcome for outcome in proxied.outcomes if outcome.cause and not outcome.shown]
    assert not failed, f"{len(failed)} failed before their first byte: {failed[:5]}"
    cut = [outcome for outcome in proxied.outcomes if "word" in outcome.cause or "truncated" in outcome.cause]
    assert not cut, f"{len(cut)} answers were presented as whole, or just ended: {cut[:5]}"
    broken = [outcome for outcome in proxied.outcomes if outcome.cause]
    assert len(broken) <= len(proxied.outcomes) // 200, f"plain texts are nearly always gone on with: {broken[:5]}"
    assert max((row.after for row in evictions if row.kind in CONNECTION), default=0.0) < 1.0
    assert max((row.sent for row in evictions if row.kind in SILENCE), default=0.0) < 15.0
    assert all(machine.refused == 0 for machine in machines)
    check_answers(one, calls)
    check_sums(one)
    check_logs(one)


def callers(stage: Stage, auditor: Auditor) -> tuple[Callers, Callers]:
    """Those of the proxies, and those of the addresses where replicas stand now, who are a third as many and are always told whose token
    holds there."""
    turns = itertools.cycle(["chaos", "chaos", "chaos", "chaos-small"])
    url, headers = stage.one.facts["proxy_url"], {"authorization": f"Bearer {stage.key}"}
    round_robin = itertools.cycle(sorted(auditor.served))

    def place() -> tuple[str, dict[str, str], str]:
        where = next(round_robin)
        token, model = auditor.served[where]
        return where, {"authorization": f"Bearer {token}"}, model

    return (
        Callers("through the proxies", lambda: (url, headers, next(turns))),
        Callers("round robin, without Bulkhead", place, chosen=3),
    )


def tried(one: Instance, id: str) -> list[tuple[Any, ...]]:
    """The attempts of a request: (replica, role, outcome, error, sent and ended in seconds from its start)."""
    return one.query(
        "SELECT right(a->>'endpoint', 12), a->>'role', a->>'outcome', a->>'error_code', (a->>'sent_us')::float8 / 1e6,"
        " (a->>'ended_us')::float8 / 1e6 FROM usage_request r CROSS JOIN LATERAL jsonb_array_elements(usage_attempts(r)) a"
        " WHERE r.id::text = %s",
        id,
    )


class Ejection(NamedTuple):
    """How long requests of one proxy went to one replica after something befell it. fell: from then to the last. sent: from the first
    that failed there to the last. after: from when the first was known to have failed to the last, at least 0. tries: those that failed."""

    kind: str
    proxy: str
    fell: float
    sent: float
    after: float
    tries: int


def ejections(one: Instance, chaos: Chaos) -> list[Ejection]:
    """By the proxies' own records of what they tried: whoever sends something to a replica that is dead records an attempt that failed."""
    tries: dict[str, list[tuple[float, float, str]]] = {}
    rows = one.query(
        "SELECT extract(epoch FROM r.started_at)::float8, r.proxy, a->>'endpoint', (a->>'sent_us')::float8 / 1e6,"
        " (a->>'ended_us')::float8 / 1e6 FROM usage_request r CROSS JOIN LATERAL jsonb_array_elements(usage_attempts(r)) a"
        " WHERE r.provider LIKE 'deployment:chaos%%' AND a->>'outcome' <> 'ok' AND a->>'outcome' <> 'cancelled'"
    )
    for started, proxy, endpoint, sent, ended in rows:  # what was refused was never sent: then its end is its time
        tries.setdefault(endpoint[-12:], []).append((started + (sent or ended), started + ended, proxy))
    found = []
    for trouble in chaos.history:
        if trouble.kind not in (*CONNECTION, *SILENCE):
            continue
        for replica in trouble.replicas:
            ours = [one for one in tries.get(replica, []) if trouble.at - 0.05 <= one[0] <= max(trouble.until, trouble.at + 2) + 1]
            for proxy in {one[2] for one in ours}:
                mine = sorted(one for one in ours if one[2] == proxy)
                first, last = mine[0][0], mine[-1][0]
                known = min(one[1] for one in mine)
                found.append(Ejection(trouble.kind, proxy, last - trouble.at, last - first, max(0.0, last - known), len(mine)))
    return found


def spans(found: list[Ejection]) -> None:
    print("\n| what befell a replica | seen by proxies | requests sent there, worst | from the trouble to the last, p50 / worst |"
          " from the first to the last, worst | after the first had failed, worst |\n|---|---|---|---|---|---|")  # fmt: skip
    for kind in (*CONNECTION, *SILENCE):
        rows = [one for one in found if one.kind == kind]
        if rows:
            fell = sorted(one.fell for one in rows)
            print(
                f"| {kind} | {len(rows)} times | {max(one.tries for one in rows)} | {fell[len(fell) // 2]:.2f} / {fell[-1]:.2f} s |"
                f" {max(one.sent for one in rows):.2f} s | {max(one.after for one in rows):.2f} s |"
            )


def report(chaos: Chaos, proxied: Callers, naive: Callers, since: float, until: float, converged: float, auditor: Auditor) -> None:
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[1]:.1f}"
    )
    asked = f"{len(proxied.outcomes):,} and {len(naive.outcomes):,} requests of the Azure trace"
    print(f"{asked} at {SPEED} times its speed, prompts to {READ} tokens, answers to {WROTE}")
    print(f"{sum(chaos.counts.values())} troubles in {until - since:.0f} s:", dict(sorted(chaos.counts.items())))
    print(f"as wanted again {converged:.0f} s after the last; books looked at {auditor.looks} times, faults: {dict(auditor.faults)}")
    print("\n| | requests | failed before the first byte | broken after it | first output p50 / p95 / p99 | JSON p50 / p95 / p99 |"
          " longest wait within a stream |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, who, begins, ends in (
        ("before the chaos, through the proxies", proxied, 0.0, since),
        ("before it, round robin", naive, 0.0, since),
        ("**during it, through the proxies**", proxied, since, until),
        ("during it, round robin", naive, since, until),
        ("after it, through the proxies", proxied, until, float("inf")),
        ("after it, round robin", naive, until, float("inf")),
    ):
        print(line(name, figures(who.outcomes, since=begins, until=ends)))
    print("what went wrong through the proxies:", dict(figures(proxied.outcomes).causes))
    print("what went wrong round robin:", dict(figures(naive.outcomes).causes))


def line(name: str, of: Figures) -> str:
    share = f" ({of.before / of.asked:.1%})" if of.before else ""
    first, whole = (" / ".join(f"{value:.2f}" for value in values) for values in (of.first, of.json))
    return f"| {name} | {of.asked:,} | {of.before}{share} | {of.after} | {first} s | {whole} s | {of.gap:.1f} s |"
