"""Each request's own temperature, top_p, top_k and seed in one batch.

The library draws for a whole batch alike, so drawing is done before it looks: to each score a Gumbel number is added, and the greatest sum
is a draw from the distribution. A request at temperature 0 gets none. A request with a seed gets numbers that follow from seed, position
and token alone, whoever else is in the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)

_A, _B, _C = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
"""The constants of splitmix64, as signed numbers."""


class Sampler(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Told of a batch's requests just before its scores: what it needs it keeps, so it works without CUDA graphs only."""

    supported_kwargs = {"temperature": float, "top_p": float, "top_k": int, "seed": int}
    ignored_kwargs = ()

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._asked: list[tuple[float, float, int, int, int]] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        self._asked = [_asked(request.state) for request in requests_with_new_token]
        return torch.zeros(len(self._asked), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """scores: [requests, vocabulary], float32."""
        asked = self._asked
        drawn = [row for row, one in enumerate(asked) if one[0] > 0]
        if not drawn or len(asked) != scores.shape[0]:
            return scores
        whole = len(drawn) == len(asked)
        rows = None if whole else torch.tensor(drawn, device=self._device)
        part = scores if rows is None else scores[rows]
        wanted = [asked[row] for row in drawn]
        part = part / self._column([one[0] for one in wanted])
        part = self._kept(part, wanted)
        part = part + self._gumbel(part, wanted)
        if rows is None:
            return part
        scores = scores.clone()
        scores[rows] = part
        return scores

    def _column(self, values: list[Any]) -> torch.Tensor:
        return torch.tensor(values, device=self._device).unsqueeze(1)

    def _kept(self, scores: torch.Tensor, wanted: list[tuple[float, float, int, int, int]]) -> torch.Tensor:
        """What top_k and top_p leave out becomes impossible."""
        if all(one[1] >= 1 and one[2] <= 0 for one in wanted):
            return scores
        ordered, places = torch.sort(scores, dim=-1, descending=True)
        size = scores.shape[-1]
        most = self._column([one[2] if 0 < one[2] < size else size for one in wanted])
        ranks = torch.arange(size, device=self._device).unsqueeze(0)
        out = ranks >= most
        shares = ordered.masked_fill(out, -torch.inf).softmax(-1)
        # A token stays while those before it do not reach top_p: the first always does.
        out |= (shares.cumsum(-1) - shares) > self._column([one[1] for one in wanted])
        out[:, 0] = False
        return scores.masked_fill(torch.zeros_like(out).scatter(-1, places, out), -torch.inf)

    def _gumbel(self, scores: torch.Tensor, wanted: list[tuple[float, float, int, int, int]]) -> torch.Tensor:
        noise = torch.empty_like(scores).exponential_().clamp_(min=1e-30)
        for row, one in enumerate(wanted):
            if one[4] >= 0:
                noise[row] = _exponential(one[3], one[4], scores.shape[-1], self._device)
        return -noise.log()


def _asked(state: Any) -> tuple[float, float, int, int, int]:
    """(temperature, top_p, top_k, seed, position); position -1: without a seed."""
    said = state.logit_processor_kwargs
    seed = said.get("seed")
    position = -1 if seed is None else len(state.initial_tokens) + len(state.generated_tokens)
    return said.get("temperature", 0.0), said.get("top_p", 1.0), said.get("top_k", 0), seed or 0, position


def _exponential(seed: int, position: int, size: int, device: torch.device) -> torch.Tensor:
    """Numbers from the exponential distribution that follow from their place alone, by splitmix64. int64 wraps around."""
    at = torch.arange(size, dtype=torch.int64, device=device)
    key = (seed * 0x2545F4914F6CDD1D + position * 0x9E3779B97F4A7C15) % 2**64
    x = (at + 1) * _A + (key - 2**64 if key >= 2**63 else key)
    for shift, factor in ((30, _B), (27, _C)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    x = x ^ ((x >> 31) & ((1 << 33) - 1))
    uniform = ((x >> 11) & ((1 << 53) - 1)).to(torch.float64) / 2**53
    return (-torch.log1p(-uniform)).clamp_(min=1e-30).to(torch.float32)


def processors(device: torch.device) -> ContinuousBatchingLogitsProcessorList:
    found = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([Sampler(device)]), per_request_processors=False)
    found.tensors_required = 1
    return found
