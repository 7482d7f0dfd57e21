"""Vectors of texts: one forward pass over a padded batch, pooled and brought to length 1."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import torch

from apps.engine.backend import Facts, Load, Vector
from apps.engine.built_in.loading import Loaded, Options, version
from apps.engine.built_in.models import pooling_of
from apps.engine.errors import Refused

BATCH_TOKENS = 8_192
"""Of a batch, padding counted."""


def embedded(model: Any, rows: Sequence[Sequence[int]], pooling: str, device: torch.device) -> list[Vector]:
    """In the order of rows. pooling: ``last``, ``mean`` or ``cls``. Rows of like length are computed together."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    found: dict[int, Vector] = {}
    batch: list[int] = []
    for place, row in enumerate(order):
        batch.append(row)
        after = order[place + 1] if place + 1 < len(order) else None
        if after is None or (len(batch) + 1) * len(rows[after]) > BATCH_TOKENS:
            vectors = _vectors(model, [rows[one] for one in batch], pooling, device)
            found.update((one, Vector(vector, len(rows[one]))) for one, vector in zip(batch, vectors, strict=True))
            batch = []
    return [found[row] for row in range(len(rows))]


def _vectors(model: Any, rows: Sequence[Sequence[int]], pooling: str, device: torch.device) -> list[list[float]]:
    """rows: the longest last."""
    longest = len(rows[-1])
    with torch.inference_mode():
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(longest, device=device).unsqueeze(0) < lengths.unsqueeze(1)
        states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        pooled = torch.nn.functional.normalize(_pooled(states, mask, lengths, pooling), dim=-1)
        found: list[list[float]] = pooled.cpu().tolist()
    return found


def _pooled(states: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor, pooling: str) -> torch.Tensor:
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(lengths), device=states.device), lengths - 1]
    return (states * mask.unsqueeze(-1)).sum(1) / lengths.unsqueeze(1)


class Reading:
    """One loaded model that only reads: embeddings. Requests are computed one after the other, the texts of one together."""

    def __init__(self, found: Loaded, options: Options) -> None:
        self._found = found
        self._options = options
        self._one = threading.Lock()
        self._pooling = ""

    def start(self) -> Facts:
        self._pooling = self._options.pooling or pooling_of(self._found.path, causal=False)
        return Facts(frozenset({"embeddings"}), self._found.context, version(), self._options.max_running)

    def close(self) -> None:
        pass

    def load_now(self) -> Load:
        return Load()

    def problem(self) -> str:
        return ""

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Sequence[Vector]:
        return await asyncio.to_thread(self._embedded, texts)

    def _embedded(self, texts: Sequence[str | Sequence[int]]) -> list[Vector]:
        rows = [self._found.tokenizer.encode(text) if isinstance(text, str) else list(text) for text in texts]
        size = self._found.model.config.get_text_config().vocab_size
        for row in rows:
            if not row or len(row) > self._found.context:
                message = f"A text has {len(row):,} tokens, and this model reads 1 to {self._found.context:,}."
                raise Refused(message, param="input", code="context_length_exceeded")
            if not all(0 <= token < size for token in row):
                raise Refused(f"This model's tokens are numbers from 0 to {size - 1:,}.", param="input")
        with self._one:
            return embedded(self._found.model, rows, self._pooling, self._found.device)
