"""What the catalogue page shows: every part in every state, with sample data that is nobody's.

The page is where a part is looked at before it is used, in both schemes and at every width; ``tests/browser/test_catalogue.py``
looks at it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms

from apps.ui.delta import delta
from apps.ui.palette import Found, Hit
from apps.ui.plots import Plot, at, theme
from apps.ui.status import ICON_OF_TONE, SEVERITY, Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build
from apps.ui.timeline import Entry
from apps.ui.timerange import from_query
from apps.ui.toasts import Toast

LONG = "a name that somebody made far too long because nobody had told them that there was a limit, and there is none, so here it is"
HOSTILE = "<b>\"bold\" & 'quoted'</b> \u202etxt.exe"

_WORDS = {"good": "Ready", "info": "Draining", "neutral": "Disabled", "unknown": "Unknown", "warn": "Degraded", "bad": "Failed"}
STATES = {tone: Status(tone, _WORDS[tone], tone, hint=f"Tone {tone}") for tone in SEVERITY}


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A row of the sample list."""

    name: str
    state: Status
    requests: int | None
    cost: str


@dataclass(frozen=True, slots=True)
class SampleField:
    """A changed field, as a preview has it."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class SampleChange:
    """A changed object, as a preview has it."""

    section: str
    object_id: str
    name: str
    kind: str
    fields: tuple[SampleField, ...]


class SampleForm(forms.Form):
    """Every kind of control."""

    name = forms.CharField(help_text="What people call it. Apps ask for it as the model.", max_length=40)
    url = forms.URLField(label="Base URL", help_text="Where it listens, without /v1.", required=False, assume_scheme="https")
    limit = forms.IntegerField(label="Limit", min_value=1, help_text="Dollars per day.")
    kind = forms.ChoiceField(choices=[("openai", "OpenAI-compatible"), ("anthropic", "Anthropic")])
    strategy = forms.ChoiceField(
        label="Strategy",
        choices=[("order", "In order"), ("weight", "By weight")],
        widget=forms.RadioSelect,
        help_text="How a target is chosen.",
    )
    hard = forms.BooleanField(label="A hard limit", required=False, help_text="What does not fit is refused.")
    note = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)


CODE = """curl http://127.0.0.1:8080/v1/chat/completions \\
  -H "Authorization: Bearer $BULKHEAD_KEY" \\
  -d '{"model": "chat-default", "messages": [{"role": "user", "content": "Hello"}]}'"""
ROWS = (
    SampleRow("chat-default", STATES["good"], 182_431, "$61.20"),
    SampleRow("chat-cheap", STATES["warn"], 9_120, "$0.43"),
    SampleRow("embed", STATES["unknown"], None, "–"),
    SampleRow(LONG, STATES["bad"], 12, "$0.000431"),
    SampleRow(HOSTILE, STATES["neutral"], 0, "$0"),
)
COLUMNS: tuple[Column[SampleRow], ...] = (
    Column("Route", "name", value=lambda row: row.name),
    Column("State", "state", value=lambda row: row.state.label),
    Column("Requests", "requests", numeric=True, value=lambda row: row.requests, help="In the last 24 hours"),
    Column("Spend", numeric=True, value=lambda row: row.cost),
)
CHIPS = (Chip("State", "Degraded", "state"), Chip("Name", LONG, "name"))
NOTHING_YET = Empty("nothing-yet", "No route yet", "A route is the model that apps ask for.", "#table", "Create a route")


def _listing(query: Mapping[str, str], rows: tuple[SampleRow, ...], chips: tuple[Chip, ...] = ()) -> Listing[SampleRow]:
    return listing_build(query, label="routes", columns=COLUMNS, rows=rows, default_sort="-requests", nothing_yet=NOTHING_YET, chips=chips)


def _plot(now: datetime) -> Plot:
    start = now - timedelta(hours=6)
    times = [start + timedelta(minutes=5 * step) for step in range(72)]
    rates = [round(20 + 9 * math.sin(step / 7) + 3 * math.sin(step * 2.3), 2) for step in range(72)]
    failures = [0.0 if step < 40 else round(max(0.0, 4 - abs(step - 50) / 2.5), 2) for step in range(72)]
    lines = (("Answered", rates, "var(--plot-1)"), ("Failed", failures, "var(--bad)"))
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": [at(time) for time in times],
            "y": values,
            "line": {"color": colour, "width": 1.6},
        }
        for name, values, colour in lines
    ]
    rows = [(at(time), *values) for time, *values in zip(times, rates, failures, strict=True)]
    return Plot(
        "sample",
        "Requests per second",
        {"data": data, "layout": theme(unit="", start=start, end=now)},
        ("Time (UTC)", "Answered", "Failed"),
        rows,
    )


def catalogue_context(query: Mapping[str, str]) -> dict[str, Any]:
    """Everything that ``ui/catalogue.html`` draws."""
    now = datetime.now(UTC)
    wrong = SampleForm({"name": "chat default with a name that is longer than forty letters", "limit": "-3", "kind": "openai"})
    wrong.add_error(None, "The route has no target: add one, or nothing can answer it.")
    course = [12, 14, 13, None, 22, 31, 28, 24, 25, 27, 30, 34]
    return {
        "range": from_query(query),
        "states": STATES,
        "tones": [(tone, ICON_OF_TONE[tone]) for tone in reversed(SEVERITY)],
        "hostile": HOSTILE,
        "long": LONG,
        "course": course,
        "falling": [value and 60 - value for value in course],
        "better": delta(31, 26, better="more"),
        "worse": delta(31, 26, better="less"),
        "same": delta(100, 100),
        "fresh": delta(4, 0),
        "listing": _listing(query, ROWS, CHIPS),
        "many": listing_build(query, label="keys", columns=COLUMNS[:1], rows=ROWS[:1] * 120, default_sort="name", nothing_yet=NOTHING_YET),
        "nothing": _listing(query, ()),
        "unmatched": _listing(query, (), CHIPS[:1]),
        "away": Listing(
            "proxies",
            (),
            [],
            0,
            1,
            1,
            "",
            empty=Empty("unreachable", "The proxies do not answer", "Not since 12:31:07 UTC (4 min ago).", "#table", "Try again"),
        ),
        "form": SampleForm(initial={"name": "chat-default", "strategy": "order", "kind": "openai"}),
        "wrong": wrong,
        "toasts": (
            Toast("Route chat-default disabled", "ok", "/ui/try"),
            Toast("Saved", "info"),
            Toast(f"Half of {LONG} was done", "warn"),
            Toast("The provider refused the key", "bad"),
        ),
        "tabs": [("Overview", "#tabs", True, None), ("Targets", "#tabs", False, 3), ("History", "#tabs", False, 0)],
        "crumbs": [("Routes", "#page-head"), (LONG, "#page-head")],
        "pairs": [("Provider", "sim-east"), ("Region", ""), ("Note", HOSTILE), ("Attempts", 0), ("Long", LONG)],
        "entries": [
            Entry(
                now - timedelta(minutes=2),
                "v182 published",
                "Switch chat-default to sim-west",
                "Ada Lovelace",
                "info",
                icon="history",
                url="#timeline",
            ),
            Entry(now - timedelta(minutes=9), "sim-east failed", "5 of the last 8 attempts", "", "bad"),
            Entry(now - timedelta(hours=3), "Key checkout created", "", HOSTILE, "good", icon="keys"),
        ],
        "changes": (
            SampleChange(
                "route",
                "1",
                "chat-default",
                "changed",
                (
                    SampleField("targets[0].provider", "sim-east", "sim-west"),
                    SampleField("timeouts.total_s", None, 60),
                    SampleField("notes", "line one\nline two", ""),
                ),
            ),
            SampleChange(
                "key", "2", HOSTILE, "added", (SampleField("scopes", None, ["chat", "embed"]), SampleField("enabled", None, True))
            ),
            SampleChange("provider", "3", LONG, "removed", ()),
        ),
        "code": CODE,
        "menu_items": [("Edit", "#menu", "edit"), ("Disable", "dialog:sample-switch", "dash"), ("Delete", "dialog:sample-gone", "stop")],
        "found": (
            Found("Pages", (Hit("Requests", "Traffic", "#palette-part", "requests"),)),
            Found("Routes", (Hit("chat-default", "2 targets", "#palette-part", "routes"), Hit(LONG, HOSTILE, "#palette-part", "routes"))),
            Found("Keys", (), failed=True),
        ),
        "plot": _plot(now),
    }
