"""Feedback becomes one whatever the order in which it arrives, and however often."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.feedback import FeedbackRecord
from apps.usage.feedback_rules import FIELDS, collected, merged, said


def maybe(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | values


records = st.builds(
    FeedbackRecord,
    request=st.sampled_from([b"\1" * 16, b"\2" * 16]),
    key_id=st.sampled_from(["k1", "k2"]),
    at_us=st.integers(1, 6),
    organisation=st.just("o"),
    team=st.just("t"),
    score=maybe(st.sampled_from([-1.0, 0.0, 1.0])),  # type: ignore[arg-type]
    reason=maybe(st.sampled_from(["a", "b"])),  # type: ignore[arg-type]
    outcome=maybe(st.sampled_from(["x", "y"])),  # type: ignore[arg-type]
    tags=maybe(st.lists(st.sampled_from("pq"), max_size=2)),  # type: ignore[arg-type]
    client_ms=maybe(st.integers(0, 3)),  # type: ignore[arg-type]
)


@given(st.lists(records, max_size=12), st.randoms(use_true_random=False))
def test_the_order_and_repetition_do_not_matter(told: list[FeedbackRecord], rng: random.Random) -> None:
    again = [*told, *told[: len(told) // 2]]
    rng.shuffle(again)
    assert collected(again) == collected(told)


@given(st.lists(records, min_size=1, max_size=12), st.integers(0, 12))
def test_batches_become_what_one_batch_would(told: list[FeedbackRecord], cut: int) -> None:
    apart = {(row.request, row.key_id): row for row in collected(told[:cut])}
    for row in collected(told[cut:]):
        at = (row.request, row.key_id)
        apart[at] = merged(apart[at], row) if at in apart else row
    assert sorted(apart.values()) == sorted(collected(told))


@given(st.lists(records, min_size=1, max_size=12))
def test_of_each_field_the_latest_word_counts(told: list[FeedbackRecord]) -> None:
    for row in collected(told):
        mine = [record for record in told if (record.request, record.key_id) == (row.request, row.key_id)]
        assert row.said_us == max(record.at_us for record in mine)
        for name, word in zip(FIELDS, row.words, strict=True):
            words = [record for record in mine if getattr(record, name) is not None]
            latest = max((record.at_us for record in words), default=0)
            assert word.at_us == latest
            assert word.value in ([getattr(record, name) for record in words if record.at_us == latest] or [None])


def test_a_thumb_now_and_an_outcome_next_week_are_one() -> None:
    base = {"request": b"\1" * 16, "organisation": "o", "key_id": "k"}
    both = merged(said(FeedbackRecord(at_us=5, outcome="refunded", **base)), said(FeedbackRecord(at_us=1, score=1.0, **base)))  # type: ignore[arg-type]
    assert dict(zip(FIELDS, (word.value for word in both.words), strict=True)) == {
        "score": 1.0, "reason": None, "outcome": "refunded", "tags": None, "client_ms": None,
    }  # fmt: skip
