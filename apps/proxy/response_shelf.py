"""Responses that apps asked to be kept: sealed here, kept in Postgres where every proxy finds them, given to the key that made them.

Invariants: what is kept was asked for (``store``, or by continuing what is kept); it leaves this process encrypted, bound to its key and
id; it is found by the same virtual key only; a chain is given whole or not at all.

Each turn is kept by itself and names the one before it, so that deleting a turn deletes what it said.
"""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("bulkhead.proxy")

STEP = "responses"
MAX_TURNS = 1_000
"""Earlier turns that a request may continue."""
MAX_ID = 200
"""Characters of an id that a provider gave."""
NONCE = 12
IN_THREAD = 64 * 1024
"""Bytes from which on sealing and opening is left to a thread."""
_AWAY = "Stored responses cannot be read while the database is away. Try again later, or send the whole conversation as 'input'."
_NOWHERE = (
    "This proxy runs without a database, so it stores no responses: send the whole conversation as 'input', "
    "and leave out 'previous_response_id'."
)


class ResponseStore(Protocol):
    """Where rows lie (``apps.proxy.store``). Every method raises ``apps.proxy.store.StoreAway`` when that is away."""

    async def response_put(self, key: str, id: str, previous: str, organisation: str, seconds: int, size: int, sealed: bytes) -> None: ...

    async def response_chain(self, key: str, id: str, turns: int, size: int) -> Sequence[tuple[str, str, int, bytes]]:
        """The response and its earlier turns, newest first, cut at so many turns or bytes; empty where there is none."""

    async def response_drop(self, key: str, id: str) -> bool: ...


class Turn(msgspec.Struct):
    """input: the items of the request itself, without those of earlier turns. response: as the app was given it."""

    input: list[Any]
    response: dict[str, Any]
    previous: str = ""


@dataclass(frozen=True, slots=True)
class ShelfRules:
    """What an operator decides. keep_seconds: since a turn was last continued. max_bytes: of one turn's JSON; max_chain: of a whole
    conversation's. unasked: a request that does not say ``store`` is kept, as OpenAI does."""

    keep_seconds: int = 30 * 86_400
    max_bytes: int = 4_000_000
    max_chain: int = 10_000_000
    unasked: bool = False


