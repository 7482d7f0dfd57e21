"""What every channel shares: the message, the receiver, and what success, failure and doubt mean.

``send`` returns a short word about how it went (``202``) where the receiver took the message, and raises otherwise:

    NotDelivered            nothing was taken
    ├── Refused             and the same message never will be: a wrong address or key, a body that is not liked
    └── Again               and later it may be: busy, unreachable, limited; ``after`` seconds where the receiver said so
    Doubtful                the message was handed over and no answer came: nobody knows

A channel judges no alert and reads no database: it turns a message into what its receiver understands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, cast

import httpx
import msgspec

from apps.providers.outbound import AddressRefused, NameUnknown, cause_of

Open = Callable[[bool], httpx.Client]
"""Makes the client that may reach private networks (True) or not; tests bring their own."""

LONGEST_WAIT = 3600.0
"""Seconds: a receiver that asks for more is asked again after this."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One telling, as it was decided; each channel takes from it what its receiver knows.

    what: of ``channel_choices.WHATS``. key: the same for everything told of one group, so that receivers join it. at: RFC 3339, UTC.
    title: one line. text: plain, several lines. alerts: each alert's facts, for programs. url, answer_url: the alert's page and the page
    that takes or silences it; empty where the installation does not know its own address. links: (label, address).
    """

    what: str
    key: str
    at: str
    severity: str
    title: str
    text: str
    organisation: str
    environment: str
    alerts: list[dict[str, Any]] = []
    url: str = ""
    answer_url: str = ""
    links: list[tuple[str, str]] = []

    def document(self) -> dict[str, Any]:
        """As it is kept beside a delivery."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a message goes: opened, just before it is used. id: of the delivery, the same for every try."""

    id: str
    address: str
    secret: str = ""
    allow_private: bool = False


class NotDelivered(Exception):
    """The receiver did not take it; the message says why, without secrets."""


class Refused(NotDelivered):
    """And trying again is of no use."""


class Again(NotDelivered):
    """And it may later. after: seconds that the receiver asked to wait, 0 where it said nothing."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = min(max(after, 0.0), LONGEST_WAIT)


class Doubtful(Exception):
    """It was handed over, and the answer is missing."""


class Channel(Protocol):
    """One kind of receiver."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """Hand it over. Raises Refused, Again, Doubtful."""


def post(to: Receiver, url: str, body: bytes, headers: dict[str, str], *, open_client: Open) -> httpx.Response:
    """One POST whose answer was good (2xx). Raises as ``Channel.send`` does; the address, which may hold a secret, is in no error."""
    try:
        with open_client(to.allow_private) as client:
            answer = client.post(url, content=body, headers=headers)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        if cause_of(error, AddressRefused):
            raise Refused("its address leads to where this channel may not call: allow private networks, or change it") from error
        if cause_of(error, NameUnknown):
            raise Again("the name of its address is not known") from error
        raise Again(f"no connection ({type(error).__name__})") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Refused("its address is not one that can be called") from error
    except (httpx.HTTPError, OSError) as error:
        raise Doubtful(f"no answer ({type(error).__name__})") from error
    return judged(answer)


def judged(answer: httpx.Response) -> httpx.Response:
    """The answer where it is good. Raises Refused and Again."""
    if answer.is_success:
        return answer
    said = f"it answered {answer.status_code}"
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise Again(said, after=_seconds(answer.headers.get("retry-after", "")))
    raise Refused(said + (": it leads elsewhere, which is not followed" if answer.is_redirect else ""))


def moment(at: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def cut(text: str, longest: int) -> str:
    """At most so many characters, the last one a sign that something is missing."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0
