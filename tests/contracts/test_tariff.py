"""A tariff always says what the layers say, whenever it is asked and whatever it was asked before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.pricing import Price, PriceError, price_at
from apps.contracts.snapshot import DiscountFragment, OffPeak, PriceFragment, PriceVersion
from apps.contracts.tariff import DAY_MS, MINUTE_MS, Layer, PriceBook, Tariff

MOMENT = st.integers(0, 4 * DAY_MS)


@st.composite
def validity(draw: st.DrawFn) -> dict[str, int | None]:
    start = draw(MOMENT)
    return {"valid_from_ms": start, "valid_to_ms": draw(st.none() | st.integers(start + 1, 5 * DAY_MS))}


@st.composite
def layers(draw: st.DrawFn) -> list[Layer]:
    found = []
    for layer in range(draw(st.integers(1, 3))):
        versions = [
            PriceVersion(version=f"{layer}.{number}", input=1, output=1, off_peak=draw(st.sampled_from(HOURS)), **draw(validity()))
            for number in range(draw(st.integers(1, 3)))
        ]
        discounts = [
            DiscountFragment(
                id=str(number),
                organisation="o",
                provider="p",
                model=draw(st.sampled_from(["", "m"])),
                discount=draw(st.integers(1, 5_000)),
                **draw(validity()),
            )
            for number in range(draw(st.integers(0, 3)))
        ]
        found.append(Layer(versions, discounts))
    return found


HOURS: list[list[OffPeak]] = [
    [],
    [OffPeak(from_minute=990, to_minute=30, discount=5_000)],
    [OffPeak(from_minute=60, to_minute=240, discount=1_000), OffPeak(from_minute=360, to_minute=600, discount=2_500)],
]


def expected(layers: list[Layer], now_ms: int) -> str | None:
    """The layers read aloud."""
    for layer in layers:
        version = price_at(layer.versions, now_ms)
        if version is None:
            continue
        minute = now_ms % DAY_MS // MINUTE_MS
        cheap = 0
        for time in version.off_peak:
            over_midnight = time.to_minute <= time.from_minute
            inside = time.from_minute <= minute < time.to_minute
            if (not over_midnight and inside) or (over_midnight and (minute >= time.from_minute or minute < time.to_minute)):
                cheap = time.discount
        own = price_at([one for one in layer.discounts if one.model], now_ms) or price_at(
            [one for one in layer.discounts if not one.model], now_ms
        )
        return Price(version, negotiated=own.discount if own else 0, off_peak=cheap).version
    return None


@given(layers(), st.lists(MOMENT, min_size=1, max_size=20))
def test_at_says_what_the_layers_say(layers: list[Layer], moments: list[int]) -> None:
    tariff = Tariff(layers)
    for now in moments:
        found = tariff.at(now)
        assert (found.version if found else None) == expected(layers, now)


def test_while_nothing_changes_the_very_same_price_is_given() -> None:
    tariff = Tariff([Layer([PriceVersion(version="v", input=1, output=1, off_peak=HOURS[1])])])
    noon = 10 * DAY_MS + 12 * 60 * MINUTE_MS
    assert tariff.at(noon) is tariff.at(noon + 4 * 60 * MINUTE_MS)
    assert tariff.at(noon + 5 * 60 * MINUTE_MS) is not tariff.at(noon)


def book(*pages: PriceFragment, discounts: list[DiscountFragment] | None = None) -> PriceBook:
    by_id = {page.id: page for page in pages}
    return PriceBook(by_id.get, discounts or [])


def page(id: str, *versions: PriceVersion, like: str = "") -> PriceFragment:
    provider, _, model = id.partition("/")
    return PriceFragment(id=id, provider=provider, model=model, versions=list(versions), like=like)


def version(label: str, **more: object) -> PriceVersion:
    return PriceVersion(version=label, input=1, output=1, **more)


def label(book: PriceBook, id: str, region: str = "", now_ms: int = 0, *more: Layer) -> str | None:
    tariff = book.tariff(id, region, *more)
    price = tariff.at(now_ms) if tariff else None
    return price.version if price else None


def test_a_region_has_its_own_price_while_that_is_in_force() -> None:
    found = book(page("p/m", version("all"), version("eu", region="eu", valid_from_ms=100, valid_to_ms=200)))
    assert [label(found, "p/m", "eu", now) for now in (99, 100, 199, 200)] == ["all", "eu", "eu", "all"]
    assert label(found, "p/m", "us", 150) == label(found, "p/m", "", 150) == "all"


def test_a_price_of_one_region_prices_no_other() -> None:
    assert label(book(page("p/m", version("eu", region="eu"))), "p/m", "us") is None


def test_a_model_priced_like_another_has_its_price_only_while_it_has_none() -> None:
    found = book(page("p/new", version("own", valid_from_ms=100), like="q/old"), page("q/old", version("old")))
    assert [label(found, "p/new", "", now) for now in (99, 100)] == ["old", "own"]


def test_a_circle_is_named() -> None:
    found = book(page("p/a", like="p/b"), page("p/b", like="p/a"))
    with pytest.raises(LookupError, match="p/a is priced like p/b is priced like p/a"):
        found.tariff("p/a", "")


def test_a_discount_for_the_model_wins_and_a_stand_in_of_the_route_has_none() -> None:
    def off(model: str, share: int) -> DiscountFragment:
        return DiscountFragment(id=model, organisation="o", provider="p", model=model, discount=share)

    found = book(page("p/m", version("own", valid_from_ms=100)), page("p/n", version("n")), discounts=[off("", 1_000), off("m", 2_000)])
    default = Layer([version("default")])
    assert label(found, "p/m", "", 100, default) == "own~20%"
    assert label(found, "p/m", "", 0, default) == "default"
    assert label(found, "p/n") == "n~10%"


def test_nothing_prices_an_unknown_model_and_a_wrong_price_is_refused() -> None:
    assert book().tariff("p/m", "") is None
    with pytest.raises(PriceError):
        Tariff([Layer([version("v", batch_discount=-1)])])
