"""``Idempotency-Key``: the same call twice is made once. A second one joins the first while it runs, or is given its answer again.

Invariants: of all calls with one key of one caller at most one is sent upstream at a time, across the proxies that share a Redis; an answer
is replayed only to the same caller (virtual key) with the same body; only whole successes are kept (24 h), so a failure can be
tried again; without Redis all of this holds within one process, and the answer says so (``x-bulkhead-idempotency: ...; scope=proxy``).

Kept answers are encrypted with a key that proxies derive from the installation's pepper; using the header opts a request into that
storage. What is kept here is bounded by bytes; what is kept in Redis by its expiry.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.http.types import Flow, Gone, Reply

log = logging.getLogger("bulkhead.proxy")

STEP = "idempotency"
KEEP_SECONDS = 24 * 3600
MAX_KEY = 255
MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Longer answers are given to those who joined, and not kept."""
CLAIM_SECONDS = 10.0
"""How long a claim outlives its proxy; renewed while the call runs."""
LOOK_SECONDS = 0.1
"""How often a call that another proxy runs is looked after."""


class Answer(msgspec.Struct, array_like=True, gc=False):
    """A whole answer as it was given. fingerprint: of the request that it answers."""

    fingerprint: bytes
    status: int
    head: bytes
    body: bytes
    streamed: bool
    request_id: str


class Shared(Protocol):
    """What proxies share (Redis). Every method raises ``ConnectionError`` when it is away."""

    async def claim(self, name: str, value: bytes, seconds: float) -> bytes | None:
        """None when it is ours now; else what is there: a claim or an answer."""

    async def renew(self, name: str, value: bytes, seconds: float) -> None: ...

    async def put(self, name: str, value: bytes, seconds: float) -> None: ...

    async def get(self, name: str) -> bytes | None: ...

    async def drop(self, name: str, value: bytes) -> None:
        """Removes it if it still is ``value``."""


Given = Literal["new", "joined", "replayed"]
Joiner = Callable[[Answer | None], None]


class Running:
    """One call that runs in this process."""

    __slots__ = ("answer", "fingerprint", "joiners", "scope")

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.scope = "proxy"
        """``fleet`` once the other proxies know of it."""
        self.joiners: list[Joiner] = []
        self.answer: Answer | None = None


