"""How facts about replicas reach this process: NOTIFY and a poll say that something changed, the store gives it, one call takes it over.

The last that was known is kept on disk, as last-known-good config is: a proxy that starts while Postgres is away serves from it. Mode 0600,
because it says where engines are; the tokens that they demand stay sealed in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from apps.contracts.fleet import EndpointFacts
from apps.proxy.store import StoreAway

if TYPE_CHECKING:
    from apps.proxy.fleet.replicas import Fleet

log = logging.getLogger("bulkhead.proxy")

POLL_SECONDS = 2.0
FILE = "replicas.lkg"
_decode = msgspec.json.Decoder(EndpointFacts).decode


class Source(Protocol):
    async def replica_facts(self, epoch: int, after: int) -> EndpointFacts | None:
        """What changed after (epoch, after); None where this control plane knows no replicas. Raises StoreAway."""


class FactsFollower:
    """Asks only while a route names a deployment."""

    def __init__(self, source: Source, fleet: Fleet, file: Path) -> None:
        self._source = source
        self._fleet = fleet
        self._file = file
        self._wanted = asyncio.Event()
        self._saved = (0, 0)
        self.failure = ""

    def head_seen(self, sequence: int) -> None:
        """Called for each notification."""
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._fleet.wanted:
                await self.ask()
            self._wanted.clear()
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def ask(self) -> None:
        fleet = self._fleet
        try:
            facts = await self._source.replica_facts(fleet.epoch, fleet.sequence)
        except StoreAway:
            return  # what is known stays; it is asked again with the next look
        except (ValueError, msgspec.MsgspecError) as error:
            if str(error) != self.failure:
                log.error("facts about replicas cannot be read, the last known stay: %s", error)
            self.failure = str(error)
            return
        self.failure = ""
        if facts is not None and fleet.apply(facts):
            await self.save()

    async def save(self) -> None:
        """In a thread, when something changed."""
        version = (self._fleet.epoch, self._fleet.sequence)
        if version == self._saved:
            return
        try:
            await asyncio.to_thread(_write, self._file, msgspec.json.encode(self._fleet.whole()))
            self._saved = version
        except OSError as error:
            log.error("what is known of replicas cannot be written to %s: %s", self._file, error)

    def load(self) -> None:
        """From disk, before anything is known; a damaged file is said and not used."""
        try:
            facts = _decode(self._file.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.error("%s is not used: %s", self._file, error)
            return
        self._fleet.apply(facts)
        self._saved = (facts.epoch, facts.sequence)
        log.info("booted with %d replicas last known", len(facts.endpoints))


def _write(path: Path, payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, payload)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
