"""Facts of models, laid over one another: what is known wins, what is not is never made up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.model_facts import (
    CAPABILITIES,
    CAPABILITY_WORDS,
    LISTED_WHOLE,
    NOTHING,
    ModelFacts,
    facts_of,
    facts_over,
    target_facts,
)
from tests.scale import examples

ABLE = st.dictionaries(st.sampled_from(CAPABILITIES), st.one_of(st.none(), st.booleans()))
FACTS = st.builds(
    lambda able, window, most, deprecated, ends: facts_of(able, window=window, max_output=most, deprecated=deprecated, ends_on=ends),
    ABLE,
    st.sampled_from([0, 8192, 128_000]),
    st.sampled_from([0, 4096]),
    st.one_of(st.none(), st.booleans()),
    st.sampled_from(["", "2027-01-31"]),
)


@given(FACTS, FACTS)
@settings(max_examples=examples(100))
def test_the_upper_source_wins_where_it_knows_and_nothing_is_made_up(above: ModelFacts, below: ModelFacts) -> None:
    found = facts_over(above, below)
    for name in CAPABILITIES:
        said = above.says(name)
        assert found.says(name) is (below.says(name) if said is None else said)
    assert not set(found.can) & set(found.cannot)
    assert found.window == (above.window or below.window) and found.max_output == (above.max_output or below.max_output)
    assert found.deprecated is (below.deprecated if above.deprecated is None else above.deprecated)
    assert facts_over(NOTHING, below) == below and facts_over(above, NOTHING) == above
    assert facts_over(above, found) == found, "laid over once more it changes nothing"


@given(FACTS, st.one_of(st.none(), st.lists(st.sampled_from(CAPABILITIES), unique=True).map(tuple)))
@settings(max_examples=examples(100))
def test_a_routes_own_word_of_a_target_goes_over_its_models_facts(facts: ModelFacts, own: tuple[str, ...] | None) -> None:
    can, cannot = target_facts(own, facts)
    assert not can & cannot
    if own is None:
        assert (can, cannot) == (set(facts.can), set(facts.cannot))
        return
    assert set(own) <= can and LISTED_WHOLE - set(own) <= cannot, "of the first three the list is complete"
    for name in set(CAPABILITIES) - LISTED_WHOLE - set(own):
        assert (name in can, name in cannot) == (name in facts.can, name in facts.cannot), "of the others it says what it names"


def test_an_unknown_capability_is_refused_and_each_has_its_words() -> None:
    with pytest.raises(ValueError, match="telepathy"):
        facts_of({"telepathy": True})
    assert set(CAPABILITY_WORDS) == set(CAPABILITIES)
