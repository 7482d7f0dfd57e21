"""Where one request has failed among a deployment's replicas, and so whom it may ask next. Pure.

A replica at which it failed is passed over until there is a reason to ask it again:

- where it was silent or its connection broke: it gave a **sign of life** since, to the watch's free question or to somebody's request;
- where it answered with an error, or its connection broke and it is in rotation: ``AGAIN_SECONDS`` have passed.

Nobody is asked more than ``MOST`` times by one request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Literal, Protocol, TypeVar

End = Literal["silent", "broken", "refused"]
"""How it failed: nothing came back, the connection broke or was refused, or it answered with an error."""
AGAIN_SECONDS = 1.0
MOST = 3


class Asked(Protocol):
    """answered: when it gave its last sign of life; the loop's time, seconds. why: why it is out of rotation; empty while it is in."""

    @property
    def answered(self) -> float: ...
    @property
    def why(self) -> str: ...


Replica = TypeVar("Replica", bound=Asked)


class Try:
    """at: when it failed there last, and how. times: how often."""

    __slots__ = ("at", "end", "times")

    def __init__(self) -> None:
        self.at = 0.0
        self.times = 0
        self.end: End = "refused"


class Tries(Generic[Replica]):
    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[Replica, Try] = {}

    def __len__(self) -> int:
        return len(self._of)

    def failed(self, replica: Replica, now: float, end: End) -> None:
        found = self._of.setdefault(replica, Try())
        found.at, found.end = now, end
        found.times += 1

    def passed_over(self, now: float) -> list[Replica]:
        """Those that are not to be asked now."""
        return [replica for replica, one in self._of.items() if not _may(replica, one, now)]

    def soonest(self, ready: Iterable[Any], now: float) -> float | None:
        """Seconds until one of those in rotation may be asked by the passing of time alone; None: only a sign of life helps."""
        found = [
            max(0.0, one.at + AGAIN_SECONDS - now)
            for replica in ready
            if (one := self._of.get(replica)) is not None and one.end != "silent" and one.times < MOST
        ]
        return min(found, default=None)


def _may(replica: Asked, one: Try, now: float) -> bool:
    if one.times >= MOST:
        return False
    if one.end != "refused" and replica.answered > one.at:
        return True
    return one.end != "silent" and not replica.why and now - one.at >= AGAIN_SECONDS
