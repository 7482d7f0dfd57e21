"""What happened in a stretch of time that concerns one organisation: facts of the registry, what versions touched, what people said of
providers, what was done to alerts. Read by the timeline, which tells it, and by suspicion, which ranks it.

The registry's facts about the installation (config, proxies, journals) concern everybody, but a version that touched only other
organisations' objects does not. Whatever registers a kind of fact later is told without a change here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Case, CharField, Model, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce, JSONObject
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.alerts.choices import EVENT_KINDS
from apps.alerts.models import AlertEvent, ProviderNote
from apps.audit.models import Event
from apps.audit.registry import kinds
from apps.budgets.limit_models import Limit
from apps.budgets.models import Budget
from apps.flags.models import Flag
from apps.keys.models import VirtualKey
from apps.postmortems import suspicion
from apps.postmortems.suspicion import Change
from apps.providers.models import Credential, Discount, Provider
from apps.publishing.models import Version

MOST = 2_000
"""Facts of one stretch; the latest are told."""
OF_EVERYBODY = ("config.", "proxy.", "journal.", "prices.book")
UNTOLD = frozenset({"session.refused", "flag.stale"})
"""Facts that are no part of any incident's story."""
PUBLISHED = ("config.published", "config.rolled_back")
_PUBLISHED = {
    "of_version": Case(
        When(kind__in=PUBLISHED, then=Cast(Coalesce(KeyTextTransform("version", "data"), "subject_id"), BigIntegerField())),
    ),
    "published": Subquery(Version.objects.filter(number=OuterRef("of_version")).values(said=JSONObject(diff="diff", counts="counts"))),
}  # fmt: skip
"""What the version of a publication changed, read with the fact."""
TOLD_OF_ALERTS = ("acknowledged", "worsened", "eased", "silenced", "unsilenced", "no_data", "data_back", "note")
"""What happens to alerts beside firing and ending, which the registry has as facts."""
_SUSPECTED = {
    "config.published": suspicion.PUBLISH,
    "config.rolled_back": suspicion.PUBLISH,
    "flag.flip": suspicion.FLIP,
    "flag.override": suspicion.OVERRIDE,
    "flag.break_glass": suspicion.FLIP,
    "flag.expired": suspicion.FLIP,
    "route.switch": suspicion.FLIP,
    "route.breaker": suspicion.FLIP,
    "target.opened": suspicion.BREAKER,
    "credential.refused": suspicion.CREDENTIAL,
    "provider.check": suspicion.NOTICE,
    "proxy.gone": suspicion.PROXY,
    "prices.book": suspicion.PRICE,
    "prices.repriced": suspicion.PRICE,
    "demo.broken": suspicion.NOTICE,
}
"""Kind of fact -> what it is suspected as; others tell of what happened and begin nothing. Deploys and drills that register are OTHER."""
_CONSEQUENCES = ("alert.", "incident.", "budget.", "performance.", "usage.", "target.closed", "demo.mended", "journal.", "flag.change_")
_TONES = {"neutral": "neutral", "good": "good", "warning": "warn", "bad": "bad", "info": "info"}


_OWNED: dict[str, tuple[type[Model], str, str]] = {
    "flags": (Flag, "subject_kind", "subject_id"),
    "keys": (VirtualKey, "", ""),
    "budgets": (Budget, "scope", "scope_ref"),
    "limits": (Limit, "scope", "scope_id"),
    "credentials": (Credential, "", ""),
    "discounts": (Discount, "", ""),
}
"""Section of the config -> whose rows its ids are, and their columns that say what they act on."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened. tone: of ``apps.ui.status``. alert: it is about an alert. suspected: it may have begun something."""

    change: Change
    tone: str = "neutral"
    alert: bool = False
    suspected: bool = False


@dataclass(slots=True)
class Places:
    """The organisation's providers by id, what each route uses, and the names of routes by id; one query."""

    providers: dict[str, str] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)
    regions: dict[tuple[str, str], str] = field(default_factory=dict)

    def used_by(self, routes: Iterable[str]) -> frozenset[str]:
        """Providers that some routes use; of all routes where none is named."""
        wanted = list(routes)
        found = [providers for name, providers in self.used.items() if not wanted or name in wanted]
        return frozenset().union(*found) if found else frozenset()


def places_of(organisation: Organisation) -> Places:
    """One query."""
    places = Places()
    rows = Provider.objects.filter(organisation=organisation).values_list(
        "pk", "name", "endpoints__name", "endpoints__region", "route_targets__route_id", "route_targets__route__name"
    )
    for pk, name, endpoint, region, route_id, route in rows:
        places.providers[str(pk)] = name
        if endpoint:
            places.regions[name, endpoint] = region or ""
        if route_id is not None:
            places.routes[str(route_id)] = route
            places.used.setdefault(route, set()).add(name)
    return places


