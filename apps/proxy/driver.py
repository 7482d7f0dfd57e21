"""Runs one request's coroutine without a task: it starts at once and is resumed inside the callback that it waits for.

A task costs two trips through the event loop per request; a request whose upstream connection is idle needs none.
Inside a driven coroutine three things may be awaited: a ``Waiter`` (ours, resumed synchronously), an ``asyncio.Future`` and
``asyncio.sleep``. What needs a current task (``asyncio.timeout``, ``asyncio.wait_for``) is awaited as ``loop.create_task(...)``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

log = logging.getLogger("bulkhead.proxy")


class Waiter:
    """A one-shot result that resumes its driver synchronously. The first ``resolve`` or ``fail`` wins; later ones do nothing."""

    __slots__ = ("_driver", "_error", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._driver: Driver | None = None

    def resolve(self, value: Any = None) -> None:
        if self.done:
            return
        self.done = True
        self._value = value
        driver = self._driver
        if driver is not None:
            self._driver = None
            driver.step(self)

    def fail(self, error: BaseException) -> None:
        if self.done:
            return
        self.done = True
        self._error = error
        driver = self._driver
        if driver is not None:
            self._driver = None
            driver.step(self)

    def __await__(self) -> Generator[Waiter, None, Any]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._value


class Driver:
    """Owns one coroutine from its first step to its end. ``throw`` interrupts it where it waits."""

    __slots__ = ("_coroutine", "_on_crash", "_running", "_waiting")

    def __init__(self, coroutine: Coroutine[Any, Any, None], on_crash: Callable[[BaseException], None]) -> None:
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._on_crash = on_crash
        self._waiting: Waiter | asyncio.Future[Any] | None = None
        self._running = False

    @property
    def finished(self) -> bool:
        return self._coroutine is None

    def start(self) -> None:
        self._advance(None)

    def step(self, source: Waiter | asyncio.Future[Any]) -> None:
        """Called by what was waited for; ignored when the coroutine no longer waits for it."""
        if self._waiting is source:
            self._advance(None)

    def throw(self, error: BaseException) -> bool:
        """Raise ``error`` inside the coroutine where it waits. False when it has ended or is running right now."""
        if self._coroutine is None or self._running:
            return False
        waiting = self._waiting
        if isinstance(waiting, Waiter):
            waiting._driver = None
        self._waiting = None
        if waiting is not None and not isinstance(waiting, Waiter):
            waiting.cancel()
        self._advance(error)
        return True

    def _advance(self, error: BaseException | None) -> None:
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._waiting = None
        self._running = True
        try:
            while True:
                waited = coroutine.send(None) if error is None else coroutine.throw(error)
                error = None
                if isinstance(waited, Waiter):
                    waited._driver = self
                    self._waiting = waited
                    return
                if waited is None:  # asyncio.sleep(0): a bare yield
                    future = asyncio.get_running_loop().create_future()
                    asyncio.get_running_loop().call_soon(_release, future)
                    waited = future
                else:
                    waited._asyncio_future_blocking = False
                self._waiting = waited
                waited.add_done_callback(self.step)
                return
        except StopIteration:
            self._coroutine = None
        except BaseException as crash:
            self._coroutine = None
            self._on_crash(crash)
            if not isinstance(crash, Exception):
                raise
        finally:
            self._running = False


def _release(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
