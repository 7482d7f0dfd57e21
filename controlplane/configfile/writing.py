"""Rows -> document, whole or one entry of it. What is written never holds a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.budgets.limit_selectors import limits_of
from apps.budgets.scoping import scope_names
from apps.budgets.selectors import budgets_of
from apps.catalogue.selectors import overrides_of
from apps.contracts.fleet import PROVIDER_PREFIX
from apps.flags.models import Flag
from apps.flags.selectors import flags_of
from apps.keys.selectors import keys_of
from apps.ownership.models import Runbook
from apps.ownership.owned import holders_of
from apps.ownership.selectors import services, teams
from apps.prices.selectors import gpu_prices_of
from apps.prices.units import unit_prices_of
from apps.providers.selectors import alike_of, credentials_of, discounts_of, manual_prices_of, providers_of
from apps.providers.services import pool_of
from apps.routes import choices as route_choices
from apps.routes import selectors as routes
from controlplane.configfile import changing, fleet, key_templates, ownership, samples, telling, views, watching
from controlplane.configfile.document import (
    KEPT,
    BudgetEntry,
    CredentialEntry,
    DeadlinesEntry,
    DiscountEntry,
    Document,
    EndpointEntry,
    FlagEntry,
    GpuPriceEntry,
    KeyEntry,
    LikeEntry,
    LimitEntry,
    ModelEntry,
    OffPeakEntry,
    PooledEntry,
    PriceEntry,
    ProviderEntry,
    RouteEntry,
    ServiceEntry,
    TeamEntry,
    TierEntry,
    UnitPriceEntry,
)
from controlplane.configfile.performance import entries_of
from controlplane.configfile.routing import entry_of_resilience, entry_of_spec


@dataclass
class Names:
    """Names of objects by kind and id, for the rows that point at them by id. A kind that is read whole is asked for once; else each is."""

    organisation: Organisation
    found: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    def all(self, kind: str) -> dict[str, str]:
        """Id -> name of everything of that kind."""
        if kind not in self.whole:
            rows, name = NAMED[kind]
            self.found[kind] = {str(pk): text for pk, text in rows(self.organisation).order_by().values_list("pk", name)}
            self.whole.add(kind)
        return self.found[kind]

    def of(self, kind: str, object_id: object) -> str:
        """The name; the id itself where there is nothing of that kind any more."""
        known, asked = self.found.setdefault(kind, {}), str(object_id)
        if asked not in known and kind in NAMED and kind not in self.whole and uuid_or_none(asked):
            rows, name = NAMED[kind]
            known[asked] = rows(self.organisation).filter(pk=asked).values_list(name, flat=True).first() or asked
        return known.get(asked, asked)


NAMED: dict[str, tuple[Callable[[Organisation], QuerySet[Any]], str]] = {
    "route": (routes.routes_of, "name"),
    "provider": (providers_of, "name"),
    "key": (keys_of, "name"),
    "team": (lambda organisation: teams(organisation=organisation), "slug"),
    "runbook": (lambda organisation: Runbook.objects.filter(organisation=organisation), "name"),
}
"""What entries name and rows point at by id: its rows, and the column of its name."""

Writer = Callable[[Organisation, Names, str], list[Any]]
"""The entries of one list; of one name where one is given, then perhaps others too."""


def document_of(organisation: Organisation) -> Document:
    """An organisation's config as a document; applying it again changes nothing."""
    names, document = Names(organisation), Document(organisation=organisation.slug)
    for kind in NAMED:
        names.all(kind)
    for section, write in WRITERS.items():
        setattr(document, section, write(organisation, names, ""))
    return document


def entry_of(organisation: Organisation, section: str, name: str) -> Any | None:
    """One entry of a list as the document would have it now; None: there is none of that name."""
    found = WRITERS[section](organisation, Names(organisation), name)
    return next((entry for entry in found if entry.name == name), None)


def flag_entry(row: Flag) -> FlagEntry:
    """One flag as the document writes it."""
    return _flag(row, Names(row.organisation))


