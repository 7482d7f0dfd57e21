"""Memory estimated from ``config.json``, against models whose sizes are published."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.errors import ServiceError
from apps.fleet.memory import ENCODER_BASE, PYTORCH_BASE, estimate, estimate_built_in, estimate_encoder

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
MIXTRAL = {
    "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8, "torch_dtype": "bfloat16",
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
    "num_attention_heads": 128, "vocab_size": 129280, "n_routed_experts": 256, "n_shared_experts": 1, "first_k_dense_replace": 3,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "torch_dtype": "bfloat16",
}  # fmt: skip
BERT = {
    "model_type": "bert", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "vocab_size": 30522, "max_position_embeddings": 512,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "tie_word_embeddings": True}


@pytest.mark.parametrize(
    ("config", "billions"), [(LLAMA_8B, 8.03), (MIXTRAL, 46.7), (DEEPSEEK_V3, 671.0), (GPT2, 0.124)], ids=["llama", "mixtral", "v3", "gpt2"]
)
def test_parameters_are_those_that_were_published(config: dict[str, Any], billions: float) -> None:
    found = estimate(config, context=1)
    assert found.parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_the_kv_cache_of_a_token_is_as_the_shapes_say() -> None:
    assert estimate(LLAMA_8B, context=8192).kv_per_token == 2 * 32 * 8 * 128 * 2
    assert estimate(LLAMA_8B, context=8192, concurrency=4).kv_cache == 131_072 * 8192 * 4
    assert estimate(DEEPSEEK_V3, context=1).kv_per_token == 61 * (512 + 64) * 2


def test_a_sliding_window_holds_no_more_than_its_window() -> None:
    config = {**LLAMA_8B, "sliding_window": 1024, "layer_types": ["sliding_attention", "full_attention"] * 16}
    assert estimate(config, context=8192).kv_cache == 2 * 8 * 128 * 2 * 16 * (8192 + 1024)


def test_quantised_weights_are_smaller_by_their_bits() -> None:
    whole, small = estimate(LLAMA_8B, context=1).weights, estimate(LLAMA_8B, context=1, quantisation="awq").weights
    assert 0.25 < small / whole < 0.28
    assert estimate({**LLAMA_8B, "quantization_config": {"quant_method": "fp8"}}, context=1).weights == pytest.approx(whole / 2, rel=0.01)


def test_what_the_files_say_wins() -> None:
    assert estimate(LLAMA_8B, context=1, weights_bytes=5_000_000_000).weights == 5_000_000_000


def test_a_config_that_lacks_something_is_named() -> None:
    with pytest.raises(ServiceError, match="does not say num_hidden_layers: give the memory by hand"):
        estimate({"hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100}, context=1)


@given(st.integers(1, 65536), st.integers(1, 64), st.integers(1, 8))
def test_more_never_takes_less(context: int, concurrency: int, gpus: int) -> None:
    one = estimate(LLAMA_8B, context=context, concurrency=concurrency, gpus=gpus)
    assert estimate(LLAMA_8B, context=context + 1, concurrency=concurrency, gpus=gpus).total >= one.total
    assert estimate(LLAMA_8B, context=context, concurrency=concurrency + 1, gpus=gpus).total > one.total
    assert one.per_gpu * gpus >= one.total
    assert estimate(LLAMA_8B, context=context, concurrency=concurrency, gpus=gpus + 1).per_gpu < one.per_gpu or gpus > 6


def test_an_encoder_takes_its_files_and_its_batches() -> None:
    found = estimate_encoder(BERT, context=8192)
    assert found.parameters / 1e6 == pytest.approx(108.8, rel=0.01) and found.weights == found.parameters * 4 and found.kv_cache == 0
    assert estimate_encoder(BERT, context=8192, quantisation="int8").weights == found.parameters
    assert estimate_encoder(BERT, context=8192, weights_bytes=90_000_000).weights == 90_000_000
    short, half = estimate_encoder(BERT, context=64), estimate_encoder(BERT, context=8192, batch_tokens=2_048)
    assert short.overhead < found.overhead and (half.overhead - ENCODER_BASE) * 2 == found.overhead - ENCODER_BASE


def test_the_built_in_engine_holds_float32_on_processors_and_reads_its_cache_into_place() -> None:
    on_gpu = estimate_built_in(LLAMA_8B, context=4096, concurrency=4, gpus=1)
    on_host = estimate_built_in(LLAMA_8B, context=4096, concurrency=4, gpus=0)
    plain = estimate(LLAMA_8B, context=4096, concurrency=4, gpus=1)
    assert on_gpu.weights == plain.weights and on_host.weights == 2 * plain.weights and on_host.kv_cache == 2 * plain.kv_cache
    assert on_gpu.overhead - plain.overhead == 4096 * 4 * 2 * ((2 * 32 + 8) * 128 + 4096)
    assert on_host.overhead > PYTORCH_BASE
    told = estimate_built_in(LLAMA_8B, context=4096, concurrency=4, gpus=0, dtype="bfloat16", weights_bytes=16_000_000_000)
    assert told.weights == 16_000_000_000
    assert estimate_built_in(LLAMA_8B, context=1, concurrency=1, gpus=0, weights_bytes=16_000_000_000).weights == 32_000_000_000
