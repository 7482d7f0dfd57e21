"""The agent as a process: killed by SIGKILL it leaves no engine behind, restarted in time it takes them over; its link over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from apps.agent.link import BackOff, Credential, Link, LinkLost, Rejected
from apps.agent.link_fake import FakeControlPlane
from apps.contracts.fleet import DesiredState, DesiredWant, Heartbeat
from apps.contracts.fleet_facts import HostFacts
from apps.contracts.identifiers import uuid7
from tests.agent.test_bad_engines import offspring
from tests.agent.worker import FIRST_PORT, TOKEN, spec

ROOT = Path(__file__).resolve().parents[2]


@contextlib.asynccontextmanager
async def serving(control: FakeControlPlane) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(control, port=0, lifespan="off", log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


def agent(url: str, state: Path, orphan_seconds: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ, "BULKHEAD_CONTROL_URL": url, "BULKHEAD_AGENT_TOKEN": TOKEN, "BULKHEAD_AGENT_DIR": str(state),
        "BULKHEAD_AGENT_GPUS": "none", "BULKHEAD_AGENT_ORPHAN_SECONDS": str(orphan_seconds), "BULKHEAD_AGENT_STOP_SECONDS": "1",
        "BULKHEAD_AGENT_NAME": "worker-1",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", "apps.agent"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(6_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


@pytest.mark.kill
async def test_kill_nine_leaves_nothing_or_is_taken_over(tmp_path: Path) -> None:
    control = FakeControlPlane(TOKEN)
    one = spec()

    def ready_pid(boots: int) -> int:
        report = control.report(one.replica)
        return (report.pid or 0) if report and report.state == "ready" and len({beat.boot for beat in control.beats}) == boots else 0

    async with serving(control) as url:
        await control.order(DesiredState(epoch=1, sequence=1, port_first=FIRST_PORT, port_last=FIRST_PORT + 49, replicas=[one]))
        processes = [agent(url, tmp_path, 600)]
        try:
            await until(lambda: ready_pid(1))
            pid = ready_pid(1)
            processes[0].kill()
            processes[0].wait()
            assert pid in offspring(tmp_path)  # it serves on, its guardian waits
            processes.append(agent(url, tmp_path, 0))
            await until(lambda: ready_pid(2))
            assert ready_pid(2) == pid and len(control.workers) == 1
            second = agent(url, tmp_path, 0)
            assert await asyncio.to_thread(second.wait) == 3  # one directory, one agent
            await control.order(DesiredState(epoch=1, sequence=2, port_first=FIRST_PORT, port_last=FIRST_PORT + 49, replicas=[spec()]))
            await until(lambda: (r := control.beats[-1].replicas) and all(x.replica != one.replica and x.state == "ready" for x in r))
            processes[1].kill()  # what this one started has nobody to wait for
            await until(lambda: not offspring(tmp_path))
            processes.append(agent(url, tmp_path, 0))
            await until(lambda: len({beat.boot for beat in control.beats}) == 3 and control.beats[-1].replicas)
            processes[2].send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(processes[2].wait) == 0
            assert not offspring(tmp_path)
        finally:
            for process in processes:
                process.kill()
                process.wait()


async def test_the_link_tells_what_is_lost_from_what_is_refused(tmp_path: Path) -> None:
    control = FakeControlPlane(TOKEN)
    beat = Heartbeat(protocol=1, agent_version="t", boot=str(uuid7()), sequence=1, sent_at_ms=1, host=HostFacts(hostname="h", address="a"))
    async with serving(control) as url, httpx.AsyncClient(trust_env=False) as client:
        link = Link(url, Credential(tmp_path), client)
        with pytest.raises(Rejected, match="credential_unknown"):
            await link.heartbeat(beat)
        control.down = True
        with pytest.raises(LinkLost, match="503"):
            await link.heartbeat(beat)
        for bad in ("http://127.0.0.1:1", f"{url}/elsewhere", "http://[", "http://no-such-host.invalid"):
            with pytest.raises((LinkLost, Rejected)):
                await Link(bad, Credential(tmp_path), client).desired(DesiredWant(wait_seconds=0))


def test_pauses_grow_to_a_bound_with_jitter() -> None:
    back_off = BackOff(first=1.0, longest=8.0)
    pauses = [back_off.pause() for _ in range(10)]
    assert all(0.5 * whole <= pause <= whole for pause, whole in zip(pauses, [1, 2, 4, 8, 8, 8, 8, 8, 8, 8], strict=True))
    assert back_off.pause(60.0) == 60.0
    back_off.reset()
    assert back_off.pause() <= 1.0
