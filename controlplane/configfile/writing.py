"""Rows -> document, and document -> plain values or YAML. What is written never holds a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast, get_args, get_origin, get_type_hints

import msgspec
import yaml

from apps.accounts.models import Organisation
from apps.budgets.limit_selectors import limits_of
from apps.budgets.scoping import scope_names
from apps.budgets.selectors import budgets_of
from apps.contracts.money import clock_text, dollars_text
from apps.contracts.pricing import percent_text
from apps.flags.models import Flag
from apps.flags.selectors import flags_of
from apps.keys.selectors import keys_of
from apps.ownership.owned import holders_of
from apps.ownership.selectors import services, teams
from apps.prices.selectors import gpu_prices_of
from apps.providers.selectors import alike_of, credentials_of, discounts_of, manual_prices_of, providers_of
from apps.routes import choices as route_choices
from apps.routes import selectors as routes
from controlplane.configfile import key_templates, ownership
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
    OffPeakEntry,
    PriceEntry,
    ProviderEntry,
    RouteEntry,
    ServiceEntry,
    TeamEntry,
    TierEntry,
    Unit,
)
from controlplane.configfile.performance import entries_of
from controlplane.configfile.routing import entry_of_resilience, entry_of_spec


def document_of(organisation: Organisation) -> Document:
    """An organisation's config as a document; applying it again changes nothing."""
    names = _Names()
    document = Document(organisation=organisation.slug)
    document.teams = _teams(organisation)
    document.layers, document.regions = ownership.layers_of(organisation), ownership.regions_of(organisation)
    names |= {("runbook", pk): name for pk, name in ownership.runbook_names(organisation).items()}
    document.rotations, document.runbooks = ownership.rotations_written(organisation), ownership.runbooks_of(organisation)
    document.credentials = [CredentialEntry(name=row.name, secret=row.source or KEPT) for row in credentials_of(organisation)]
    document.providers = _providers(organisation, names)
    document.discounts = [
        DiscountEntry(
            name=row.name,
            provider=row.provider.name,
            model=row.model,
            discount=row.discount,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            note=row.note,
        )
        for row in discounts_of(organisation)
    ]
    document.gpu_prices = [
        GpuPriceEntry(
            name=row.name, gpu=row.gpu, region=row.region, per_hour=row.per_hour, valid_from=row.valid_from, valid_to=row.valid_to
        )
        for row in gpu_prices_of(organisation)
    ]
    document.routes = _routes(organisation, names)
    document.keys = _keys(organisation, names)
    document.key_templates = key_templates.entries_of(organisation)
    budgets = list(budgets_of(organisation))
    spending, owners = scope_names(organisation, budgets), holders_of(organisation, "budget")
    document.budgets = [
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
        for row in budgets
    ]
    slugs = {str(team.pk): team.slug for team in teams(organisation=organisation)}
    document.limits = [
        LimitEntry(
            name=row.name,
            key=names.of("key", row.scope_id) if row.scope == "key" else "",
            team=slugs.get(row.scope_id, row.scope_id) if row.scope == "team" else "",
            route=names.of("route", row.scope_id) if row.scope == "route" else "",
            model=row.scope_id if row.scope == "model" else "",
            kind=row.kind,
            amount=row.amount,
        )
        for row in limits_of(organisation)
    ]
    document.performance_budgets = entries_of(organisation, {pk: name for (kind, pk), name in names.items() if kind == "route"})
    document.flags = [_flag(row, names) for row in flags_of(organisation)]
    return document


class _Names(dict[tuple[str, str], str]):
    """Names of objects by kind and id, for the rows that point at them by id."""

    def of(self, kind: str, object_id: object) -> str:
        return self.get((kind, str(object_id)), str(object_id))


def flag_entry(row: Flag) -> FlagEntry:
    """One flag as the document writes it; one query for the name of what it is about."""
    names = _Names()
    finders: dict[str, Callable[[Organisation], Any]] = {"route": routes.routes_of, "provider": providers_of, "key": keys_of}
    if row.subject_kind in finders:
        found = finders[row.subject_kind](row.organisation).filter(pk=row.subject_id).first()
        if found is not None:
            names[row.subject_kind, row.subject_id] = found.name
    return _flag(row, names)