class ResponseShelf:
    """One per process. store None: this proxy has no database, and keeps nothing."""

    def __init__(self, store: ResponseStore | None, secret: bytes, rules: ShelfRules | None = None) -> None:
        self.rules = rules or ShelfRules()
        self._store = store
        self._secret = blake2b(b"responses", key=secret[:64], digest_size=32).digest()

    def wants(self, asked: dict[str, Any]) -> bool:
        """Whether a request is to be kept: it says so, or says nothing and continues what is kept."""
        store = asked.get("store")
        if type(store) is bool:
            return store
        return self.rules.unasked or bool(asked.get("previous_response_id"))

    async def keep(self, key_id: str, organisation: str, turn: Turn) -> str:
        """Empty once it is kept where all proxies see it; else why it is not, in words for the app."""
        if self._store is None:
            return "this proxy has no database"
        ident = turn.response.get("id")
        if type(ident) is not str or not 0 < len(ident) <= MAX_ID:
            return "it has no id that it could be found by"
        if ident == turn.previous:
            return "its provider gave it the id of the turn before it"
        try:
            plain = _encode(turn)
            if len(plain) > self.rules.max_bytes:
                return f"it is larger than {self.rules.max_bytes} bytes"
            sealed = await _aside(len(plain), self._seal, plain, key_id, ident)
            await self._store.response_put(key_id, ident, turn.previous, organisation, self.rules.keep_seconds, len(plain), sealed)
        except Exception as error:  # an answer that was made and paid for is given, kept or not
            log.warning("a response was not stored: %s", error)
            return "the database is away"
        return ""

    async def turns(self, key_id: str, ident: str, *, continued: bool) -> list[Turn] | Refusal:
        """The response and its earlier turns, oldest first. continued: for a request that goes on from it, which is refused otherwise."""
        if self._store is None:
            return Refusal("unsupported_operation", STEP, _NOWHERE, "previous_response_id" if continued else None)
        if not 0 < len(ident) <= MAX_ID:
            return unknown(ident, continued=continued)
        try:
            rows = await self._store.response_chain(key_id, ident, MAX_TURNS, self.rules.max_chain)
        except Exception as error:
            log.warning("a stored response could not be read: %s", error)
            return Refusal("not_ready", STEP, _AWAY)
        if not rows:
            return unknown(ident, continued=continued)
        last = rows[-1]
        if last[1]:
            return _without_beginning(ident, last[1], len(rows), continued=continued)
        try:
            found: list[Turn] = await _aside(sum(len(row[3]) for row in rows), self._open_all, key_id, rows)
        except (InvalidTag, ValueError, zlib.error) as error:  # not of this installation's proxies, or of an older pepper
            log.warning("a stored response could not be opened: %s", type(error).__name__)
            return unknown(ident, continued=continued)
        return found

    async def drop(self, key_id: str, ident: str) -> Refusal | None:
        """Deletes one response. Later ones that continued it cannot be continued any more."""
        if self._store is None:
            return Refusal("unsupported_operation", STEP, _NOWHERE)
        try:
            gone = 0 < len(ident) <= MAX_ID and await self._store.response_drop(key_id, ident)
        except Exception as error:
            log.warning("a stored response could not be deleted: %s", error)
            return Refusal("not_ready", STEP, "Stored responses cannot be deleted while the database is away. Try again later.")
        return None if gone else unknown(ident, continued=False)

    # --- sealing ---

    def _cipher(self, key_id: str) -> AESGCM:
        """Of one virtual key: no number of responses of others uses its nonces up."""
        return AESGCM(blake2b(key_id.encode(), key=self._secret, digest_size=32).digest())

    def _seal(self, plain: bytes, key_id: str, ident: str) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + self._cipher(key_id).encrypt(nonce, zlib.compress(plain, 3), _bound(key_id, ident))

    def _open_all(self, key_id: str, rows: Sequence[tuple[str, str, int, bytes]]) -> list[Turn]:
        """Raises InvalidTag, ValueError (msgspec's included) and zlib.error."""
        cipher = self._cipher(key_id)
        turns = []
        for ident, previous, _, sealed in reversed(rows):
            packed = bytes(sealed)
            plain = zlib.decompress(cipher.decrypt(packed[:NONCE], packed[NONCE:], _bound(key_id, ident)))
            turn = _decode(plain)
            if turn.previous != previous:
                raise ValueError("it names another turn before it than its row")
            turns.append(turn)
        return turns


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Turn).decode


def _bound(key_id: str, ident: str) -> bytes:
    return f"{key_id}\0{ident}".encode()


async def _aside(size: int, work: Any, *arguments: Any) -> Any:
    return work(*arguments) if size < IN_THREAD else await asyncio.to_thread(work, *arguments)


def unknown(ident: str, *, continued: bool) -> Refusal:
    """There is none, it is another key's, or its time is over: an app is not told which."""
    shown = repr(ident[:MAX_ID])
    if not continued:
        return Refusal(
            "response_not_found", STEP, f"There is no stored response {shown} of this key. Ask for it to be kept: 'store': true."
        )
    message = (
        f"Previous response with id {shown} not found: it was made by another key, without 'store': true, was deleted or is past its time. "
        "Send the whole conversation as 'input', and ask for 'store' where you want to continue it."
    )
    return Refusal("previous_response_not_found", STEP, message, "previous_response_id")


def _without_beginning(ident: str, missing: str, turns: int, *, continued: bool) -> Refusal:
    message = (
        f"The conversation of {ident[:MAX_ID]!r} has lost its beginning: {missing[:MAX_ID]!r} was deleted, is past its time, or lies more "
        f"than {turns} turns back, more than can be told to a model. Send what matters of it as 'input'."
    )
    code = "previous_response_not_found" if continued else "response_not_found"
    return Refusal(code, STEP, message, "previous_response_id" if continued else None)
