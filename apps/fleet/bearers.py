"""The token that each replica demands: made with its order, known to its worker and to proxies, and to nobody else.

At rest it lies under the master key; in the agent's order it goes over the agent's own link, to proxies under their seal key, as a
provider's credentials do. It lives as long as its replica: another one is another replica's (``replica_replace``).
"""

from __future__ import annotations

import logging
import secrets
from uuid import UUID

from apps.contracts.fleet import BEARER_PREFIX
from apps.fleet.models import Deployment, Worker
from apps.providers import vault

log = logging.getLogger("bulkhead.fleet")


def bearer_made(deployment: Deployment, worker: Worker) -> str:
    """A new one, encrypted; "" where the worker says of the engine that it cannot demand any. Raises VaultError."""
    for offer in worker.host.get("engines", []):
        same = offer.get("engine") == deployment.engine and (deployment.engine != "command" or offer.get("recipe", "") == deployment.recipe)
        if same and offer.get("bearer"):
            return vault.encrypt(BEARER_PREFIX + secrets.token_urlsafe(32))
    return ""


def bearer_read(encrypted: str) -> str:
    """The token itself. Raises VaultError."""
    return vault.decrypt(encrypted) if encrypted else ""


def bearer_sealed(replica: UUID, encrypted: str) -> str:
    """For proxies. "" where there is none, or where a key is missing: its replica refuses them then, which their breakers show."""
    try:
        return vault.seal(f"replica {replica}", bearer_read(encrypted)) if encrypted else ""
    except vault.VaultError as error:
        log.error("proxies cannot be told the token of replica %s: %s", replica, error)
        return ""
