"""The agents' API as an ASGI application: ``POST /api/agent/v1/<call>``, authenticated by the worker's own credential.

It stands before Django: no session, no middleware, no thread per call. Work with the database runs in a few threads of its own, heartbeats
in batches; a long poll waits on an event.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from django.db import DatabaseError, InterfaceError, connection

from apps.contracts.fleet import (
    MAX_BODY_BYTES,
    PATH,
    PROTOCOL,
    Acknowledgement,
    DesiredAnswer,
    DesiredState,
    DesiredWant,
    Done,
    Heartbeat,
    JoinAnswer,
    JoinRequest,
    LogTail,
    PreemptionNotice,
    Refused,
    RotateRequest,
    credential_parts,
    secret_digest,
)
from apps.contracts.fleet_facts import Message
from apps.fleet.agents.batch import Batches, Run
from apps.fleet.agents.bell import Bell
from apps.fleet.heartbeats import HEARTBEAT_SECONDS, Beat
from apps.fleet.joining import AgentRefused, credential_next, worker_join, worker_preempted
from apps.fleet.models import Worker
from apps.fleet.orders import desired_of
from apps.fleet.reporting import acknowledge, logs_take

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
M = TypeVar("M", bound=Message)

STATUS = {
    "token_unknown": 401,
    "credential_unknown": 401,
    "token_used": 409,
    "token_expired": 410,
    "credential_revoked": 403,
    "name_taken": 409,
    "heartbeat_replayed": 409,
    "boot_replaced": 409,
    "version_unsupported": 426,
    "malformed": 422,
    "busy": 503,
}
THREADS = 4
_encode = msgspec.json.Encoder().encode


class AgentApi:
    """An ASGI application that answers below ``PATH`` and gives everything else to ``inner``. run, bell: for tests."""

    def __init__(self, inner: Any, *, run: Run | None = None, bell: Bell | None = None) -> None:
        self._inner = inner
        self._given = run
        self._pool: ThreadPoolExecutor | None = None
        self._batches = Batches(self._run)
        self._bell = bell
        self._calls: dict[str, Callable[[bytes, str, str], Awaitable[Message]]] = {
            "join": self._join,
            "heartbeat": self._heartbeat,
            "desired": self._desired,
            "ack": self._ack,
            "credential": self._credential,
            "preemption": self._preemption,
            "logs": self._logs,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            await self._inner(scope, receive, send)
            return
        call = self._calls.get(scope["path"][len(PATH) :])
        if call is None:
            await _answer(send, 404, Refused(code="malformed", message="There is no such call of agents: see docs/fleet.md."))
            return
        if scope["method"] != "POST":
            await _answer(send, 405, Refused(code="malformed", message="Calls of agents are sent by POST."), (b"allow", b"POST"))
            return
        body = await _read(receive)
        if body is None:
            await _answer(send, 413, Refused(code="malformed", message=f"A call is at most {MAX_BODY_BYTES} bytes."))
            return
        gone = asyncio.ensure_future(_gone(receive)) if call == self._desired else None
        bearer = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")
        address = str((scope.get("client") or ("",))[0])
        try:
            answer = asyncio.ensure_future(call(body, bearer, address))
            if gone is not None:
                await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():  # nobody waits for it any more
                    answer.cancel()
                    return
            await _answer(send, 200, await answer)
        except AgentRefused as refused:
            about = Refused(code=refused.code, message=refused.message, retry_seconds=refused.retry_seconds)
            await _answer(send, STATUS[refused.code], about)
        except msgspec.DecodeError as error:
            await _answer(send, 422, Refused(code="malformed", message=f"This cannot be read: {error}."[:2_000]))
        except (DatabaseError, InterfaceError) as error:
            log.warning("a call of an agent found no database: %s", str(error).strip().splitlines()[:1])
            await _answer(send, 503, Refused(code="busy", message="The database does not answer: come again.", retry_seconds=5.0))
        except Exception:
            log.exception("a call of an agent failed: %s", scope["path"])
            await _answer(send, 500, Refused(code="busy", message="This failed here: see the control plane's log.", retry_seconds=10.0))
        finally:
            if gone is not None:
                gone.cancel()

    # --- calls ---

    async def _join(self, body: bytes, bearer: str, address: str) -> Message:
        worker = await self._run(worker_join, _decode(body, JoinRequest), address=address)
        return JoinAnswer(worker=str(worker.pk), name=worker.name, now_ms=_now_ms(), heartbeat_seconds=HEARTBEAT_SECONDS)

    async def _heartbeat(self, body: bytes, bearer: str, address: str) -> Message:
        received = datetime.now(UTC)
        worker, digest = _credential_of(bearer)
        heartbeat = _decode(body, Heartbeat)
        if heartbeat.protocol != PROTOCOL:
            raise AgentRefused("version_unsupported", f"This control plane speaks protocol {PROTOCOL}: install the agent of its version.")
        return await self._batches.take(Beat(worker, digest, heartbeat, received))

    async def _desired(self, body: bytes, bearer: str, address: str) -> Message:
        want = _decode(body, DesiredWant)
        worker, digest = _credential_of(bearer)
        until = time.monotonic() + want.wait_seconds
        bell, name = self._ring(), str(worker)
        while True:
            event = bell.join(name)
            try:
                state = await self._run(_newer, worker, digest, (want.epoch, want.sequence))
                left = until - time.monotonic()
                if state is not None or left <= 0 or bell.closed:
                    return DesiredAnswer(now_ms=_now_ms(), state=state)
                try:
                    async with asyncio.timeout(bell.patience(left)):
                        await event.wait()
                except TimeoutError:
                    pass
            finally:
                bell.leave(name, event)

    async def _ack(self, body: bytes, bearer: str, address: str) -> Message:
        ack, caller = _decode(body, Acknowledgement), _credential_of(bearer)
        await self._run(lambda: acknowledge(worker_authenticate(*caller), ack))
        return Done(now_ms=_now_ms())

    async def _credential(self, body: bytes, bearer: str, address: str) -> Message:
        request, caller = _decode(body, RotateRequest), _credential_of(bearer)
        await self._run(lambda: credential_next(worker_authenticate(*caller), request.secret_digest))
        return Done(now_ms=_now_ms())

    async def _preemption(self, body: bytes, bearer: str, address: str) -> Message:
        notice, caller = _decode(body, PreemptionNotice), _credential_of(bearer)
        await self._run(lambda: worker_preempted(worker_authenticate(*caller), notice))
        return Done(now_ms=_now_ms())

    async def _logs(self, body: bytes, bearer: str, address: str) -> Message:
        tail, caller = _decode(body, LogTail), _credential_of(bearer)
        await self._run(lambda: logs_take(worker_authenticate(*caller), tail, now=datetime.now(UTC)))
        return Done(now_ms=_now_ms())

    # --- where it runs ---

    async def _run(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._given is not None:
            return await self._given(function, *args, **named)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="agents")
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: _guarded(function, *args, **named))

    def _ring(self) -> Bell:
        if self._bell is None:
            settings = connection.get_connection_params()
            kept = ("dbname", "user", "password", "host", "port", "options", "sslmode", "sslrootcert", "sslcert", "sslkey")
            self._bell = _closing(Bell({name: settings[name] for name in kept if settings.get(name)} | {"connect_timeout": 3}))
        return self._bell


def _closing(bell: Bell) -> Bell:
    """End long polls when the server is told to stop: without a lifespan nobody else tells this application."""
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):

                def heard(number: int, frame: Any, before: Any = before) -> None:
                    loop.call_soon_threadsafe(bell.close)
                    before(number, frame)

                signal.signal(number, heard)
    return bell


def worker_authenticate(worker: UUID, digest: str) -> Worker:
    """The worker whose credential this is; the first use of the next one makes it the present one. Raises AgentRefused."""
    row = Worker.objects.filter(pk=worker).first()
    if row is None or digest not in {row.digest, row.next_digest or row.digest}:
        raise AgentRefused("credential_unknown", "This credential opens nothing: join again with a new token.")
    if row.revoked_at is not None:
        raise AgentRefused("credential_revoked", "This worker was removed from the fleet: join again with a new token.")
    if digest != row.digest:
        Worker.objects.filter(pk=row.pk, next_digest=digest).update(
            digest=digest, next_digest="", digest_at=datetime.now(UTC), rotate=False
        )
    return row


def _newer(worker: UUID, digest: str, held: tuple[int, int]) -> DesiredState | None:
    row = worker_authenticate(worker, digest)
    return desired_of(row.pk) if (row.desired_epoch, row.desired_sequence) > held else None


def _guarded(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """In a thread of the pool, whose connection lives as long as it does; a broken one is left for a new one."""
    try:
        return function(*args, **named)
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


def _credential_of(bearer: str) -> tuple[UUID, str]:
    """(worker, digest of the secret). Digests are compared, so comparing them tells nothing of the secret."""
    kind, _, text = bearer.partition(" ")
    found = credential_parts(text.strip()) if kind.lower() == "bearer" else None
    if found is None:
        raise AgentRefused("credential_unknown", "Send the worker's credential as `Authorization: Bearer`; a worker gets one by joining.")
    return UUID(found[0]), secret_digest(found[1])


def _decode(body: bytes, kind: type[M]) -> M:
    return msgspec.json.decode(body, type=kind)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _gone(receive: Receive) -> None:
    """Returns once the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None where it is too long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, status: int, message: Message, *headers: tuple[bytes, bytes]) -> None:
    body = _encode(message)
    given = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})
