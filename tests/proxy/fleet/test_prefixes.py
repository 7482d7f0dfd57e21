"""The chain of a prompt's blocks, and who has read how much of it."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.fleet.prefixes import BLOCK_BYTES, MAX_BLOCKS, PrefixIndex, blocks_of
from tests.scale import examples


def body(text: str, **more: object) -> bytes:
    return json.dumps({"model": "m", **more, "messages": [{"role": "user", "content": text}]}).encode()


def test_prompts_share_blocks_as_far_as_they_are_the_same() -> None:
    common = "x" * (3 * BLOCK_BYTES)
    one, two = blocks_of(body(common + "y" * BLOCK_BYTES * 2)), blocks_of(body(common + "z" * BLOCK_BYTES * 2))
    assert len(one) == len(two) == 5
    assert one[:3] == two[:3] and set(one[3:]).isdisjoint(two[3:])


def test_what_stands_before_the_messages_says_nothing_of_the_prompt() -> None:
    text = "x" * 5_000
    assert blocks_of(body(text, temperature=0.1)) == blocks_of(body(text, temperature=0.75, max_tokens=12))


def test_short_and_very_long_bodies() -> None:
    assert blocks_of(body("short")) == []
    assert blocks_of(b"") == []
    assert len(blocks_of(body("x" * 10_000_000))) == MAX_BLOCKS


def test_the_longest_is_named_first_and_nobody_without_need() -> None:
    index = PrefixIndex(100)
    index.learn([1, 2, 3], 0b001)
    index.learn([1, 2], 0b010)
    index.learn([1], 0b100)
    assert index.match([1, 2, 3, 4], 0b111) == [(3, 0b001), (2, 0b011), (1, 0b111)]
    assert index.match([1, 2, 3], 0b110) == [(2, 0b010), (1, 0b110)]
    assert index.match([9, 1], 0b111) == []
    assert index.match([], 0b111) == []
    index.forget(0b001)
    assert index.match([1, 2, 3], 0b111) == [(2, 0b010), (1, 0b110)]


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.lists(st.integers(0, 300), max_size=40), max_size=60), st.integers(2, 64))
def test_it_never_outgrows_its_room(prompts: list[list[int]], capacity: int) -> None:
    index = PrefixIndex(capacity)
    for prompt in prompts:
        index.learn(prompt, 1)
        assert len(index) <= capacity


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=5), st.integers(0, 3)), max_size=40), st.lists(st.integers(0, 4), max_size=5)
)
def test_it_says_what_a_plain_list_of_all_prompts_says(history: list[tuple[list[int], int]], asked: list[int]) -> None:
    def chain(parts: list[int]) -> list[int]:
        return [hash(tuple(parts[: at + 1])) for at in range(len(parts))]

    index = PrefixIndex(100_000)
    for parts, who in history:
        index.learn(chain(parts), 1 << who)
    found = dict(index.match(chain(asked), 0b1111))
    for who in range(4):
        longest = max((_common(parts, asked) for parts, by in history if by == who), default=0)
        assert max((depth for depth, held in found.items() if held >> who & 1), default=0) == longest


def _common(one: list[int], two: list[int]) -> int:
    count = 0
    for first, second in zip(one, two, strict=False):
        if first != second:
            break
        count += 1
    return count
