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
    address: the client's IP address where there was a request; agent: what its ``User-Agent`` said.
    via: the personal token that the call came with, in words (``token deploy (…x7Qe)``); empty for a browser's session.
    grants: what that token narrows the person to (``apps.accounts.scopes``); None: nothing is narrowed.
    """

    kind: ActorKind
    id: str
    name: str
    role: str = ""
    address: str = ""
    agent: str = ""
    via: str = ""
    grants: frozenset[str] | None = None

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
        """A person who is signed in or sent a personal token; ``request`` (any object with ``META``) adds where from, and its token
        what it is narrowed to.

        The user model offers ``roles_text()``; audit stores the text, so that it stays true when the role changes.
        """
        roles_text = getattr(user, "roles_text", None)
        token = getattr(request, "auth", None)
        return cls(
            kind="user",
            id=str(user.pk),
            name=str(getattr(user, "email", "") or user),
            role=roles_text() if roles_text is not None else "",
            address=client_address(request),
            agent=client_agent(request),
            via=getattr(token, "via", ""),
            grants=getattr(token, "grants", None),
        )


def client_address(request: Any) -> str:
    """The peer's IP address of a request, empty without one. Forwarded headers are not trusted here: uvicorn's
    ``--proxy-headers`` rewrites the peer for the hosts an operator names."""
    if request is None:
        return ""
    return str(request.META.get("REMOTE_ADDR") or "")


def client_agent(request: Any) -> str:
    """What the client calls itself, empty without a request. Anybody may say anything there."""
    return "" if request is None else str(request.META.get("HTTP_USER_AGENT") or "")
