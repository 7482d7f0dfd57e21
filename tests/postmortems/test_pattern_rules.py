"""What incidents have in common: counts, distributions, repeats and sentences, by rules alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.postmortems.pattern_rules import BOUNDS_S, Row, crossed, distribution, repeats, sentences, shares

BEGIN = datetime(2026, 3, 1, 9, tzinfo=UTC)


def row(number: int, severity: str = "sev1", **more: Any) -> Row:
    return Row(str(number), f"INC-{number}", f"incident {number}", severity, BEGIN + timedelta(days=number), **more)


SHARED = [
    row(1, factors=("single-region", "missing-alert"), routes=("embed",), providers=("east",), trigger="provider", detect_s=60),
    row(2, factors=("single-region",), routes=("embed", "chat"), providers=("east",), trigger="provider", detect_s=600),
    row(3, factors=("single-region", "retry-storm"), routes=("embed",), providers=("west",), trigger="traffic"),
]
OTHERS = [
    row(4, factors=("expired-credential",), routes=("chat",), trigger="expiry"),
    row(5, "sev3", factors=("deploy",), routes=("images",), trigger="deploy"),
]


def test_three_with_a_shared_factor_and_two_without_say_so() -> None:
    said = sentences([*SHARED, *OTHERS], {"single-region": "Single region"})
    assert said[0].text == "3 of 4 SEV1s: single region on route embed"
    assert [one.reference for one in said[0].rows] == ["INC-1", "INC-2", "INC-3"]
    assert not any("expired-credential" in one.text or "deploy" in one.text for one in said), "what holds of one is no pattern"
    (again, *_) = repeats([*SHARED, *OTHERS])
    assert (again.factors, again.place, [one.id for one in again.rows]) == (("single-region",), ("route", "embed"), ["1", "2", "3"])


def test_nothing_is_made_of_one_incident_or_of_none() -> None:
    assert sentences([]) == [] and sentences([SHARED[0]]) == [] and repeats([SHARED[0]]) == [] and sentences(OTHERS) == []


def test_counts_by_two_dimensions() -> None:
    assert next((share.value, share.count, share.of) for share in shares(SHARED, "factor")) == ("single-region", 3, 3)
    assert crossed(SHARED, "factor", "provider")[0] == ("single-region", {"east": 2, "west": 1})
    assert [share.value for share in shares([*SHARED, *OTHERS], "severity")] == ["sev1", "sev3"]


def test_a_distribution_tells_what_is_not_known() -> None:
    found = distribution(one.detect_s for one in SHARED)
    assert (found.known, found.unknown, found.p50, found.p90, found.longest) == (2, 1, 60, 600, 600)
    assert found.columns == (1, 0, 1, 0, 0, 0, 0)
    assert distribution([None]).p50 is None


ROWS = st.lists(
    st.builds(
        row,
        st.integers(1, 30),
        st.sampled_from(["sev1", "sev2"]),
        factors=st.lists(st.sampled_from("abc"), max_size=3).map(tuple),
        routes=st.lists(st.sampled_from("xy"), max_size=2).map(tuple),
        trigger=st.sampled_from(["", "deploy"]),
        detect_s=st.none() | st.floats(0, 1e6),
    ),
    max_size=12,
    unique_by=lambda one: one.id,
)


@given(ROWS)
def test_every_sentence_counts_the_incidents_behind_it(rows: list[Row]) -> None:
    for sentence in sentences(rows):
        count, _, of, *_ = sentence.text.split()
        assert int(count) == len(sentence.rows) == len({one.id for one in sentence.rows}) >= 2 and int(of) >= int(count)
    assert len({tuple(one.id for one in sentence.rows) for sentence in sentences(rows)}) == len(sentences(rows)), "each group is told once"
    for again in repeats(rows):
        dimension, value = again.place
        for one in again.rows:
            assert value in one.values(dimension) and set(again.factors) & set(one.factors)
    found = distribution(one.detect_s for one in rows)
    assert sum(found.columns) == found.known == len(rows) - found.unknown and len(found.columns) == len(BOUNDS_S) + 1
