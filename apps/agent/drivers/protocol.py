"""What a backend must do: start an engine somewhere, say when it ends, find it again, and leave nothing of it behind.

All else is the agent's and the same for every backend: what shall run (``reconcile``), whether a model may be loaded, how an engine is
started and asked, phases, probes, the watch over its tokens, drains, restarts, what is reported. They speak HTTP with the engine, wherever
it is. So a backend knows nothing of replicas, orders or health; the control plane and the proxies know nothing of backends.

What a backend promises:

- **No orphan.** What it started is gone when ``exited`` is set, and when an agent that knows of none comes back (``sweep``), also after
  agent and supervisor were both killed.
- **Found again.** ``left`` gives what an earlier agent started and what still runs, with the ``meta`` that was remembered last.
- **Time to come back.** Without an agent an engine goes on for ``orphan_seconds``, and no longer.

``local`` supervises subprocesses of this machine. One for Ray would hold a detached actor for each engine, which is its supervisor; one
for Kubernetes a Pod for each, found again by its labels. Both run engines on machines that see the agent's model directories under the
same paths, and tell in ``Running.address`` where each one is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol


class Grounds(NamedTuple):
    """What an agent gives its driver. state: its directory. address: under which proxies reach this worker; listen: what engines bind.
    orphan_seconds: how long an engine goes on without an agent."""

    state: Path
    address: str
    listen: str
    orphan_seconds: float


class Running(Protocol):
    """One engine that was started. ``exited`` is set when nothing of it is left; ``code`` then: its exit code, negative for a signal, None
    where nobody saw it. error: why it could not even be run, else "". pid: the first process of its session where that is on this machine,
    else 0. meta: what was remembered last. address: under which proxies reach it; near: under which this agent does."""

    pid: int
    meta: dict[str, Any]
    code: int | None
    error: str
    exited: asyncio.Event

    @property
    def mark(self) -> str:
        """Names it among all that this agent's driver ever started."""

    @property
    def address(self) -> str: ...

    @property
    def near(self) -> str: ...

    def terminate(self) -> None:
        """Ask it to end: it may finish what runs."""

    def kill(self) -> None:
        """End it and all that it started."""

    async def end(self, grace: float) -> None:
        """``terminate``, ``grace`` seconds, ``kill``; returns when nothing is left."""

    def lines(self, most: int) -> list[str]:
        """The end of its log, oldest first, credentials taken out. Blocks."""

    def remember(self, meta: Mapping[str, Any]) -> None:
        """Keep this with it for the agent that finds it again. Blocks. Raises OSError."""

    def leave(self) -> None:
        """Let go of it, for the next agent."""

    def remove(self) -> None:
        """Drop what it left behind: logs, notes. Blocks."""


class Driver(Protocol):
    """One per agent."""

    name: ClassVar[str]
    listen: str
    """The host that engines are told to bind."""

    def __init__(self, grounds: Grounds) -> None: ...

    async def start(self, *, argv: Sequence[str], environment: Mapping[str, str], meta: Mapping[str, Any]) -> Running:
        """Start an engine. meta: JSON-able. What cannot be executed is no error here: it ends at once, with code 127 and ``error`` set.
        Raises ``failures.StartError``, OSError."""

    async def left(self) -> list[Running]:
        """What an earlier agent started and what still runs; all else of it is cleared away."""

    async def sweep(self, keep: set[str]) -> int:
        """End what earlier agents of this directory started and no mark in ``keep`` accounts for. How many processes there were."""
