"""What the bar of every page counts: overrides in force, open alerts, open incidents. Each is told by the app that knows it.

An app names its count in its ``ready()``: ``register_count("overrides", fn)``, where ``fn(request) -> Count`` makes one cheap
query at most. A count that nobody tells is zero: there is nothing of the kind yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest

from apps.ui.status import Tone


@dataclass(frozen=True, slots=True)
class Count:
    """A number in the bar. ``singular``, ``plural``: its words; ``hint``: who, why, until; ``tone``: when it is not zero."""

    number: int
    singular: str
    plural: str
    icon: str
    url: str = ""
    hint: str = ""
    tone: Tone = "warn"

    @property
    def words(self) -> str:
        """``1 open incident``, ``no overrides in force``."""
        return f"{self.number or 'no'} {self.singular if self.number == 1 else self.plural}"


_NONE: dict[str, Count] = {
    "overrides": Count(0, "override in force", "overrides in force", "flags"),
    "alerts": Count(0, "open alert", "open alerts", "alerts", tone="bad"),
    "incidents": Count(0, "open incident", "open incidents", "incidents", tone="bad"),
}
_tellers: dict[str, Callable[[HttpRequest], Count]] = {}


def register_count(name: str, teller: Callable[[HttpRequest], Count]) -> None:
    """Names who tells ``overrides``, ``alerts`` or ``incidents``. Raises LookupError for another name."""
    if name not in _NONE:
        raise LookupError(f"the bar has no count named {name!r}: it has {', '.join(_NONE)}")
    _tellers[name] = teller


def counts_of(request: HttpRequest) -> list[Count]:
    """The counts as the bar shows them, in their fixed order."""
    return [_tellers[name](request) if name in _tellers else count for name, count in _NONE.items()]
