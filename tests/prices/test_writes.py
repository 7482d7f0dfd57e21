"""The forms of the price book: reviewed before they are published, refused with the words that documents are refused with."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.prices.models import BookRefresh, GpuPrice, Repricing
from apps.providers.models import Discount, Price, Provider, ProviderModel
from apps.providers.prices import model_ensure
from apps.providers.selectors import prices_in_force
from apps.publishing.models import Version
from apps.publishing.services import publish
from controlplane.configfile.apply import apply_file
from controlplane.configfile.problems import DocumentError
from tests.prices.conftest import YESTERDAY, Book
from tests.providers.conftest import form_of, review_and_publish


def test_a_discount_is_reviewed_published_changed_and_removed(signed: Client, local: Provider) -> None:
    url = "/prices/discounts/new/"
    data = form_of(signed.get(url)) | {"name": "deal", "provider": "local", "discount": "12.5%"}
    review = signed.post(url, data)
    assert review.status_code == 200 and "12.5\u202f%" in review.content.decode() and not Discount.objects.exists()
    assert review_and_publish(signed, url, name="deal", provider="local", discount="12.5%").status_code == 302
    row = Discount.objects.get()
    assert row.discount == 1_250 and Version.objects.count() == 1
    review_and_publish(signed, f"/prices/discounts/{row.pk}/edit/", discount="20", valid_to="2100-01-01")
    row.refresh_from_db()
    assert row.discount == 2_000 and row.valid_to is not None
    signed.post(f"/prices/discounts/{row.pk}/remove/", {"reason": "contract ended"})
    assert not Discount.objects.exists() and Version.objects.count() == 3
    assert set(AuditEvent.objects.filter(subject_kind="discount").values_list("action", flat=True)) == {
        "discount.create",
        "discount.update",
        "discount.delete",
    }


def test_a_gpu_price_is_kept_changed_and_removed_and_no_proxy_hears_of_it(signed: Client, organisation: Organisation) -> None:
    review_and_publish(signed, "/prices/gpus/new/", name="own", gpu="NVIDIA H200", per_hour="2.10")
    row = GpuPrice.objects.get()
    assert row.per_hour == 2_100_000_000
    review_and_publish(signed, f"/prices/gpus/{row.pk}/edit/", per_hour="1.5", region="eu")
    row.refresh_from_db()
    assert (row.per_hour, row.region) == (1_500_000_000, "eu")
    signed.post(f"/prices/gpus/{row.pk}/remove/", {"reason": "sold"})
    assert not GpuPrice.objects.exists() and not Version.objects.exists()


def test_a_re_pricing_shows_its_correction_before_it_counts(signed: Client, local: Provider, book: Book, actor: Actor) -> None:
    book()
    publish(actor=actor, reason="all that is pending")
    Price.objects.filter(retired_at=None).update(output=4 * 10**9)
    url = "/prices/repricing/new/"
    day = {"starts_at": f"{YESTERDAY:%Y-%m-%d}", "ends_at": f"{YESTERDAY:%Y-%m-%d} 23:00"}
    review = signed.post(url, form_of(signed.get(url)) | day)
    assert review.status_code == 200 and "$0.001" in review.content.decode() and not Repricing.objects.exists()
    assert review_and_publish(signed, url, "typo in the contract", **day).status_code == 302
    row = Repricing.objects.get()
    assert row.difference_nano == 1_000_000 and row.reason == "typo in the contract"
    assert "$0.001" in signed.get(f"/prices/repricing/{row.pk}/").content.decode()
    signed.post(f"/prices/repricing/{row.pk}/withdraw/", {"reason": "mistake"})
    row.refresh_from_db()
    assert row.state == "withdrawn"


def test_base_prices_are_taken_after_a_look_at_the_difference(signed: Client, organisation: Organisation, openai: Provider) -> None:
    model = model_ensure(actor=Actor.command("test"), provider=openai, name="gpt-4o-mini")
    model.prices.update(input=1, version="genai-prices-0.0.1:2026-01-01:000000000000")
    url = "/prices/base/take/"
    review = signed.post(url, form_of(signed.get(url)))
    assert "$0.15 per million tokens" in review.content.decode()
    review_and_publish(signed, url)
    assert model.prices.get(retired_at=None).input == 150_000_000
    assert BookRefresh.objects.get().changed == ["openai/gpt-4o-mini"]


def test_a_model_is_priced_like_another_and_never_in_a_circle(signed: Client, local: Provider, actor: Actor) -> None:
    new = model_ensure(actor=actor, provider=local, name="new")
    url = f"/providers/{local.pk}/models/{new.pk}/price/"
    review_and_publish(signed, url, source="like", like="local/m")
    new.refresh_from_db()
    assert str(new.like) == "local/m"
    m = ProviderModel.objects.get(name="m")
    back = f"/providers/{local.pk}/models/{m.pk}/price/"
    refused = signed.post(back, form_of(signed.get(back)) | {"source": "like", "like": "local/new"})
    assert refused.status_code == 400
    assert "prices cannot go in a circle: local/m is priced like local/new is priced like local/m" in refused.content.decode()


def test_every_kind_of_price_can_be_written(signed: Client, local: Provider) -> None:
    model = ProviderModel.objects.get(name="m")
    review_and_publish(
        signed,
        f"/providers/{local.pk}/models/{model.pk}/price/",
        source="own",
        reasoning="3",
        audio_input="40",
        image_output="30",
        batch_discount="50%",
        off_peak="16:30-00:30 50%",
        tiers="200000 input=2.50 output=15\n400000 input=5",
        region="eu",
        valid_from="",
    )
    row = Price.objects.get(model=model, region="eu", retired_at=None)
    assert (row.reasoning, row.audio_input, row.image_output, row.batch_discount) == (3 * 10**9, 40 * 10**9, 30 * 10**9, 5_000)
    assert row.off_peak == [{"from_minute": 990, "to_minute": 30, "discount": 5_000}]
    assert [tier["from_input_tokens"] for tier in row.tiers] == [200_000, 400_000]
    assert Price.objects.filter(model=model, region="", retired_at=None).exists()


PROVIDER = "providers:\n  - {name: local, endpoints: [{base_url: 'http://192.0.2.1/v1', region: eu}], allow_private_addresses: true"
PRICE = PROVIDER + ", prices: [{model: m, input: 1, %s}]}\n"
AMOUNTS = ["-1", "NaN", "1e9", "99999999999", "0.1.2", "1,5", "EUR 5", "5 €", "£3"]


def said_by_document(organisation: Organisation, actor: Actor, tmp_path: Path, text: str) -> str:
    path = tmp_path / "bulkhead.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError) as refused:
        apply_file(actor=actor, path=path, organisation=organisation.slug)
    return str(refused.value)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_wrong_amount_is_refused_in_the_same_words(
    signed: Client, local: Provider, organisation: Organisation, actor: Actor, tmp_path: Path, amount: str
) -> None:
    url = f"/providers/{local.pk}/models/{ProviderModel.objects.get(name='m').pk}/price/"
    refused = signed.post(url, form_of(signed.get(url)) | {"output": amount})
    assert refused.status_code == 400
    [message] = refused.context["form"].errors["output"]
    assert message in said_by_document(organisation, actor, tmp_path, PRICE % f'output: "{amount}"')
    currency = any(mark in amount for mark in ("EUR", "€", "£"))
    assert ("amounts are in US dollars" in message) == currency


@pytest.mark.parametrize(
    ("form", "document"),
    [
        ({"batch_discount": "101%"}, 'batch_discount: "101%"'),
        ({"batch_discount": "1.234"}, 'batch_discount: "1.234"'),
        ({"off_peak": "08:00-09:00 200%"}, 'off_peak: [{start: "08:00", end: "09:00", discount: "200%"}]'),
        ({"off_peak": "08:00-25:00 50%"}, 'off_peak: [{start: "08:00", end: "25:00", discount: "50%"}]'),
        ({"off_peak": "08:00-08:00 50%"}, 'off_peak: [{start: "08:00", end: "08:00", discount: "50%"}]'),
        (
            {"off_peak": "22:00-02:00 50%\n01:00-03:00 10%"},
            "off_peak: [{start: '22:00', end: '02:00', discount: 50%}, {start: '01:00', end: '03:00', discount: 10%}]",
        ),
        ({"tiers": "5 input=1\n5 input=2"}, "tiers: [{from_input_tokens: 5, input: 1}, {from_input_tokens: 5, input: 2}]"),
        ({"tiers": "0 input=1"}, "tiers: [{from_input_tokens: 0, input: 1}]"),
        ({"valid_from": "2026-02-01", "valid_to": "2026-01-01"}, "valid_from: 2026-02-01T00:00:00Z, valid_to: 2026-01-01T00:00:00Z"),
        ({"region": "a" * 81}, f"region: {'a' * 81}"),
    ],
)
def test_a_wrong_price_is_refused_in_the_same_words(
    signed: Client, local: Provider, organisation: Organisation, actor: Actor, tmp_path: Path, form: dict[str, str], document: str
) -> None:
    url = f"/providers/{local.pk}/models/{ProviderModel.objects.get(name='m').pk}/price/"
    refused = signed.post(url, form_of(signed.get(url)) | form)
    assert refused.status_code == 400
    messages = [message for errors in refused.context["form"].errors.values() for message in errors]
    text = said_by_document(organisation, actor, tmp_path, PRICE % document)
    assert len(messages) == 1 and messages[0] in text, (messages, text)


@pytest.mark.parametrize(
    ("form", "document"),
    [
        ({"provider": "local", "discount": "10%", "model": "nobody"}, "{name: d, provider: local, model: nobody, discount: 10%}"),
        ({"provider": "local", "discount": "-1"}, '{name: d, provider: local, discount: "-1"}'),
        ({"provider": "local", "discount": "NaN"}, "{name: d, provider: local, discount: NaN}"),
        ({"provider": "local", "discount": "10%"}, "{name: d, provider: local, discount: 10%}"),
    ],
)
def test_a_wrong_discount_is_refused_in_the_same_words(
    signed: Client, local: Provider, organisation: Organisation, actor: Actor, tmp_path: Path, form: dict[str, str], document: str
) -> None:
    """The last is fine but for the one that holds already."""
    review_and_publish(signed, "/prices/discounts/new/", name="first", provider="local", discount="5%")
    url = "/prices/discounts/new/"
    refused = signed.post(url, form_of(signed.get(url)) | {"name": "d"} | form)
    assert refused.status_code == 400
    messages = [message for errors in refused.context["form"].errors.values() for message in errors]
    text = said_by_document(organisation, actor, tmp_path, f"discounts:\n  - {document}\n")
    assert len(messages) == 1 and messages[0] in text, (messages, text)


def test_a_document_that_overlaps_itself_or_names_an_unknown_default_is_refused(
    local: Provider, organisation: Organisation, actor: Actor, tmp_path: Path
) -> None:
    twice = PROVIDER + ", prices: [{model: m, input: 1}, {model: m, input: 2, valid_from: 2026-01-01T00:00:00Z}]}\n"
    assert "two prices of the model are in force at the same time" in said_by_document(organisation, actor, tmp_path, twice)
    circle = PROVIDER + ", priced_like: [{model: a, like: local/m}, {model: m, like: local/a}]}\n"
    assert "prices cannot go in a circle" in said_by_document(organisation, actor, tmp_path, circle)
    route = "routes:\n  - {name: chat, targets: [{provider: local, model: m}], default_price: local/nobody}\n"
    assert "the price book knows no model 'local/nobody'" in said_by_document(organisation, actor, tmp_path, route)


def test_a_document_of_every_kind_applies_exports_and_applies_again(
    local: Provider, organisation: Organisation, actor: Actor, tmp_path: Path
) -> None:
    from controlplane.configfile.plain import yaml_text
    from controlplane.configfile.writing import document_of

    path = tmp_path / "bulkhead.yaml"
    path.write_text(
        PROVIDER
        + """,
     prices: [{model: m, input: 1, output: "2.5", reasoning: 3, region: eu, batch_discount: 50%,
               tiers: [{from_input_tokens: 200000, input: 2, audio_input: 9}],
               off_peak: [{start: "16:30", end: "00:30", discount: 12.5%}]},
              {model: m, input: 4}],
     priced_like: [{model: new, like: local/m}]}
