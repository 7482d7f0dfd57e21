"""Run with the engine's interpreter (``test_built_in.py`` does): draws have their distribution, seeds are kept to, text comes out whole."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from apps.engine.built_in.sampling import Sampler
from apps.engine.built_in.text import PATIENCE, Writer

CPU = torch.device("cpu")
SCORES = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def request(position: int = 0, **said: Any) -> Any:
    return SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs=said, initial_tokens=[0] * position, generated_tokens=[]))


def drawn(requests: list[Any], scores: torch.Tensor | None = None) -> list[int]:
    sampler = Sampler(CPU)
    sampler.prepare_tensor_args(requests)
    return sampler(SCORES.repeat(len(requests), 1) if scores is None else scores, torch.zeros(len(requests))).argmax(-1).tolist()


def shares(requests: list[Any]) -> torch.Tensor:
    return torch.bincount(torch.tensor(drawn(requests)), minlength=len(SCORES)) / len(requests)


def test_shares() -> None:
    torch.manual_seed(1)
    many = 40_000
    for temperature in (0.5, 1.0, 1.7):
        wanted = (SCORES / temperature).softmax(-1)
        assert (shares([request(temperature=temperature)] * many) - wanted).abs().max() < 0.012
        seeded = [request(at, temperature=temperature, seed=5) for at in range(6_000)]
        assert (shares(seeded) - wanted).abs().max() < 0.03
    top = SCORES[:3].softmax(-1)
    assert (shares([request(temperature=1.0, top_k=3)] * many)[:3] - top).abs().max() < 0.012
    kept = shares([request(temperature=1.0, top_p=0.8)] * many)  # 0.54, 0.20, 0.12: the third reaches 0.8
    assert (kept[:3] - top).abs().max() < 0.012 and kept[3:].sum() == 0
    assert set(drawn([request(temperature=1.0, top_p=0.0)] * 100)) == {0}


def test_company_changes_nothing() -> None:
    one = request(3, temperature=1.0, seed=11)
    alone = drawn([one])
    for _ in range(20):
        mixed = [request(temperature=1.3), one, request(), request(9, temperature=0.3, seed=2, top_p=0.5)]
        found = drawn(mixed)
        assert found[1] == alone[0] and found[2] == 0, "greedy stays greedy"
    several = {tuple(drawn([request(at, temperature=1.0, seed=seed) for at in range(32)])) for seed in (0, 1, -1, 2**63 - 1, -(2**63))}
    assert len(several) == 5


def test_text() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    text = "Grüße, 世界 🎉 and plain"
    ids = tokenizer.encode(text).ids
    writer = Writer(tokenizer)
    pieces = [writer.add(token) for token in ids]
    assert "".join(pieces) + writer.rest() == text and "\ufffd" not in "".join(pieces)
    cut = Writer(tokenizer)
    assert "".join(map(cut.add, ids[:3])) + cut.rest() == "Gr\ufffd", "half a character is said to be half a one, at the end"
    noise = Writer(tokenizer)
    continuation = tokenizer.encode("é").ids[1]  # a byte that begins nothing
    seen = [noise.add(continuation) for _ in range(3 * PATIENCE)]
    assert sum(map(bool, seen)) >= 2 and set("".join(seen)) == {"\ufffd"}, "what is no text does not wait for ever"


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print(f"{name}: passed")
