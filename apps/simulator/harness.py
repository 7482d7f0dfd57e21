"""A simulator on a free port, for tests, demos and drills: in a thread of this process or in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from apps.simulator.server import Simulator

_ROOT = Path(__file__).resolve().parents[2]


class SimulatorServer:
    """``with SimulatorServer("sim-east") as sim: ...``

    name: what it calls itself. port: 0 for a free one. scenario: the document of ``PUT /sim/control``.
    process: in a process of its own, so that it takes no time from the caller's and can be killed.
    """

    def __init__(
        self, name: str = "sim-test", *, port: int = 0, seed: int = 0, scenario: dict[str, Any] | None = None, process: bool = False
    ) -> None:
        self.name = name
        self.url = ""
        self.pid: int | None = None
        self._wanted_port = port
        self._seed = seed
        self._scenario = scenario
        self._as_process = process
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as ``base_url``."""
        return f"{self.url}/v1"

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def __enter__(self) -> SimulatorServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it listens. Raises RuntimeError with what it said instead."""
        if self._as_process:
            self._start_process()
        else:
            self._start_thread()
        if self._scenario and self._as_process:
            self.control(**self._scenario)

    def stop(self) -> None:
        """Stop and wait for the end; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(timeout=10)

    def kill(self) -> None:
        """SIGKILL (own process only): connections break, nothing is said."""
        if self._process is None:
            raise RuntimeError("only a simulator in a process of its own can be killed: SimulatorServer(process=True)")
        self._process.kill()
        self._process.wait()

    def control(self, **document: Any) -> dict[str, Any]:
        """PUT /sim/control: ``control(server={...}, models={...})``. Raises ValueError with the simulator's reason."""
        return self._call("PUT", "/sim/control", document)

    def bill(self, *, seen: bool = True) -> dict[str, Any]:
        """GET /sim/bill."""
        return self._call("GET", "/sim/bill" if seen else "/sim/bill?seen=no")

    def reset(self) -> None:
        """POST /sim/reset: bill, scripts and chance begin anew."""
        self._call("POST", "/sim/reset")

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 30.0) -> dict[str, Any]:
        """The first bill that fulfils a condition. Raises TimeoutError with the last bill."""
        deadline = time.monotonic() + seconds
        while True:
            bill = self.bill()
            if condition(bill):
                return bill
            if time.monotonic() > deadline:
                raise TimeoutError(f"the bill of {self.name} is not as expected after {seconds} s: {bill}")
            time.sleep(0.01)

    def _call(self, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=None if document is None else json.dumps(document))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer["error"]["message"])
        return answer

    def _start_process(self) -> None:
        command = [sys.executable, "-m", "apps.simulator", "--name", self.name, "--port", str(self._wanted_port), "--seed", str(self._seed)]
        process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("SIMULATION"):
            rest = line + process.stdout.read()
            process.wait()
            raise RuntimeError(f"the simulator {self.name} did not start: {rest.strip()}")
        self._process = process
        self.pid = process.pid
        self.url = line.split()[-1]

    def _start_thread(self) -> None:
        started = threading.Event()
        failure: list[BaseException] = []

        async def run() -> None:
            self._stop = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            try:
                simulator = Simulator(
                    self.name, seed=self._seed, scenario=json.dumps(self._scenario).encode() if self._scenario is not None else None
                )
                await simulator.start("127.0.0.1", self._wanted_port)
            except (OSError, ValueError) as error:
                failure.append(error)
                return
            finally:
                if failure:
                    started.set()
            self.url = f"http://127.0.0.1:{simulator.port}"
            started.set()
            await self._stop.wait()
            await simulator.stop()

        def target() -> None:
            try:
                asyncio.run(run())
            finally:
                started.set()

        self._thread = threading.Thread(target=target, name=self.name, daemon=True)
        self._thread.start()
        if not started.wait(10) or failure or not self.url:
            raise RuntimeError(f"the simulator {self.name} did not start: {failure[0] if failure else 'no answer in 10 s'}")