def uuid_or_none(text: str) -> UUID | None:
    """The id that a text is, if it is one: what flags are about may be a name as well."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _only(rows: QuerySet[Any], name: str) -> QuerySet[Any]:
    return rows.filter(name=name) if name else rows


def _credentials(organisation: Organisation, names: Names, only: str) -> list[CredentialEntry]:
    return [CredentialEntry(name=row.name, secret=row.source or KEPT) for row in _only(credentials_of(organisation), only)]


def _discounts(organisation: Organisation, names: Names, only: str) -> list[DiscountEntry]:
    return [
        DiscountEntry(
            name=row.name,
            provider=row.provider.name,
            model=row.model,
            discount=row.discount,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            note=row.note,
        )
        for row in _only(discounts_of(organisation), only)
    ]


def _unit_prices(organisation: Organisation, names: Names, only: str) -> list[UnitPriceEntry]:
    return [
        UnitPriceEntry(
            name=row.name,
            provider=row.provider.name,
            model=row.model,
            unit=row.unit,
            quality=row.quality,
            size=row.size,
            per_thousand=row.per_thousand,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
        )
        for row in _only(unit_prices_of(organisation), only)
    ]


def _gpu_prices(organisation: Organisation, names: Names, only: str) -> list[GpuPriceEntry]:
    return [
        GpuPriceEntry(
            name=row.name, gpu=row.gpu, region=row.region, per_hour=row.per_hour, valid_from=row.valid_from, valid_to=row.valid_to
        )
        for row in _only(gpu_prices_of(organisation), only)
    ]


def _budgets(organisation: Organisation, names: Names, only: str) -> list[BudgetEntry]:
    rows = list(_only(budgets_of(organisation), only))
    spending, owners = scope_names(organisation, rows), holders_of(organisation, "budget")
    return [
        BudgetEntry(
            name=row.name,
            scope=row.scope,
            **({} if row.scope == "organisation" else {row.scope: spending[row.pk]}),
            window=row.window,
            timezone=row.timezone,
            limit=row.limit_nano,
            kind=row.kind,
            open_when_away=row.open_when_away,
            actions=row.actions,
            owner=row.owner_email,
            owned_by=owners.get(str(row.pk), ""),
            alerts=row.alert_shares,
            webhook=(row.webhook_source or KEPT) if row.webhook else None,
            slack_webhook=(row.slack_webhook_source or KEPT) if row.slack_webhook else None,
        )
        for row in rows
    ]


def _limits(organisation: Organisation, names: Names, only: str) -> list[LimitEntry]:
    owners = holders_of(organisation, "limit")
    return [
        LimitEntry(
            name=row.name,
            **({row.scope: names.of(row.scope, row.scope_id)} if row.scope in ("key", "team", "route") else {}),
            model=row.scope_id if row.scope == "model" else "",
            kind=row.kind,
            amount=row.amount,
            owned_by=owners.get(str(row.pk), ""),
        )
        for row in _only(limits_of(organisation), only)
    ]


def _flags(organisation: Organisation, names: Names, only: str) -> list[FlagEntry]:
    return [_flag(row, names) for row in _only(flags_of(organisation), only)]


def _flag(row: Flag, names: Names) -> FlagEntry:
    return FlagEntry(
        name=row.name,
        kind=cast(Any, row.kind),
        **({} if row.subject_kind == "organisation" else {row.subject_kind: _subject(row, names)}),
        level=cast(Any, row.level),
        rules=row.rules,
        default=row.default,
        on=True if row.on else None,
        reason=row.reason,
        until=row.until,
        share=row.share,
        simulated_only=row.simulated_only,
        acknowledge=row.acknowledged,
        owner=row.owner.slug if row.owner else "",
        purpose=row.purpose,
        runbook=names.of("runbook", row.runbook),
        expires=row.expires_at,
        stale_after_days=row.stale_after_days,
    )


def _subject(row: Flag, names: Names) -> str:
    """What a flag is about; of a team the flag has the slug already."""
    return names.of(row.subject_kind, row.subject_id) if row.subject_kind in ("route", "provider", "key") else row.subject_id


def _teams(organisation: Organisation, names: Names, only: str) -> list[TeamEntry]:
    owned: dict[str, list[ServiceEntry]] = {}
    promised, contacts = ownership.slas_of(organisation), ownership.contacts_of(organisation)
    for service in services(organisation=organisation):
        title = "" if service.name == service.slug else service.name
        sla = promised.get((service.team.slug, service.slug))
        owned.setdefault(service.team.slug, []).append(ServiceEntry(name=service.slug, title=title, sla=sla))
    return [
        TeamEntry(
            name=team.slug,
            title="" if team.name == team.slug else team.name,
            contact=team.contact_email,
            contacts=contacts.get(team.slug, []),
            sla=promised.get((team.slug, "")),
            services=owned.get(team.slug, []),
        )
        for team in teams(organisation=organisation)
    ]


def _providers(organisation: Organisation, names: Names, only: str) -> list[ProviderEntry]:
    prices: dict[str, list[PriceEntry]] = {}
    for price in manual_prices_of(organisation):
        prices.setdefault(price.model.provider.name, []).append(
            PriceEntry(
                model=price.model.name,
                input=price.input,
                output=price.output,
                cache_read=price.cache_read,
                cache_write=price.cache_write,
                reasoning=price.reasoning,
                audio_input=price.audio_input,
                audio_output=price.audio_output,
                image_input=price.image_input,
                image_output=price.image_output,
                request=price.request,
                tiers=[TierEntry(**tier) for tier in price.tiers],
                region=price.region,
                batch_discount=price.batch_discount,
                off_peak=[OffPeakEntry(start=t["from_minute"], end=t["to_minute"], discount=t["discount"]) for t in price.off_peak],
                valid_from=price.valid_from,
                valid_to=price.valid_to,
            )
        )
    likes: dict[str, list[LikeEntry]] = {}
    for model in alike_of(organisation):
        likes.setdefault(model.provider.name, []).append(LikeEntry(model=model.name, like=str(model.like)))
    said: dict[str, list[ModelEntry]] = {}
    for row in overrides_of(organisation):
        facts = row.own_facts
        said.setdefault(row.model.provider.name, []).append(
            ModelEntry(
                model=row.model.name,
                window=facts.window,
                max_output=facts.max_output,
                can=cast(Any, list(facts.can)),
                cannot=cast(Any, list(facts.cannot)),
                deprecated=facts.deprecated,
                ends_on=facts.ends_on,
                note=row.note,
            )
        )
    owners = holders_of(organisation, "provider")
    entries: list[ProviderEntry] = []
    # what stands for a deployment is made with it, not written
    for row in _only(providers_of(organisation).exclude(name__startswith=PROVIDER_PREFIX), only):
        entries.append(
            ProviderEntry(
                name=row.name,
                kind=row.kind,
                simulated=row.simulated,
                enabled=row.enabled,
                allow_private_addresses=row.allow_private_addresses,
                price_list=row.price_list,
                endpoints=[
                    EndpointEntry(
                        name=endpoint.name,
                        base_url=endpoint.base_url,
                        region=endpoint.region,
                        credential=endpoint.credential.name if endpoint.credential and not endpoint.pool.all() else "",
                        max_connections=endpoint.max_connections,
                        verify_tls=endpoint.verify_tls,
                        ca_file=endpoint.ca_file,
                        credentials=[PooledEntry(**member._asdict()) for member in pool_of(endpoint)],
                        api_version=endpoint.api_version,
                    )
                    for endpoint in sorted(row.endpoints.all(), key=lambda endpoint: endpoint.position)
                ],
                prices=prices.get(row.name, []),
                priced_like=likes.get(row.name, []),
                models=said.get(row.name, []),
                owner=owners.get(str(row.pk), ""),
            )
        )
    return entries


def _routes(organisation: Organisation, names: Names, only: str) -> list[RouteEntry]:
    entries: list[RouteEntry] = []
    for row in _only(routes.routes_of(organisation), only):
        chains = {
            chain: [entry_of_spec(spec) for spec in routes.target_specs(row, chain)]
            for chain in (route_choices.PRIMARY, route_choices.FALLBACK)
        }
        entries.append(
            RouteEntry(
                name=row.name,
                aliases=routes.aliases(row),
                targets=chains[route_choices.PRIMARY],
                fallback=chains[route_choices.FALLBACK],
                deadlines=DeadlinesEntry(connect=row.connect_ms, first_byte=row.first_byte_ms, idle=row.idle_ms, total=row.total_ms),
                resilience=entry_of_resilience(routes.resilience(row)),
                max_output_tokens=row.max_output_tokens,
                max_attempts=row.max_attempts,
                unpriced=cast(Any, row.unpriced),
                default_price=row.default_price,
                owner=row.owner.slug if row.owner else "",
                runbook=names.of("runbook", row.runbook),
                enabled=row.enabled,
            )
        )
    return entries


def _keys(organisation: Organisation, names: Names, only: str) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for row in _only(keys_of(organisation), only):
        entries.append(
            KeyEntry(
                name=row.name,
                secret=row.source or None,
                environment=cast(Any, row.environment),
                feature=row.feature,
                tags=list(row.tags),
                routes=list(row.routes),
                team="" if row.service or not row.team else row.team.slug,
                service=f"{row.service.team.slug}/{row.service.slug}" if row.service else "",
                expires_at=row.expires_at,
                priority=cast(Any, row.priority),
                explain=row.explain,
                addresses=list(row.addresses),
                enabled=row.enabled,
            )
        )
    return entries


def _alone(read: Callable[[Organisation], list[Any]]) -> Writer:
    """A list that is short enough to be read whole, and that names nothing by id."""
    return lambda organisation, names, only: read(organisation)


WRITERS: dict[str, Writer] = {
    "teams": _teams,
    "layers": _alone(ownership.layers_of),
    "regions": _alone(ownership.regions_of),
    "rotations": _alone(ownership.rotations_written),
    "runbooks": _alone(ownership.runbooks_of),
    "credentials": _credentials,
    "providers": _providers,
    "discounts": _discounts,
    "unit_prices": _unit_prices,
    "gpu_prices": _gpu_prices,
    "deployments": _alone(fleet.entries_of),
    "routes": _routes,
    "keys": _keys,
    "key_templates": _alone(key_templates.entries_of),
    "budgets": _budgets,
    "limits": _limits,
    "performance_budgets": lambda organisation, names, only: entries_of(organisation, names.all("route")),
    "flags": _flags,
    "two_person_rules": _alone(changing.rules_of),
    "schedules": _alone(changing.schedules_of),
    "alert_rules": watching.rules_of,
    "slos": watching.slos_of,
    "alert_channels": _alone(telling.channels_of),
    "notification_policies": _alone(telling.policies_of),
    "redactions": lambda organisation, names, only: samples.redactions_of(organisation),
    "captures": lambda organisation, names, only: samples.entries_of(organisation, names.all("route")),
    "saved_views": _alone(views.entries_of),
}
"""What writes each list of the document, in its order."""
