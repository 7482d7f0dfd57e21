"""Who asks: the virtual key in ``Authorization: Bearer`` (or ``x-api-key``, as some SDKs send it)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from apps.contracts.networks import Networks, client_address
from apps.contracts.passes import PREFIX as PASS
from apps.contracts.passes import pass_opens
from apps.contracts.snapshot import KeyFragment
from apps.contracts.tokens import MAX_LENGTH, foreign_name, foreign_name_of, token_digest
from apps.proxy.errors import Refusal
from apps.proxy.runtime import CompiledKey

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.http.types import Request
    from apps.proxy.runtime import Runtime

STEP = "authenticate"
MAX_KNOWN = 16_384
"""Tokens remembered per config, in memory only: a repeated key costs a look-up instead of an HMAC."""


class Authenticator:
    """Holds the installation's pepper and the measured offset to database time; the step itself is ``__call__``."""

    __slots__ = ("_killed", "_known", "_lasting", "_lent", "_pepper", "_runtime", "_trusted", "offset_ms")

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
        self._lent: dict[str, CompiledKey] = {}
        """Keys as passes open them, by id; forgotten whenever the config changes."""
        self.offset_ms = 0

    def __call__(self, exchange: Exchange, runtime: Runtime) -> Refusal | None:
        if runtime is self._runtime:
            key = self._lasting.get(exchange.request.headers.get(b"authorization", b""))
            if key is not None:
                exchange.key = key
                return None
        found = self.key_of(exchange.request.headers, runtime, exchange.request.peer)
        if isinstance(found, Refusal) and found.code == "invalid_api_key":  # what else might open something is looked for only now
            found = self._lend(exchange.request, runtime) or found
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
            self._runtime, self._known, self._lasting, self._lent = runtime, {}, {}, {}
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
            return self._refused(key, key.refused)
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

    def _refused(self, key: CompiledKey, refused: tuple[str, str]) -> Refusal:
        if key.killed_by:
            self._killed = key
            return Refusal(refused[0], STEP, refused[1], detail={"flags": [key.killed_by]})
        return Refusal(refused[0], STEP, refused[1])

    def _lend(self, request: Request, runtime: Runtime) -> CompiledKey | Refusal | None:
        """What a pass opens (``apps.contracts.passes``): its key as it is, except that it may ask for explanations and that its addresses,
        which are for its apps, are not asked for. None: it is no pass that holds now."""
        token = request.headers.get(b"authorization", b"").partition(b" ")[2].strip()
        if not token.startswith(PASS) or len(token) > MAX_LENGTH:
            return None
        now_ms = int(time.time() * 1000 + self.offset_ms)
        id = pass_opens(self._pepper, token, body=request.body, now_ms=now_ms)
        if id is None:
            return None
        key = self._lent.get(id)
        if key is None:
            fragment = runtime.fragments["keys"].get(id)
            present = _present(fragment, runtime) if isinstance(fragment, KeyFragment) else None
            if present is None or not isinstance(fragment, KeyFragment):
                return None
            key = self._lent[id] = CompiledKey(fragment, present.spend, present.refused)
            key.killed_by, key.secret, key.explain = present.killed_by, "", True
        if key.refused is not None:
            return self._refused(key, key.refused)
        if key.expires_at_ms is not None and now_ms >= key.expires_at_ms:
            return Refusal("key_expired", STEP, key.expired_message)
        return key


def _present(fragment: KeyFragment, runtime: Runtime) -> CompiledKey | None:
    """The key as a token of it that was not replaced opens it."""
    for name, text in [*((bytes.fromhex(d), d) for d in fragment.digests), *((foreign_name_of(h), h) for h in fragment.hashes)]:
        if text not in fragment.digests_until_ms:
            return runtime.keys.get(name)
    return None


def _elsewhere(name: str, client: str) -> str:
    where = f"from {client}" if client else "from where this request came, whose address is not known"
    return f"The key {name!r} may not be used {where}. Ask its owner to add the address to the ranges of the key."
