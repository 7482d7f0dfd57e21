"""Who asks: the virtual key in ``Authorization: Bearer`` (or ``x-api-key``, as some SDKs send it)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from apps.contracts.tokens import MAX_LENGTH, token_digest
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledKey, Runtime

STEP = "authenticate"
MAX_KNOWN = 16_384
"""Tokens remembered per config, in memory only: a repeated key costs a look-up instead of an HMAC."""


class Authenticator:
    """Holds the installation's pepper and the measured offset to database time; the step itself is ``__call__``."""

    __slots__ = ("_known", "_lasting", "_pepper", "_runtime", "offset_ms")

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._runtime: Runtime | None = None
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
        found = self.key_of(exchange.request.headers, runtime)
        if isinstance(found, Refusal):
            return found
        exchange.key = found
        return None

    def key_of(self, headers: dict[bytes, bytes], runtime: Runtime) -> CompiledKey | Refusal:
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
            if key is not None and len(self._known) < MAX_KNOWN:
                self._known[token] = key
        if key is None:
            return Refusal("invalid_api_key", STEP, "The virtual key is not known here. Check that it was copied whole.")
        if key.refused is not None:
            return Refusal(key.refused[0], STEP, key.refused[1])
        if key.expires_at_ms is not None:
            if time.time() * 1000 + self.offset_ms >= key.expires_at_ms:
                return Refusal("key_expired", STEP, key.expired_message)
        elif value is not None and len(self._lasting) < MAX_KNOWN:
            self._lasting[value] = key
        return key
