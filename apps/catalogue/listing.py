"""What the catalogue's pages show: models in use, what providers list, one model with everything that is known of it, and the notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.audit.models import Event
from apps.catalogue import choices
from apps.catalogue.models import Entry, ListedModel, Listing
from apps.catalogue.rules import model_state
from apps.contracts.model_facts import NOTHING, ModelFacts
from apps.contracts.money import dollars_text
from apps.providers import rules
from apps.providers.models import Price, Provider, ProviderModel
from apps.providers.rules import PriceSpec
from apps.providers.selectors import price_spec, prices_in_force
from apps.ui.status import Status
from apps.ui.timeline import Entry as Happening

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

MOST_NOTICES = 100
SHOWN = {
    "deprecated": "Deprecated or ending",
    "vanished": "Vanished",
    "yours": "Said by you",
    "unknown": "Nothing known",
}
"""Filters of the models in use."""
SEEN = {"new": "New in 30 days", "gone": "Vanished", "used": "In use", "unused": "Not in use"}
"""Filters of what providers list."""
NEW = timedelta(days=30)


@dataclass(slots=True)
class UsedRow:
    """A model in use. price: in force now, of no region in particular, before discounts."""

    model: ProviderModel
    facts: ModelFacts = NOTHING
    state: Status = choices.STATES["unknown"]
    price: PriceSpec | None = None
    routes: list[str] = field(default_factory=list)
    yours: bool = False
    listed: ListedModel | None = None

    @property
    def able(self) -> list[str]:
        """What it can do, in the order in which tables say it."""
        return [label for name, label in choices.LABELS.items() if name in self.facts.can]

    @property
    def nothing_known(self) -> bool:
        """Of none of its capabilities."""
        return not self.facts.can and not self.facts.cannot

    @property
    def unknown(self) -> int:
        """How many capabilities nobody knows of."""
        return len(choices.LABELS) - len(self.facts.can) - len(self.facts.cannot)


@dataclass(frozen=True, slots=True)
class Ability:
    """One capability of a model, and who says so."""

    name: str
    label: str
    status: Status
    source: str


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One model with everything that is known of it. others: the same name at other providers."""

    row: UsedRow
    entry: Entry | None
    abilities: list[Ability]
    numbers: list[tuple[str, str, str]]
    listed: ListedModel | None
    listing: Listing | None
    others: list[UsedRow]
    notices: list[Happening]


def models_used(
    organisation: Organisation, *, query: str = "", provider: str = "", shown: str = "", able: str = ""
) -> QuerySet[ProviderModel]:
    """Models that routes target, or that a person priced or spoke of."""
    found = _models(organisation)
    if query:
        found = found.filter(name__icontains=query)
    if provider:
        found = found.filter(provider__name=provider)
    if able in choices.LABELS:
        found = found.filter(_can(able))
    if shown == "yours":
        found = found.exclude(entry=None).exclude(entry__own={})
    elif shown == "unknown":
        found = found.filter(entry=None)
    elif shown == "vanished":
        found = found.filter(Exists(_listed().exclude(gone_at=None)))
    elif shown == "deprecated":
        said = Q(entry__own__contains={"deprecated": True}) | Q(entry__own__has_key="ends_on")
        known = Q(entry__known__contains={"deprecated": True}) & ~Q(entry__own__contains={"deprecated": False})
        found = found.filter(said | known | Q(entry__known__has_key="ends_on"))
    return found


def _models(organisation: Organisation) -> QuerySet[ProviderModel]:
    """With what ``used_rows`` looks at."""
    return ProviderModel.objects.filter(provider__organisation=organisation).select_related("provider__listing", "entry")


def _can(name: str) -> Q:
    """As ``facts_over`` decides: a person's word first."""
    return Q(entry__own__contains={"can": [name]}) | (
        Q(entry__known__contains={"can": [name]}) & ~Q(entry__own__contains={"cannot": [name]})
    )


