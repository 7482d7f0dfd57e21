"""What is in force beside the everyday config, and which wins where two meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, JSONObject, Now
from django.http import HttpRequest
from django.urls import reverse

from apps.accounts.scope import Choice, scope_choose
from apps.audit.models import Event
from apps.flags.choices import FLIP_EVENT, KINDS
from apps.flags.models import Flag, HostOverride
from apps.flags.neighbours import InForce, Override, in_force_told, overrides_known
from apps.publishing.selectors import page_facts_of
from apps.publishing.state import names_held
from apps.ui.bar import Count
from apps.ui.status import Tone

PRECEDENCE: dict[str, tuple[str, str]] = {
    "host": (
        "Override on a host",
        "Made on a proxy's host while the control plane was away; it wins over the flag of the same subject there.",
    ),
    "kill": ("Kill switch", "Stops its subject: nothing below brings it back."),
    "degrade": ("Degradation", "Of several levels the most degraded holds: a flag's, a route's own, a budget's relief."),
    "breaker": ("Forced breaker", "Keeps requests away from a target, or sends them there, in every route that uses it."),
    "switch": ("Traffic switched", "All of a route's traffic goes to one target, whichever chain its flags choose."),
    "fallback": ("Fallback", "The route uses its alternative chain."),
    "budget": ("Budget relief", "A budget's threshold is reached: its scope's requests make do with less."),
    "level": ("Route degraded", "The route's own level, set in its config."),
    "release": ("Release", "Apps ask for it; proxies do nothing by it."),
}
"""Kinds of overrides, what wins first: name, and what it does where it meets another."""
TONES: dict[str, Tone] = {"kill": "bad", "host": "bad", "release": "info"}
TELLING = ("kill", "fallback", "degrade")
"""Kinds of flags that the bar and the banner of every page tell."""


def with_last_flip(flags: QuerySet[Flag]) -> QuerySet[Flag]:
    """Each with ``flipped_at`` and ``flipped_by`` of its last flip, None where none is known. No query more."""
    last = Event.objects.filter(kind=FLIP_EVENT, subject_kind="flag", subject_id=Cast(OuterRef("pk"), CharField())).order_by("-at")
    return flags.annotate(
        flipped_at=Subquery(last.values("at")[:1]), flipped_by=Subquery(last.annotate(who=KT("data__by")).values("who")[:1])
    )


def flags_fact() -> ArraySubquery:
    """The flags that are on, of all organisations, for ``register_page_fact``."""
    rows = with_last_flip(Flag.objects.filter(Q(until=None) | Q(until__gt=Now()), on=True, kind__in=TELLING)).order_by("name")
    told = JSONObject(
        organisation=Cast("organisation_id", CharField()), name="name", kind="kind", reason="reason", until="until", since="flipped_at",
        by="flipped_by", share="share", simulated_only="simulated_only",
    )  # fmt: skip
    return ArraySubquery(rows.annotate(told=told).values("told"))


def hosts_fact() -> ArraySubquery:
    """Overrides on hosts that are in force, of all organisations."""
    rows = HostOverride.objects.filter(until__gt=Now(), ended_at=None).order_by("made_at")
    told = JSONObject(
        organisation=Cast("organisation_id", CharField()), name="subject_name", reason="reason", until="until",
        since="made_at", by="by", host="host",
    )  # fmt: skip
    return ArraySubquery(rows.annotate(told=told).values("told"))


@dataclass(frozen=True, slots=True)
class Shown:
    """One switch that is on, as the banner says it."""

    one: InForce

    @property
    def word(self) -> str:
        return PRECEDENCE[self.one.kind][0]

    @property
    def tone(self) -> Tone:
        return TONES.get(self.one.kind, "warn")


def in_force_of(request: HttpRequest) -> list[Shown]:
    """What is on in the organisation that a page shows, what wins first; it comes with the page's own query of the fleet."""
    known: list[Shown] | None = getattr(request, "_overrides_in_force", None)
    if known is None:
        found = in_force_told(str(scope_choose(request).organisation.pk), page_facts_of(request))
        order = list(PRECEDENCE)
        known = [Shown(one) for one in sorted(found, key=lambda one: (order.index(one.kind), one.name))]
        request._overrides_in_force = known  # type: ignore[attr-defined]
    return known


