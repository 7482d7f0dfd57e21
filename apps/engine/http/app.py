"""The ASGI application of an engine: which address is what, who may ask, and what is said while it loads, when it is full, and when it
ends."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from apps.engine.backend import Backend, Facts, Generator, Load, Task
from apps.engine.errors import Broken, Busy, EngineError, Refused, Unauthorized
from apps.engine.http.fields import Body, body_read
from apps.engine.http.gate import Gate
from apps.engine.http.metrics import Metrics
from apps.engine.http.reading import Reading
from apps.engine.http.reply import Message, Receive, Reply, Send, encode
from apps.engine.http.writing import Writing

log = logging.getLogger("bulkhead.engine")

MAX_BODY_BYTES = 16 * 1024 * 1024
TASKS: dict[str, Task] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/rerank": "rerank",
    "/classify": "classify",
    "/v1/classify": "classify",
}
Handler = Callable[[Body, int, Reply], Awaitable[None]]


class EngineApp:
    """``model``: the name that requests must use. ``bearer``: the token that all but health, version and metrics demand; "" for none.
    ``opened`` once the backend is loaded; before that everything but metrics is answered 503."""

    def __init__(self, backend: Backend, model: str, *, bearer: str = "", max_waiting: int | None = None) -> None:
        self.backend = backend
        self.model = model
        self.facts: Facts | None = None
        self.metrics = Metrics(model)
        self.gate = Gate(1, max_waiting)
        self.created = int(time.time())
        self._bearer = f"Bearer {bearer}".encode() if bearer else b""
        self._handlers: dict[Task, Handler] = {}
        self._requests: set[asyncio.Task[None]] = set()

    def opened(self, facts: Facts) -> None:
        """The backend is loaded."""
        self.gate.max_running = facts.max_running
        writing = Writing(cast(Generator, self.backend), self.model, self.gate, self.metrics)
        reading = Reading(self.backend, self.model, self.gate, self.metrics)
        every: dict[Task, Handler] = {
            "chat": writing.chat, "completions": writing.completions, "embeddings": reading.embeddings, "rerank": reading.rerank,
            "classify": reading.classify,
        }  # fmt: skip
        self._handlers = {task: handler for task, handler in every.items() if task in facts.tasks}
        self.facts = facts

    def cut(self) -> int:
        """End what still runs; how many that were."""
        for task in self._requests:
            task.cancel()
        return len(self._requests)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = Reply(send)
        try:
            await self._answer(scope, receive, reply)
        except EngineError as error:
            self.metrics.refused += isinstance(error, Busy) and scope["method"] == "POST"
            await self._refuse(reply, error)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            await self._refuse(reply, Broken("The engine failed at this request; its log says why."))

    async def _refuse(self, reply: Reply, error: EngineError) -> None:
        if not reply.started:
            await reply.json(error.body(), error.status, error.headers)
            return
        # The status is long gone. The stream says so and ends without its [DONE], so that nobody takes it for whole.
        await reply.end(b"data: " + encode(error.body()) + b"\n\n")

    async def _answer(self, scope: dict[str, Any], receive: Receive, reply: Reply) -> None:
        path, method = scope["path"], scope["method"]
        task = TASKS.get(path)
        if task is None:
            if method not in ("GET", "HEAD"):
                raise Refused(f"There is nothing to {method} at {path[:200]!r}.", status=404, code="not_found")
            await self._look(scope, path, reply)
            return
        if method != "POST":
            raise Refused("Use POST here.", status=405, code="method_not_allowed")
        self._authorise(scope)
        self._serves()
        handler = self._handlers.get(task)
        if handler is None:
            served = ", ".join(sorted(self._handlers))
            raise Refused(f"The model {self.model!r} does no {task} in this engine. It does: {served}.", status=404, code="not_found")
        raw = await _body(receive)
        if raw is None:
            return
        await self._until_hung_up(handler(body_read(raw), len(raw), reply), receive)

    async def _until_hung_up(self, answer: Awaitable[None], receive: Receive) -> None:
        """Answer, unless the client goes first: then what was asked for is cancelled."""
        work = asyncio.ensure_future(answer)
        gone = asyncio.ensure_future(_gone(receive))
        self._requests.add(work)
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.metrics.cancelled += 1
                work.cancel()
                await asyncio.wait({work})
            if work.cancelled():
                if not gone.done():
                    raise Busy("The engine shut down before the answer was whole.", code="shutting_down")
                return
            work.result()
        finally:
            self._requests.discard(work)
            gone.cancel()
            if not work.done():
                work.cancel()

    async def _look(self, scope: dict[str, Any], path: str, reply: Reply) -> None:
        if path == "/metrics":
            kind, text = self.metrics.rendered(self.gate.running, self.gate.waiting, self.backend.load_now() if self.facts else Load())
            await reply.whole(text, kind.encode())
            return
        if path == "/health":
            self._serves()
            if self.gate.leaving:
                raise Busy("The engine is shutting down.", code="shutting_down")
            await reply.whole(b"", b"text/plain")
            return
        if path == "/version":
            await reply.json({"version": self.facts.version if self.facts else ""})
            return
        if path == "/v1/models" or path.startswith("/v1/models/"):
            self._authorise(scope)
            facts = self._serves()
            found = {
                "id": self.model, "object": "model", "created": self.created, "owned_by": "bulkhead", "max_model_len": facts.context,
            }  # fmt: skip
            if path == "/v1/models":
                await reply.json({"object": "list", "data": [found]})
                return
            if path == f"/v1/models/{self.model}":
                await reply.json(found)
                return
            raise Refused(f"This engine serves {self.model!r} only.", param="model", code="model_not_found", status=404)
        raise Refused(f"There is nothing at {path[:200]!r}.", status=404, code="not_found")

    def _serves(self) -> Facts:
        if self.facts is None:
            raise Busy("The engine is loading its model.", code="loading", retry_after=5)
        if problem := self.backend.problem():
            raise Broken(problem)
        return self.facts

    def _authorise(self, scope: dict[str, Any]) -> None:
        if self._bearer:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._bearer):
                raise Unauthorized


async def _body(receive: Receive) -> bytes | None:
    """None: the client went before it was whole."""
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refused(f"The request's body is longer than {MAX_BODY_BYTES:,} bytes.", status=413, code="request_too_large")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
