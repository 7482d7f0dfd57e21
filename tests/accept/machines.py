"""Machines of a fleet on this one: each is a network namespace with an agent in it that a service manager starts again whenever it ends.

A machine has two addresses on its one cable: proxies reach its engines at the first, its agent calls the control plane from the second, so
that either way can be cut alone. Processes, disk and clock are this machine's; ports, routes and cables are each its own. Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.launcher.conftest import ROOT, clean_environment

GPUS = 2
ORPHAN_SECONDS = 15
PAUSE_SECONDS = 1.0
"""Between an agent's end and its next start."""
ENGINES, LINKS = "198.18", "198.19"
"""Of the addresses that RFC 2544 keeps for tests of networks: those of engines, and those of agents."""


def machines_possible() -> str:
    """Why there can be none here; empty where there can."""
    if os.geteuid():
        return "network namespaces take root"
    if shutil.which("ip") is None:
        return "there is no ip (iproute2)"
    probe = f"bhprobe{os.getpid() % 10_000}"
    done = subprocess.run(["ip", "link", "add", probe, "type", "veth", "peer", "name", f"{probe}p"], capture_output=True, text=True)
    if done.returncode:
        return f"no virtual cables here: {done.stderr.strip()}"
    _ip("link", "del", probe)
    return ""


class Living(NamedTuple):
    """A process that an agent started. kind: guardian, engine, or ``child`` for what an engine started. replica: the end of its id."""

    pid: int
    kind: str
    replica: str
    gpus: str


