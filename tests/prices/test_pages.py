"""Every page of the price book: empty, filled, for the wrong person, of another organisation; its queries are committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation, User
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.prices import repricing, services
from apps.prices.models import GpuPrice, Repricing, UnitPrice
from apps.prices.units import unit_price_set
from apps.providers.discounts import discount_set
from apps.providers.models import Discount, Price, Provider, ProviderModel
from apps.providers.prices import model_ensure, model_like_set, prices_set
from apps.providers.rules import PriceSpec
from tests.prices.conftest import YESTERDAY, Book, attempt

COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())
HOSTILE = '"><script>alert(1)</script>{{7*7}}'


@pytest.fixture
def filled(organisation: Organisation, actor: Actor, local: Provider, book: Book) -> Provider:
    """One of everything that the pages show."""
    new = model_ensure(actor=actor, provider=local, name="new")
    model_like_set(actor=actor, model=new, like=local.models.get(name="m"))
    tiers = ({"from_input_tokens": 200_000, "input": 5 * 10**9},)
    hours = ({"from_minute": 990, "to_minute": 30, "discount": 5_000},)
    rich = PriceSpec(input=10**9, output=2 * 10**9, reasoning=3 * 10**9, tiers=tiers, off_peak=hours, batch_discount=5_000)
    prices_set(actor=actor, provider=local, model="m", prices=[rich, PriceSpec(input=1, output=1, region="eu")])
    prices_set(actor=actor, provider=local, model="free", prices=[PriceSpec(input=0, output=0)])
    discount_set(actor=actor, organisation=organisation, name="deal", provider=local, discount=1_250, note=HOSTILE)
    unit_price_set(
        actor=actor, organisation=organisation, name="hd", provider=local, model="m", unit="image", quality="hd", per_thousand=80 * 10**9
    )
    services.gpu_price_set(actor=actor, organisation=organisation, name="own", gpu="NVIDIA H200", per_hour=2 * 10**9)
    services.book_take(actor=actor, reason="upgrade")
    book()
    repricing.repricing_create(
        actor=actor, organisation=organisation, starts_at=YESTERDAY.replace(hour=0), ends_at=YESTERDAY.replace(hour=23), reason=HOSTILE
    )
    return local


def urls() -> dict[str, str]:
    found = {
        "list": "/prices/",
        "discounts": "/prices/discounts/",
        "discount_add": "/prices/discounts/new/",
        "units": "/prices/units/",
        "unit_add": "/prices/units/new/",
        "gpus": "/prices/gpus/",
        "gpu_add": "/prices/gpus/new/",
        "base": "/prices/base/",
        "base_take": "/prices/base/take/",
        "repricings": "/prices/repricing/",
        "repricing_add": "/prices/repricing/new/",
    }
    model, discount = ProviderModel.objects.filter(name="m").first(), Discount.objects.first()
    gpu, done, unit = GpuPrice.objects.first(), Repricing.objects.first(), UnitPrice.objects.first()
    found |= {"model": f"/prices/models/{model.pk}/"} if model else {}
    found |= {"discount": f"/prices/discounts/{discount.pk}/edit/"} if discount else {}
    found |= {"gpu": f"/prices/gpus/{gpu.pk}/edit/"} if gpu else {}
    found |= {"unit": f"/prices/units/{unit.pk}/edit/"} if unit else {}
    found |= {"repricing": f"/prices/repricing/{done.pk}/"} if done else {}
    return found


def test_every_page_stands_and_asks_no_more_queries_than_committed(signed: Client, filled: Provider) -> None:
    """A rise is either a mistake, or it is committed: write the number into query_counts.json. Twelve is the ceiling for all."""
    assert urls().keys() == COUNTS.keys()
    for name, url in urls().items():
        assert signed.get(url).status_code == 200, url
        with CaptureQueriesContext(connection) as queries:
            response = signed.get(url)
        assert response.status_code == 200 and HOSTILE not in response.content.decode()
        assert len(queries) <= COUNTS[name] <= 12, (f"{name}: {len(queries)}", "\n".join(query["sql"][:300] for query in queries))


def test_queries_do_not_grow_with_models(signed: Client, filled: Provider) -> None:
    models = ProviderModel.objects.bulk_create(ProviderModel(provider=filled, name=f"m-{n:03}") for n in range(60))
    Price.objects.bulk_create(Price(model=row, version="manual:1", source="manual", input=1, output=2) for row in models)
    with CaptureQueriesContext(connection) as queries:
        assert signed.get("/prices/").status_code == 200
    assert len(queries) <= COUNTS["list"]


def test_empty_pages_say_what_to_do(signed: Client, organisation: Organisation) -> None:
    for url, says in (
        ("/prices/", "No model yet"),
        ("/prices/discounts/", "No discount yet"),
        ("/prices/units/", "No unit price yet"),
        ("/prices/gpus/", "No GPU price yet"),
        ("/prices/base/", "Not yet"),
        ("/prices/repricing/", "Nothing was priced again"),
    ):
        assert says in signed.get(url).content.decode(), url


def test_the_list_says_who_prices_what_and_what_comes_off(signed: Client, filled: Provider) -> None:
    model_ensure(actor=Actor.command("test"), provider=filled, name="unknown")
    text = signed.get("/prices/").content.decode()
    assert "no price" in text and "like local/m" in text and "free" in text and "12.5%" in text
    for priced, shown, hidden in (("yours", "free", "unknown"), ("none", "unknown", "free")):
        names = {row.model.name for row in signed.get(f"/prices/?priced={priced}").context["rows"]}
        assert shown in names and hidden not in names
    assert [row.model.name for row in signed.get("/prices/?q=unk&provider=local").context["rows"]] == ["unknown"]


def test_traffic_that_was_booked_at_nothing_is_named_until_it_has_a_price(
    signed: Client, local: Provider, book: Book, actor: Actor, organisation: Organisation
) -> None:
    model_ensure(actor=actor, provider=local, name="unknown")
    prices_set(actor=actor, provider=local, model="free", prices=[PriceSpec(input=0, output=0)])
    book(attempt(model="unknown", cost_nano=0, price_version=""))
    book(attempt(model="free", cost_nano=0))
    book()
    text = signed.get("/prices/").content.decode()
    assert "Used without a price" in text and "local/unknown: 1 attempts" in text and "local/free: " not in text
    prices_set(actor=actor, provider=local, model="unknown", prices=[PriceSpec(input=1, output=1)])
    assert "Used without a price" not in signed.get("/prices/").content.decode()


def test_a_model_shows_every_price_it_ever_had(signed: Client, filled: Provider) -> None:
    model = ProviderModel.objects.get(name="m")
    text = signed.get(f"/prices/models/{model.pk}/").content.decode()
    assert model.prices.filter(retired_at__isnull=False).count() == 1
    for row in model.prices.all():
        assert row.version in text
    assert "replaced" in text and "16:30-00:30 50% off" in text and "Stands in for" in text and "local/new" in text


def test_lists_are_given_as_csv(signed: Client, filled: Provider) -> None:
    done = Repricing.objects.get()
    for url in ("/prices/", "/prices/discounts/", "/prices/units/", "/prices/gpus/", "/prices/repricing/", f"/prices/repricing/{done.pk}/"):
        response = signed.get(f"{url}?format=csv")
        assert response["Content-Type"].startswith("text/csv"), url
        assert len(b"".join(response).splitlines()) >= 2, url  # type: ignore[arg-type]


def test_a_viewer_reads_and_changes_nothing(client: Client, viewer: User, filled: Provider) -> None:
    client.force_login(viewer)
    for name, url in urls().items():
        changes = name in ("discount_add", "discount", "unit_add", "unit", "gpu_add", "gpu", "base_take", "repricing_add")
        assert client.get(url).status_code == (403 if changes else 200), url
    done, discount, gpu = Repricing.objects.get(), Discount.objects.get(), GpuPrice.objects.get()
    removals = [f"/prices/discounts/{discount.pk}/remove/", f"/prices/gpus/{gpu.pk}/remove/"]
    for url in (f"/prices/repricing/{done.pk}/withdraw/", *removals, f"/prices/units/{UnitPrice.objects.get().pk}/remove/"):
        assert client.get(url).status_code in (403, 405)
        assert client.post(url, {"reason": "x"}).status_code == 403
    done.refresh_from_db()
    assert done.state == "done" and Discount.objects.exists() and GpuPrice.objects.exists()


def test_signed_out_people_are_sent_to_sign_in(client: Client, filled: Provider) -> None:
    for url in urls().values():
        assert client.get(url).status_code == 302, url


def test_nothing_of_another_organisation_is_found(signed: Client, filled: Provider, actor: Actor) -> None:
    """The pages ask for the chosen organisation's rows; an id of another one is not there."""
    other = organisation_ensure(actor=actor, slug="other", name="Other")
    Provider.objects.update(organisation=other)
    Discount.objects.update(organisation=other)
    GpuPrice.objects.update(organisation=other)
    UnitPrice.objects.update(organisation=other)
    Repricing.objects.update(organisation=other)
    for name in ("model", "discount", "unit", "gpu", "repricing"):
        assert signed.get(urls()[name]).status_code == 404, name
