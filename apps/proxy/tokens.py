"""Access tokens of providers' accounts: fetched and renewed in the background, kept as the header line that a request sends.

A request reads ``TokenState.line``. It waits only where there has never been a token yet (``first``), and then no longer than it is told.
A token is renewed well before it ends; while its endpoint is away or refuses, the old one serves to its end. Then there is none, and
``problem`` says why and what to do. No secret and no token is ever logged or reported.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit

from apps.contracts.credentials import CredentialError, EntraApp, GoogleAccount
from apps.contracts.tokens_issued import Token, TokenRefused, TokenRequest, token_read, token_request
from apps.proxy.http.client import Pool
from apps.proxy.http.dial import Origin, client_tls
from apps.proxy.http.errors import UpstreamError

log = logging.getLogger("bulkhead.proxy")

RENEW_AT = 0.75
"""Part of its life after which a token is renewed: of an hour, a quarter is left for an endpoint that is away."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
FETCH_SECONDS = 10.0
LEAST_USE_SECONDS = 30.0
"""A token that was refused is replaced no more often than that."""
MOST_BYTES = 65_536
MARGIN_SECONDS = 5.0
"""A token that ends so soon is not sent any more: it might end on its way."""
_SCHEMES = {"https": 443, "http": 80}

Fetch = Callable[[TokenRequest, bool], Awaitable[tuple[int, bytes]]]
"""POSTs a request; the second argument: whether private addresses may be called. Raises UpstreamError, TimeoutError or OSError."""


class TokenState:
    """One account's token in this process. Times are the loop's, in seconds."""

    __slots__ = ("_due", "_waiters", "account", "allow_private", "ends_at", "failures", "line", "problem", "renew_at", "running", "took_at")

    def __init__(self, account: GoogleAccount | EntraApp, allow_private: bool, now: float, due: Callable[[], None]) -> None:
        """due: told when ``renew_at`` is earlier than it was."""
        self.account = account
        self._due = due
        self.took_at = 0.0
        self.allow_private = allow_private
        self.line = b""
        """The header that a request sends, with its line's end; empty while there is no token."""
        self.ends_at = 0.0
        self.renew_at = now
        self.failures = 0
        self.problem = ""
        """Why the last fetch failed; empty after one that did not."""
        self.running: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def good(self, now: float) -> bool:
        return bool(self.line) and now < self.ends_at

    async def first(self, seconds: float) -> None:
        """Returns once there is a token or a fetch has failed, or the time is over. Await it in a task."""
        if self.line or self.problem:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass

    def took(self, token: Token, now: float) -> None:
        self.line = b"authorization: Bearer %b\r\n" % token.text.encode("ascii")
        self.ends_at = now + max(token.lasts_seconds - MARGIN_SECONDS, 1.0)
        self.renew_at = now + token.lasts_seconds * RENEW_AT
        self.took_at = now
        self.failures, self.problem = 0, ""
        self._wake()

    def failed(self, problem: str, now: float) -> None:
        self.failures += 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self.failures - 1, 10), LONGEST_PAUSE_SECONDS)
        self.renew_at = now + pause * random.uniform(0.8, 1.0)
        self.problem = problem
        if not self.good(now):
            self.line = b""
        self._wake()

    def refused(self, line: bytes, now: float) -> None:
        """A provider did not take the token: another one is fetched, unless it is another one already. One that is quite new is kept: then
        it is not the token that is wrong, and its endpoint is spared."""
        if line == self.line and now - self.took_at >= LEAST_USE_SECONDS and self.renew_at > now:
            self.renew_at = now
            self._due()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class TokenKeeper:
    """Every account's token, by (credential, whether private addresses may be called). ``run`` until cancelled."""

    def __init__(self, now: Callable[[], float], fetch: Fetch | None = None, wall: Callable[[], float] = time.time) -> None:
        self._now = now
        self._wall = wall
        self._fetch: Fetch = fetch if fetch is not None else http_fetch
        self._states: dict[tuple[str, bool], TokenState] = {}
        self._changed = asyncio.Event()

    def state_of(self, credential_id: str, account: GoogleAccount | EntraApp, *, allow_private: bool) -> TokenState:
        """The same as long as the account is the same."""
        found = self._states.get((credential_id, allow_private))
        if found is None or found.account != account:
            found = self._states[credential_id, allow_private] = TokenState(account, allow_private, self._now(), self._changed.set)
            self._changed.set()
        return found

    def keep(self, used: set[tuple[str, bool]]) -> None:
        """With a new config: no token of a credential that it does not use."""
        for name in self._states.keys() - used:
            del self._states[name]

    def look(self) -> None:
        """At what is due, now instead of when the next is."""
        self._changed.set()

    async def run(self) -> None:
        try:
            while True:
                now = self._now()
                for state in tuple(self._states.values()):
                    if state.running is None and now >= state.renew_at:
                        state.running = asyncio.get_running_loop().create_task(self._renew(state))
                    if state.line and now >= state.ends_at:
                        state.line = b""
                dates = [state.renew_at for state in self._states.values() if state.running is None]
                dates += [state.ends_at for state in self._states.values() if state.line]
                self._changed.clear()
                try:
                    async with asyncio.timeout(max(0.05, min(min(dates, default=now + 3600.0) - now, 3600.0))):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            for state in self._states.values():
                if state.running is not None:
                    state.running.cancel()

    async def _renew(self, state: TokenState) -> None:
        try:
            token = await self._asked(state)
        except (TokenRefused, CredentialError) as error:
            self._failed(state, str(error))
        except (UpstreamError, TimeoutError, OSError) as error:
            where = _address(state.account)
            self._failed(state, f"{where} cannot be reached for a token ({str(error).rstrip('.') or type(error).__name__}).")
        except Exception:  # a fault of ours must not end the keeping of all others
            log.exception("a token could not be fetched")
            self._failed(state, "The proxy failed while it fetched a token. Its log says why.")
        else:
            state.took(token, self._now())
        finally:
            state.running = None
            self._changed.set()

    async def _asked(self, state: TokenState) -> Token:
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(None, partial(token_request, state.account, self._wall()))  # it signs with RSA
        if not state.allow_private and not asked.url.startswith("https://"):
            raise TokenRefused(f"{asked.url} is not https: tokens are asked for in the open on private networks only.", lasting=True)
        async with asyncio.timeout(FETCH_SECONDS):
            status, body = await self._fetch(asked, state.allow_private)
        return token_read(asked.url, status, body)

    def _failed(self, state: TokenState, problem: str) -> None:
        log.warning("no new access token: %s", problem)
        state.failed(problem, self._now())


