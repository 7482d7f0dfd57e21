"""The public addresses: which path is what. Everything is answered in the caller's dialect, errors included."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from apps.contracts.errors import CODES, error_body
from apps.contracts.usage import UsageRecord, decode_record, full_record_start
from apps.proxy.addresses import caller_of, embeds_of
from apps.proxy.dialects.translation import Trouble
from apps.proxy.errors import Refusal
from apps.proxy.feedback import FeedbackDesk
from apps.proxy.offers import ModelDesk
from apps.proxy.operations import OPERATIONS
from apps.proxy.response_desk import BASE as RESPONSES
from apps.proxy.response_desk import UNDER as STORED_RESPONSES
from apps.proxy.response_desk import ResponseDesk

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.response_shelf import ResponseShelf
    from apps.proxy.store import Store

log = logging.getLogger("bulkhead.proxy")

JSON = b"content-type: application/json\r\n"
_encode = msgspec.json.Encoder().encode
_REQUESTS = "/v1/requests/"
_MODELS = ("/v1/models", "/v1beta/models")
_ONE_MODEL = tuple(f"{path}/" for path in _MODELS)


class PublicApp:
    """Called by the HTTP layer with each request."""

    __slots__ = ("_engine", "_feedback", "_models", "_one_search", "_responses", "_store")

    def __init__(self, engine: Engine, store: Store | None, shelf: ResponseShelf) -> None:
        self._engine = engine
        self._store = store
        self._feedback = FeedbackDesk(engine)
        self._models = ModelDesk(engine)
        self._responses = ResponseDesk(engine, shelf)
        self._one_search = asyncio.Lock()

    def __call__(self, request: Request, reply: Reply) -> None:
        path = request.path
        if path == "/v1/chat/completions":
            if request.method == "POST":
                self._engine.handle("chat", request, reply)
            else:
                self._wrong_method(reply, "POST")
        elif (operation := OPERATIONS.get(path)) is not None:
            if request.method == "POST":
                self._engine.handle(operation.kind, request, reply, operation=operation)
            else:
                self._wrong_method(reply, "POST")
        elif path == RESPONSES or path.startswith(STORED_RESPONSES):
            self._responses(request, reply)
        elif (caller := caller_of(request)) is not None:
            if request.method == "POST":
                if caller.counts:
                    self._engine.count(request, reply, caller)
                else:
                    self._engine.handle("chat", request, reply, caller)
            else:
                trouble = Trouble("Use POST here.", "invalid_request_error", "method_not_allowed")
                reply.send(405, JSON + b"allow: POST\r\n", caller.error(405, trouble))
        elif (embeds := embeds_of(request)) is not None and request.method == "POST":
            self._engine.handle("embeddings", request, reply, *embeds)
        elif path.startswith(_MODELS) and (path in _MODELS or path.startswith(_ONE_MODEL)):
            if request.method in ("GET", "HEAD"):
                found = self._models.answer(request)
                if isinstance(found, Refusal):
                    self._refuse(reply, found)
                else:
                    reply.send(found[0], JSON, found[1])
            else:
                self._wrong_method(reply, "GET")
        elif path.startswith(_REQUESTS):
            if request.method in ("GET", "HEAD"):
                self._request(request, reply, path[len(_REQUESTS) :])
            else:
                self._wrong_method(reply, "GET")
        elif path == "/v1/feedback":
            if request.method == "POST":
                self._say(request, reply)
            else:
                self._wrong_method(reply, "POST")
        elif path == "/healthz":
            if request.method in ("GET", "HEAD"):
                reply.send(200, JSON, b'{"status":"ok"}')
            else:
                self._wrong_method(reply, "GET")
        else:
            message = (
                f"There is nothing at {path[:200]!r}. The proxy serves /v1/chat/completions, {', '.join(OPERATIONS)}, "
                "/v1/messages, /v1/responses, /v1/completions, /v1/models, /v1/requests/{id} and /v1/feedback."
            )
            self._refuse(reply, Refusal("not_found", "address", message))

    def _request(self, request: Request, reply: Reply, text: str) -> None:
        engine = self._engine
        key = engine.authenticator.key_of(request.headers, engine.holder.current, request.peer)
        if isinstance(key, Refusal):
            self._refuse(reply, key)
            return
        missing = Refusal(
            "request_not_found",
            "address",
            "There is no such request of this key. A request's id is in its answer's x-bulkhead-request-id header.",
        )
        try:
            id = UUID(text)
        except ValueError:
            self._refuse(reply, missing)
            return
        task = engine.loop.create_task(self._look_up(reply, id, key.id, missing))
        engine.background.add(task)
        task.add_done_callback(engine.background.discard)

    def _say(self, request: Request, reply: Reply) -> None:
        engine = self._engine
        key = engine.authenticator.key_of(request.headers, engine.holder.current, request.peer)
        found = key if isinstance(key, Refusal) else self._feedback.take(key, request)
        if isinstance(found, Refusal):
            self._refuse(reply, found)
        else:
            reply.send(202, JSON, found)

    async def _look_up(self, reply: Reply, id: UUID, key_id: str, missing: Refusal) -> None:
        """In the database; what is not settled yet is in the journal of the process that served it, if that is this one."""
        engine, away = self._engine, False
        if self._store is not None:
            try:
                found = await self._store.request_record(id, key_id)
            except Exception as error:
                away = True
                log.warning("a request could not be looked up: %s", error)
            else:
                if found is not None:
                    reply.send(200, JSON, _encode({"object": "bulkhead.request", "settled": True, **found}))
                    return
        async with self._one_search:
            payload = await asyncio.to_thread(engine.journal.find, full_record_start(id.bytes))
        record = decode_record(payload) if payload is not None else None
        if isinstance(record, UsageRecord) and record.key_id == key_id:
            reply.send(200, JSON, _encode(engine.record_view(record)))
        elif away:
            message = "Past requests cannot be looked up while the database is away. Try again later."
            self._refuse(reply, Refusal("not_ready", "address", message))
        else:
            self._refuse(reply, missing)

    def _wrong_method(self, reply: Reply, allowed: str) -> None:
        reply.send(405, JSON + b"allow: %b\r\n" % allowed.encode(), error_body("method_not_allowed", f"Use {allowed} here."))

    def _refuse(self, reply: Reply, refusal: Refusal) -> None:
        code = CODES[refusal.code]
        head = JSON if code.retry else JSON + b"x-should-retry: false\r\n"
        if code.status == 401:
            head += b"www-authenticate: Bearer\r\n"
        if refusal.detail is not None and (seconds := refusal.detail.get("retry_after_seconds")) is not None:
            head += b"retry-after: %d\r\n" % seconds
        version = self._engine.holder.current.version
        reply.send(
            code.status, head, error_body(refusal.code, refusal.message, param=refusal.param, step=refusal.step, config_version=version)
        )
