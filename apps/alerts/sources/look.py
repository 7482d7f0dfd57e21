"""What a source is asked: whose series, at which minute, and which subjects are to be told apart whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from apps.accounts.scope import Scope
from apps.alerts.series import Sample

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.alerts.models import AlertRule

Samples = dict[UUID, dict[str, Sample]]
"""Rule's id -> subject -> what its series is."""

MOST_SUBJECTS = 50
"""Subjects of a rule that names none: the busiest are looked at by themselves, the rest as ``choices.OTHER``."""


@dataclass(frozen=True, slots=True)
class Look:
    """at: the end of the minute that is judged. kept: rule's id -> subjects with an open alert, which are looked at by themselves
    however little they do."""

    organisation: Organisation
    at: datetime
    kept: Mapping[UUID, frozenset[str]] = field(default_factory=dict)

    @property
    def scope(self) -> Scope:
        """An organisation's real traffic, a simulated organisation's simulated one."""
        return Scope(organisation=str(self.organisation.pk), simulated=self.organisation.simulated)

    def named(self, rules: Iterable[AlertRule]) -> set[str]:
        """Subjects that must be told apart: those that rules name, and those with open alerts."""
        return {subject for rule in rules for subject in (*rule.values, *self.kept.get(rule.pk, ())) if subject}


class Read(Protocol):
    """Reads the series of some rules, all of one source, in few queries however many rules there are. A subject that it does not return
    is not known; one that a rule names is always returned."""

    def __call__(self, look: Look, rules: Sequence[AlertRule]) -> Samples: ...