def _listed() -> QuerySet[ListedModel]:
    return ListedModel.objects.filter(provider=OuterRef("provider_id"), name=OuterRef("name"))


def used_rows(models: Sequence[ProviderModel], *, now: datetime | None = None) -> list[UsedRow]:
    """Models with what is known of them: three queries, whatever their number. models: read by ``models_used``."""
    now = now or datetime.now(UTC)
    providers = {model.provider_id for model in models}
    names = {model.name for model in models}
    listed = {(row.provider_id, row.name): row for row in ListedModel.objects.filter(provider__in=providers, name__in=names)}
    prices: dict[UUID, list[Price]] = {}
    for price in Price.objects.filter(model__in=models, retired_at=None, region=""):
        prices.setdefault(price.model_id, []).append(price)
    routes = routes_by_place(providers, names)
    found = []
    for model in models:
        entry, seen = getattr(model, "entry", None), listed.get((model.provider_id, model.name))
        facts = entry.facts if entry is not None else NOTHING
        listing: Listing | None = getattr(model.provider, "listing", None)
        there = None if listing is None or listing.read_at is None else seen is not None and seen.gone_at is None
        state = model_state(facts, listed=there, gone=seen is not None and seen.gone_at is not None, today=now.date())
        held = rules.price_in_force([price_spec(price) for price in prices_in_force(prices.get(model.pk, []))], now)
        yours = entry is not None and bool(entry.own)
        used = routes.get((model.provider_id, model.name), [])
        found.append(UsedRow(model, facts, choices.STATES[state], held, used, yours, seen))
    return found


def routes_by_place(providers: Iterable[UUID], names: Iterable[str]) -> dict[tuple[UUID, str], list[str]]:
    """(provider, model) -> names of the routes that target it, each once: one query."""
    rows = (
        Provider.objects.filter(pk__in=providers, route_targets__model__in=names)
        .order_by("route_targets__route__name")
        .values_list("pk", "route_targets__model", "route_targets__route__name")
        .distinct()
    )
    found: dict[tuple[UUID, str], list[str]] = {}
    for pk, model, route in rows:
        found.setdefault((pk, model), []).append(route)
    return found


def model_page(organisation: Organisation, model_id: UUID, *, now: datetime | None = None) -> ModelPage | None:
    """None: the organisation has none of that id."""
    base = _models(organisation)
    model = base.filter(pk=model_id).first()
    if model is None:
        return None
    same = list(base.filter(name=model.name).exclude(pk=model.pk).order_by("provider__name")[:50])
    rows = used_rows([model, *same], now=now)
    entry = getattr(model, "entry", None)
    facts, sources = rows[0].facts, entry.all_sources if entry is not None else {}
    abilities = []
    for name, label in choices.LABELS.items():
        says = facts.says(name)
        status = choices.UNKNOWN if says is None else choices.YES if says else choices.NO
        abilities.append(Ability(name, label, status, sources.get(name, "")))
    numbers = [
        ("Context window", f"{facts.window:,} tokens" if facts.window else "", sources.get("window", "")),
        ("Most output", f"{facts.max_output:,} tokens" if facts.max_output else "", sources.get("max_output", "")),
        ("Deprecated", {True: "yes", False: "no", None: ""}[facts.deprecated], sources.get("deprecated", "")),
        ("Served until", facts.ends_on, sources.get("ends_on", "")),
    ]
    return ModelPage(
        row=rows[0],
        entry=entry,
        abilities=abilities,
        numbers=numbers,
        listed=rows[0].listed,
        listing=getattr(model.provider, "listing", None),
        others=rows[1:],
        notices=notices_of(organisation, provider=model.provider, model=model.name, limit=20),
    )