def _address(account: GoogleAccount | EntraApp) -> str:
    return account.token_uri if isinstance(account, GoogleAccount) else account.authority


class _Answer:
    """The sink of one fetch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[tuple[int, bytes]] = loop.create_future()
        self._status = 0
        self._body = b""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status

    def data(self, chunk: bytes) -> None:
        self._body += chunk
        if len(self._body) > MOST_BYTES and not self.done.done():
            self.done.set_exception(OSError("its answer does not end"))

    def flush(self) -> None:
        pass

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result((self._status, self._body))

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def http_fetch(asked: TokenRequest, allow_private: bool) -> tuple[int, bytes]:
    """Through the proxy's own client, with its guard. Tokens are fetched about once an hour: no connection is kept."""
    parts = urlsplit(asked.url)
    host, port = parts.hostname or "", parts.port or _SCHEMES[parts.scheme]
    pool = Pool(
        Origin(parts.scheme, host, port, allow_private=allow_private),
        client_tls() if parts.scheme == "https" else None,
    )
    shown = parts.netloc.rpartition("@")[2]
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {shown}\r\naccept: application/json\r\naccept-encoding: identity\r\n"
        f"user-agent: bulkhead\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {len(asked.body)}\r\n\r\n"
    )
    answer = _Answer(asyncio.get_running_loop())
    connection = await pool.connect(FETCH_SECONDS)
    try:
        connection.send(head.encode("ascii") + asked.body, answer, replay_safe=True)
        return await answer.done
    finally:
        connection.abort()
        pool.close()