def _flag(row: Flag, names: _Names) -> FlagEntry:
    return FlagEntry(
        name=row.name,
        kind=cast(Any, row.kind),
        **({} if row.subject_kind == "organisation" else {row.subject_kind: names.of(row.subject_kind, row.subject_id)}),
        level=cast(Any, row.level),
        rules=row.rules,
        default=row.default,
        on=row.on,
        reason=row.reason,
        until=row.until,
        share=row.share,
        simulated_only=row.simulated_only,
        acknowledge=row.acknowledged,
        owner=row.owner.slug if row.owner else "",
        purpose=row.purpose,
        runbook=names.get(("runbook", row.runbook), row.runbook),
        expires=row.expires_at,
        stale_after_days=row.stale_after_days,
    )


def _teams(organisation: Organisation) -> list[TeamEntry]:
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


def _providers(organisation: Organisation, names: _Names) -> list[ProviderEntry]:
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
    owners = holders_of(organisation, "provider")
    entries: list[ProviderEntry] = []
    for row in providers_of(organisation):
        names["provider", str(row.pk)] = row.name
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
                        credential=endpoint.credential.name if endpoint.credential else "",
                        max_connections=endpoint.max_connections,
                        verify_tls=endpoint.verify_tls,
                        ca_file=endpoint.ca_file,
                    )
                    for endpoint in sorted(row.endpoints.all(), key=lambda endpoint: endpoint.position)
                ],
                prices=prices.get(row.name, []),
                priced_like=likes.get(row.name, []),
                owner=owners.get(str(row.pk), ""),
            )
        )
    return entries


def _routes(organisation: Organisation, names: _Names) -> list[RouteEntry]:
    entries: list[RouteEntry] = []
    for row in routes.routes_of(organisation):
        names["route", str(row.pk)] = row.name
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
                enabled=row.enabled,
            )
        )
    return entries


def _keys(organisation: Organisation, names: _Names) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for row in keys_of(organisation):
        names["key", str(row.pk)] = row.name
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


def plain(struct: msgspec.Struct, *, defaults: bool = False) -> dict[str, Any]:
    """A struct as people write it: names, amounts, durations. Fields at their default are left out unless ``defaults``."""
    hints = get_type_hints(type(struct), include_extras=True)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(struct)):
        value = getattr(struct, field.name)
        if not field.required and not defaults:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            if value == default:
                continue
        values[field.name] = _written(value, _unit(hints[field.name]), defaults)
    return values


def _unit(hint: Any) -> Unit | None:
    for part in (hint, *get_args(hint)):
        for mark in getattr(part, "__metadata__", ()):
            if isinstance(mark, Unit) and get_origin(part) is not list:
                return mark
    return None


def _written(value: Any, unit: Unit | None, defaults: bool) -> Any:
    if isinstance(value, msgspec.Struct):
        return plain(value, defaults=defaults)
    if isinstance(value, list):
        return [_written(item, unit, defaults) for item in value]
    if value is None:
        return None
    if unit is Unit.DOLLARS:
        return dollars_text(value)
    if unit is Unit.DURATION:
        return duration_text(value)
    if unit is Unit.PERCENT:
        return percent_text(value)
    if unit is Unit.CLOCK:
        return clock_text(value)
    if isinstance(value, datetime):
        return moment_text(value)
    return value


def duration_text(ms: int) -> str:
    """``2s``, ``500ms``."""
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"


def moment_text(at: datetime) -> str:
    """UTC, ``2027-01-31T00:00:00Z``; milliseconds only where there are some."""
    text = at.astimezone(UTC).isoformat(timespec="seconds" if at.microsecond == 0 else "milliseconds")
    return text.replace("+00:00", "Z")


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors: the same value twice is written twice, because the reader refuses aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.Node:
        """Text of several lines as such, where YAML can write it so."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def yaml_text(document: Document) -> str:
    """The document as YAML, fields in the manual's order, defaults left out."""
    return yaml.dump(plain(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140, default_flow_style=False)
