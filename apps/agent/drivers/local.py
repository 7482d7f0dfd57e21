"""Engines as subprocesses of this machine, each under a guardian of its own (``apps.agent.processes``)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from apps.agent.drivers.protocol import Grounds, Running
from apps.agent.processes import Process, adopt, launches, spawn, sweep_strays

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class LocalDriver:
    name: ClassVar[str] = "local"

    def __init__(self, grounds: Grounds) -> None:
        self.listen = grounds.listen
        self._grounds = grounds

    async def start(self, *, argv: Sequence[str], environment: Mapping[str, str], meta: Mapping[str, Any]) -> Running:
        state, orphan = self._grounds.state, self._grounds.orphan_seconds
        return self._placed(await spawn(state, argv=argv, environment=environment, directory=state, orphan_seconds=orphan, meta=dict(meta)))

    async def left(self) -> list[Running]:
        """All at once: one guardian that hangs is waited for, and the others are not kept waiting for it."""
        places = launches(self._grounds.state)
        found = []
        for place, process in zip(places, await asyncio.gather(*map(adopt, places)), strict=True):
            if process is not None:
                found.append(self._placed(process))
            else:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        return found

    async def sweep(self, keep: set[str]) -> int:
        return await asyncio.to_thread(sweep_strays, self._grounds.state, keep)

    def _placed(self, process: Process) -> Running:
        process.address = self._grounds.address
        process.near = _EVERYWHERE.get(self.listen, self.listen)
        return process
