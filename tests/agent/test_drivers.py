"""Another backend is one class: here one that runs engines at another address, without guardians, and finds them again by notes of its own.
All that an agent does goes through it and stays as it is."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from apps.agent.drivers import DRIVERS, Driver, Grounds, Running
from apps.agent.settings import settings_read
from apps.contracts.env import Reader, SettingError
from tests.agent.test_agent import ask
from tests.agent.worker import spec, worker

ADDRESS = "127.0.0.9"
CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Engines outlive a driver, and it is this process that must collect them."""


class Pod:
    """An engine "elsewhere". What is known of it stands in one file."""

    address = near = ADDRESS

    def __init__(self, place: Path) -> None:
        note = json.loads((place / "note.json").read_text())
        self.place = place
        self.pid = 0  # its number says nothing on this machine
        self.meta: dict[str, Any] = note["meta"]
        self.code: int | None = None
        self.error = ""
        self.exited = asyncio.Event()
        self.group = int(note["group"])
        self.watch = asyncio.create_task(self._watch())

    @property
    def mark(self) -> str:
        return self.place.name

    async def _watch(self) -> None:
        self.code = await asyncio.to_thread(CHILDREN[self.group].wait)
        self.exited.set()

    def _tell(self, number: signal.Signals) -> None:
        if CHILDREN[self.group].poll() is None:
            os.killpg(self.group, number)

    def terminate(self) -> None:
        self._tell(signal.SIGTERM)

    def kill(self) -> None:
        self._tell(signal.SIGKILL)

    async def end(self, grace: float) -> None:
        self.terminate()
        try:
            async with asyncio.timeout(grace):
                await self.exited.wait()
        except TimeoutError:
            self.kill()
            await self.exited.wait()

    def lines(self, most: int) -> list[str]:
        return (self.place / "log").read_text().splitlines()[-most:]

    def remember(self, meta: Mapping[str, Any]) -> None:
        self.meta = dict(meta)
        (self.place / "note.json").write_text(json.dumps({"group": self.group, "meta": self.meta}))

    def leave(self) -> None:
        self.watch.cancel()

    def remove(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)


class Elsewhere:
    name: ClassVar[str] = "elsewhere"

    def __init__(self, grounds: Grounds) -> None:
        self.listen = ADDRESS
        self.pods = grounds.state / "pods"
        self.swept: list[set[str]] = []

    async def start(self, *, argv: Sequence[str], environment: Mapping[str, str], meta: Mapping[str, Any]) -> Running:
        place = self.pods / secrets.token_hex(8)
        place.mkdir(parents=True)
        group = await asyncio.to_thread(_started, place, argv, environment)
        (place / "note.json").write_text(json.dumps({"group": group, "meta": meta}))
        return Pod(place)

    async def left(self) -> list[Running]:
        places = sorted(self.pods.iterdir()) if self.pods.exists() else []
        return [Pod(place) for place in places if (place / "note.json").exists()]

    async def sweep(self, keep: set[str]) -> int:
        self.swept.append(keep)
        return 0


def _started(place: Path, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    with open(place / "log", "wb") as log:
        child = subprocess.Popen(argv, env=dict(environment), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    CHILDREN[child.pid] = child
    return child.pid


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    made: type[Driver] = Elsewhere
    monkeypatch.setitem(DRIVERS, Elsewhere.name, made)


async def test_replicas_serve_crash_and_drain_wherever_a_driver_runs_them(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path, driver="elsewhere") as w:
        await w.order(one)
        ready = await w.reported(one.replica, "ready")
        assert ready.url.startswith(f"http://{ADDRESS}:") and ready.pid is None
        assert (await ask(ready.url)).json()["bulkhead_simulated"]
        [group] = [number for number, child in CHILDREN.items() if child.poll() is None]
        os.killpg(group, signal.SIGKILL)
        failed = await w.failed(one.replica)
        assert failed.reason == "killed" and failed.exit_code == -signal.SIGKILL
        again = await w.reported(one.replica, "ready")
        assert again.starts == 2
        await w.order(spec(replica=one.replica, want="drain", drain_seconds=30.0))
        await w.reported(one.replica, "stopped")
    assert all(child.poll() is not None for child in CHILDREN.values())


async def test_the_next_agent_finds_what_a_driver_left_running(tmp_path: Path) -> None:
    one = spec()
    async with worker(tmp_path, driver="elsewhere") as w:
        await w.order(one)
        url = (await w.reported(one.replica, "ready")).url
        await w.end(leave_engines=True)
        assert (await ask(url)).status_code == 200
        w.control.beats.clear()
        await w.start()
        found = await w.reported(one.replica, "ready")
        assert found.url == url and found.starts == 1
        driver = w.agent.driver
        assert isinstance(driver, Elsewhere) and len(driver.swept[-1]) == 1
    assert all(child.poll() is not None for child in CHILDREN.values())


def test_a_driver_that_nobody_wrote_is_refused(tmp_path: Path) -> None:
    given = {"BULKHEAD_CONTROL_URL": "http://127.0.0.1:1", "BULKHEAD_AGENT_DIR": str(tmp_path), "BULKHEAD_AGENT_DRIVER": "nomad"}
    with pytest.raises(SettingError, match="'nomad' is not known here: use local or elsewhere"):
        settings_read(Reader(given))


@pytest.mark.parametrize(
    ("text", "ports"), [("30000-30099", (30_000, 30_099)), ("-", None), ("80-90", ""), ("2000", ""), ("3000-2000", "")]
)
def test_ports_are_two_that_may_be_bound(tmp_path: Path, text: str, ports: tuple[int, int] | str | None) -> None:
    given = {"BULKHEAD_CONTROL_URL": "http://127.0.0.1:1", "BULKHEAD_AGENT_DIR": str(tmp_path), "BULKHEAD_AGENT_PORTS": text}
    if ports == "":
        with pytest.raises(SettingError, match="as in 30000-30999"):
            settings_read(Reader(given))
    else:
        assert settings_read(Reader(given)).ports == ports
