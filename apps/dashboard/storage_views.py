"""``/settings/storage/``: how long usage is kept, how much room everything takes, and when the disk is full."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render

from apps.accounts.pages import ScopedView, refusal_text
from apps.ui.format import NOTHING, bytes_text
from apps.ui.plots import Plot, theme
from apps.ui.toasts import toast
from apps.usage import storage
from apps.usage.retention import LABELS, LEAST, MOST_DAYS, WHY_LEAST, Retention, retention, retention_default, retention_set
from apps.usage.storage_rules import AHEAD_DAYS, LEAST_SAMPLES, Held, forecast, full_in

CONFIRMED = "delete"
"""The word that is typed where less is kept."""
HISTORY_DAYS = 90


class RetentionForm(forms.Form):
    """Days of each, a reason, and where less is kept the word ``delete``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, least in asdict(LEAST).items():
            self.fields[name] = forms.IntegerField(
                min_value=least, max_value=MOST_DAYS, label=f"{LABELS[name]}, days", help_text=f"{least} to {MOST_DAYS}; {WHY_LEAST[name]}."
            )
        self.fields["reason"] = forms.CharField(
            required=False, max_length=500, label="Reason", help_text="Needed where less is kept; it stays in the audit."
        )
        self.fields["confirmation"] = forms.CharField(
            required=False, label="Keeping less deletes data for good", help_text=f"Type {CONFIRMED} here if you keep less than before."
        )


class StorageView(ScopedView):
    """GET shows, POST sets retention."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission, installation = "installation.view", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page()

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = RetentionForm(request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        facts = form.cleaned_data
        days = {name: facts[name] for name in asdict(LEAST)}
        try:
            kept = retention_set(
                actor=self.actor, reason=facts["reason"], sure=facts["confirmation"].strip().casefold() == CONFIRMED, **days
            )
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        toast(request, f"Requests are kept for {kept.request_days} days, minutes for {kept.minute_days}, hours for {kept.hour_days}")
        return redirect("settings:storage")

    def _page(self, form: RetentionForm | None = None, status: int = 200) -> HttpResponse:
        kept = retention()
        groups = storage.held(kept=kept)
        past = storage.history(days=HISTORY_DAYS)
        free = disk_free()
        context = {
            "choice": self.choice,
            "form": form or RetentionForm(initial=asdict(kept)),
            "may_change": self.choice.may_installation("retention.change"),
            "kept": kept,
            "defaults": kept == retention_default(),
            "rows": [_row(group, kept) for group in groups],
            "total": sum(group.bytes for group in groups),
            "ahead": [
                (f"In {days} days", None if (then := forecast(groups, days)) is None else bytes_text(round(then))) for days in AHEAD_DAYS
            ],
            "free": free,
            "full_in": None if free is None else full_in(groups, free),
            "least_samples": LEAST_SAMPLES,
            "known": any(group.growth is not None for group in groups),
            "plot": _plot(past, groups) if len(past) > 1 else None,
        }
        return render(self.request, "settings/storage.html", context, status=status)


def disk_free() -> int | None:
    """Free bytes on the disk of the database where that lies in our data directory; None where it is elsewhere or cannot be seen."""
    host = str(connection.settings_dict.get("HOST") or "")
    directory = Path(settings.DATA_DIR) / "postgres"
    if not directory.is_dir() or not (host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1")):
        return None
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def _row(group: Held, kept: Retention) -> dict[str, Any]:
    after = group.after(AHEAD_DAYS[0])
    days = group.kept_days
    return {
        "label": storage.LABELS[group.name],
        "bytes": group.bytes,
        "rows": group.rows,
        "kept": f"{days} days" if days is not None else _kept_otherwise(group.name, kept),
        "growth": NOTHING if group.growth is None else f"{bytes_text(round(group.growth))} a day",
        "later": NOTHING if after is None else bytes_text(round(after)),
    }


def _kept_otherwise(name: str, kept: Retention) -> str:
    if name == "summaries":
        return f"8 days by the minute, {kept.hour_days} by the hour, days for good"
    return f"hours {kept.request_days} days, days for good" if name == "spend" else "for good"


def _plot(past: dict[date, int], groups: list[Held]) -> Plot:
    """What was, and what is to come as a dotted line."""
    last = max(past)
    later = [(last + timedelta(days=days), then) for days in (0, *AHEAD_DAYS[:2]) if (then := forecast(groups, days)) is not None]
    gib = 2**30

    def trace(name: str, points: list[tuple[Any, float]], dash: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines+markers" if len(points) < 3 else "lines",
            "name": name,
            "x": [f"{day} 00:00:00" for day, _ in points],
            "y": [round(size / gib, 4) for _, size in points],
            "line": {"color": "var(--plot-1)", "width": 1.6, "dash": dash},
            "marker": {"size": 4, "color": "var(--plot-1)"},
            "hovertemplate": "%{y:.3~f} GiB",
        }

    data = [trace("measured", sorted((day, float(size)) for day, size in past.items()), "solid")]
    if len(later) > 1:
        data.append(trace("forecast", later, "dot"))
    figure = {"data": data, "layout": theme(unit=" GiB", start=_midnight(min(past)), end=_midnight(later[-1][0] if later else last))}
    rows = [(str(day), bytes_text(size), size) for day, size in sorted(past.items(), reverse=True)]
    return Plot("storage", "Size of the database", figure, ("Day (UTC)", "Size", "Bytes"), rows)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
