"""A document's entries become calls of services: one step per kind of entry, and one per kind of removal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.limit_selectors import limits_of
from apps.budgets.limit_services import limit_delete
from apps.budgets.selectors import budgets_of
from apps.budgets.services import budget_delete
from apps.catalogue.services import override_set
from apps.contracts.model_facts import ModelFacts
from apps.contracts.snapshot import Deadlines
from apps.flags.selectors import flags_of
from apps.flags.services import flag_delete
from apps.keys.selectors import keys_of
from apps.keys.services import key_create, key_digest, key_import, key_revoke, key_token_replace, key_update
from apps.ownership.selectors import team_get
from apps.ownership.services import service_ensure, team_ensure
from apps.ownership.team_deletion import team_delete
from apps.prices.selectors import gpu_prices_of
from apps.prices.services import gpu_price_delete, gpu_price_set
from apps.prices.units import unit_price_delete, unit_price_set, unit_prices_of
from apps.providers.discounts import discount_delete, discount_set
from apps.providers.prices import model_ensure, model_like_set, prices_set
from apps.providers.rules import EndpointSpec, PoolSpec, PriceSpec
from apps.providers.selectors import credentials_of, discounts_of, model_named, provider_named, providers_of
from apps.providers.services import credential_delete, credential_set, provider_delete, provider_ensure
from apps.routes.selectors import routes_of
from apps.routes.services import route_delete, route_ensure
from controlplane.configfile import (
    changing,
    fleet,
    key_templates,
    ownership,
    performance,
    samples,
    spending,
    switching,
    telling,
    views,
    watching,
)
from controlplane.configfile import document as doc
from controlplane.configfile.finding import fields_of, renamed, service_written
from controlplane.configfile.references import ReferenceRefused, References
from controlplane.configfile.routing import field_of, resilience_of_entry, spec_of_entry

OWNERSHIP: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "layers": (ownership.layer_apply, ownership.layer_remove),
    "regions": (ownership.region_apply, ownership.region_remove),
    "rotations": (ownership.rotation_apply, ownership.rotation_remove),
    "runbooks": (ownership.runbook_apply, ownership.runbook_remove),
}
"""Lists of ownership that stand by themselves: what applies an entry, and what removes one by its name."""

WATCHING: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "alert_rules": (watching.rule_apply, watching.rule_remove),
    "slos": (watching.slo_apply, watching.slo_remove),
    "notification_policies": (telling.policy_apply, telling.policy_remove),
    "captures": (samples.entry_apply, samples.entry_remove),
    "redactions": (samples.redaction_apply, samples.redaction_remove),
    "saved_views": (views.entry_apply, views.entry_remove),
}
"""Lists of what is watched and kept: what applies an entry, and what removes one by its name."""

CHANGING: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "two_person_rules": (changing.rule_apply, changing.rule_remove),
    "schedules": (changing.schedule_apply, changing.schedule_remove),
}
"""Lists whose entries have no name: what applies one, and what removes one by what it says."""


class Steps:
    """One step per kind of entry, for one document; what they leave behind for whoever publishes and tells.

    reason: goes into the audit with every change.
    """

    def __init__(self, *, actor: Actor, references: References, reason: str) -> None:
        self.actor = actor
        self.references = references
        self.reason = reason
        self.generated: list[tuple[str, str, Path | None]] = []
        """(key's name, its new token, the file it belongs into) of keys that were made."""
        self.new_values: dict[tuple[str, str], str] = {}
        """(list's name, entry's name) -> what the diff says of a secret."""
        self.objects: dict[tuple[str, str], str] = {}
        """(section, object id) -> path, for what publishing says about an object."""

    # --- one step per kind -----------------------------------------------------------------------------------------------

    def team(self, organisation: Organisation, entry: doc.TeamEntry, path: str) -> None:
        with fields_of({"slug": "name", "name": "title", "contact_email": "contact"}):
            team = team_ensure(
                actor=self.actor, organisation=organisation, slug=entry.name, name=entry.title or entry.name, contact_email=entry.contact
            )
        for at, service in enumerate(entry.services):
            if service.absent:
                ownership.service_remove(team, service.name, f"services[{at}]", actor=self.actor, reason=self.reason)
                continue
            with fields_of({"slug": f"services[{at}].name", "name": f"services[{at}].title"}):
                row = service_ensure(actor=self.actor, team=team, slug=service.name, name=service.title or service.name)
            ownership.sla_apply(team, row, service.sla, f"services[{at}].sla", actor=self.actor, reason=self.reason)
        ownership.contacts_apply(team, entry.contacts, actor=self.actor, reason=self.reason)
        ownership.sla_apply(team, None, entry.sla, "sla", actor=self.actor, reason=self.reason)

    def of_ownership(self, kind: str, organisation: Organisation, entry: Any, path: str) -> None:
        OWNERSHIP[kind][0](organisation, entry, actor=self.actor, reason=self.reason)

    def remove_of_ownership(self, kind: str, organisation: Organisation, name: str) -> None:
        OWNERSHIP[kind][1](organisation, name, actor=self.actor, reason=self.reason)

    def of_watching(self, kind: str, organisation: Organisation, entry: Any, path: str) -> None:
        WATCHING[kind][0](organisation, entry, actor=self.actor, reason=self.reason)

    def remove_of_watching(self, kind: str, organisation: Organisation, name: str) -> None:
        WATCHING[kind][1](organisation, name, actor=self.actor, reason=self.reason)

    def of_changing(self, kind: str, organisation: Organisation, entry: Any, path: str) -> None:
        CHANGING[kind][0](organisation, entry, actor=self.actor, reason=self.reason)

    def remove_of_changing(self, kind: str, organisation: Organisation, entry: Any) -> None:
        CHANGING[kind][1](organisation, entry, actor=self.actor, reason=self.reason)

    def credential(self, organisation: Organisation, entry: doc.CredentialEntry, path: str) -> None:
        before = credentials_of(organisation).filter(name=entry.name).first()
        if entry.secret == doc.KEPT:
            if before is None:
                raise ServiceError("there is no value to keep: give a reference, env:NAME or file:path", "secret")
            return
        credential = credential_set(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            value=self.secret(entry.secret),
            source=entry.secret,
            reason=self.reason,
        )
        self.objects["credentials", str(credential.pk)] = path
        if before is not None and before.digest != credential.digest:
            self.new_values["credentials", entry.name] = "secret: has a new value"

    def provider(self, organisation: Organisation, entry: doc.ProviderEntry, path: str) -> None:
        provider = provider_ensure(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            kind=entry.kind,
            endpoints=[_endpoint_spec(endpoint) for endpoint in entry.endpoints],
            simulated=entry.simulated,
            enabled=entry.enabled,
            allow_private_addresses=entry.allow_private_addresses,
            price_list=entry.price_list,
            reason=self.reason,
        )
        self.objects["providers", str(provider.pk)] = path
        ownership.owner_apply(organisation, provider, entry.owner, "owner", actor=self.actor, reason=self.reason)
        models: dict[str, list[int]] = {}
        for at, price in enumerate(entry.prices):
            models.setdefault(price.model, []).append(at)
        for model, places in models.items():
            with _below("prices", f"prices[{places[0]}]"):
                specs = [_price_spec(entry.prices[n]) for n in places if not entry.prices[n].absent]
                prices_set(actor=self.actor, provider=provider, model=model, prices=specs, reason=self.reason)
            self.objects["prices", f"{provider.pk}/{model}"] = f"{path}.prices[{places[0]}]"
        for at, alike in enumerate(entry.priced_like):
            with _below("like", f"priced_like[{at}].like"):
                like = None if alike.absent else model_named(organisation, alike.like, field="like")
                row = model_ensure(actor=self.actor, provider=provider, name=alike.model, reason=self.reason)
                model_like_set(actor=self.actor, model=row, like=like, reason=self.reason)
        for at, said in enumerate(entry.models):
            with _below("", f"models[{at}]."):
                facts = ModelFacts() if said.absent else _facts(said)
                note = "" if said.absent else said.note
                override_set(actor=self.actor, provider=provider, model=said.model, facts=facts, note=note, reason=self.reason)
            self.objects["models", f"{provider.pk}/{said.model}"] = f"{path}.models[{at}]"

    def discount(self, organisation: Organisation, entry: doc.DiscountEntry, path: str) -> None:
        row = discount_set(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            provider=provider_named(organisation, entry.provider),
            model=entry.model,
            discount=entry.discount,
            valid_from=entry.valid_from,
            valid_to=entry.valid_to,
            note=entry.note,
            reason=self.reason,
        )
        self.objects["discounts", str(row.pk)] = path

    def unit_price(self, organisation: Organisation, entry: doc.UnitPriceEntry, path: str) -> None:
        row = unit_price_set(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            provider=provider_named(organisation, entry.provider),
            model=entry.model,
            unit=entry.unit,
            quality=entry.quality,
            size=entry.size,
            per_thousand=entry.per_thousand,
            valid_from=entry.valid_from,
            valid_to=entry.valid_to,
            reason=self.reason,
        )
        self.objects["unit_prices", str(row.pk)] = path

    def gpu_price(self, organisation: Organisation, entry: doc.GpuPriceEntry, path: str) -> None:
        gpu_price_set(
            actor=self.actor,
            organisation=organisation,
            name=entry.name,
            gpu=entry.gpu,
            region=entry.region,
            per_hour=entry.per_hour,
            valid_from=entry.valid_from,
            valid_to=entry.valid_to,
            reason=self.reason,
        )

    def route(self, organisation: Organisation, entry: doc.RouteEntry, path: str) -> None:
        try:
            route = route_ensure(
                actor=self.actor,
                organisation=organisation,
                name=entry.name,
                targets=[spec_of_entry(target) for target in entry.targets],
                fallback=[spec_of_entry(target) for target in entry.fallback],
                aliases=entry.aliases,
                deadlines=Deadlines(
                    connect_ms=entry.deadlines.connect,
                    first_byte_ms=entry.deadlines.first_byte,
                    idle_ms=entry.deadlines.idle,
                    total_ms=entry.deadlines.total,
                ),
                max_output_tokens=entry.max_output_tokens,
                max_attempts=entry.max_attempts,
                unpriced=entry.unpriced,
                default_price=entry.default_price,
                resilience=resilience_of_entry(entry.resilience),
                owner=ownership.team_named(organisation, entry.owner, "owner"),
                runbook=ownership.runbook_id(organisation, entry.runbook),
                enabled=entry.enabled,
                reason=self.reason,
            )
        except ServiceError as error:
            renamed(error, field_of(error.field) if error.field else None)
        self.objects["routes", str(route.pk)] = path

    def key(self, organisation: Organisation, entry: doc.KeyEntry, path: str) -> None:
        service = service_written(organisation, entry.service)
        if service is not None and entry.team and entry.team != service.team.slug:
            raise ServiceError(f"the service {entry.service!r} has the team {service.team.slug!r}: leave team out", "team")
        facts: dict[str, Any] = {
            "environment": entry.environment,
            "feature": entry.feature,
            "tags": entry.tags,
            "routes": entry.routes,
            "team": None if service else ownership.team_named(organisation, entry.team, "team"),
            "service": service,
            "expires_at": entry.expires_at,
            "priority": entry.priority,
            "explain": entry.explain,
            "addresses": entry.addresses,
            "enabled": entry.enabled,
            "reason": self.reason,
        }
        key = keys_of(organisation).filter(name=entry.name).first()
        if entry.secret == doc.KEPT:
            if key is None:
                raise ServiceError("there is no key to keep: leave secret out to generate one, or give env:NAME or file:path", "secret")
            facts["source"] = key.source
        else:
            facts["source"] = entry.secret or ""
        try:
            target = self.references.missing_file(entry.secret) if entry.secret and entry.secret != doc.KEPT else None
        except ReferenceRefused as error:
            raise ServiceError(str(error), "secret") from None
        if key is None and (entry.secret is None or target is not None):
            if target is not None and any(target == other for _, _, other in self.generated):
                raise ServiceError("another key is generated into the same file: give each its own", "secret")
            key, token = key_create(actor=self.actor, organisation=organisation, name=entry.name, **facts)
            self.generated.append((entry.name, token, target))
        elif key is None:
            key = key_import(actor=self.actor, organisation=organisation, name=entry.name, token=self.secret(entry.secret or ""), **facts)
        else:
            if target is not None:
                raise ServiceError(
                    "the key exists and its file does not: restore the file, write 'kept' to leave the key as it is, or revoke it first",
                    "secret",
                )
            if entry.secret and entry.secret != doc.KEPT:
                token = self.secret(entry.secret)
                if {row.digest for row in key.digest_rows.all()} != {key_digest(token)}:
                    key_token_replace(actor=self.actor, key=key, token=token, reason=self.reason)
                    self.new_values["keys", entry.name] = "secret: has a new value; the old one opens nothing any more"
            key = key_update(actor=self.actor, key=key, **facts)
        self.objects["keys", str(key.pk)] = path

    def deployment(self, organisation: Organisation, entry: doc.DeploymentEntry, path: str) -> None:
        fleet.entry_apply(organisation, entry, actor=self.actor, reason=self.reason)

    def deployment_link(self, organisation: Organisation, entry: doc.DeploymentEntry) -> None:
        fleet.entry_link(organisation, entry, actor=self.actor, reason=self.reason)

    def remove_deployment(self, organisation: Organisation, name: str) -> None:
        fleet.entry_remove(organisation, name, actor=self.actor, reason=self.reason)

    def key_template(self, organisation: Organisation, entry: doc.KeyTemplateEntry, path: str) -> None:
        key_templates.entry_apply(organisation, entry, actor=self.actor, reason=self.reason)

    def budget(self, organisation: Organisation, entry: doc.BudgetEntry, path: str) -> None:
        budget, new = spending.budget_apply(organisation, entry, references=self.references, actor=self.actor, reason=self.reason)
        if new:
            self.new_values["budgets", entry.name] = new
        self.objects["budgets", str(budget.pk)] = path

    def limit(self, organisation: Organisation, entry: doc.LimitEntry, path: str) -> None:
        limit = spending.limit_apply(organisation, entry, actor=self.actor, reason=self.reason)
        self.objects["limits", str(limit.pk)] = path

    def flag(self, organisation: Organisation, entry: doc.FlagEntry, path: str) -> None:
        flag = switching.flag_apply(organisation, entry, actor=self.actor)
        self.objects["flags", str(flag.pk)] = path

    def alert_channel(self, organisation: Organisation, entry: doc.AlertChannelEntry, path: str) -> None:
        new = telling.channel_apply(organisation, entry, references=self.references, actor=self.actor, reason=self.reason)
        if new:
            self.new_values["alert_channels", entry.name] = new

    def performance_budget(self, organisation: Organisation, entry: doc.PerformanceEntry, path: str) -> None:
        performance.entry_apply(organisation, entry, actor=self.actor, reason=self.reason)

    def secret(self, reference: str) -> str:
        try:
            return self.references.value(reference)
        except ReferenceRefused as error:
            raise ServiceError(str(error), "secret") from None

    # --- removals: what is gone already stays gone ------------------------------------------------------------------------

    def remove_flag(self, organisation: Organisation, name: str) -> None:
        for flag in flags_of(organisation).filter(name=name):
            flag_delete(actor=self.actor, flag=flag, reason=self.reason)

    def remove_alert_channel(self, organisation: Organisation, name: str) -> None:
        telling.channel_remove(organisation, name, actor=self.actor, reason=self.reason)

    def remove_performance_budget(self, organisation: Organisation, name: str) -> None:
        performance.entry_remove(organisation, name, actor=self.actor, reason=self.reason)

    def remove_limit(self, organisation: Organisation, name: str) -> None:
        for limit in limits_of(organisation).filter(name=name):
            limit_delete(actor=self.actor, limit=limit, reason=self.reason)

    def remove_budget(self, organisation: Organisation, name: str) -> None:
        for budget in budgets_of(organisation).filter(name=name):
            budget_delete(actor=self.actor, budget=budget, reason=self.reason)

    def remove_key_template(self, organisation: Organisation, name: str) -> None:
        key_templates.entry_remove(organisation, name, actor=self.actor, reason=self.reason)

    def remove_key(self, organisation: Organisation, name: str) -> None:
        for key in keys_of(organisation).filter(name=name):
            key_revoke(actor=self.actor, key=key, reason=self.reason)

    def remove_route(self, organisation: Organisation, name: str) -> None:
        for route in routes_of(organisation).filter(name=name):
            route_delete(actor=self.actor, route=route, reason=self.reason)

    def remove_discount(self, organisation: Organisation, name: str) -> None:
        for discount in discounts_of(organisation).filter(name=name):
            discount_delete(actor=self.actor, discount=discount, reason=self.reason)

    def remove_unit_price(self, organisation: Organisation, name: str) -> None:
        for price in unit_prices_of(organisation).filter(name=name):
            unit_price_delete(actor=self.actor, price=price, reason=self.reason)

    def remove_gpu_price(self, organisation: Organisation, name: str) -> None:
        for price in gpu_prices_of(organisation).filter(name=name):
            gpu_price_delete(actor=self.actor, price=price, reason=self.reason)

    def remove_provider(self, organisation: Organisation, name: str) -> None:
        for provider in providers_of(organisation).filter(name=name):
            provider_delete(actor=self.actor, provider=provider, reason=self.reason)

    def remove_team(self, organisation: Organisation, name: str) -> None:
        team = team_get(organisation=organisation, slug=name)
        if team is not None:
            team_delete(actor=self.actor, team=team, reason=self.reason)

    def remove_credential(self, organisation: Organisation, name: str) -> None:
        for credential in credentials_of(organisation).filter(name=name):
            credential_delete(actor=self.actor, credential=credential, reason=self.reason)


def _facts(entry: doc.ModelEntry) -> ModelFacts:
    return ModelFacts(
        window=entry.window,
        max_output=entry.max_output,
        can=tuple(entry.can),
        cannot=tuple(entry.cannot),
        deprecated=entry.deprecated,
        ends_on=entry.ends_on,
    )


def _endpoint_spec(entry: doc.EndpointEntry) -> EndpointSpec:
    said = msgspec.structs.asdict(entry)
    said["credentials"] = tuple(PoolSpec(**msgspec.structs.asdict(member)) for member in entry.credentials)
    return EndpointSpec(**said)


def _price_spec(entry: doc.PriceEntry) -> PriceSpec:
    values: dict[str, Any] = {name: getattr(entry, name) for name in PriceSpec._fields}
    tiers = [{key: value for key, value in msgspec.structs.asdict(tier).items() if value is not None} for tier in entry.tiers]
    hours = [{"from_minute": time.start, "to_minute": time.end, "discount": time.discount} for time in entry.off_peak]
    return PriceSpec(**(values | {"tiers": tuple(tiers), "off_peak": tuple(hours)}))


@contextmanager
def _below(prefix: str, path: str) -> Iterator[None]:
    """A field that a service calls ``prefix...`` is at ``path...`` in the document."""
    try:
        yield
    except ServiceError as error:
        field = error.field or ""
        renamed(error, path + field.removeprefix(prefix) if field.startswith(prefix) else f"{path}.{field}" if field else path)
