"""The list of flags: what its URL asks for, its rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.urls import reverse

from apps.accounts.scope import Choice
from apps.flags.choices import KINDS
from apps.flags.models import Flag
from apps.flags.overrides import with_last_flip
from apps.flags.selectors import flags_of
from apps.ui.status import Status
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("on", "On", "warn", "flags"),
        Status("off", "Off", "neutral"),
        Status(
            "stale",
            "Stale",
            "unknown",
            "clock",
            hint="Not exercised for as long as it may go without: nobody knows whether it still works.",
        ),
        Status("expired", "Expired", "warn", "clock", hint="It should be gone by now."),
    )
}
KIND_NAMES = dict(KINDS)


def status_of(flag: Flag, now: datetime) -> Status:
    """On or off now; a kill that is on is bad news."""
    if not flag.in_force(now):
        return STATES["off"]
    return (
        Status("on", "On", "bad", "block")
        if flag.kind == "kill"
        else Status("on", "On", "info", "flags")
        if flag.kind == "release"
        else STATES["on"]
    )


def marks_of(flag: Flag, now: datetime) -> list[Status]:
    """What else is to be said of it: stale, expired."""
    return [STATES[name] for name, holds in (("stale", flag.stale(now)), ("expired", flag.expired(now))) if holds]


COLUMNS: tuple[Column[Flag], ...] = (
    Column("Flag", "name", value=lambda row: row.name),
    Column("Kind", "kind", value=lambda row: row.kind),
    Column("About", value=lambda row: f"{row.subject_kind} {row.subject_id}"),
    Column("State", "state", order=("-on", "name"), value=lambda row: "on" if row.in_force() else "off"),
    Column(
        "Since", "since", order=("flipped_at",), value=lambda row: row.flipped_at.isoformat(timespec="seconds") if row.flipped_at else ""
    ),  # type: ignore[attr-defined]
    Column("Reason", extra=True, value=lambda row: row.reason if row.in_force() else ""),
    Column(
        "Exercised",
        "exercised",
        order=("exercised_at",),
        value=lambda row: row.exercised_at.isoformat(timespec="seconds") if row.exercised_at else "",
    ),
    Column("Owner", "owner", extra=True, order=("owner__name",), value=lambda row: row.owner.name if row.owner else ""),
)


def flags_list(choice: Choice, query: Mapping[str, str], now: datetime) -> Listing[Flag]:
    """One page of the organisation's flags: two queries. Filters: ``q``, ``kind``, ``state``."""
    asked = query.get("q", "").replace("\x00", "").strip()[:200]
    kind, state = query.get("kind", ""), query.get("state", "")
    rows = with_last_flip(flags_of(choice.organisation))
    chips = []
    if asked:
        rows = rows.filter(
            Q(name__icontains=asked) | Q(purpose__icontains=asked) | Q(owner__name__icontains=asked) | Q(subject_id__icontains=asked)
        )
        chips.append(Chip("Search", asked, "q"))
    if kind in KIND_NAMES:
        rows = rows.filter(kind=kind)
        chips.append(Chip("Kind", KIND_NAMES[kind], "kind"))
    if state in STATES:
        rows = _in_state(rows, state, now)
        chips.append(Chip("State", STATES[state].label, "state"))
    return listing_build(
        query,
        label="flags",
        columns=COLUMNS,
        rows=rows,
        default_sort="state",
        nothing_yet=Empty(
            "nothing-yet",
            "No flag yet",
            "A flag is a switch that on-call can flip in a second: a route's fallback, a stop for a provider, a degradation.",
            reverse("flags:create") if choice.may("flag.change") else "",
            "Create a flag",
        ),
        chips=chips,
    )


def _in_state(rows: QuerySet[Flag], state: str, now: datetime) -> QuerySet[Flag]:
    on = Q(on=True) & (Q(until=None) | Q(until__gt=now))
    if state == "on":
        return rows.filter(on)
    if state == "off":
        return rows.exclude(on)
    if state == "expired":
        return rows.filter(expires_at__lte=now)
    allowed = ExpressionWrapper(F("stale_after_days") * Value(timedelta(days=1)), output_field=DurationField())
    unused = ExpressionWrapper(Value(now) - Coalesce("exercised_at", "created_at"), output_field=DurationField())
    return rows.alias(unused=unused, allowed=allowed).filter(stale_after_days__gt=0, unused__gt=F("allowed"))
