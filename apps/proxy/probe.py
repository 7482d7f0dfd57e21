"""Asks a target whose breaker is open whether it is well, without a user's request.

The question is the free one of its wire format (``PROBE``; for OpenAI's ``GET /models``): nothing is billed, so nothing is journalled.

What a yes proves: name resolution, TCP, TLS and HTTP work, the credential is let in, and the server has room to answer. What it does not
prove: that the model answers; a provider's list of models may be well while its completions are not. So a yes closes no breaker. It only
lets the next request be the probe in a moment, not when the breaker's time is over (``Breaker.ready``), and a breaker that was misled once
does not listen again before it has closed. A no changes nothing: the breaker waits as it would have.

What always holds (``tests/proxy/test_probe.py``): an answer or ``False`` within the timeout, whatever the server does; a connection is
given back whole or closed; at most one question at a time per address and credential, however many models are open there.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from apps.proxy.dialects.base import PROBE
from apps.proxy.http.errors import UpstreamError

if TYPE_CHECKING:
    from apps.proxy.breaker import Breaker, Breakers
    from apps.proxy.http.client import Pool
    from apps.proxy.runtime import CompiledTarget, Origin

log = logging.getLogger("bulkhead.proxy")

EVERY_SECONDS = 4.0
"""So that traffic returns within some five seconds of a recovery, however long the breaker would stay open."""
TIMEOUT_SECONDS = 3.0
MAX_ANSWER_BYTES = 256 * 1024
"""A longer list of models is not read to its end."""
AGREE_SECONDS = 0.25
"""Between a yes and the request that may ask: time for the proxies to agree whose request that is (``apps.proxy.hints``)."""
REFUSED = (401, 403, 408, 429)
"""The server answers, but the next request would fare no better."""


class _Answer:
    """The sink of one probe: resolves ``done`` with what the answer says."""

    __slots__ = ("done", "size", "well", "whole")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[bool] = loop.create_future()
        self.well = False
        self.size = 0
        self.whole = False
        """Its connection is back in the pool."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.well = status < 500 and status not in REFUSED

    def data(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > MAX_ANSWER_BYTES:
            self._say(self.well)

    def flush(self) -> None:
        pass

    def end(self) -> None:
        self.whole = True
        self._say(self.well)

    def failed(self, error: Exception) -> None:
        self._say(False)

    def _say(self, well: bool) -> None:
        if not self.done.done():
            self.done.set_result(well)


def can_probe(target: CompiledTarget) -> bool:
    """Whether the target's wire format has a free question."""
    return PROBE in target.request_heads


def _question(target: CompiledTarget) -> bytes | None:
    """The whole of it; None where there is none, or no credential to ask it with."""
    request = target.request_heads.get(PROBE)
    if request is None or target.credentials is None:
        return request
    now = asyncio.get_running_loop().time()
    line = next((line for held in target.credentials.ready(target.model, now) if (line := held.line(now))), b"")
    return request[:-2] + line + b"\r\n" if line else None


async def probe(pool: Pool, target: CompiledTarget, timeout: float) -> bool:
    """Whether the target's server answers, within ``timeout`` seconds. False where its wire format has no free question.

    Any status counts as an answer but 5xx and those of ``REFUSED``: a server without a list of models says 404, and is there.
    Await it in a task. Raises nothing but CancelledError.
    """
    request = _question(target)
    if request is None:
        return False
    answer = _Answer(asyncio.get_running_loop())
    connection = None
    try:
        async with asyncio.timeout(timeout):
            connection = pool.take() or await pool.connect(timeout)
            connection.send(request, answer, replay_safe=True)
            return await answer.done
    except (UpstreamError, TimeoutError, OSError):
        return False
    finally:
        if connection is not None and not answer.whole:
            connection.abort()


class Prober:
    """Probes what is open, in the background: ``run`` until cancelled.

    find: the target of a label, None when no config has it any more. pool: the connections to an origin.
    """

    def __init__(
        self, breakers: Breakers, find: Callable[[str], CompiledTarget | None], pool: Callable[[Origin], Pool], now: Callable[[], float]
    ) -> None:
        self.asked = 0
        self._breakers = breakers
        self._find = find
        self._pool = pool
        self._now = now

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS * random.uniform(0.75, 1.0))
            try:
                await self.round()
            except Exception:  # a fault of ours must not end the probing of everything
                log.exception("probing failed")

    async def round(self) -> None:
        """One question to each address with an open breaker that would listen to its answer."""
        now = self._now()
        groups: dict[tuple[Origin, bytes], list[tuple[Breaker, CompiledTarget]]] = {}
        for breaker in tuple(self._breakers):
            if breaker.would_listen(now):
                target = self._find(breaker.label)
                if target is not None and can_probe(target):
                    groups.setdefault((target.origin, target.request_heads[PROBE]), []).append((breaker, target))
        await asyncio.gather(*(self._ask([breaker for breaker, _ in group], group[0][1]) for group in groups.values()))

    async def _ask(self, breakers: list[Breaker], target: CompiledTarget) -> None:
        self.asked += 1
        if await probe(self._pool(target.origin), target, TIMEOUT_SECONDS):
            now = self._now()
            for breaker in breakers:
                breaker.ready(now, now + AGREE_SECONDS)
