"""Request bodies of an exact size: the simulator counts exactly the tokens that the trace recorded.

The text is ASCII without quotes and backslashes, so that it goes into the JSON as it is: a replay at high
speed should measure the proxy, not its own encoder.
"""

from __future__ import annotations

import json
import random

from apps.simulator.counting import BYTES_PER_TOKEN
from controlplane.replay.traces import BLOCK_TOKENS, Row

_BANK_TOKENS = 1 << 17
_rng = random.Random("bulkhead replay")
_BANK = "".join(_rng.choices("abcdefghijklmnoprstuvw    ", k=_BANK_TOKENS * BYTES_PER_TOKEN)).encode()
_SPREAD = 1_000_003
"""A prime: neighbouring rows and blocks begin far apart in the bank."""


def _slice(number: int, size: int) -> bytes:
    start = number * _SPREAD % len(_BANK)
    piece = _BANK[start : start + size]
    while len(piece) < size:
        piece += _BANK[: size - len(piece)]
    return piece


def _numbered(label: str, number: int, size: int) -> bytes:
    """Text that names its number where there is room, so that different numbers are different texts."""
    head = f"{label} {number}: ".encode()[:size]
    return head + _slice(number, size - len(head))


def prompt_text(row: Row) -> bytes:
    """The prompt of a row: ``input_tokens`` tokens by the simulator's rule. Rows with equal leading blocks share that
    prefix to the byte; rows without blocks share none."""
    if not row.blocks:
        return _numbered("line", row.line, row.input_tokens * BYTES_PER_TOKEN)
    size = BLOCK_TOKENS * BYTES_PER_TOKEN
    text = b"".join(_numbered("block", block, size) for block in row.blocks)
    return text[: row.input_tokens * BYTES_PER_TOKEN]


class Bodies:
    """Builds the requests' bodies. exact: ask the simulator for exactly the recorded output; a real provider refuses the
    field, and is only given the recorded output as ``max_tokens``."""

    def __init__(self, model: str, *, exact: bool = True) -> None:
        self._head = b'{"model":%b,"messages":[{"role":"user","content":"' % json.dumps(model).encode()
        self._exact = exact

    def body(self, row: Row, *, stream: bool) -> bytes:
        tail = b'"}],"max_tokens":%d' % max(1, row.output_tokens)
        if self._exact:
            tail += b',"bulkhead_sim":{"output_tokens":%d}' % row.output_tokens
        if stream:
            tail += b',"stream":true,"stream_options":{"include_usage":true}'
        return b"%b%b%b}" % (self._head, prompt_text(row), tail)