def facts_of(organisation: Organisation, start: datetime, end: datetime, places: Places) -> list[Fact]:
    """What happened from ``start`` until before ``end``, oldest first: three queries at most."""
    found_of = _events(organisation).filter(at__gte=start, at__lt=end).annotate(**_PUBLISHED)
    events = list(found_of.order_by("-at", "-id")[:MOST])
    touched = _touched(organisation, [event for event in events if event.kind in PUBLISHED], places)
    found = [fact for event in reversed(events) if (fact := _fact(event, places, touched)) is not None]
    notes = ProviderNote.objects.filter(organisation=organisation, at__gte=start, at__lt=end).select_related("provider")
    found += [_note(note) for note in notes]
    return sorted(found, key=lambda fact: (fact.change.at, fact.change.key))


def alert_facts(organisation: Organisation, start: datetime, end: datetime) -> list[Fact]:
    """What people and evaluation did to its alerts in that time: one query."""
    rows = AlertEvent.objects.filter(alert__organisation=organisation, kind__in=TOLD_OF_ALERTS, at__gte=start, at__lt=end)
    return [_alert(event) for event in rows.select_related("alert__rule").order_by("at", "id")[:MOST]]


def _events(organisation: Organisation) -> QuerySet[Event]:
    known = kinds()
    everybody = [kind for kind in known if kind.startswith(OF_EVERYBODY)]
    own = Q(data__organisation=str(organisation.pk))
    providers = Q(subject_kind="provider", subject_id__in=_ids(Provider.objects.filter(organisation=organisation)))
    budgets = Q(subject_kind="budget", subject_id__in=_ids(Budget.objects.filter(organisation=organisation)))
    return Event.objects.filter(Q(kind__in=everybody) | own | providers | budgets, kind__in=known.keys() - UNTOLD)


