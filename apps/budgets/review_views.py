"""The daily cost review."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone as clock

from apps.budgets.review_selectors import WEEKS, day_review
from apps.publishing.editing import ScopedView
from apps.ui.csvfile import csv_response
from apps.usage.cost_tabs import cost_tabs

EARLIEST = date(2020, 1, 1)


class DayView(ScopedView):
    """``/costs/?day=2026-11-20``: a day, yesterday unless said, beside the same weekday of the weeks before; CSV of its changes."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "budget.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        today = clock.now().astimezone(UTC).date()
        asked, problem = request.GET.get("day", "").strip(), ""
        day = today - timedelta(days=1)
        if asked:
            try:
                wanted = date.fromisoformat(asked)
                if not EARLIEST <= wanted <= today:
                    raise ValueError
                day = wanted
            except ValueError:
                problem = f"“{asked[:20]}” is no day from {EARLIEST} to today, such as {day}."
        found = day_review(self.choice.scope, day)
        if request.GET.get("format") == "csv":
            lines = [
                [label, row.name, Decimal(row.cost).scaleb(-9), Decimal(row.usual).scaleb(-9), row.requests]
                for label, rows in found.by
                for row in rows
            ]
            return csv_response("bulkhead-daily-review.csv", ["By", "Name", "Cost $", "Usual $", "Requests"], lines)
        context = {
            "choice": self.choice,
            "tabs": cost_tabs("reviews:day"),
            "review": found,
            "weeks": WEEKS,
            "problem": problem,
            "before": day - timedelta(days=1),
            "after": day + timedelta(days=1) if day < today else None,
            "unfinished": day == today,
        }
        return render(request, "budgets/day_review.html", context, status=400 if problem else 200)
