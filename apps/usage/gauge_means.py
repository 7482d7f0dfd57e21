"""Gauges of many subjects over one range at once: what rules of alerts look at each minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apps.usage.selectors import rows_of


@dataclass(frozen=True, slots=True)
class GaugeMeans:
    """minutes: gauge -> minutes of the range in which it was sampled; none: nobody knows what it was. means: (gauge, organisation,
    subject) -> mean over those minutes; a subject that is not in it was zero in all of them. known: gauges that were sampled lately."""

    minutes: dict[str, int] = field(default_factory=dict)
    means: dict[tuple[str, str, str], float] = field(default_factory=dict)
    known: frozenset[str] = frozenset()


def gauge_means(*, names: Sequence[str], organisation: str, since: datetime, until: datetime, known_since: datetime) -> GaugeMeans:
    """Gauges of an organisation and of the installation (organisation ``""``), subject by subject, over ``[since, until)``: two queries.

    known_since: a gauge that was sampled after it is *known*: it should be sampled now, too.
    """
    minutes: dict[str, int] = {}
    known = set()
    samples: dict[str, int] = {}
    for name, count, total in rows_of(
        "SELECT name, count(*) FILTER (WHERE bucket >= %s), sum(samples) FILTER (WHERE bucket >= %s) FROM usage_gauge "
        "WHERE organisation = '' AND subject = '' AND name = ANY (%s) AND bucket >= %s AND bucket < %s GROUP BY name",
        [since, since, list(names), known_since, until],
    ):
        known.add(name)
        minutes[name], samples[name] = int(count), int(total or 0)
    means = {
        (name, of, subject): total / samples[name]
        for name, of, subject, total in rows_of(
            "SELECT name, organisation, subject, sum(total) FROM usage_gauge WHERE name = ANY (%s) AND organisation = ANY (%s) "
            "AND bucket >= %s AND bucket < %s GROUP BY 1, 2, 3",
            [list(names), ["", organisation], since, until],
        )
        if samples.get(name)
    }
    return GaugeMeans({name: count for name, count in minutes.items() if count}, means, frozenset(known))
