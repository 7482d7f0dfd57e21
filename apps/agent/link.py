"""The agent's only way to the control plane: calls that it makes, never one that it takes. Losing it loses nothing but news."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from apps.agent.processes import read_json, write_json
from apps.contracts.fleet import (
    FATAL_REFUSALS,
    MAX_BODY_BYTES,
    PATH,
    Acknowledgement,
    DesiredAnswer,
    DesiredWant,
    Done,
    Heartbeat,
    HeartbeatAnswer,
    JoinAnswer,
    JoinRequest,
    LogTail,
    PreemptionNotice,
    Refused,
    RotateRequest,
    credential_text,
    secret_digest,
)
from apps.contracts.fleet_facts import Message

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer", bound=Message)
CALL_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class LinkLost(Exception):
    """The control plane did not answer, or not as one does; worth trying again."""


class Rejected(Exception):
    """The control plane answered that it will not."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused.code}: {refused.message}")
        self.refused = refused

    @property
    def fatal(self) -> bool:
        return self.refused.code in FATAL_REFUSALS


class Credential:
    """The worker's id and secret, kept in ``credential.json``, mode 0600. A next secret is on the disk before anybody hears of it: no
    answer that was lost, and no kill, leaves a worker without one that both sides know."""

    def __init__(self, state: Path) -> None:
        self._path = state / "credential.json"
        found = read_json(self._path)
        self.worker = str(found.get("worker", ""))
        self.secret = str(found.get("secret", ""))
        self.next_secret = str(found.get("next", ""))

    @property
    def joined(self) -> bool:
        return bool(self.worker and self.secret)

    @property
    def text(self) -> str:
        return credential_text(self.worker, self.secret)

    def prepare(self) -> str:
        """The next secret, made once and kept until it is used. Raises OSError."""
        if not self.next_secret:
            self.next_secret = secrets.token_urlsafe(32)
            self.write()
        return self.next_secret

    def use_next(self, worker: str = "") -> None:
        """The next secret is the one from now on. Raises OSError."""
        self.worker = worker or self.worker
        self.secret, self.next_secret = self.next_secret, ""
        self.write()

    def forget(self) -> None:
        """The credential is worth nothing any more: join anew."""
        self.worker = self.secret = self.next_secret = ""
        self._path.unlink(missing_ok=True)

    def write(self) -> None:
        """Onto the disk. Raises OSError."""
        write_json(self._path, {"worker": self.worker, "secret": self.secret, "next": self.next_secret})


class Link:
    """One control plane. ``url``: its base. Every call raises LinkLost or Rejected."""

    def __init__(self, url: str, credential: Credential, client: httpx.AsyncClient) -> None:
        self._url = f"{url}{PATH}"
        self._client = client
        self.credential = credential

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """A token becomes a credential, which is on the disk when this returns. ``secret_digest`` is filled in here."""
        digest = secret_digest(self.credential.prepare())
        answer = await self._call("join", msgspec.structs.replace(request, secret_digest=digest), JoinAnswer, known=False)
        self.credential.use_next(answer.worker)
        return answer

    async def rotate(self) -> None:
        """Get a new credential: the old one dies with the first use of the new one."""
        await self._call("credential", RotateRequest(secret_digest=secret_digest(self.credential.prepare())), Done)
        self.credential.use_next()

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        return await self._call("heartbeat", beat, HeartbeatAnswer)

    async def desired(self, want: DesiredWant) -> DesiredAnswer:
        return await self._call("desired", want, DesiredAnswer, seconds=want.wait_seconds + CALL_SECONDS)

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        await self._call("ack", acknowledgement, Done)

    async def preempted(self, notice: PreemptionNotice) -> None:
        await self._call("preemption", notice, Done)

    async def logs(self, tail: LogTail) -> None:
        await self._call("logs", tail, Done)

    async def _call(self, name: str, message: Message, kind: type[Answer], *, known: bool = True, seconds: float = CALL_SECONDS) -> Answer:
        headers = {"content-type": "application/json"}
        if known:
            headers["authorization"] = f"Bearer {self.credential.text}"
        body = msgspec.json.encode(message)
        if len(body) > MAX_BODY_BYTES:
            raise LinkLost(f"{name}: {len(body):,} bytes are more than the {MAX_BODY_BYTES:,} that the control plane takes")
        try:
            answer = await self._client.post(self._url + name, content=body, headers=headers, timeout=seconds)
        except httpx.HTTPError as error:
            raise LinkLost(f"{name}: {type(error).__name__}: {error}") from None
        except (OSError, ValueError, RuntimeError) as error:  # what httpx lets through: a name that is none, a socket's own errors
            raise LinkLost(f"{name}: {error}") from None
        if answer.status_code == 200:
            try:
                return msgspec.json.decode(answer.content, type=kind)
            except msgspec.DecodeError as error:
                raise LinkLost(f"{name}: answered with what is no {kind.__name__}: {error}") from None
        with contextlib.suppress(msgspec.DecodeError):
            raise Rejected(msgspec.json.decode(answer.content, type=Refused))
        raise LinkLost(f"{name}: answered {answer.status_code} by what is no control plane")


class BackOff:
    """Pauses between tries: each twice as long, to half a minute, with jitter, so that a thousand workers do not come back at once."""

    def __init__(self, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self._first, self._longest, self._tries = first, longest, 0

    def pause(self, asked: float | None = None) -> float:
        """Seconds; ``asked``: what the control plane asked for."""
        whole = min(self._longest, self._first * 2.0 ** min(self._tries, 20))
        self._tries += 1
        return max(asked or 0.0, whole * random.uniform(0.5, 1.0))

    def reset(self) -> None:
        self._tries = 0


def client_made() -> httpx.AsyncClient:
    """For the link and for engines alike: no proxy from the environment stands between, no redirect is followed."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=30)
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=limits, verify=os.environ.get("SSL_CERT_FILE") or True)
