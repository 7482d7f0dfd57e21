"""GPU hours, base prices after an upgrade, discounts and stand-ins: what they refuse, what they publish, what a rollback brings back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.contracts.snapshot import DiscountFragment
from apps.prices import services
from apps.prices.models import BookRefresh, GpuPrice
from apps.prices.selectors import Tariffs, gpu_price_of
from apps.prices.tasks import book_follow
from apps.providers import pricebook
from apps.providers.discounts import discount_set
from apps.providers.models import Discount, Provider
from apps.providers.prices import model_delete, model_ensure, model_like_set, prices_set
from apps.providers.rules import PriceSpec
from apps.providers.services import provider_delete
from apps.publishing.errors import PublishError
from apps.publishing.rollback import rollback
from apps.publishing.selectors import versions
from apps.publishing.services import publish
from apps.publishing.state import head_state

NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)


def label(organisation: Organisation, model: str, region: str = "") -> str | None:
    tariff = Tariffs(organisation).of("local", model, region)
    price = tariff.at(int(datetime.now(UTC).timestamp() * 1000)) if tariff else None
    return price.version if price else None


# --- GPU hours


def test_the_regions_own_gpu_price_wins_while_it_holds(actor: Actor, organisation: Organisation) -> None:
    def gpu(name: str, per_hour: int, **facts: Any) -> None:
        services.gpu_price_set(actor=actor, organisation=organisation, name=name, gpu="NVIDIA H200", per_hour=per_hour, **facts)

    gpu("all", 2)
    gpu("eu", 3, region="eu", valid_to=NEW_YEAR)
    before, after = NEW_YEAR - timedelta(seconds=1), NEW_YEAR

    def held(region: str, at: datetime) -> int:
        row = gpu_price_of(organisation, gpu="NVIDIA H200", region=region, at=at)
        assert row is not None
        return row.per_hour

    assert (held("eu", before), held("eu", after), held("us", before)) == (3, 2, 2)
    assert gpu_price_of(organisation, gpu="another", at=after) is None
    gpu("all", 2)
    assert AuditEvent.objects.filter(subject_kind="gpu_price").count() == 2


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"per_hour": -1}, "costs from 0 to"),
        ({"per_hour": 2**62}, "costs from 0 to"),
        ({"gpu": "\n"}, "is not a GPU"),
        ({"name": "Own!"}, "is not a name"),
        ({"region": "x" * 81}, "a region is up to"),
        ({"valid_from": NEW_YEAR, "valid_to": NEW_YEAR}, "ends before it starts"),
        ({"name": "other"}, "holds at the same time"),
    ],
)
def test_a_wrong_gpu_price_is_refused(actor: Actor, organisation: Organisation, facts: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"name": "own", "gpu": "NVIDIA H200", "per_hour": 1}
    services.gpu_price_set(actor=actor, organisation=organisation, **good)
    with pytest.raises(ServiceError, match=says):
        services.gpu_price_set(actor=actor, organisation=organisation, **(good | facts))
    assert GpuPrice.objects.get().per_hour == 1


def test_it_takes_the_permission(organisation: Organisation, viewer: User, local: Provider) -> None:
    person = Actor.of_user(viewer)
    for refused in (
        lambda: services.gpu_price_set(actor=person, organisation=organisation, name="own", gpu="H200", per_hour=1),
        lambda: discount_set(actor=person, organisation=organisation, name="deal", provider=local, discount=1),
        lambda: model_like_set(actor=person, model=local.models.get(), like=None),
        lambda: services.book_take(actor=person, reason="x"),
    ):
        with pytest.raises(ServiceError, match=r"price\.change"):
            refused()


# --- base prices


def test_an_upgrade_is_followed_once_published_and_told(
    actor: Actor, organisation: Organisation, openai: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_ensure(actor=actor, provider=openai, name="gpt-4o-mini")
    publish(actor=actor, reason="start")
    assert book_follow() == 0 and book_follow() == 0
    assert BookRefresh.objects.count() == 1
    old = model.prices.get().version
    monkeypatch.setattr(pricebook, "book_version", lambda: "genai-prices-99.0")
    monkeypatch.setattr(pricebook, "book_prices", lambda price_list, name: [PriceSpec(input=7, output=8)])
    assert book_follow() == 1 and book_follow() == 0
    row = BookRefresh.objects.first()
    assert row is not None and row.changed == ["openai/gpt-4o-mini"] and row.published == versions()[0].number
    new = model.prices.get(retired_at=None)
    assert (new.input, new.version.startswith("genai-prices-99.0:")) == (7, True)
    assert model.prices.filter(version=old, retired_at__isnull=False).exists()
    assert versions()[0].reason.endswith("→ genai-prices-99.0")
    assert Event.objects.filter(kind="prices.book").exists()


def test_a_persons_price_stays_in_force_through_an_upgrade(
    actor: Actor, organisation: Organisation, openai: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices_set(actor=actor, provider=openai, model="gpt-4o-mini", prices=[PriceSpec(input=1, output=1)])
    monkeypatch.setattr(pricebook, "book_version", lambda: "genai-prices-99.0")
    monkeypatch.setattr(pricebook, "book_prices", lambda price_list, name: [PriceSpec(input=7, output=8)])
    book_follow()
    fragment = head_state().fragments["prices"][f"{openai.pk}/gpt-4o-mini"]
    assert [version.input for version in fragment.versions] == [1]  # type: ignore[attr-defined]


def test_what_does_not_compile_is_not_taken(
    actor: Actor, organisation: Organisation, openai: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.prices import services as room

    model_ensure(actor=actor, provider=openai, name="gpt-4o-mini")

    def broken(**facts: Any) -> None:
        facts["change"]()
        raise PublishError("does not compile", section="prices")

    with monkeypatch.context() as patched:
        from django.db import transaction

        patched.setattr(room, "change_publish", lambda **facts: transaction.atomic(broken)(**facts))
        with pytest.raises(PublishError):
            services.book_follow(actor=actor)
    assert not BookRefresh.objects.exists()
    assert services.book_follow(actor=actor) is not None


# --- discounts and stand-ins


def test_a_discount_reaches_proxies_and_comes_and_goes_with_a_rollback(actor: Actor, organisation: Organisation, local: Provider) -> None:
    publish(actor=actor, reason="start")
    row = discount_set(actor=actor, organisation=organisation, name="deal", provider=local, discount=1_250)
    discount_set(actor=actor, organisation=organisation, name="deal", provider=local, discount=1_250)
    assert AuditEvent.objects.filter(action__startswith="discount.").count() == 1
    publish(actor=actor, reason="deal")
    fragment = head_state().fragments["discounts"][str(row.pk)]
    assert isinstance(fragment, DiscountFragment) and (fragment.discount, fragment.provider) == (1_250, str(local.pk))
    assert (label(organisation, "m") or "").endswith("~12.5%")
    rollback(actor=actor, to_version=1, reason="too good")
    assert not Discount.objects.exists() and "~" not in (label(organisation, "m") or "~")
    rollback(actor=actor, to_version=2, reason="it was true")
    back = Discount.objects.get()
    assert (back.pk, back.discount) == (row.pk, 1_250)


def test_a_discount_ends_with_its_provider(actor: Actor, organisation: Organisation, local: Provider) -> None:
    discount_set(actor=actor, organisation=organisation, name="deal", provider=local, discount=1_250)
    publish(actor=actor, reason="start")
    provider_delete(actor=actor, provider=local)
    publish(actor=actor, reason="gone")
    assert not head_state().fragments.get("discounts")


def test_a_stand_in_prices_until_there_is_a_price_and_cannot_be_forgotten_meanwhile(
    actor: Actor, organisation: Organisation, local: Provider
) -> None:
    publish(actor=actor, reason="start")
    new = model_ensure(actor=actor, provider=local, name="new")
    m = local.models.get(name="m")
    assert label(organisation, "new") is None
    model_like_set(actor=actor, model=new, like=m)
    publish(actor=actor, reason="like")
    assert label(organisation, "new") == label(organisation, "m")
    with pytest.raises(ServiceError, match="local/new is priced like 'm': change that first"):
        model_delete(actor=actor, model=m)
    rollback(actor=actor, to_version=1, reason="back")
    assert label(organisation, "new") is None
    rollback(actor=actor, to_version=2, reason="and again")
    assert label(organisation, "new") == label(organisation, "m")


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"discount": -1}, "from 0 to 100 percent"),
        ({"discount": 10_001}, "from 0 to 100 percent"),
        ({"model": "nobody"}, "knows no model"),
        ({"name": "No"}, "is not a name"),
        ({"note": "a\nb"}, "a note is up to"),
        ({"valid_from": NEW_YEAR, "valid_to": NEW_YEAR}, "ends before it starts"),
        ({"name": "second", "valid_from": NEW_YEAR}, "'deal' for all models of local holds at the same time"),
    ],
)
def test_a_wrong_discount_is_refused(actor: Actor, organisation: Organisation, local: Provider, facts: dict[str, Any], says: str) -> None:
    good: dict[str, Any] = {"name": "deal", "provider": local, "discount": 5}
    discount_set(actor=actor, organisation=organisation, **good)
    with pytest.raises(ServiceError, match=says):
        discount_set(actor=actor, organisation=organisation, **(good | facts))
    assert Discount.objects.get().discount == 5


def test_discounts_one_after_the_other_and_for_one_model_beside_all_are_fine(
    actor: Actor, organisation: Organisation, local: Provider
) -> None:
    for facts in ({"name": "a", "valid_to": NEW_YEAR}, {"name": "b", "valid_from": NEW_YEAR}, {"name": "c", "model": "m"}):
        discount_set(actor=actor, organisation=organisation, provider=local, discount=5, **facts)
    assert Discount.objects.count() == 3
