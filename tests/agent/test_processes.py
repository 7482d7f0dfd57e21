"""Nothing that an engine starts outlives it, its guardian or its agent, whatever is killed; and a restarted agent finds its engines."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.agent.drivers import Grounds, local
from apps.agent.processes import Process, adopt, launches, spawn, sweep_strays
from apps.agent.tail import lines_of

ROOT = Path(__file__).resolve().parents[2]

FAMILY = """
import os, subprocess, sys, time
# A child in the same session, one in a session of its own, and a daemon that leaves its parents (a double fork).
pids = [os.getpid()]
pids.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
pids.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True).pid)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if (daemon := os.fork()) == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
    os.write(write, str(daemon).encode())
    os._exit(0)
os.wait()
pids.append(int(os.read(read, 20)))
print("family", *pids, flush=True)
time.sleep(600)
"""


async def started(state: Path, script: str, *, orphan_seconds: float = 0.0, **meta: Any) -> Process:
    argv = [sys.executable, "-c", script]
    return await spawn(state, argv=argv, environment=dict(os.environ), directory=state, orphan_seconds=orphan_seconds, meta=meta)


async def until(condition: Callable[[], Any]) -> Any:
    for _ in range(4000):
        if found := condition():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def living(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += [pid] if fields[0] not in ("Z", "X") else []
    return found


async def family(process: Process) -> list[int]:
    line = await until(lambda: next((line for line in process.lines(5) if line.startswith("family") and len(line.split()) == 5), ""))
    pids = [int(word) for word in line.split()[1:]]
    assert len(pids) == 4 and living(pids) == pids
    return pids


@pytest.mark.kill
async def test_a_stop_ends_all_that_it_started(tmp_path: Path) -> None:
    process = await started(tmp_path, FAMILY)
    pids = await family(process)
    await process.end(grace=30.0)
    assert process.code == -signal.SIGTERM
    await until(lambda: not living(pids))
    process.remove()
    assert launches(tmp_path) == []


@pytest.mark.kill
async def test_when_the_first_process_dies_the_rest_goes_too(tmp_path: Path) -> None:
    process = await started(tmp_path, FAMILY)
    pids = await family(process)
    os.kill(pids[0], signal.SIGKILL)
    await asyncio.wait_for(process.exited.wait(), 60)
    assert process.code == -signal.SIGKILL and living(pids) == []


@pytest.mark.kill
async def test_when_the_guardian_is_killed_nothing_stays(tmp_path: Path) -> None:
    process = await started(tmp_path, FAMILY)
    pids = await family(process)
    guardian = json.loads((process.directory / "engine.json").read_text())["guardian"]
    os.kill(guardian, signal.SIGKILL)
    await asyncio.wait_for(process.exited.wait(), 60)
    assert living(pids) == [] and process.code is None


AGENT = """
import asyncio, json, os, sys
from pathlib import Path
from apps.agent.processes import spawn

async def main():
    state = Path(sys.argv[1])
    process = await spawn(state, argv=[sys.executable, "-c", sys.argv[3]], environment=dict(os.environ), directory=state,
                          orphan_seconds=float(sys.argv[2]), meta={"replica": "r1"})
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def killed_agent(state: Path, orphan_seconds: float) -> list[int]:
    """The family of an engine whose agent was killed by SIGKILL."""
    agent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", AGENT, str(state), str(orphan_seconds), FAMILY], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert agent.stdout is not None and await asyncio.to_thread(agent.stdout.readline) == b"up\n"
        log = launches(state)[0] / "log"
        words = await until(lambda: log.exists() and log.read_text().endswith("\n") and log.read_text().split())
    finally:
        agent.kill()
        agent.wait()
        assert agent.stdout is not None
        agent.stdout.close()
    return [int(word) for word in words[1:]]


@pytest.mark.kill
async def test_when_the_agent_is_killed_nothing_stays(tmp_path: Path) -> None:
    pids = await killed_agent(tmp_path, 0.0)
    await until(lambda: not living(pids))
    (place,) = launches(tmp_path)
    await until(lambda: (place / "exit.json").exists())
    assert await adopt(place) is None


