"""What helps with an alert: the flags that act on what it is about, the nearest first, its runbook, and the page that takes it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db.models import CharField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Cast, JSONObject
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.alerts.budget_days import acts_on
from apps.alerts.models import Alert
from apps.alerts.subjects import Subject
from apps.flags.choices import SWITCHES
from apps.flags.models import Flag
from apps.ownership.selectors import runbook_get, runbooks_referred
from apps.routes.models import RouteTarget
from controlplane import env

MOST_FLAGS = 5
_NEAREST = {"fallback": 0, "degrade": 1, "kill": 2}
"""What costs users least comes first."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A flag that acts on what the alert is about. on: it is in force already; url: its page then, else the page that turns it on."""

    name: str
    kind: str
    label: str
    why: str
    on: bool
    url: str


@dataclass(frozen=True, slots=True)
class Runbook:
    """title: of one of ours, else its address. url: empty where the reference leads nowhere."""

    title: str
    url: str


def flips_for(alert: Alert, subject: Subject) -> list[Flip]:
    """Flags that would help: of the thing itself, of the routes that use a provider, of the providers that a route uses, of the whole
    organisation. Those that can still be turned on come first, then the nearest. One query, of a budget one or two more."""
    now, exact, near = clock.now(), Q(), Q()
    if subject.kind in ("route", "provider", "key") and subject.id:
        exact = Q(subject_kind=subject.kind, subject_id=subject.id)
    elif subject.kind in ("model", "feature", "team") and subject.name:
        exact = Q(subject_kind=subject.kind, subject_id=alert.subject)
    elif subject.kind == "budget" and subject.id:
        kind, name = acts_on(subject.id)
        exact = Q(subject_kind=kind, subject_id=name) if name else Q()
    if subject.kind == "provider" and subject.id:
        users = RouteTarget.objects.filter(provider_id=subject.id, route__organisation_id=alert.organisation_id)
        routes = users.annotate(of=Cast("route_id", CharField())).values("of")
        near = Q(subject_kind="route", kind__in=("fallback", "degrade"), subject_id__in=routes)
    elif subject.kind == "route" and subject.id:
        used = RouteTarget.objects.filter(route_id=subject.id).annotate(of=Cast("provider_id", CharField())).values("of")
        near = Q(subject_kind="provider", subject_id__in=used)
    wide = Q(subject_kind="organisation")
    rows = list(Flag.objects.filter(exact | near | wide if exact else near | wide if near else wide, kind__in=SWITCHES,
                                    organisation_id=alert.organisation_id))  # fmt: skip
    same = {row.pk for row in rows if (row.subject_kind, row.subject_id) in {(subject.kind, subject.id), (subject.kind, alert.subject)}}
    rows.sort(key=lambda row: (row.in_force(now), row.pk not in same, row.subject_kind == "organisation", _NEAREST[row.kind], row.name))
    return [
        Flip(
            name=row.name,
            kind=row.kind,
            label=row.get_kind_display(),
            why=row.purpose or _why(row, row.pk in same),
            on=row.in_force(now),
            url=reverse("flags:detail" if row.in_force(now) else "flags:on", args=[row.name]),
        )
        for row in rows[:MOST_FLAGS]
    ]


def runbook_of(alert: Alert) -> Runbook | None:
    """The rule's runbook; None where it names none. One query where it is one of ours, none where ``with_runbooks`` read the alert."""
    found = getattr(alert, "runbook_found", None)
    if found:
        return Runbook(found["title"], reverse("ownership:runbook", args=[found["id"]]))
    return runbook_named(alert.organisation, alert.rule.runbook)


def with_runbooks(rows: QuerySet[Alert]) -> QuerySet[Alert]:
    """The same alerts, each with its rule's runbook where it is one of ours, for ``runbook_of``."""
    ours = runbooks_referred(OuterRef("organisation"), OuterRef("rule__runbook"))
    return rows.annotate(runbook_found=Subquery(ours.values(found=JSONObject(id="id", title="title"))[:1]))


def runbook_named(organisation: Organisation, reference: str) -> Runbook | None:
    """A runbook by its address, id or short name."""
    if not reference:
        return None
    if urlsplit(reference).scheme in ("http", "https"):
        return Runbook(reference, reference)
    row = runbook_get(organisation=organisation, reference=reference)
    return Runbook(row.title, reverse("ownership:runbook", args=[row.pk])) if row else Runbook(reference, "")


def absolute(path: str) -> str:
    """An address that works outside the dashboard; empty where the installation does not know its own (``BULKHEAD_PUBLIC_URL``)."""
    if not path or urlsplit(path).scheme:
        return path
    root = env.public_url()
    return f"{root}{path}" if root else ""


def _why(row: Flag, same: bool) -> str:
    of = "it" if same else f"the {row.get_subject_kind_display().lower()}"
    return {"fallback": f"sends {of} to its fallback", "degrade": f"degrades {of}", "kill": f"stops {of}"}[row.kind]
