"""A whole worker: it joins, runs what is ordered, drains, survives its control plane, its own death and its engines'."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from apps.agent import agent as agents
from apps.agent.gpus import FakeGpus, Seen
from apps.agent.link import Credential
from apps.contracts.fleet import DesiredState
from apps.contracts.fleet_facts import GpuProcess
from tests.agent.worker import HEALTH, TOKEN, Worker, spec, worker

CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}]}


async def ask(url: str, **changes: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{url}/v1/chat/completions", json={**CHAT, **changes})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


async def test_a_worker_joins_serves_and_stops_without_a_trace(tmp_path: Path) -> None:
    one = spec(arguments={"ttft_ms": "1"}, warm_up=msgspec.structs.replace(spec().warm_up, requests=3))
    async with worker(tmp_path) as w:
        await w.order(one)
        ready = await w.reported(one.replica, "ready")
        assert ready.url.startswith("http://127.0.0.1:2") and ready.model == "simulated" and ready.engine_version == "0.11.0"
        assert ready.starts == 1 and ready.healthy_at_ms and ready.phases.starting is not None and ready.phases.warming is not None
        answer = (await ask(ready.url)).json()
        assert answer["choices"] and answer["bulkhead_simulated"]
        told = await w.until(lambda: (r := w.control.report(one.replica)) and r.metrics and r.metrics.finished and r, "metrics")
        assert told.metrics.source == "vllm>=0.11" and told.metrics.running == 0 and told.metrics.preemptions == 0
        assert w.control.acknowledged[-1].sequence == 1 and w.control.acknowledged[-1].refused == []
        beat = w.control.beats[-1]
        assert beat.host.cpus and beat.host.memory_total and beat.applied == 1
        assert {offer.engine for offer in beat.host.engines} >= {"simulated", "vllm"}
        pid = ready.pid or 0
        assert alive(pid)
        kept = w.settings.state / "credential.json"
        assert kept.stat().st_mode & 0o777 == 0o600 and w.settings.state.stat().st_mode & 0o777 == 0o700
    assert not alive(pid) and list((w.settings.state / "launches").iterdir()) == []
    last = w.control.beats[-1].replicas[-1]
    assert last.state == "stopped" and last.metrics is None


async def test_a_drain_lets_what_runs_finish(tmp_path: Path) -> None:
    one = spec(arguments={"itl_ms": "100"})
    async with worker(tmp_path) as w:
        await w.order(one)
        url = (await w.reported(one.replica, "ready")).url
        request = asyncio.create_task(ask(url, max_tokens=40, bulkhead_sim={"output_tokens": 40}))
        await w.until(lambda: (r := w.control.report(one.replica)) and r.metrics and r.metrics.running, "it runs")
        await w.order(msgspec.structs.replace(one, want="drain", drain_seconds=60.0))
        assert (await request).status_code == 200
        stopped = await w.reported(one.replica, "stopped")
        assert stopped.reason == ""


async def test_at_the_end_of_the_drain_what_runs_is_cut_and_said_so(tmp_path: Path) -> None:
    one = spec(arguments={"itl_ms": "100"})
    async with worker(tmp_path) as w:
        await w.order(one)
        url = (await w.reported(one.replica, "ready")).url
        request = asyncio.create_task(ask(url, max_tokens=100_000, bulkhead_sim={"output_tokens": 100_000}))
        await w.until(lambda: (r := w.control.report(one.replica)) and r.metrics and r.metrics.running, "it runs")
        await w.order(msgspec.structs.replace(one, want="drain", drain_seconds=0.3))
        stopped = await w.reported(one.replica, "stopped")
        assert stopped.reason == "drain_deadline" and "1 requests" in stopped.message
        with pytest.raises(httpx.HTTPError):
            await request


async def test_a_crash_is_explained_and_started_again_and_a_changed_order_replaces(tmp_path: Path) -> None:
    calm = msgspec.structs.replace(HEALTH, interval_seconds=600.0)
    one = spec(arguments={"crash_after_tokens": "40", "output_tokens": "50"}, health=calm)
    async with worker(tmp_path) as w:
        await w.order(one)
        first = await w.reported(one.replica, "ready")
        with pytest.raises(httpx.HTTPError):
            await ask(first.url)
        crashed = await w.failed(one.replica)
        assert crashed.reason == "crashed" and crashed.exit_code == 70 and "exit code 70" in crashed.message
        assert "simulated crash" in crashed.lines[-1]
        again = await w.until(lambda: (r := w.control.report(one.replica)) and r.state == "ready" and r.starts == 2 and r, "again")
        assert again.pid != first.pid
        await w.order(msgspec.structs.replace(one, arguments={}))
        await w.until(lambda: (r := w.control.report(one.replica)) and r.state == "ready" and r.launch != again.launch, "replaced")


@pytest.mark.kill
async def test_a_frozen_engine_is_replaced_though_its_health_is_green(tmp_path: Path) -> None:
    one = spec(arguments={"freeze_after_tokens": "5"}, health=msgspec.structs.replace(HEALTH, interval_seconds=600.0, stall_seconds=1.0))
    async with worker(tmp_path) as w:
        await w.order(one)
        url = (await w.reported(one.replica, "ready")).url
        await ask(url)
        hanging = asyncio.create_task(ask(url))
        stalled = await w.failed(one.replica)
        assert stalled.reason == "stalled" and "no token came" in stalled.message
        await w.until(lambda: (r := w.control.report(one.replica)) and r.state == "ready" and r.starts == 2, "again")
        with pytest.raises(httpx.HTTPError):
            await hanging


@pytest.mark.kill
async def test_a_restarted_agent_takes_over_and_an_engine_that_died_meanwhile_is_started_anew(tmp_path: Path) -> None:
    stays, dies = spec(), spec()
    async with worker(tmp_path) as w:
        await w.order(stays, dies)
        before = {one.replica: await w.reported(one.replica, "ready") for one in (stays, dies)}
        await w.end(leave_engines=True)
        assert alive(before[stays.replica].pid or 0) and (await ask(before[stays.replica].url)).status_code == 200
        os.kill(before[dies.replica].pid or 0, signal.SIGKILL)
        w.control.down = True  # the next agent goes by the order on its disk
        await w.start()
        await w.until(lambda: len(w.agent.replicas) == 2 and all(r.state == "ready" for r in w.agent.replicas.values()), "both")
        w.control.down = False
        w.control.beats.clear()
        after = await w.reported(stays.replica, "ready")
        assert after.pid == before[stays.replica].pid and after.starts == 1 and after.url == before[stays.replica].url
        # Its guardian may tell of its end only after it was taken over.
        dead = before[dies.replica].pid
        await w.until(lambda: (r := w.control.report(dies.replica)) and r.state == "ready" and r.pid not in (None, dead), "started anew")


async def test_the_control_planes_absence_stops_nothing(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path) as w:
        await w.order(one)
        ready = await w.reported(one.replica, "ready")
        w.control.down = True
        calls = len(w.control.calls)
        await w.until(lambda: len(w.control.calls) > calls + 2, "it tries again")
        assert (await ask(ready.url)).status_code == 200
        os.kill(ready.pid or 0, signal.SIGKILL)  # nobody is there to ask, and it is started again all the same
        await w.until(lambda: (r := w.agent.replicas[one.replica]).state == "ready" and r.starts == 2, "started again")
        w.control.down = False
        await w.until(lambda: (r := w.control.report(one.replica)) and r.state == "ready" and r.starts == 2, "told")
        assert w.control.beats[-1].boot == w.agent.boot


async def test_old_orders_change_nothing(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path) as w:
        await w.order(one, epoch=2, sequence=5)
        ready = await w.reported(one.replica, "ready")
        assert w.agent.desired is not None
        for old in (DesiredState(epoch=1, sequence=99), DesiredState(epoch=2, sequence=4)):
            await w.control.order(old)
        w.control.state = DesiredState(epoch=2, sequence=6, replicas=[msgspec.structs.replace(one, priority=3)])
        await w.control.order(w.control.state)
        await w.until(lambda: w.control.acknowledged[-1].sequence == 6, "the newer one")
        assert [(a.epoch, a.sequence) for a in w.control.acknowledged] == [(2, 5), (2, 6)]
        assert (await w.reported(one.replica, "ready")).pid == ready.pid


async def test_two_replicas_never_hold_one_gpu_and_what_cannot_be_is_refused(tmp_path: Path) -> None:
    first, second = spec(gpus=["GPU-fake-0"]), spec(gpus=["GPU-fake-0"], priority=-1)
    strange = spec(gpus=["GPU-strange"])
    async with worker(tmp_path, gpus=FakeGpus(1)) as w:
        await w.order(first, second, strange)
        await w.reported(first.replica, "ready")
        refused = await w.reported(second.replica, "failed")
        assert refused.reason == "gpu_overcommitted" and refused.starts == 0
        assert (await w.reported(strange.replica, "failed")).reason == "gpu_unknown"
        assert {one.reason for one in w.control.acknowledged[-1].refused} == {"gpu_overcommitted", "gpu_unknown"}
        assert w.control.beats[-1].gpus[0].simulated and w.control.beats[-1].gpus[0].temperature is None
        await w.order(second)
        assert (await w.reported(second.replica, "ready")).gpus == ["GPU-fake-0"]


async def test_credentials_are_rotated_and_a_revoked_worker_goes_on_serving(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path) as w:
        await w.order(one)
        ready = await w.reported(one.replica, "ready")
        old = Credential(w.settings.state).secret
        w.control.lose = ["credential"]  # its answer is lost: the same secret is offered again
        w.control.rotate = True
        await w.until(lambda: not w.control.rotate, "rotated")
        w.control.rotate = True
        await w.until(lambda: Credential(w.settings.state).secret not in ("", old), "the new one is kept")
        await w.until(lambda: len(next(iter(w.control.secrets.values()))) == 1, "the old one died")
        w.control.revoked = set(w.control.workers)
        calls = len(w.control.calls)
        await w.until(lambda: "heartbeat" in w.control.calls[calls:], "turned away")
        assert (await ask(ready.url)).status_code == 200 and alive(ready.pid or 0)


async def test_a_join_whose_answer_is_lost_is_answered_again_and_a_used_token_is_refused(tmp_path: Path) -> None:
    async with worker(tmp_path) as w:
        pass  # joined by TOKEN
    other = Worker(tmp_path, w.settings, FakeGpus(0), w.control)
    (w.settings.state / "credential.json").unlink()
    await other.start()
    with pytest.raises(Exception, match="token_used"):
        await other.until(lambda: False)
    w.control.tokens["bhj_" + "u" * 40] = ""
    w.control.lose = ["join"]
    again = Worker(tmp_path, dataclasses.replace(w.settings, token="bhj_" + "u" * 40), FakeGpus(0), w.control)
    await again.start()
    await again.until(lambda: Credential(w.settings.state).joined, "joined")
    assert w.control.calls.count("join") >= 3 and len(w.control.workers) == 2
    await again.end()
    assert TOKEN not in (w.settings.state / "joined.json").read_text()


async def test_a_wrong_clock_is_measured_and_deadlines_follow_the_control_planes(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path) as w:
        w.control.ahead_ms = 3_600_000
        await w.order(one)
        await w.reported(one.replica, "ready")
        await w.until(lambda: abs(w.agent.control_ms() - w.control._now_ms()) < 60_000, "measured")
        await w.order(msgspec.structs.replace(one, want="drain", drain_by_ms=w.control._now_ms() + 60_000))
        assert (await w.reported(one.replica, "stopped")).reason == ""


async def test_logs_and_preemption_are_told(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path) as w:
        await w.order(one)
        await w.reported(one.replica, "ready")
        w.control.logs_of = [one.replica]
        await w.until(lambda: w.control.tails, "logs")
        assert any("SIMULATION" in line for line in w.control.tails[0].lines)
        w.agent.preempt()
        w.agent.preempt()
        await w.until(lambda: w.control.notices, "preemption")
        assert len(w.control.notices) == 1 and w.control.notices[0].source == "signal"


async def test_replicas_come_while_a_heartbeat_looks_at_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look is made beside the loop, which goes on placing replicas: that must not end the agent."""
    one = spec(gpus=["GPU-fake-0"])
    async with worker(tmp_path, gpus=FakeGpus(1)) as w:
        await w.order(one)
        ready = await w.reported(one.replica, "ready")
        agent, look, came = w.agent, agents._owners, []

        def meanwhile(leaders: Mapping[int, str]) -> dict[int, str]:
            if not came:
                came.append(agent.replicas[one.replica])
                agent.replicas["late"] = came[0]
            return look(leaders)

        monkeypatch.setattr(agents, "_owners", meanwhile)
        processes = [GpuProcess(pid=ready.pid or 0), GpuProcess(pid=os.getpid())]
        agent.seen = Seen([msgspec.structs.replace(agent.seen.gpus[0], processes=processes)])
        await agent.beat()
        agent.replicas.pop("late", None)
        told = [beat.gpus[0].processes for beat in w.control.beats if beat.gpus and beat.gpus[0].processes]
        assert came and [process.replica for process in told[0]] == [one.replica, ""]
