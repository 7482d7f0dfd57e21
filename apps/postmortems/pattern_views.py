"""``/patterns/``: what incidents have in common."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone as clock

from apps.postmortems.pattern_rules import DIMENSIONS, TIMES, crossed, distribution, repeats, sentences, shares
from apps.postmortems.pattern_selectors import action_debt, names_of_patterns, pattern_rows, since_days
from apps.postmortems.postmortem_figures import lasting
from apps.postmortems.postmortem_plots import columns_of
from apps.postmortems.postmortem_tables import asked
from apps.postmortems.tabs import frame
from apps.publishing.editing import ScopedView

RANGES = {"90": "90 days", "180": "Half a year", "365": "A year", "730": "Two years", "3650": "Ten years"}
MOST_SHARES, MOST_COLUMNS = 12, 8


class PatternsView(ScopedView):
    """Sentences with the incidents behind each, counts by every dimension, how long things took, repeats, what is still owed.

    ``?days=365&by=provider&severity=sev1&factor=retry-storm``.
    """

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "postmortem.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        now, organisation = clock.now(), self.choice.organisation
        days, by, severity, factor = (asked(request.GET, name) for name in ("days", "by", "severity", "factor"))
        days = days if days in RANGES else "365"
        by = by if by in DIMENSIONS and by != "factor" else "provider"
        everything, names = pattern_rows(organisation, since_days(int(days), now)), names_of_patterns(organisation)
        rows = [row for row in everything if (not severity or row.severity == severity) and (not factor or factor in row.factors)]
        columns = [share.value for share in shares(rows, by)][:MOST_COLUMNS]
        counted = {share.value: share.count for share in shares(rows, "factor")}
        table = [
            (names.get(value, value), value, counted[value], [counts.get(column, 0) for column in columns])
            for value, counts in crossed(rows, "factor", by)[:MOST_SHARES]
        ]
        spread = [(label, distribution(row.seconds(name) for row in rows)) for name, label in TIMES.items()]
        times = [
            (label, found, ["–" if value is None else lasting(value) for value in (found.p50, found.p90, found.longest)], columns_of(found))
            for label, found in spread
        ]
        context = frame(self.choice, "patterns") | {
            "rows": rows,
            "everything": everything,
            "sentences": sentences(rows, names),
            "columns": [names.get(column, column) for column in columns],
            "table": table,
            "times": times,
            "repeats": [([names.get(factor, factor) for factor in one.factors], one) for one in repeats(rows)[:MOST_SHARES]],
            "debt": action_debt(organisation, now),
            "ranges": RANGES.items(),
            "days": days,
            "by": by,
            "by_label": DIMENSIONS[by],
            "dimensions": [(name, label) for name, label in DIMENSIONS.items() if name != "factor"],
            "severity": severity,
            "factor": factor,
            "factor_title": names.get(factor, factor),
        }
        return render(request, "postmortems/patterns.html", context)