def _ids(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.order_by().annotate(as_text=Cast("pk", CharField())).values("as_text")


def _fact(event: Event, places: Places, touched: Mapping[int, _Touched]) -> Fact | None:
    kind, data = kinds()[event.kind], event.data
    title, text, url, undo, undo_url = f"{kind.title}: {event.subject_name or event.subject_id}", "", "", "", ""
    routes: set[str] = set()
    providers: set[str] = set()
    regions: set[str] = set()
    wide, who = event.kind.startswith(OF_EVERYBODY), str(data.get("by") or data.get("actor") or "")
    if event.kind in PUBLISHED:
        number = _number(event)
        part = touched.get(number)
        if part is not None and not part.concerns:
            return None
        if part is not None:
            routes, providers, regions, wide, text = part.routes, part.providers, part.regions, part.wide, part.text
        url = undo_url = reverse("publishing:version", args=[number])
        undo = f"v{number} can be taken back with one click"
        text = ". ".join(one for one in (text, str(data.get("reason") or "")) if one)
    elif event.kind.startswith("flag."):
        wide = _flag_scope(data, places, routes, providers, regions)
        url = reverse("flags:detail", args=[event.subject_name]) if event.subject_kind == "flag" and event.subject_name else ""
        if event.kind == "flag.flip":
            on = bool(data.get("on"))
            title = f"Flag {event.subject_name} turned {'on' if on else 'off'}"
            undo, undo_url = f"it can be turned {'off' if on else 'on'} again", url
        text = str(data.get("reason") or data.get("does") or data.get("note") or "")
    elif event.subject_kind == "route":
        routes = {event.subject_name}
        url = reverse("routes:detail", args=[event.subject_id]) if event.subject_id in places.routes else ""
        undo, undo_url = "it can be taken back on the route's page", url
        text = " ".join(str(data[name]) for name in ("target", "forced", "to", "reason") if data.get(name))
    elif event.subject_kind == "provider":
        providers = {event.subject_name}
        region = places.regions.get((event.subject_name, str(data.get("endpoint") or "")), "")
        regions = {region} if region else set()
        url = reverse("providers:detail", args=[event.subject_id]) if event.subject_id in places.providers else ""
        said = [str(data[name]) for name in ("target", "to", "status", "detail") if data.get(name)]
        text = " ".join(one for at, one in enumerate(said) if one not in " ".join(said[at + 1 :]).split())
    elif event.subject_kind == "alert":
        url = reverse("alerts:detail", args=[event.subject_id])
        text, who = str(data.get("severity") or ""), ""  # its ``by`` is what the rule tells subjects apart by, nobody's name
    elif event.subject_kind == "incident":
        url = reverse("postmortems:detail", args=[event.subject_id])
    else:
        text = str(data.get("reason") or "")
    change = Change(
        key=f"fact:{event.pk}",
        kind=_SUSPECTED.get(event.kind, suspicion.OTHER),
        at=event.at,
        title=title[:300],
        text=text[:2000],
        who=who[:500],
        url=url,
        routes=frozenset(routes),
        providers=frozenset(providers),
        regions=frozenset(regions),
        wide=wide,
        undo=undo,
        undo_url=undo_url,
    )
    suspected = event.kind in _SUSPECTED or not event.kind.startswith(_CONSEQUENCES)
    tone = _TONES.get(kind.tone, "neutral")
    if event.kind == "provider.check" and data.get("to") == "up":
        suspected, tone = False, "good"
    return Fact(change, tone, event.subject_kind == "alert", suspected)


def _flag_scope(data: Mapping[str, Any], places: Places, routes: set[str], providers: set[str], regions: set[str]) -> bool:
    """Fills what a flag acts on; whether that is everything."""
    kind, subject = str(data.get("subject_kind") or ""), str(data.get("subject_id") or "")
    if kind == "route" and subject in places.routes:
        routes.add(places.routes[subject])
    elif kind == "provider" and subject in places.providers:
        providers.add(places.providers[subject])
    elif kind == "region":
        regions.add(subject)
    return kind == "organisation"


def _note(note: ProviderNote) -> Fact:
    change = Change(
        key=f"note:{note.pk}",
        kind=suspicion.NOTICE,
        at=note.at,
        title=f"{note.provider.name} is {note.get_state_display().lower()}, says {note.by}"[:300],
        text=note.text,
        who=note.by,
        url=reverse("alerts:notes"),
        providers=frozenset({note.provider.name}),
    )
    return Fact(change, "warn", suspected=True)


def _alert(event: AlertEvent) -> Fact:
    about = f"{event.alert.rule.title}: {event.alert.subject}" if event.alert.subject else event.alert.rule.title
    tone = {"acknowledged": "info", "worsened": "bad", "no_data": "unknown", "data_back": "good"}.get(event.kind, "neutral")
    change = Change(
        key=f"alert:{event.pk}",
        kind=suspicion.OTHER,
        at=event.at,
        title=f"Alert {EVENT_KINDS[event.kind].lower()}: {about}"[:300],
        text=event.note,
        who=event.actor,
        url=reverse("alerts:detail", args=[event.alert_id]),
    )
    return Fact(change, tone, alert=True)


@dataclass(slots=True)
class _Touched:
    """What a version touched of one organisation's."""

    concerns: bool = False
    routes: set[str] = field(default_factory=set)
    providers: set[str] = field(default_factory=set)
    regions: set[str] = field(default_factory=set)
    wide: bool = False
    names: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The names of what it touched."""
        more = len(self.names) - 6
        return ", ".join(self.names[:6]) + (f" and {more} more" if more > 0 else "")


def _touched(organisation: Organisation, events: Iterable[Event], places: Places) -> dict[int, _Touched]:
    """By version; one query, none without versions. events: with ``published``."""
    known: dict[int, dict[str, Any]] = {_number(event): event.published for event in events if event.published}  # type: ignore[attr-defined]
    rows = [(number, said["diff"], said["counts"]) for number, said in known.items()]
    owned = _owned(organisation, rows)
    return {number: _touches(organisation, diff, counts, places, owned) for number, diff, counts in rows}


def _number(event: Event) -> int:
    """The version that a publication was of."""
    return int(event.data.get("version") or event.subject_id)


def _owned(organisation: Organisation, rows: Iterable[tuple[int, Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, tuple[str, str]]:
    """Id -> (subject kind, subject id) of what the diffs name by an id alone and what is the organisation's: one query, none without."""
    ids = {key for _, diff, _ in rows for section in _OWNED for key in diff.get(section, ())}
    if not ids:
        return {}
    own = Cast("pk", CharField())
    parts = []
    for model, kind, subject in _OWNED.values():
        told = {
            "of_id": own,
            "of_kind": Cast(kind, CharField()) if kind else own,
            "of_subject": Cast(subject, CharField()) if subject else own,
        }
        rows_of = model._default_manager.filter(organisation=organisation, pk__in=ids)
        parts.append(rows_of.order_by().annotate(**told).values_list(*told))
    return {key: (kind, subject) for key, kind, subject in parts[0].union(*parts[1:], all=True)}


def _touches(
    organisation: Organisation, diff: Mapping[str, Any], counts: Mapping[str, Any], places: Places, owned: Mapping[str, tuple[str, str]]
) -> _Touched:
    found = _Touched()
    listed = sum(len(objects) for objects in diff.values())
    if sum(sum(tally.values()) for tally in counts.values()) > listed:
        found.concerns = found.wide = True  # more changed than a version lists
    for section, objects in diff.items():
        for key, entry in objects.items():
            if not _concerns(organisation, section, key, entry, places, owned):
                continue
            found.concerns = True
            found.names.append(f"{section.removesuffix('s')} {entry.get('name') or key}")
            if section == "routes":
                found.routes.add(places.routes.get(key, str(entry.get("name"))))
            elif section in ("providers", "prices"):
                provider = places.providers.get(key.partition("/")[0])
                found.providers |= {provider} if provider else set()
            elif section == "credentials":
                found.wide = True
            elif key in owned and section in ("flags", "budgets", "limits"):
                data = dict(zip(("subject_kind", "subject_id"), owned[key], strict=True))
                found.wide |= _flag_scope(data, places, found.routes, found.providers, found.regions)
    return found


def _concerns(
    organisation: Organisation, section: str, key: str, entry: Mapping[str, Any], places: Places, owned: Mapping[str, tuple[str, str]]
) -> bool:
    """Whether an object of a diff is the organisation's; what was added or removed says whose it is."""
    said = entry.get("fields", {}).get("organisation")
    if said:
        return str(organisation.pk) in said
    if section == "routes":
        return key in places.routes
    if section in ("providers", "prices"):
        return key.partition("/")[0] in places.providers
    return key in owned