@pytest.mark.kill
async def test_a_restarted_agent_takes_its_engines_over(tmp_path: Path) -> None:
    pids = await killed_agent(tmp_path, 600.0)
    (place,) = launches(tmp_path)
    process = await adopt(place)
    assert process is not None and process.meta["replica"] == "r1" and process.pid == pids[0] and living(pids) == pids
    await process.end(grace=0)
    assert living(pids) == []


@pytest.mark.kill
async def test_when_agent_and_guardian_are_killed_the_next_agent_clears_away(tmp_path: Path) -> None:
    pids = await killed_agent(tmp_path, 600.0)
    (place,) = launches(tmp_path)
    os.kill(json.loads((place / "engine.json").read_text())["guardian"], signal.SIGKILL)
    await until(lambda: pids[0] not in living(pids))  # the kernel's death signal; the rest has nobody above it any more
    assert living(pids[1:])
    assert await adopt(place) is None
    assert living(pids) == []


@pytest.mark.kill
async def test_guardians_that_hang_are_waited_for_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that comes back after all its guardians were stopped must not wait for one after the other."""
    asked: list[Path] = []
    together = asyncio.Event()

    async def hanging(place: Path) -> None:
        asked.append(place)
        if len(asked) == 3:
            together.set()
        async with asyncio.timeout(120):
            await together.wait()

    for name in ("a", "b", "c"):
        (tmp_path / "launches" / name).mkdir(parents=True)
    monkeypatch.setattr(local, "adopt", hanging)
    assert await local.LocalDriver(Grounds(tmp_path, "127.0.0.1", "127.0.0.1", 0.0)).left() == []
    assert launches(tmp_path) == []


@pytest.mark.kill
async def test_what_no_launch_accounts_for_is_found_by_its_mark(tmp_path: Path) -> None:
    process = await started(tmp_path, FAMILY)
    pids = await family(process)
    assert sweep_strays(tmp_path, {process.mark}) == 0 and living(pids) == pids
    assert sweep_strays(tmp_path, set()) >= len(pids)
    assert living(pids) == []
    await asyncio.wait_for(process.exited.wait(), 60)


async def test_what_cannot_be_run_says_so(tmp_path: Path) -> None:
    nothing = await spawn(tmp_path, argv=["/no/such/engine"], environment={}, directory=tmp_path, orphan_seconds=0, meta={})
    await asyncio.wait_for(nothing.exited.wait(), 60)
    assert nothing.code == 127 and "/no/such/engine could not be started: No such file" in nothing.error


async def test_garbage_is_kept_within_bounds_and_shown_as_text(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os
        block = bytes(range(256)) * 256
        for _ in range(40):
            os.write(1, block)
        os.write(2, b"\\nkey sk-abcdefghijklmnopqrstuvwx\\nlast words\\n")
    """)
    process = await started(tmp_path, script)
    await asyncio.wait_for(process.exited.wait(), 60)
    assert process.code == 0
    sizes = sum((process.directory / name).stat().st_size for name in ("log", "log.1"))
    assert sizes < 1.3 * 2**20
    lines = process.lines(50)
    assert lines[-1] == "last words" and "sk-abcdefghij" not in lines[-2] and all(line.isprintable() and len(line) <= 500 for line in lines)


async def test_secrets_of_the_environment_do_not_stay_on_the_disk(tmp_path: Path) -> None:
    environment = {**os.environ, "BULKHEAD_ENGINE_BEARER": "very-secret-word"}
    process = await spawn(
        tmp_path, argv=[sys.executable, "-c", "input"], environment=environment, directory=tmp_path, orphan_seconds=0, meta={}
    )
    await asyncio.wait_for(process.exited.wait(), 60)
    assert all(b"very-secret-word" not in path.read_bytes() for path in process.directory.rglob("*") if path.is_file())
    assert process.directory.stat().st_mode & 0o077 == 0


def test_lines_are_cut_at_carriage_returns_and_length() -> None:
    assert lines_of(b"10%\r50%\r100%\n\x1b[31mred\x1b[0m\n\n", 5) == ["100%", "red"]
    assert lines_of(b"a" * 5000, 5) == ["a" * 499 + "…"]
    assert lines_of(b"1\n2\n3\n", 2) == ["2", "3"] and lines_of(b"", 2) == []
