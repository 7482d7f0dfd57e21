"""What a look tells, over any history of looks; what may be said of a model; what a model is at its provider."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audit.errors import ServiceError
from apps.catalogue.choices import MISSED_LOOKS
from apps.catalogue.rules import Found, Was, check_facts, look, model_state
from apps.contracts.model_facts import NOTHING, ModelFacts
from tests.scale import examples

TODAY = date(2026, 11, 22)
NAMES = ("a", "b", "c")


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([1, 2]), min_size=1), st.booleans()), min_size=1, max_size=12
    )
)
@settings(max_examples=examples(120))
def test_over_any_history_a_model_vanishes_once_and_comes_back_once(history: list[tuple[dict[str, int], bool]]) -> None:
    """Against a model of it: present, absent since so many complete looks, told or not."""
    known: dict[str, Was] = {}
    absent: dict[str, int] = {}
    for at, (listed, partial) in enumerate(history):
        now = {name: Found(NOTHING, {"input": price}) for name, price in listed.items()}
        told = look(known, now, first=at == 0, partial=partial, today=TODAY)
        if at == 0:
            assert not told.new and not told.vanished and not told.repriced
        assert set(told.new) == {name for name in now if at and (name not in known or known[name].gone)}
        for name in known.keys() - now.keys():
            absent[name] = absent.get(name, 0) + (0 if partial else 1)
            assert (name in told.vanished) == (absent[name] == MISSED_LOOKS and not partial and not known[name].gone)
        assert set(told.repriced) == {
            name for name in now if name in known and not known[name].gone and known[name].price != now[name].price
        }
        again = look(
            {**known, **{name: Was(found.price, 0, False, "") for name, found in now.items()}}, now, first=False, partial=True, today=TODAY
        )
        assert not again.new and not again.repriced and not again.vanished, "the same list again tells nothing"
        for name, missed in told.missed.items():
            known[name] = known[name]._replace(missed=missed, gone=name in told.vanished)
        for name, found in now.items():
            known[name] = Was(found.price, 0, False, "")
            absent.pop(name, None)


def test_an_end_is_told_once_when_it_comes_near_and_again_when_it_moves() -> None:
    def ending(was: str, ends_on: str) -> dict[str, str]:
        before = {"a": Was({}, 0, False, was)}
        return look(before, {"a": Found(ModelFacts(ends_on=ends_on), {})}, first=False, partial=False, today=TODAY).ending

    assert ending("", "2027-06-01") == {} and ending("", "2026-12-24") == {"a": "2026-12-24"}
    assert ending("2026-12-24", "2026-12-24") == {} and ending("2026-12-24", "2026-12-31") == {"a": "2026-12-31"}
    assert ending("", "someday") == {}


@pytest.mark.parametrize(
    ("facts", "listed", "gone", "state"),
    [
        (NOTHING, None, False, "unknown"),
        (NOTHING, True, False, "listed"),
        (NOTHING, False, False, "unlisted"),
        (NOTHING, False, True, "vanished"),
        (ModelFacts(deprecated=True), True, False, "deprecated"),
        (ModelFacts(deprecated=True, ends_on="2026-12-24"), True, False, "ending"),
        (ModelFacts(deprecated=True, ends_on="2027-12-24"), True, False, "deprecated"),
        (ModelFacts(ends_on="2026-11-22"), True, False, "ended"),
        (ModelFacts(ends_on="2026-11-22"), False, True, "ended"),
    ],
)
def test_the_worst_that_is_known_of_a_model_is_what_it_is(facts: ModelFacts, listed: bool | None, gone: bool, state: str) -> None:
    assert model_state(facts, listed=listed, gone=gone, today=TODAY) == state


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        (ModelFacts(window=-1), "window"),
        (ModelFacts(window=10**10), "window"),
        (ModelFacts(window=10, max_output=11), "max_output"),
        (ModelFacts(can=("telepathy",)), "can"),
        (ModelFacts(can=("tools",), cannot=("tools",)), "cannot"),
        (ModelFacts(ends_on="tomorrow"), "ends_on"),
    ],
)
def test_nonsense_is_refused_with_its_field(facts: ModelFacts, field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        check_facts(facts)
    assert caught.value.field == field


def test_equal_words_are_kept_equal() -> None:
    assert check_facts(ModelFacts(can=("tools", "images", "tools"))) == ModelFacts(can=("images", "tools"))