class Machine:
    """``token`` joins it at its first start, or anew where its credential was revoked."""

    def __init__(self, number: int, root: Path, port: int) -> None:
        third = os.getpid() % 250
        self.number = number
        self.name = f"worker-{number}"
        self.state = root / self.name
        self.log = root / f"{self.name}.log"
        self.token = ""
        self.space = f"bulkhead-{os.getpid()}-{number}"
        self.cable = f"bh{os.getpid() % 100_000}-{number}"
        self.engines = f"{ENGINES}.{third}.{4 * number + 2}"
        self._seen_from = f"{ENGINES}.{third}.{4 * number + 1}"
        """Where the proxies' connections come from, as the machine sees it."""
        self._agent = f"{LINKS}.{third}.{4 * number + 2}"
        self._control = f"{LINKS}.{third}.{4 * number + 1}"
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        """Whether the service manager keeps the agent running."""
        self.refused = 0
        """How often the agent ended because the control plane refuses it."""
        self._ended_at = 0.0
        self._starting = threading.Lock()

    # --- the machine ---

    def build(self) -> None:
        self.state.mkdir(parents=True)
        _ip("netns", "add", self.space)
        _ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        for address in (self._seen_from, self._control):
            _ip("addr", "add", f"{address}/30", "dev", self.cable)
        _ip("link", "set", self.cable, "up")
        for address in (self.engines, self._agent):
            _ip("-n", self.space, "addr", "add", f"{address}/30", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", self.space, "link", "set", device, "up")

    def destroy(self) -> None:
        self.wanted = False
        self.kill()
        self.mend()
        _ip("netns", "del", self.space, quiet=True)  # its end of the cable goes with it, and so the other
        _ip("link", "del", self.cable, quiet=True)

    # --- cuts ---

    def cut_refused(self) -> None:
        """From now on connections to its engines are refused, as by a firewall that rejects; the agent is heard as before."""
        _ip("addr", "add", f"{self.engines}/32", "dev", "lo")

    def cut_silent(self, *, agent: bool) -> None:
        """From now on nothing comes out of it towards the proxies, nor, with ``agent``, to the control plane. Nobody is told."""
        for address in (self._seen_from, *([self._control] if agent else [])):
            _ip("-n", self.space, "route", "add", "blackhole", f"{address}/32")

    def mend(self) -> None:
        """No cut any more; also where there was none."""
        _ip("addr", "del", f"{self.engines}/32", "dev", "lo", quiet=True)
        for address in (self._seen_from, self._control):
            _ip("-n", self.space, "route", "del", "blackhole", f"{address}/32", quiet=True)

    # --- its processes ---

    def start(self) -> None:
        environment = {
            **clean_environment(),
            "BULKHEAD_CONTROL_URL": f"http://{self._control}:{self._port}", "BULKHEAD_AGENT_INSECURE": "1",
            "BULKHEAD_AGENT_TOKEN": self.token,
            "BULKHEAD_AGENT_DIR": str(self.state), "BULKHEAD_AGENT_NAME": self.name, "BULKHEAD_AGENT_GPUS": f"fake:{GPUS}",
            "BULKHEAD_AGENT_ADDRESS": self.engines, "BULKHEAD_AGENT_POOL": "chaos", "BULKHEAD_AGENT_LISTEN": "0.0.0.0",
            "BULKHEAD_AGENT_ORPHAN_SECONDS": str(ORPHAN_SECONDS), "BULKHEAD_AGENT_STOP_SECONDS": "2",
        }  # fmt: skip
        argv = ["ip", "netns", "exec", self.space, sys.executable, "-m", "apps.agent"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def keep(self) -> None:
        """What a service manager does: starts the agent again a moment after it ended, unless it was refused (exit code 3)."""
        with self._starting:
            if not self.wanted:
                return
            if self.process is not None:
                code = self.process.poll()
                if code is None:
                    return
                if self._ended_at == 0.0:
                    self._ended_at = time.monotonic()
                    self.refused += code == 3
                if code == 3 or time.monotonic() - self._ended_at < PAUSE_SECONDS:
                    return
            self._ended_at = 0.0
            self.start()

    def signal(self, number: int) -> None:
        """To the agent."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def living(self) -> list[Living]:
        """What its agents have started and still lives."""
        return list(living([self]).get(self.name, []))

    def kill(self) -> None:
        """SIGKILL to everything at once: agent, guardians, engines. As often as it takes, for what was just being started."""
        with self._starting:
            for _ in range(50):
                self.signal(signal.SIGKILL)
                found = self.living()
                for one in found:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one.pid, signal.SIGKILL)
                if not found:
                    break
                time.sleep(0.01)
            if self.process is not None:
                self.process.wait()


def living(machines: Iterable[Machine]) -> dict[str, list[Living]]:
    """Machine's name -> what lives there, in one look at all processes. Dead ones that nobody has reaped yet are none."""
    marks = {f"BULKHEAD_AGENT_STATE={machine.state}".encode(): machine.name for machine in machines}
    found: dict[str, list[Living]] = {name: [] for name in marks.values()}
    for pid in _pids():
        place = Path(f"/proc/{pid}")
        try:
            words = place.joinpath("environ").read_bytes().split(b"\0")
            name = next((marks[word] for word in words if word in marks), None)
            if name is None or place.joinpath("stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX":
                continue
            argv = place.joinpath("cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        gpus = next((word.partition(b"=")[2].decode() for word in words if word.startswith(b"CUDA_VISIBLE_DEVICES=")), "")
        if any(word.endswith("guardian.py") for word in argv):
            found[name].append(Living(pid, "guardian", "", ""))
        elif "apps.simulator" in argv:
            found[name].append(Living(pid, "engine", argv[argv.index("--name") + 1].removeprefix("replica-"), gpus))
        else:
            found[name].append(Living(pid, "child", "", gpus))
    return found


def engine_model(pid: int) -> str:
    """The model that an engine serves; empty where it has ended."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        return str(json.loads(argv[argv.index("--engine") + 1])["model"])
    except (OSError, ValueError, IndexError, KeyError):
        return ""


def served(machines: Iterable[Machine]) -> dict[str, tuple[str, str]]:
    """URL -> what is served there now: (the engine's token, its model)."""
    found: dict[str, tuple[str, str]] = {}
    machines = list(machines)
    hosts = {machine.name: machine.engines for machine in machines}
    for name, processes in living(machines).items():
        for one in processes:
            if one.kind != "engine":
                continue
            try:
                argv = Path(f"/proc/{one.pid}/cmdline").read_bytes().decode().split("\0")
                words = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
                port, model = argv[argv.index("--port") + 1], engine_model(one.pid)
            except (OSError, ValueError, IndexError):
                continue
            token = next((word.partition(b"=")[2].decode() for word in words if word.startswith(b"BULKHEAD_ENGINE_BEARER=")), "")
            found[f"http://{hosts[name]}:{port}"] = (token, model)
    return found


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _ip(*words: str, quiet: bool = False) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode and not quiet:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
