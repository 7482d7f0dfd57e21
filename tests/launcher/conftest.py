"""A whole Bulkhead of a test's own, started and stopped by the real commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.launcher import death
from controlplane.launcher.redis import free_port
from tests.prepared import begin_with, make_short_dir
from tests.scale import FULL

ROOT = Path(__file__).resolve().parent.parent.parent


def wait_for(condition: Callable[[], Any], *, seconds: float = 90.0, what: str = "the condition") -> Any:
    """The first truthy answer; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about in {seconds:.0f} s")
        time.sleep(0.02)
    return answer


def clean_environment() -> dict[str, str]:
    """Workers do not step back here: beside other tests they would come to nothing."""
    return {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("BULKHEAD_") and k not in ("DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", "DJANGO_SETTINGS_MODULE")
    } | {"BULKHEAD_WORKER_NICE": "0"}


class Bulkhead:
    """``manage.py`` on one data directory and ports of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.web_port, self.proxy_port = free_port(), free_port()

    def manage(self, *arguments: str, timeout: float = 250) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environment(),
            cwd=ROOT,
        )

    def up(self, *arguments: str, loud: bool = False) -> subprocess.CompletedProcess[str]:
        """loud: with the demo's own requests and past, which would be in the way of tests that count."""
        quiet = () if loud or {"--demo", "--no-demo"} & set(arguments) else ("--quiet-demo",)
        ports = ("--web-port", str(self.web_port), "--proxy-port", str(self.proxy_port))
        return self.manage("up", "--detach", *ports, *quiet, *arguments)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.manage("down")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.manage("status", "--json").stdout)
        return found

    @property
    def facts(self) -> dict[str, Any]:
        try:
            read: dict[str, Any] = json.loads((self.data_dir / "up.json").read_text())
        except FileNotFoundError:
            return {}
        return read

    def processes(self) -> list[int]:
        """Every living process that belongs to this instance, found by its environment or its working directory."""
        found = []
        mark = f"BULKHEAD_DATA_DIR={self.data_dir}".encode()
        directory = str(self.data_dir)
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                inside = os.readlink(f"/proc/{entry.name}/cwd").startswith(directory)
                ours = inside or mark in Path(f"/proc/{entry.name}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and death.alive(int(entry.name)):
                found.append(int(entry.name))
        return found


@pytest.fixture
def make_bulkhead(request: pytest.FixtureRequest) -> Iterator[Callable[..., Bulkhead]]:
    """``make_bulkhead()``: its first ``up`` begins with nothing. migrated: with a database whose migrations are done."""
    made: list[Bulkhead] = []

    def make(*, migrated: bool = False) -> Bulkhead:
        one = Bulkhead(make_short_dir("up") / "var")
        made.append(one)
        if migrated and not FULL:
            begin_with(one.data_dir, *request.getfixturevalue("migrated_model"))
        return one

    yield make
    for one in made:
        one.down()
        shutil.rmtree(one.data_dir.parent, ignore_errors=True)