discounts:
  - {name: deal, provider: local, discount: 20%, valid_to: 2100-01-01T00:00:00Z, note: contract 7}
gpu_prices:
  - {name: own, gpu: NVIDIA H200, per_hour: "2.10"}
routes:
  - {name: chat, targets: [{provider: local, model: unknown}], default_price: local/m}
""",
        encoding="utf-8",
    )
    assert apply_file(actor=actor, path=path, organisation="main").version is not None
    path.write_text(yaml_text(document_of(organisation)), encoding="utf-8")
    again = apply_file(actor=actor, path=path, organisation="main")
    assert again.lines == [] and again.version is None
    path.write_text(
        "discounts:\n  - {name: deal, absent: true}\ngpu_prices:\n  - {name: own, absent: true}\n"
        + PROVIDER
        + ", priced_like: [{model: new, like: local/m, absent: true}]}\n",
        encoding="utf-8",
    )
    apply_file(actor=actor, path=path, organisation="main")
    assert not Discount.objects.exists() and not GpuPrice.objects.exists() and ProviderModel.objects.get(name="new").like is None


def test_prices_that_begin_together_are_published_in_one_order(local: Provider) -> None:
    """However the database gives its rows: else a config that nobody changed would be published anew."""
    model = ProviderModel.objects.create(provider=local, name="tie")
    rows = [Price(model=model, version="v", source="manual", region=region, input=1, output=1) for region in ("", "eu", "us")]
    for order in itertools.permutations(rows):
        assert [row.region for row in prices_in_force(order)] == ["", "eu", "us"]
