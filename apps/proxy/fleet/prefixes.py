"""What replicas have read lately: which of them may still hold the beginning of a prompt in its KV cache.

A prompt is a chain of blocks; a block's number stands for itself and everything before it, so two prompts that share a number share the
whole text up to there. ``blocks_of`` makes such a chain from a request's body; traces bring their own numbers.

``PrefixIndex`` remembers for each block the replicas it went to, as bits of an integer. It is bounded by forgetting in generations: what
was not seen again while ``capacity`` / 2 others came is forgotten. What an engine has evicted meanwhile it does not know: a wrong guess
costs the time that a cold replica would have cost, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

BLOCK_BYTES = 1_024
"""Some 256 tokens of English text."""
MAX_BLOCKS = 16
"""Of a request's beginning: where prompts differ only behind 16 KiB, any replica that has these has most of it."""
_STARTS = (b'"messages"', b'"prompt"', b'"input"')


def blocks_of(body: bytes) -> list[int]:
    """The chain of a request's body, of whole blocks from its messages on: fields before them (a cap, a temperature) say nothing of
    the prompt. Empty for bodies shorter than one block."""
    start = 0
    for name in _STARTS:
        at = body.find(name, 0, 4_096)
        if at >= 0:
            start = at
            break
    count = min((len(body) - start) // BLOCK_BYTES, MAX_BLOCKS)
    chain: list[int] = []
    running = 0
    for _ in range(count):
        running = crc32(body[start : start + BLOCK_BYTES], running)
        start += BLOCK_BYTES
        chain.append(running)
    return chain


class PrefixIndex:
    """Blocks of which replicas (as bits). capacity: blocks remembered, at most."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, capacity: int) -> None:
        if capacity < 2:
            raise ValueError("an index of prefixes needs room for two blocks at least")
        self._half = capacity // 2
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def __len__(self) -> int:
        """Blocks remembered; one that is in both generations counts twice."""
        return len(self._young) + len(self._old)

    def match(self, blocks: Sequence[int], among: int) -> list[tuple[int, int]]:
        """(how many blocks from the first, by which of ``among``), the longest first. A replica is named with each length that it and
        nobody longer has, so the first pair holds who has most."""
        found: list[tuple[int, int]] = []
        young, old = self._young, self._old
        held = among
        depth = 0
        for depth, block in enumerate(blocks):
            now = held & (young.get(block, 0) | old.get(block, 0))
            if now != held:
                if depth:
                    found.append((depth, held))
                held = now
                if not now:
                    break
        if held and blocks:
            found.append((depth + 1, held))
        found.reverse()
        return found

    def learn(self, blocks: Sequence[int], bit: int) -> None:
        """The replica ``bit`` reads this prompt now."""
        if len(self._young) + len(blocks) > self._half:
            blocks = blocks[: self._half]
            if len(self._young) + len(blocks) > self._half:
                self._old, self._young = self._young, {}
        young, old = self._young, self._old
        for block in blocks:
            known = young.get(block)
            if known is None:
                known = old.get(block, 0)
            young[block] = known | bit

    def forget(self, bit: int) -> None:
        """Whoever comes by this bit next has read nothing. Walks the whole index: for changes of the fleet, not for requests."""
        keep = ~bit
        for generation in (self._young, self._old):
            for block, held in list(generation.items()):
                if held & bit:
                    if held & keep:
                        generation[block] = held & keep
                    else:
                        del generation[block]
