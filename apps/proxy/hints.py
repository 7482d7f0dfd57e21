"""Breaker hints: what one proxy learns of a target, the others hear within a second, through Redis.

Off the hot path, and never needed: a breaker decides by itself (``apps.proxy.breaker``), a hint only lets it decide sooner. What always
holds (``tests/proxy/test_hints.py``):

1. No request ever waits for Redis. A breaker's change puts its label into a set and rings a bell; one task does the rest.
2. Redis away, frozen or wrong changes nothing but ``state``, one line in the log, and how soon others know. It is tried again after
   0.1 to ``MAX_PAUSE_SECONDS`` seconds; once back, everybody tells what is open.
3. Only what a proxy found out itself is told on: a breaker that a hint opened is not announced, so that nothing echoes. What was forced
   is not announced either: whoever forced it tells everybody.
4. A message is a hint whatever it says: bounded in time by the breaker, ignored when late, unreadable, our own, or about an unknown target.
5. A claim is a courtesy: it makes proxies probe one after the other. Lost, expired or stolen, the worst is one probe more.

Channel ``bulkhead:breakers``: JSON ``{boot, label, state, until_ms}``. ``state``: ``open`` (until then), ``closed`` (it answered),
``hello`` (a proxy came: tell what is open). ``until_ms``: milliseconds since the epoch by Redis' clock, which every proxy measures: a
message that was held up for longer than it holds (a frozen process, a slow network) is not believed.

Key ``bulkhead:probe:<label>``: the boot id of the proxy whose turn it is to probe, set by ``SET NX PX`` shortly before a breaker's time is
over and renewed while its probe is out. Who comes second waits for the first one's result.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from apps.proxy.breaker import Breaker, Breakers

log = logging.getLogger("bulkhead.proxy")

CHANNEL = "bulkhead:breakers"
PROBE_KEY = "bulkhead:probe:"
MAX_PAUSE_SECONDS = 2.0
ANSWER_SECONDS = 2.0
"""Redis silent for longer is away."""
PING_SECONDS = 5.0
"""How often a connection that is not used is looked after, and the clock measured."""
TICK_SECONDS = 0.1
"""How often open breakers are looked at."""
CLAIM_AHEAD_SECONDS = 0.25
"""How long before its time a probe is claimed."""
CLAIM_MS = 1_500
RENEW_SECONDS = 0.5
WAIT_SECONDS = 2.0
"""How long who lost a claim waits for the winner's result before it claims again: longer than a claim that nobody uses."""
MAX_MESSAGE_BYTES = 4_096

State = Literal["connecting", "connected", "away"]


class Message(msgspec.Struct, frozen=True):
    boot: str
    label: str
    state: Literal["open", "closed", "hello"]
    until_ms: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] = 0


_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


class UrlError(ValueError):
    """A Redis URL that cannot be one; the message says what it should look like, and not what it is: it may hold a password."""


def checked_url(url: str) -> str:
    """``url`` where it can be one of Redis'. Raises UrlError."""
    try:
        parts = urlsplit(url)
        usable = (parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0) or (parts.scheme == "unix" and parts.path)
    except ValueError:
        usable = False
    if not usable:
        raise UrlError("it should look like redis://user:password@host:6379/0, or rediss:// for TLS, or unix:///path/to/socket")
    return url


