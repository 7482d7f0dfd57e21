"""What deployments show of performance budgets, which know no fleet: which there are, and whether each is kept.

The app that knows both names its read here in its ``AppConfig.ready()``. Without one a deployment shows less and never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.accounts.models import Organisation
from apps.ui.status import Status


@dataclass(frozen=True, slots=True)
class Performance:
    """A performance budget as its last look found it. scope: ``route`` or ``model``, subject: its name. verdict: ``ok``, ``warning``,
    ``breached`` or ``unknown``, which is no ok. measured, bound: as people read them. why: one sentence."""

    id: UUID
    name: str
    scope: str
    subject: str
    metric: str
    verdict: str
    status: Status
    measured: str
    bound: str
    why: str
    url: str


Read = Callable[[Organisation], Sequence[Performance]]
_reads: list[Read] = []


def register_performance(read: Read) -> None:
    """The organisation's performance budgets; the same registration twice is harmless."""
    if read not in _reads:
        _reads.append(read)


def performance_known(organisation: Organisation) -> list[Performance]:
    """Every performance budget of an organisation, by name: at most two queries."""
    return [one for read in _reads for one in read(organisation)]
