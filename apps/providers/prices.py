"""Writes of the price book: a person's prices win, the rest comes from ``genai-prices``.

A price's version label names its source, the day it was taken and twelve digits of its numbers:
``genai-prices-0.2.3:2026-11-21:3fa9c1d20b7e``, ``manual:2026-11-21:…``. While the numbers stay, the label stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.contracts.snapshot import PriceVersion
from apps.providers import choices, pricebook, rules
from apps.providers.followers import model_met
from apps.providers.models import Price, Provider, ProviderModel
from apps.providers.rules import PriceSpec
from apps.providers.selectors import price_spec, prices_in_force
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def price_id(model: ProviderModel) -> str:
    """The fragment's id: ``<provider id>/<model>``."""
    return f"{model.provider_id}/{model.name}"


def price_ids_of(provider: Provider) -> list[str]:
    """Fragment ids of everything a provider's models cost."""
    return [f"{provider.pk}/{name}" for name in provider.models.values_list("name", flat=True)]


@transaction.atomic
def model_ensure(*, actor: Actor, provider: Provider, name: str, reason: str = "") -> ProviderModel:
    """The provider's model of that name; at first sight its prices are taken from the book."""
    rules.check_model(name)
    model, created = ProviderModel.objects.get_or_create(provider=provider, name=name)
    if created:
        book_refresh(actor=actor, model=model, reason=reason)
    return model


@transaction.atomic
def prices_set(*, actor: Actor, provider: Provider, model: str, prices: Sequence[PriceSpec], reason: str = "") -> ProviderModel:
    """A person's prices of a model, in place of the ones set before; none hands the model back to the book.

    Raises ServiceError for amounts out of range and for validities that overlap.
    """
    permission_require(actor=actor, action="price.change", organisation=provider.organisation)
    specs = rules.check_prices(prices)
    row = model_ensure(actor=actor, provider=provider, name=model, reason=reason)
    _replace(actor, row, choices.SOURCE_MANUAL, specs, reason)
    return row


@transaction.atomic
def price_change(*, actor: Actor, provider: Provider, model: str, price: PriceSpec, reason: str = "") -> ProviderModel:
    """A model's price from ``price.valid_from`` on (None: always). What held before ends there and is kept, the book's too: from then
    on the model's prices are a person's.
    """
    permission_require(actor=actor, action="price.change", organisation=provider.organisation)
    row = model_ensure(actor=actor, provider=provider, name=model, reason=reason)
    current = [price_spec(price) for price in prices_in_force(row.prices.all())]
    return prices_set(actor=actor, provider=provider, model=model, prices=rules.prices_changed(current, price), reason=reason)


@transaction.atomic
def model_like_set(*, actor: Actor, model: ProviderModel, like: ProviderModel | None, reason: str = "") -> None:
    """While none of its own prices is in force, the model costs as ``like`` does; None: it has no price then.

    Raises ServiceError where models would be priced like each other in a circle.
    """
    organisation = model.provider.organisation
    permission_require(actor=actor, action="price.change", organisation=organisation)
    # Two at once could close a circle: writers of one organisation's stand-ins take turns.
    type(organisation).objects.select_for_update().get(pk=organisation.pk)
    model = ProviderModel.objects.select_related("provider", "like__provider").get(pk=model.pk)
    if model.like_id == (like.pk if like else None):
        return
    if like is not None and like.provider.organisation_id != organisation.pk:
        raise ServiceError("the model belongs to another organisation", "like")
    chain, at = [str(model)], like
    while at is not None:
        chain.append(str(at))
        if at.pk == model.pk:
            raise ServiceError(f"prices cannot go in a circle: {' is priced like '.join(chain)}", "like")
        at = ProviderModel.objects.select_related("provider").filter(alike=at.pk).first()
    before = {"like": str(model.like) if model.like else ""}
    model.like = like
    model.save(update_fields=["like"])
    audit_record(
        actor=actor,
        action="price.update",
        subject_kind="price",
        subject_id=price_id(model),
        subject_name=str(model),
        before=before,
        after={"like": str(like) if like else ""},
        reason=reason,
    )
    section_touch(section="prices", ids=[price_id(model)])


@transaction.atomic
def model_delete(*, actor: Actor, model: ProviderModel, reason: str = "") -> None:
    """Forget a model that no route targets, with its prices."""
    provider = model.provider
    permission_require(actor=actor, action="price.change", organisation=provider.organisation)
    users = sorted({target.route.name for target in provider.route_targets.filter(model=model.name).select_related("route")})
    if users:
        more = "" if len(users) <= 10 else f" and {len(users) - 10} more"
        raise ServiceError(f"the model {model.name!r} is a target of {', '.join(users[:10])}{more}: change these first", "model")
    priced = sorted(str(other) for other in model.alike.select_related("provider"))
    if priced:
        raise ServiceError(f"{', '.join(priced[:10])} is priced like {model.name!r}: change that first", "model")
    audit_record(
        actor=actor,
        action="price.delete",
        subject_kind="price",
        subject_id=price_id(model),
        subject_name=str(model),
        before=_facts(model.prices.filter(retired_at=None)),
        after={},
        reason=reason,
    )
    section_touch(section="prices", ids=[price_id(model)])
    section_touch(section="models", ids=[price_id(model)])
    model.delete()