def flag_told(row: Mapping[str, Any]) -> list[InForce]:
    """A row of ``flags_fact``."""
    part = "for the simulator only" if row["simulated_only"] else f"for {row['share']}% of its requests" if row["share"] != 100 else ""
    url = reverse("flags:detail", args=[row["name"]])
    by, since, until = row["by"] or "", moment_of(row["since"]), moment_of(row["until"])
    return [InForce(row["name"], row["kind"], row["reason"], by, since, until, url, part)]


def host_told(row: Mapping[str, Any]) -> list[InForce]:
    """A row of ``hosts_fact``."""
    since, until = moment_of(row["since"]), moment_of(row["until"])
    return [InForce(row["name"], "host", row["reason"], row["by"], since, until, reverse("flags:overrides"), f"on {row['host']}")]


def moment_of(text: str | None) -> datetime | None:
    """A moment as SQL's JSON writes it."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def overrides_count(request: HttpRequest) -> Count:
    """For the bar: how many overrides are in force, and which."""
    rows = in_force_of(request)
    hint = "; ".join(
        f"{row.one.name} ({row.word.lower()}{f', by {row.one.by}' if row.one.by else ''}): {row.one.reason}" for row in rows[:5]
    )
    tone: Tone = "bad" if any(row.tone == "bad" for row in rows) else "warn"
    return Count(len(rows), "override in force", "overrides in force", "flags", url=reverse("flags:overrides"), hint=hint, tone=tone)


def overrides_of(choice: Choice, now: datetime) -> list[Override]:
    """Every override in force, what wins first: flags and hosts, then what other apps tell."""
    order = list(PRECEDENCE)
    return sorted(overrides_known(choice, now), key=lambda one: (order.index(one.kind), one.name))


def own_overrides(choice: Choice, now: datetime) -> list[Override]:
    """Flags that are on and overrides on hosts: two queries."""
    flags = with_last_flip(Flag.objects.filter(Q(until=None) | Q(until__gt=now), organisation=choice.organisation, on=True))
    rows = list(flags)
    names = names_held(row.subject_id for row in rows)
    found = [
        Override(
            kind=row.kind,
            name=row.name,
            what=what_it_does(row, names.get(row.subject_id, row.subject_id)),
            url=reverse("flags:detail", args=[row.name]),
            since=row.flipped_at,  # type: ignore[attr-defined]
            until=row.until,
            by=row.flipped_by or "",  # type: ignore[attr-defined]
            reason=row.reason,
            detail="simulator only" if row.simulated_only else f"{row.share}% of its requests" if row.share != 100 else "",
            tone=TONES.get(row.kind, "warn"),
        )
        for row in rows
    ]
    hosts = HostOverride.objects.filter(organisation=choice.organisation, ended_at=None, until__gt=now)
    return found + [
        Override(
            kind="host",
            name=row.subject_name,
            what=f"{dict(KINDS)[row.kind]} of {row.subject_kind} {row.subject_name} {'on' if row.on else 'off'}",
            since=row.made_at,
            until=row.until,
            by=row.by,
            reason=row.reason,
            detail=f"on {row.host}",
            tone="bad",
        )
        for row in hosts
    ]


def what_it_does(flag: Flag, subject: str) -> str:
    """What a flag does while it is on, as a sentence without its end. subject: the name of what it is about."""
    thing = f"{flag.get_subject_kind_display().lower()} {subject}" if flag.subject_kind != "organisation" else "the whole organisation"
    if flag.kind == "kill":
        return f"Stops {thing}"
    if flag.kind == "fallback":
        return f"Sends {thing} down its fallback chain"
    if flag.kind == "degrade":
        return f"Degrades {thing} to {flag.level}"
    return "Tells apps that ask for it"
