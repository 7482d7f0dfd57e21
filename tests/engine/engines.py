"""The built-in engine as a process, with a tiny model made on the spot: for tests under ``make accept`` where its packages are."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from controlplane.launcher import engine
from controlplane.launcher.redis import free_port
from tests.scale import FULL

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = engine.interpreter()
NEEDED = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.xdist_group("engine"),
    pytest.mark.skipif(not FULL, reason="the built-in engine runs under make accept"),
    pytest.mark.skipif(PYTHON is None, reason="python deploy/engine.py was not run, or could not fetch the engine's packages: NOT TESTED"),
]
MODEL = "tiny"


def tiny_model(directory: Path) -> Path:
    subprocess.run([str(PYTHON), "-m", "apps.engine.built_in.tiny", str(directory)], check=True, capture_output=True, cwd=ROOT)
    return directory


class Process:
    """One engine. ``url``: without ``/v1``."""

    def __init__(self, model: Path, *arguments: str, bearer: str = "") -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = [str(PYTHON), "-m", "apps.engine", "built-in", "--model", str(model), "--name", MODEL, "--port", str(port), "--threads", "1"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BULKHEAD_ENGINE_BEARER": bearer}
        self.process = subprocess.Popen(
            [*argv, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=120)

    def ready(self) -> Process:
        for _ in range(3_000):
            if self.process.poll() is not None:
                raise AssertionError(self.said())
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/health").status_code == 200:
                    return self
            time.sleep(0.1)
        raise AssertionError("it is never ready")

    def said(self) -> str:
        """All that it wrote; it has ended or ends now."""
        return self.process.communicate(timeout=120)[0]

    def figure(self, name: str) -> float:
        line = next(line for line in self.client.get("/metrics").text.splitlines() if line.startswith(name + "{"))
        return float(line.rpartition(" ")[2])

    def until(self, name: str, value: float) -> None:
        for _ in range(1_200):
            if self.figure(name) == value:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is {self.figure(name)}, never {value}")

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def running(model: Path, *arguments: str, bearer: str = "") -> Iterator[Process]:
    process = Process(model, *arguments, bearer=bearer)
    try:
        yield process.ready()
    finally:
        process.end()