def _stop_if_cancelled() -> None:
    """Redis' client may swallow a cancellation that comes while it reads; the task remembers that it was meant to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Claim:
    """A probe that is this proxy's: for the breaker's opening that ends at ``retry_at``. Loop times."""

    __slots__ = ("made", "retry_at")

    def __init__(self, retry_at: float, made: float) -> None:
        self.retry_at = retry_at
        self.made = made


class Hints:
    """``run`` until cancelled, in a task of its own. ``now``: the event loop's time, which the breakers live by. ``drain``: tells breakers
    of the successes that they were not told of yet; at the time of a hint they count."""

    def __init__(self, breakers: Breakers, url: str, boot_id: str, now: Callable[[], float], drain: Callable[[float], object]) -> None:
        """Listens to the breakers' changes, before who listened already. Raises UrlError."""
        self.state: State = "connecting"
        self.sent = 0
        self.received = 0
        self._breakers = breakers
        self._url = checked_url(url)
        self._boot = boot_id
        self._now = now
        self._drain = drain
        self._offset_ms = 0.0
        """Redis' clock minus ours."""
        self._changed: set[str] = set()
        """Labels of which the others do not know the latest."""
        self._bell = asyncio.Event()
        self._claims: dict[str, _Claim] = {}
        self._pause = 0.0
        before = breakers.on_change

        def changed(label: str, breaker: Breaker) -> None:
            self._changed.add(label)
            self._bell.set()
            if before is not None:
                before(label, breaker)

        breakers.on_change = changed

    def detail(self) -> dict[str, str]:
        """For the heartbeat's detail: nothing while all is well."""
        return {"redis": "away"} if self.state == "away" else {}

    async def run(self) -> None:
        while True:
            try:
                await self._session()
            except Exception as error:  # whatever it is, and be it a fault of ours: requests go on, and so does this
                if self.state != "away":
                    log.warning("redis: away (%s: %s): breakers decide without the other proxies' hints", type(error).__name__, error)
                self.state = "away"
            _stop_if_cancelled()
            self._claims.clear()
            self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2 or 0.1)
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))

    # --- one connection's life -----------------------------------------------------------------------------------------------

    async def _session(self) -> None:
        """Until the connection breaks, which it raises."""
        # Imported here: a proxy without Redis does not pay for its client.
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        client: Redis = Redis.from_url(
            self._url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._measure(client)
            await pubsub.subscribe(CHANNEL)
            if self.state == "away":
                log.info("redis: back, breakers share hints again")
            self.state = "connected"
            self._pause = 0.0
            await self._publish(client, Message(self._boot, "", "hello"))
            self._tell_all()
            _stop_if_cancelled()
            tasks = [asyncio.ensure_future(self._listen(pubsub)), asyncio.ensure_future(self._speak(client))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            for thing in (pubsub, client):
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await thing.aclose()
                except Exception as error:  # it is broken already: how it ends tells nothing new
                    log.debug("redis: closing a broken connection: %s", error)
            if tasks:
                await asyncio.wait(tasks, timeout=ANSWER_SECONDS)
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.exception()  # the first one's was raised above

    async def _measure(self, client: Redis) -> None:
        """How far Redis' clock is from ours; also shows that it answers."""
        before = self._now()
        seconds, micros = await client.time()
        self._offset_ms = seconds * 1000 + micros / 1000 - (before + self._now()) / 2 * 1000

    async def _listen(self, pubsub: Any) -> None:
        async for message in pubsub.listen():
            self.received += 1
            data = message.get("data")
            if message.get("type") == "message" and isinstance(data, bytes) and len(data) <= MAX_MESSAGE_BYTES:
                self._heard(data)
            _stop_if_cancelled()
        raise ConnectionError("the subscription ended")

    async def _speak(self, client: Redis) -> None:
        """Tells changes at once, and looks at open breakers' probes every tick."""
        looked_after = self._now()
        while True:
            watching = bool(self._claims) or any(breaker.state != "closed" and not breaker.forced for breaker in self._breakers)
            try:
                async with asyncio.timeout(TICK_SECONDS if watching else PING_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()
            while self._changed:
                message = self._message(self._changed.pop())
                if message is not None:  # were it lost with the connection, all that is open is told after the next
                    await self._publish(client, message)
            await self._probes(client)
            now = self._now()
            if now - looked_after >= PING_SECONDS:
                looked_after = now
                await self._measure(client)
            _stop_if_cancelled()

    # --- what is said and heard ----------------------------------------------------------------------------------------------

    def _message(self, label: str) -> Message | None:
        """What is to be told of a breaker now: None where it is nobody's business, or known from elsewhere."""
        breaker = self._breakers.get(label)
        if breaker is None or breaker.forced or breaker.hinted or breaker.state == "half_open":
            return None
        if breaker.state == "closed":
            return Message(self._boot, label, "closed")
        return Message(self._boot, label, "open", round(breaker.retry_at() * 1000 + self._offset_ms))

    async def _publish(self, client: Redis, message: Message) -> None:
        await client.publish(CHANNEL, _encode(message))
        self.sent += 1

    def _tell_all(self) -> None:
        self._changed.update(breaker.label for breaker in self._breakers if breaker.state == "open")
        self._bell.set()

    def _heard(self, data: bytes) -> None:
        try:
            message = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if message.boot == self._boot:
            return
        if message.state == "hello":
            self._tell_all()
            return
        breaker = self._breakers.get(message.label)
        if breaker is None:
            return
        now = self._now()
        if message.state == "closed":
            breaker.ready(now)
        else:
            self._drain(now)
            breaker.hint(now, (message.until_ms - self._offset_ms) / 1000 - now)

    # --- whose turn it is to probe -------------------------------------------------------------------------------------------

    async def _probes(self, client: Redis) -> None:
        now = self._now()
        for label, claim in tuple(self._claims.items()):
            breaker = self._breakers.get(label)
            if breaker is not None and breaker.state == "half_open":
                if now - claim.made >= RENEW_SECONDS:
                    claim.made = now
                    await client.set(PROBE_KEY + label, self._boot, xx=True, px=CLAIM_MS)
            elif breaker is None or breaker.state == "closed" or breaker.retry_at() != claim.retry_at:
                del self._claims[label]  # the probe has shown what it has: the next one may be anybody's
                await client.delete(PROBE_KEY + label)
            elif now - claim.made > CLAIM_MS / 1000:
                del self._claims[label]  # it ran out unused: no request came here
        for breaker in tuple(self._breakers):
            if breaker.state != "open" or breaker.forced or breaker.label in self._claims:
                continue
            retry_at = breaker.retry_at()
            now = self._now()
            if now < retry_at <= now + CLAIM_AHEAD_SECONDS:
                if await client.set(PROBE_KEY + breaker.label, self._boot, nx=True, px=CLAIM_MS):
                    self._claims[breaker.label] = _Claim(retry_at, now)
                else:
                    breaker.postpone(now + WAIT_SECONDS)
