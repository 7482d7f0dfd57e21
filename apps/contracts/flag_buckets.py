"""Buckets: which of so many shares a text falls into, always the same one. MurmurHash3 (x86, 32 bit), as Unleash's SDKs use it.

Source: Austin Appleby's public-domain reference, https://github.com/aappleby/smhasher; Unleash's normalisation,
https://docs.getunleash.io/reference/stickiness. What is the same for every request, the group in front, is hashed once. Never compiled:
products of 32-bit numbers leave the small integers of mypyc, and the hash would take half as long again.
"""

from __future__ import annotations

from struct import unpack_from

_MASK = 0xFFFFFFFF
_C1, _C2 = 0xCC9E2D51, 0x1B873593
MAX_KNOWN = 4096
"""Texts whose bucket is remembered; forgotten all at once when there are more."""
VARIANT_SEED = 86028157
"""Variants are drawn with another seed than rollouts, so that one does not decide the other."""


def _blocks(state: int, data: bytes, count: int) -> int:
    """The state after ``count`` whole blocks of four bytes."""
    for block in unpack_from(f"<{count}I", data):
        mixed = (block * _C1) & _MASK
        mixed = (((mixed << 15) | (mixed >> 17)) * _C2) & _MASK
        state ^= mixed
        state = ((((state << 13) | (state >> 19)) & _MASK) * 5 + 0xE6546B64) & _MASK
    return state


def _final(state: int, rest: bytes, length: int) -> int:
    """The hash, given the state after the whole blocks and the up to three bytes behind them."""
    if rest:
        tail = int.from_bytes(rest, "little")
        tail = (tail * _C1) & _MASK
        state ^= (((tail << 15) | (tail >> 17)) * _C2) & _MASK
    state ^= length
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & _MASK
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & _MASK
    return state ^ (state >> 16)


def murmur3(data: bytes, seed: int = 0) -> int:
    """The 32-bit hash of ``data``."""
    count = len(data) >> 2
    return _final(_blocks(seed, data, count), data[count << 2 :], len(data))


class Buckets:
    """``of(text)`` is 1 to ``size``: the hash of ``<group>:<text>`` in so many equal parts."""

    __slots__ = ("_known", "_length", "_rest", "_size", "_state")

    def __init__(self, group: str, size: int, seed: int = 0) -> None:
        front = f"{group}:".encode()
        count = len(front) >> 2
        self._state = _blocks(seed, front, count)
        self._rest = front[count << 2 :]
        self._length = len(front)
        self._size = size
        self._known: dict[str, int] = {}

    def of(self, text: str) -> int:
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = self._known[text] = self.of_bytes(text.encode("utf-8", "surrogatepass"))
        return found

    def of_bytes(self, text: bytes) -> int:
        """The same, of bytes, and not remembered: for what never comes twice."""
        data = self._rest + text
        count = len(data) >> 2
        state = _blocks(self._state, data, count)
        return _final(state, data[count << 2 :], self._length + len(text)) % self._size + 1
