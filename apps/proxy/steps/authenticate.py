"""Who asks: the virtual key in ``Authorization: Bearer`` (or ``x-api-key``, as some SDKs send it)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from apps.contracts.networks import Networks, client_address
from apps.contracts.tokens import MAX_LENGTH, foreign_name, token_digest
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.http.types import Request
    from apps.proxy.runtime import CompiledKey, Runtime

STEP = "authenticate"
MAX_KNOWN = 16_384
"""Tokens remembered per config, in memory only: a repeated key costs a look-up instead of an HMAC."""


class Authenticator:
    """Holds the installation's pepper and the measured offset to database time; the step itself is ``__call__``."""

    __slots__ = ("_killed", "_known", "_lasting", "_pepper", "_runtime", "_trusted", "offset_ms")

    def __init__(self, pepper: bytes, trusted: Networks | None = None) -> None:
        """trusted: the proxies before ours whose ``x-forwarded-for`` says who the client is; None: nobody's does."""
        self._pepper = pepper
        self._trusted = trusted
        self._runtime: Runtime | None = None
        self._killed: CompiledKey | None = None
        """The key refused last because a flag stops it."""
        self._known: dict[bytes, CompiledKey] = {}
        """Tokens whose HMAC was found in the current config; forgotten whenever the config changes."""
        self._lasting: dict[bytes, CompiledKey] = {}
        """Whole ``Authorization`` values of keys that nothing but a new config can end."""
        self.offset_ms = 0

    def __call__(self, exchange: Exchange, runtime: Runtime) -> Refusal | None:
        if runtime is self._runtime:
            key = self._lasting.get(exchange.request.headers.get(b"authorization", b""))
            if key is not None:
                exchange.key = key
                return None
        found = self.key_of(exchange.request.headers, runtime, exchange.request.peer)
        if isinstance(found, Refusal):
            if found.code == "key_killed":
                exchange.key = self._killed  # known, so its refusal is a record that names the flag
            return found
        exchange.key = found
        return None

    def client_of(self, request: Request) -> str:
        """The client's address as far as it is known, empty where it is not: told by a proxy before ours only where that one is trusted."""
        if self._trusted is None:
            return request.peer
        return client_address(request.peer, request.headers.get(b"x-forwarded-for", b"").decode("latin-1"), self._trusted)

    def key_of(self, headers: dict[bytes, bytes], runtime: Runtime, peer: str = "") -> CompiledKey | Refusal:
        """peer: the address of the connection's other end; a key that is bound to addresses opens nothing without one."""
        value = headers.get(b"authorization")
        if value is not None:
            scheme, _, token = value.partition(b" ")
            token = token.strip()
            if scheme.lower() != b"bearer":
                return Refusal("missing_key", STEP, "Send the virtual key as 'Authorization: Bearer bk-...'.")
        else:
            token = headers.get(b"x-api-key", b"").strip()
        if not token:
            return Refusal("missing_key", STEP, "No virtual key was sent. Send 'Authorization: Bearer bk-...'.")
        if len(token) > MAX_LENGTH:
            return Refusal("invalid_api_key", STEP, "This is no virtual key of this installation: it is too long.")
        if runtime is not self._runtime:
            self._runtime, self._known, self._lasting = runtime, {}, {}
        key = self._known.get(token)
        if key is None:
            key = runtime.keys.get(token_digest(self._pepper, token))
            if key is None:  # only a token that is not ours, or nobody's, comes here: the others pay nothing for it
                key = runtime.keys.get(foreign_name(token))
            if key is not None and len(self._known) < MAX_KNOWN:
                self._known[token] = key
        if key is None:
            return Refusal("invalid_api_key", STEP, "The virtual key is not known here. Check that it was copied whole.")
        if key.refused is not None:
            if key.killed_by:
                self._killed = key
                return Refusal(key.refused[0], STEP, key.refused[1], detail={"flags": [key.killed_by]})
            return Refusal(key.refused[0], STEP, key.refused[1])
        if key.addresses is not None:
            client = client_address(peer, headers.get(b"x-forwarded-for", b"").decode("latin-1"), self._trusted)
            if not key.addresses.holds(client):
                return Refusal("address_not_allowed", STEP, _elsewhere(key.name, client))
        if key.expires_at_ms is not None:
            if time.time() * 1000 + self.offset_ms >= key.expires_at_ms:
                return Refusal("key_expired", STEP, key.expired_message)
        elif value is not None and key.addresses is None and len(self._lasting) < MAX_KNOWN:
            self._lasting[value] = key
        return key


def _elsewhere(name: str, client: str) -> str:
    where = f"from {client}" if client else "from where this request came, whose address is not known"
    return f"The key {name!r} may not be used {where}. Ask its owner to add the address to the ranges of the key."
