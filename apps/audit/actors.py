"""Who acts: every service takes an ``Actor``, every audit event stores one as it was at that moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ActorKind = Literal["user", "system", "command"]


@dataclass(frozen=True, slots=True)
class Actor:
    """One who changes things.

    kind: ``user`` a signed-in person, ``command`` an operator at the shell of the control plane's host, ``system`` a part of Bulkhead.
    id: the person's id as text; the command's or the part's name otherwise.
    role: what the person was allowed then, as text ("admin of main"); empty for system and command, which are not asked.
    address: the client's IP address where there was a request.
    """

    kind: ActorKind
    id: str
    name: str
    role: str = ""
    address: str = ""

    @classmethod
    def system(cls, name: str) -> Actor:
        """A part of Bulkhead itself, such as ``shipper`` or ``partitions``."""
        return cls(kind="system", id=name, name=name)

    @classmethod
    def command(cls, name: str) -> Actor:
        """A management command, run by an operator on the host."""
        return cls(kind="command", id=name, name=name)

    @classmethod
    def of_user(cls, user: Any, request: Any = None) -> Actor:
        """A signed-in person; ``request`` (any object with ``META``) adds the address.

        The user model offers ``roles_text()``; audit stores the text, so that it stays true when the role changes.
        """
        roles_text = getattr(user, "roles_text", None)
        return cls(
            kind="user",
            id=str(user.pk),
            name=str(getattr(user, "email", "") or user),
            role=roles_text() if roles_text is not None else "",
            address=client_address(request),
        )


def client_address(request: Any) -> str:
    """The peer's IP address of a request, empty without one. Forwarded headers are not trusted here: uvicorn's
    ``--proxy-headers`` rewrites the peer for the hosts an operator names."""
    if request is None:
        return ""
    return str(request.META.get("REMOTE_ADDR") or "")
