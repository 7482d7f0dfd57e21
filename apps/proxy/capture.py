"""Samples of requests and answers, where somebody has asked for them: chosen here, redacted, sealed, and left for the shipper.

Who wants samples is compiled from config (``apps.proxy.capture_table``); where nobody does, a request pays one test. What is chosen waits
in a bounded queue; redacting, sealing and writing happen in a thread. When the queue or the spool is full, samples are dropped and
counted: a sample is never worth a request.

What lies in the spool is sealed (``apps.contracts.captures``); nothing is written that was not redacted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet

from apps.contracts.captures import MAKING, SUFFIX, Sample, sample_seal
from apps.proxy.dialects.translated import followed
from apps.proxy.rescue import Sofar

if TYPE_CHECKING:
    from apps.proxy.capture_table import CaptureTable, CompiledCapture
    from apps.proxy.exchange import Exchange

log = logging.getLogger("bulkhead.proxy")

MAX_QUEUE = 32
"""Samples that wait to be written."""
MAX_QUEUE_BYTES = 32_000_000
MAX_SPOOL_BYTES = 64_000_000
"""Of this host's spool; beyond it nothing is captured until the shipper has taken some."""
MAX_BODY = 2_000_000
"""Bytes of a request or answer that are looked at."""


class _Taken:
    """A request that was chosen, with what is known of it at that moment."""

    __slots__ = ("answer", "request", "rule", "sample", "size")

    def __init__(self, rule: CompiledCapture, sample: Sample, request: bytes, answer: bytes) -> None:
        self.rule = rule
        self.sample = sample
        self.request = request
        self.answer = answer
        self.size = len(request) + len(answer)


class Recorder:
    """Chooses, and writes what it chose to ``folder``. ``key``: the proxies' seal key."""

    def __init__(
        self,
        folder: Path,
        key: Fernet,
        now_ms: Callable[[], int],
        *,
        chance: Callable[[], float] = random.random,
        max_spool: int = MAX_SPOOL_BYTES,
    ) -> None:
        self.written = self.dropped = 0
        self.failed = ""
        """Why the last sample could not be written; empty once one was."""
        self._folder = folder
        self._key = key
        self._now_ms = now_ms
        self._chance = chance
        self._max_spool = max_spool
        self._queue: deque[_Taken] = deque()
        self._bytes = 0
        self._counts: dict[str, int] = {}
        """Of captures of keys: how many this process has taken."""
        self._wake = asyncio.Event()

    def take(self, exchange: Exchange, status: int, answer: bytes | None) -> None:
        """A request has its answer (None: that of a stream, which is in ``exchange.streaming``). Keeps it where somebody wants it."""
        table, key, route = exchange.runtime.captures, exchange.key, exchange.route
        if table is None or key is None or (exchange.attempts and exchange.attempts[0].role == "mirror"):
            return
        rule = self._wanted(table, key.id, route.id if route is not None else "")
        if rule is None:
            return
        request = exchange.request.body[:MAX_BODY]
        kept = _stream_text(exchange) if answer is None else answer[:MAX_BODY]
        given = kept or b""
        if len(self._queue) >= MAX_QUEUE or self._bytes + len(request) + len(given) > MAX_QUEUE_BYTES:
            self.dropped += 1
            return
        sample = Sample(
            id=exchange.id,
            started_us=exchange.started_us,
            organisation=key.organisation,
            route=route.name if route is not None else "",
            key_id=key.id,
            rule=rule.id,
            status=status,
            stream=exchange.stream,
            request="",
            answer="",
            cut=kept is None,
        )
        taken = _Taken(rule, sample, request, given)
        self._queue.append(taken)
        self._bytes += taken.size
        self._wake.set()

    def _wanted(self, table: CaptureTable, key: str, route: str) -> CompiledCapture | None:
        """The capture that takes this request: its key's first."""
        rule = table.keys.get(key)
        if rule is not None and self._now_ms() < rule.until_ms:
            taken = self._counts.get(rule.id, 0)
            if taken < rule.left:
                if len(self._counts) > 1_000:
                    self._counts.clear()
                self._counts[rule.id] = taken + 1
                return rule
        rule = table.routes.get(route)
        return rule if rule is not None and self._chance() < rule.share else None

    async def run(self) -> None:
        """Writes what was taken; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self.write_one()

    async def write_one(self) -> None:
        taken = self._queue.popleft()
        self._bytes -= taken.size
        try:
            await asyncio.to_thread(self._write, taken)
            self.written += 1
            self.failed = ""
        except OSError as error:
            self.dropped += 1
            if not self.failed:
                log.error("captured samples cannot be written to %s: %s; they are dropped", self._folder, error.strerror or error)
            self.failed = str(error.strerror or error)

    def _write(self, taken: _Taken) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _size(self._folder) > self._max_spool:
            raise OSError("the spool is full: is the shipper running?")
        sample, redactor = taken.sample, taken.rule.redactor
        asked, given = redactor.body(taken.request), redactor.body(taken.answer)
        sample.request, sample.answer = asked.text, given.text
        sample.found = {kind: asked.found.get(kind, 0) + given.found.get(kind, 0) for kind in sorted({*asked.found, *given.found})}
        sample.cut = sample.cut or asked.cut or given.cut or len(taken.request) >= MAX_BODY or len(taken.answer) >= MAX_BODY
        making = self._folder / f"{sample.id.hex()}{MAKING}"
        descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(sample_seal(sample, self._key))
        making.replace(making.with_suffix(SUFFIX))

    def state(self) -> dict[str, object]:
        """For the admin port."""
        return {"written": self.written, "dropped": self.dropped, "waiting": len(self._queue), "failed": self.failed}


def _stream_text(exchange: Exchange) -> bytes | None:
    """What the app was given of a stream, as text; None where it was too much to be kept."""
    last = exchange.streaming
    watch = followed(last.watch) if last is not None else None
    if watch is None:
        return b""
    sofar = Sofar.of(watch)
    return (sofar.reasoning + sofar.text).encode() if sofar is not None else None


def _size(folder: Path) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except OSError:  # the shipper takes files away meanwhile
                continue
    return total
