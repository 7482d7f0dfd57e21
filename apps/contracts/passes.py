"""A pass opens one virtual key for one request, for a minute, without the key's secret: how the control plane calls as a key.

``bkpass-<key id, 32 hex>-<until, milliseconds since the epoch>-<HMAC-SHA256, 64 hex>``. The HMAC covers the key, the moment and the
request's whole body, under a key derived from the installation's pepper: a pass that got about opens nothing but the same request again.
What it is derived from holds a byte that no header and so no token may carry, so no token's digest is ever a pass's key.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from uuid import UUID

PREFIX = b"bkpass-"
LIFETIME_MS = 60_000
"""How long a pass lasts at most; proxies refuse one that says it lasts longer, beyond what clocks may differ by."""
CLOCKS_MS = 5_000
_PURPOSE = b"bulkhead\x00passes to keys"


def new_pass(pepper: bytes, *, key_id: str, body: bytes, now_ms: int) -> str:
    """A pass to the key, good for ``body`` from now on for LIFETIME_MS. key_id: a UUID. now_ms: since the epoch."""
    said = f"{UUID(key_id).hex}-{now_ms + LIFETIME_MS}"
    return f"{PREFIX.decode()}{said}-{_mac(pepper, said.encode(), body)}"


def pass_opens(pepper: bytes, token: bytes, *, body: bytes, now_ms: int) -> str | None:
    """Id of the key that this token opens for this body now; None where it is no pass, another's body, too late or too long."""
    said, _, mac = token.removeprefix(PREFIX).rpartition(b"-")
    key, _, until = said.partition(b"-")
    if not token.startswith(PREFIX) or len(key) != 32 or not until.isdigit() or len(until) > 15:
        return None
    if not hmac.compare_digest(_mac(pepper, said, body).encode(), mac):
        return None
    if not now_ms < int(until) <= now_ms + LIFETIME_MS + CLOCKS_MS:
        return None
    return str(UUID(key.decode()))


def _mac(pepper: bytes, said: bytes, body: bytes) -> str:
    return hmac.new(hmac.digest(pepper, _PURPOSE, "sha256"), said + sha256(body).digest(), "sha256").hexdigest()