class Idempotency:
    """One per process."""

    def __init__(self, secret: bytes, shared: Shared | None = None, boot_id: str = "") -> None:
        self._secret = blake2b(b"idempotency", key=secret[:64], digest_size=32).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(self._secret))
        self._shared = shared
        self._mine = b"claim:" + boot_id.encode()
        self._running: dict[str, Running] = {}
        self._kept: OrderedDict[str, tuple[float, str, Answer]] = OrderedDict()
        """Until when, known to whom (scope), and what."""
        self._kept_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # --- names ---

    def name_of(self, key_id: str, header: bytes) -> str:
        return "bulkhead:idem:" + blake2b(key_id.encode() + b"\0" + header, key=self._secret, digest_size=20).hexdigest()

    def fingerprint_of(self, path: str, body: bytes) -> bytes:
        return blake2b(path.encode() + b"\0" + body, key=self._secret, digest_size=16).digest()

    @staticmethod
    def check(header: bytes) -> Refusal | None:
        if not header or len(header) > MAX_KEY:
            return Refusal("invalid_field", STEP, f"The header Idempotency-Key takes 1 to {MAX_KEY} characters.", "Idempotency-Key")
        return None

    # --- a call comes in ---

    async def begin(self, name: str, fingerprint: bytes, now: float) -> tuple[Given, str, Answer | None] | Refusal:
        """("new", scope, None): make the call and ``finish`` it. Else the answer to give again. scope: "fleet" or "proxy".

        Waits while the same call runs, here or in another proxy. An answer of None with "joined": the call that was joined failed
        or was given up; the caller makes it itself then (``begin`` again).
        """
        while True:
            running = self._running.get(name)
            if running is not None:
                if running.fingerprint != fingerprint:
                    return _conflict()
                future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
                running.joiners.append(lambda answer, future=future: None if future.done() else future.set_result(answer))  # type: ignore[misc]
                answer = await future
                if answer is not None:
                    return ("joined", running.scope, answer)
                continue
            kept = self._kept_answer(name, now)
            if kept is not None:
                scope, answer = kept
                return ("replayed", scope, answer) if answer.fingerprint == fingerprint else _conflict()
            mine = self._running[name] = Running(fingerprint)
            try:
                found = await self._claim(name, fingerprint)
                mine.scope = "fleet" if found is not False else "proxy"
            except BaseException:
                self._end(name, mine, None)
                raise
            if found is None or found is False:
                if mine.scope == "fleet":
                    self._keep_claim(name, mine)
                return ("new", mine.scope, None)
            self._end(name, mine, found if isinstance(found, Answer) and found.fingerprint == mine.fingerprint else None)
            if not isinstance(found, Answer):
                return found
            return ("replayed", "fleet", found)

    def finish(self, name: str, answer: Answer | None, now: float) -> None:
        """The call that was begun as new has ended. None: without a whole answer; joiners then make the call themselves."""
        running = self._running.get(name)
        if running is None:
            return
        keep = answer is not None and answer.status < 300 and len(answer.body) <= MAX_ANSWER_BYTES
        if keep and answer is not None:
            self._remember(name, running.scope, answer, now)
        self._end(name, running, answer)
        if self._shared is not None:
            kept = answer if keep else None
            self._spawn(self._publish(name, kept))

    def joined(self, name: str) -> bool:
        """Whether somebody waits for this call."""
        running = self._running.get(name)
        return running is not None and bool(running.joiners)

    # --- inside ---

    async def _claim(self, name: str, fingerprint: bytes) -> Answer | Refusal | Literal[False] | None:
        """None: ours. False: nobody can be asked. Else another proxy's answer, waited for while it runs."""
        if self._shared is None:
            return False
        claim = self._mine + b":" + fingerprint
        try:
            while True:
                there = await self._shared.claim(name, claim, CLAIM_SECONDS)
                if there is None:
                    return None
                if not there.startswith(b"claim:"):
                    answer = self._open(there)
                    if answer is None:  # not of this installation's proxies, or of an older pepper
                        await self._shared.put(name, claim, CLAIM_SECONDS)
                        return None
                    return answer if answer.fingerprint == fingerprint else _conflict()
                if there[-16:] != fingerprint:
                    return _conflict()
                await asyncio.sleep(LOOK_SECONDS)
        except (ConnectionError, OSError, TimeoutError) as error:
            log.warning("idempotency keys hold within this process only: %s", error)
            return False

    def _keep_claim(self, name: str, running: Running) -> None:
        async def renew() -> None:
            shared = self._shared
            assert shared is not None
            while self._running.get(name) is running:
                await asyncio.sleep(CLAIM_SECONDS / 3)
                if self._running.get(name) is running:
                    try:
                        await shared.renew(name, self._mine + b":" + running.fingerprint, CLAIM_SECONDS)
                    except (ConnectionError, OSError, TimeoutError):
                        continue

        self._spawn(renew())

    async def _publish(self, name: str, answer: Answer | None) -> None:
        assert self._shared is not None
        try:
            if answer is not None:
                await self._shared.put(name, self._fernet.encrypt(msgspec.msgpack.encode(answer)), KEEP_SECONDS)
            else:
                there = await self._shared.get(name)
                if there is not None and there.startswith(self._mine):
                    await self._shared.drop(name, there)
        except (ConnectionError, OSError, TimeoutError) as error:
            log.warning("an answer was not kept for other proxies: %s", error)

    def _open(self, sealed: bytes) -> Answer | None:
        try:
            return msgspec.msgpack.decode(self._fernet.decrypt(sealed), type=Answer)
        except (InvalidToken, msgspec.MsgspecError):
            return None

    def _end(self, name: str, running: Running, answer: Answer | None) -> None:
        if self._running.get(name) is running:
            del self._running[name]
        joiners, running.joiners = running.joiners, []
        for joiner in joiners:
            joiner(answer)

    def _kept_answer(self, name: str, now: float) -> tuple[str, Answer] | None:
        found = self._kept.get(name)
        if found is None:
            return None
        if found[0] < now:
            self._forget(name)
            return None
        self._kept.move_to_end(name)
        return found[1:]

    def _remember(self, name: str, scope: str, answer: Answer, now: float) -> None:
        self._forget(name)
        self._kept[name] = (now + KEEP_SECONDS, scope, answer)
        self._kept_bytes += len(answer.body) + len(answer.head)
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> None:
        found = self._kept.pop(name, None)
        if found is not None:
            self._kept_bytes -= len(found[2].body) + len(found[2].head)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _conflict() -> Refusal:
    return Refusal(
        "idempotency_conflict",
        STEP,
        "This Idempotency-Key was used with another request. Use a new key for a new request.",
        "Idempotency-Key",
    )


class Taped:
    """A reply that is also written down, until its end. Nobody may write past it: it gives no raw writer."""

    def __init__(self, reply: Reply, done: Callable[[int, bytes, bytes, bool], None], joined: Callable[[], bool], head: bytes) -> None:
        """head: added to the reply's headers. joined: whether somebody else waits for this call."""
        self._reply = reply
        self._added = head
        self._done = done
        self._joined = joined
        self._status = 0
        self._head = b""
        self._pieces: list[bytes] = []
        self._streamed = False
        self._ended = False
        self.on_gone: Gone | None = None
        reply.on_gone = self._gone

    @property
    def gone(self) -> bool:
        return self._reply.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self._reply.gone = gone

    def set_flow(self, flow: Flow | None) -> None:
        self._reply.set_flow(flow)

    def _gone(self) -> None:
        """The app left; the call goes on when somebody else waits for it."""
        if not self._joined() and self.on_gone is not None:
            self.on_gone()

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        self._end(status, headers, body)
        self._reply.send(status, headers + self._added, body)

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        self._status, self._head, self._streamed = status, headers, True
        if data:
            self._pieces.append(data)
        self._reply.start(status, headers + self._added, data)

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._reply.write(data)

    def raw_writer(self) -> Callable[[bytes], None] | None:
        return None

    def finish(self, data: bytes = b"") -> None:
        if data:
            self._pieces.append(data)
        self._end(self._status, self._head, b"".join(self._pieces))
        self._reply.finish(data)

    def abort(self) -> None:
        if not self._ended:
            self._ended = True
            self._done(0, b"", b"", False)
        self._reply.abort()

    def _end(self, status: int, head: bytes, body: bytes) -> None:
        if not self._ended:
            self._ended = True
            self._done(status, head, body, self._streamed)
