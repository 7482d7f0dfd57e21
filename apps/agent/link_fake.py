"""A control plane for tests of the agent: the contract's answers from memory, as an ASGI application. Not for use with real workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from apps.contracts.fleet import (
    PATH,
    Acknowledgement,
    DesiredAnswer,
    DesiredState,
    DesiredWant,
    Done,
    Heartbeat,
    HeartbeatAnswer,
    JoinAnswer,
    JoinRequest,
    LogTail,
    PreemptionNotice,
    RefusalCode,
    Refused,
    RotateRequest,
    credential_parts,
    secret_digest,
)
from apps.contracts.fleet_facts import Message, ReplicaReport
from apps.contracts.identifiers import uuid7

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Refusal(Exception):
    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.refused = Refused(code=code, message=message)


class FakeControlPlane:
    """One organisation's fleet. Tests set ``order`` and read what came. down: answer 503 to everything. lose: names of calls whose answers
    are lost after they were done, once each. ahead_ms: how far its clock is ahead."""

    def __init__(self, *tokens: str) -> None:
        self.tokens: dict[str, str] = dict.fromkeys(tokens, "")
        self.workers: dict[str, str] = {}
        self.secrets: dict[str, list[str]] = {}
        self.revoked: set[str] = set()
        self.state: DesiredState | None = None
        self.beats: list[Heartbeat] = []
        self.acknowledged: list[Acknowledgement] = []
        self.notices: list[PreemptionNotice] = []
        self.tails: list[LogTail] = []
        self.calls: list[str] = []
        self.down = False
        self.lose: list[str] = []
        self.rotate = False
        self.logs_of: list[str] = []
        self.ahead_ms = 0
        self.heartbeat_seconds = 0.2
        self._changed = asyncio.Condition()

    async def order(self, state: DesiredState) -> None:
        """What workers shall run from now on."""
        async with self._changed:
            self.state = state
            self._changed.notify_all()

    def report(self, replica: str) -> ReplicaReport | None:
        """The last that was said of a replica."""
        return next((one for one in (self.beats[-1].replicas if self.beats else []) if one.replica == replica), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        name = scope["path"].removeprefix(PATH)
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        self.calls.append(name)
        if self.down:
            status, answer = 503, b"down"
        else:
            try:
                status, answer = 200, msgspec.json.encode(await self._answer(name, headers.get("authorization", ""), body))
            except _Refusal as refusal:
                status, answer = 403, msgspec.json.encode(refusal.refused)
            except msgspec.DecodeError as error:
                status, answer = 400, msgspec.json.encode(Refused(code="malformed", message=str(error)))
            if name in self.lose:
                self.lose.remove(name)
                status, answer = 502, b"lost"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, name: str, authorization: str, body: bytes) -> Message:
        if name == "join":
            return self._join(msgspec.json.decode(body, type=JoinRequest))
        worker = self._worker(authorization)
        match name:
            case "heartbeat":
                return self._beat(msgspec.json.decode(body, type=Heartbeat))
            case "desired":
                return await self._desired(msgspec.json.decode(body, type=DesiredWant))
            case "ack":
                self.acknowledged.append(msgspec.json.decode(body, type=Acknowledgement))
            case "credential":
                digest = msgspec.json.decode(body, type=RotateRequest).secret_digest
                if digest not in self.secrets[worker]:
                    self.secrets[worker].append(digest)
                self.rotate = False
            case "preemption":
                self.notices.append(msgspec.json.decode(body, type=PreemptionNotice))
            case "logs":
                self.tails.append(msgspec.json.decode(body, type=LogTail))
            case _:
                raise _Refusal("malformed", f"no call {name!r}")
        return Done(now_ms=self._now_ms())

    def _join(self, request: JoinRequest) -> JoinAnswer:
        user = self.tokens.get(request.token)
        if user is None:
            raise _Refusal("token_unknown", "This token is not known. Make a new one.")
        if user and user != request.secret_digest:
            raise _Refusal("token_used", "This token was used. Make a new one.")
        if not user:
            self.tokens[request.token] = request.secret_digest
            worker = str(uuid7())
            self.workers[worker] = request.name
            self.secrets[worker] = [request.secret_digest]
        worker = next(worker for worker, known in self.secrets.items() if request.secret_digest in known)
        return JoinAnswer(worker=worker, name=request.name, now_ms=self._now_ms(), heartbeat_seconds=self.heartbeat_seconds)

    def _worker(self, authorization: str) -> str:
        parts = credential_parts(authorization.removeprefix("Bearer "))
        known = self.secrets.get(parts[0], []) if parts else []
        if parts is None or (digest := secret_digest(parts[1])) not in known:
            raise _Refusal("credential_unknown", "This credential is not known. Join anew.")
        if parts[0] in self.revoked:
            raise _Refusal("credential_revoked", "This credential was revoked. Join anew.")
        if digest != known[0]:
            known[:] = known[known.index(digest) :]
        return parts[0]

    def _beat(self, beat: Heartbeat) -> HeartbeatAnswer:
        last = next((one for one in reversed(self.beats) if one.boot == beat.boot), None)
        if last is not None and beat.sequence <= last.sequence:
            raise _Refusal("heartbeat_replayed", "This heartbeat was heard.")
        self.beats.append(beat)
        logs, self.logs_of = self.logs_of, []
        return HeartbeatAnswer(
            now_ms=self._now_ms(),
            epoch=self.state.epoch if self.state else 0,
            sequence=self.state.sequence if self.state else 0,
            heartbeat_seconds=self.heartbeat_seconds,
            rotate=self.rotate,
            logs_of=logs,
        )

    async def _desired(self, want: DesiredWant) -> DesiredAnswer:
        def fresh() -> bool:
            return self.state is not None and self.state.version > (want.epoch, want.sequence)

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(fresh), want.wait_seconds)
            except TimeoutError:
                return DesiredAnswer(now_ms=self._now_ms())
            return DesiredAnswer(now_ms=self._now_ms(), state=self.state)

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms
