"""What the machine is and has: from ``/proc`` and the agent's settings. What cannot be read is None."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from pathlib import Path

from apps.agent.engines import ENGINES
from apps.agent.settings import AgentSettings
from apps.contracts.fleet_facts import HostFacts

_LISTENING = "0A"


def host_facts(settings: AgentSettings, gpu_problem: str) -> HostFacts:
    memory = _memory()
    return HostFacts(
        hostname=socket.gethostname()[:200],
        address=settings.address,
        system=f"{platform.system()} {platform.release()}"[:200],
        architecture=platform.machine()[:200],
        cpus=len(os.sched_getaffinity(0)),
        memory_total=memory.get("MemTotal"),
        memory_available=memory.get("MemAvailable"),
        disk_free=_disk_free([*settings.engines.models, settings.state]),
        load=os.getloadavg()[0],
        gpu_problem=gpu_problem,
        region=settings.region,
        pool=settings.pool,
        spot=settings.spot,
        labels=settings.labels,
        engines=[offer for engine in ENGINES.values() for offer in engine.offers(settings.engines)],
    )


def listening_ports() -> frozenset[int]:
    """TCP ports on which somebody on this machine listens."""
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTENING:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(ports)


def _memory() -> dict[str, int]:
    """Bytes by name, of ``/proc/meminfo``."""
    found = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if len(words) == 2 and words[1] == "kB":
                found[name] = int(words[0]) * 1024
    except (OSError, ValueError):
        pass
    return found


def _disk_free(paths: list[Path]) -> int | None:
    for path in paths:
        try:
            return shutil.disk_usage(path).free
        except OSError:
            continue
    return None