@dataclass(slots=True)
class ListedRow:
    """A model as its provider lists it. used: its page, where the organisation uses it."""

    listed: ListedModel
    facts: ModelFacts
    used: ProviderModel | None = None

    @property
    def price_text(self) -> str:
        """Input and output in dollars per million tokens; empty where the list has none."""
        price = self.listed.price
        return f"${dollars_text(price.get('input', 0))} / ${dollars_text(price.get('output', 0))}" if price else ""


def models_listed(
    organisation: Organisation, *, query: str = "", provider: str = "", seen: str = "", now: datetime
) -> QuerySet[ListedModel]:
    """What an organisation's providers list, or listed."""
    found = ListedModel.objects.filter(provider__organisation=organisation).select_related("provider")
    if query:
        found = found.filter(name__icontains=query)
    if provider:
        found = found.filter(provider__name=provider)
    used = ProviderModel.objects.filter(provider=OuterRef("provider_id"), name=OuterRef("name"))
    if seen == "new":
        before = ListedModel.objects.filter(provider=OuterRef("provider_id"), first_seen_at__lt=OuterRef("first_seen_at"))
        found = found.filter(Exists(before), first_seen_at__gte=now - NEW, gone_at=None)
    elif seen == "gone":
        found = found.exclude(gone_at=None)
    elif seen == "used":
        found = found.filter(Exists(used))
    elif seen == "unused":
        found = found.exclude(Exists(used))
    return found


def listed_rows(rows: Sequence[ListedModel]) -> list[ListedRow]:
    """With the models in use that they are: one query."""
    wanted = {(row.provider_id, row.name) for row in rows}
    used = {
        (model.provider_id, model.name): model
        for model in ProviderModel.objects.filter(provider__in={pk for pk, _ in wanted}, name__in={name for _, name in wanted})
    }
    return [ListedRow(row, msgspec.convert(row.facts, ModelFacts), used.get((row.provider_id, row.name))) for row in rows]


def listings_of(organisation: Organisation) -> list[Listing]:
    """How the latest look at each provider's list went, by name."""
    return list(Listing.objects.filter(provider__organisation=organisation).select_related("provider").order_by("provider__name"))


def provider_names(organisation: Organisation) -> list[str]:
    """What the filter offers."""
    return list(Provider.objects.filter(organisation=organisation).order_by("name").values_list("name", flat=True))


def notices_of(
    organisation: Organisation, *, provider: Provider | None = None, model: str = "", limit: int = MOST_NOTICES
) -> list[Happening]:
    """What looks at providers' lists told, newest first: one query. model: only what names it."""
    events = Event.objects.filter(kind__in=choices.EVENTS, data__organisation=str(organisation.pk))
    if provider is not None:
        events = events.filter(subject_kind="provider", subject_id=str(provider.pk))
    if model:
        events = events.filter(data__models__contains=[model])
    found = []
    for event in events.order_by("-at", "-id")[:limit]:
        title, status = choices.EVENTS[event.kind]
        named = f"{event.subject_name}: {title.lower()}"
        text = notice_text({**event.data, "models": [model], "count": 1} if model else event.data)
        found.append(Happening(at=event.at, title=named, text=text, tone=status.tone, icon=status.icon_name))
    return found


def notice_text(data: Any) -> str:
    """Which models, with prices before and after, last days, and the routes that use them."""
    prices, ends, routes = data.get("prices") or {}, data.get("ends_on") or {}, data.get("routes") or {}
    said = []
    for name in data.get("models") or ():
        words = name
        if name in prices:
            words += f" ({_price(prices[name].get('before'))} → {_price(prices[name].get('after'))})"
        if name in ends:
            words += f" (until {ends[name]})"
        if routes.get(name):
            words += f", used by {', '.join(routes[name])}"
        said.append(words)
    more = int(data.get("count") or 0) - len(said)
    return "; ".join(said) + (f"; and {more:,} more" if more > 0 else "")


def _price(price: Any) -> str:
    price = price or {}
    return f"${dollars_text(price.get('input', 0))} in, ${dollars_text(price.get('output', 0))} out"