@transaction.atomic
def book_refresh(*, actor: Actor, model: ProviderModel, reason: str = "") -> bool:
    """Take a model's prices from the book as it is now; whether they differ. Simulated providers never have the book's prices."""
    specs = (
        [] if model.provider.simulated else pricebook.book_prices(price_list, model.name) if (price_list := list_of(model.provider)) else []
    )
    changed = _replace(actor, model, choices.SOURCE_BOOK, specs, reason or "price book")
    model_met(model)
    return changed


@transaction.atomic
def prices_refresh(*, actor: Actor, organisation: Organisation | None = None, reason: str = "price book") -> list[str]:
    """Take every model's prices from the book again: after an upgrade of its data. Publish afterwards. Returns the models whose base
    price differs since, as ``<provider>/<model>``; where a person's price holds, that one stays in force."""
    permission_require(actor=actor, action="price.change", organisation=organisation)
    models = ProviderModel.objects.select_related("provider")
    if organisation is not None:
        models = models.filter(provider__organisation=organisation)
    return [str(model) for model in models if book_refresh(actor=actor, model=model, reason=reason)]


@transaction.atomic
def prices_restore(*, actor: Actor, provider: Provider, name: str, versions: Sequence[PriceVersion], like: str = "", reason: str) -> None:
    """Prices as an earlier config version had them, labels included; none forgets the model until a route targets it again.

    Restored prices of the book hold until ``prices_refresh``.
    """
    permission_require(actor=actor, action="config.rollback", organisation=provider.organisation)
    model, _ = ProviderModel.objects.get_or_create(provider=provider, name=name)
    before = _facts(model.prices.filter(retired_at=None))
    model.prices.filter(retired_at=None).update(retired_at=timezone.now())
    for version in versions:
        source = choices.SOURCE_MANUAL if version.version.startswith(f"{choices.SOURCE_MANUAL}:") else choices.SOURCE_BOOK
        _row_make(model, source, version.version, rules.spec_of_version(version))
    same_as = ProviderModel.objects.filter(provider_id=like.partition("/")[0], name=like.partition("/")[2]).first() if like else None
    if model.like_id != (same_as.pk if same_as else None):
        model.like = same_as
        model.save(update_fields=["like"])
    audit_record(
        actor=actor,
        action="price.restore",
        subject_kind="price",
        subject_id=price_id(model),
        subject_name=str(model),
        before=before,
        after=_facts(model.prices.filter(retired_at=None)),
        reason=reason,
    )
    section_touch(section="prices", ids=[price_id(model)])
    if not versions and not like and not model.alike.exists():
        ProviderModel.objects.filter(pk=model.pk, entry=None).delete()  # what is known of it besides is its own section's matter


def list_of(provider: Provider) -> str | None:
    """Which list of the book applies to a provider: its own choice, else the one of its first endpoint's address."""
    if provider.price_list == pricebook.NO_LIST:
        return None
    if provider.price_list:
        return provider.price_list
    first = provider.endpoints.order_by("position").first()
    return pricebook.price_list_of(first.base_url) if first else None


def _replace(actor: Actor, model: ProviderModel, source: str, specs: Sequence[PriceSpec], reason: str) -> bool:
    """Rows of one source become the specs; rows with equal numbers and validity stay as they are. Whether anything changed."""
    wanted = {rules.price_digest(spec): spec for spec in specs}
    rows = {rules.price_digest(price_spec(row)): row for row in model.prices.filter(source=source, retired_at=None)}
    if wanted.keys() == rows.keys():
        return False
    label = pricebook.book_version() if source == choices.SOURCE_BOOK else source
    today = timezone.now().date().isoformat()
    before = _facts(rows.values())
    gone = [row.pk for digest, row in rows.items() if digest not in wanted]
    Price.objects.filter(pk__in=gone).update(retired_at=timezone.now())
    for digest, spec in wanted.items():
        if digest not in rows:
            _row_make(model, source, f"{label}:{today}:{digest}", spec)
    audit_record(
        actor=actor,
        action="price.update",
        subject_kind="price",
        subject_id=price_id(model),
        subject_name=str(model),
        before=before,
        after=_facts(model.prices.filter(source=source, retired_at=None)),
        reason=reason,
    )
    section_touch(section="prices", ids=[price_id(model)])
    return True


def _row_make(model: ProviderModel, source: str, label: str, spec: PriceSpec) -> None:
    """The price under its label: a row that was replaced and has the very label comes back, because its numbers are the same."""
    if model.prices.filter(version=label).update(retired_at=None):
        return
    values: dict[str, Any] = spec._asdict()
    values["tiers"] = [dict(tier) for tier in spec.tiers]
    values["off_peak"] = [dict(time) for time in spec.off_peak]
    Price.objects.create(model=model, source=source, version=label, **values)


def _facts(rows: Any) -> dict[str, Any]:
    """What the audit keeps of prices, by version label."""
    return {row.version: price_spec(row)._asdict() for row in rows}
