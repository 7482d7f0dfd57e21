"""How much memory a replica of a model takes, from the model's own ``config.json``. Pure; every figure says where it comes from.

Three parts. **Weights**: parameters times bytes; the exact size where the safetensors index says it (``metadata.total_size``), else counted
from the shapes that the config names. **KV cache**: 2 (keys and values) x layers x KV heads x head size x bytes, for each token that is
held at a time, which is context x concurrency; models with multi-head latent attention hold one compressed vector instead, and layers with
a sliding window hold no more than the window. **Overhead**: the CUDA context, the engine's workspace and activations.

Sources: Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention" (SOSP 2023, section 3.1) for the KV
cache; DeepSeek-AI, "DeepSeek-V2" (2024, section 2.1) for latent attention; Quentin Anthony et al., "Transformer Math 101" (EleutherAI,
2023) for weights and for overhead at inference within 20% of the weights; the group sizes of GPTQ and AWQ checkpoints for scales.

It is an estimate: what an engine then really takes is reported by its worker and shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from apps.audit.errors import ServiceError

BYTES: dict[str, float] = {
    "float32": 4.0,
    "float": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "half": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "float8_e4m3fn": 1.0,
    "int4": 0.5,
    "fp4": 0.5,
}
"""Bytes of one parameter by the name that configs give its type."""
GROUP = 128
"""Parameters that share one 16-bit scale and one zero point in 4-bit checkpoints, where the config does not say."""
CONTEXT_BYTES = 700_000_000
"""What a CUDA context and an engine's libraries take on each GPU before any weight is there."""
ACTIVATION_SHARE = 0.10
"""Of the weights, for activations, workspaces and captured graphs; within Transformer Math's 20%, with the context counted apart."""
MOST_TOKENS = 100_000_000
ENCODER_BASE = 120_000_000
"""What the process of the engine ``onnx`` takes before any model is there (measured: 95 to 101 MB resident)."""
ENCODER_BATCH = 4_096
"""Tokens of a batch of that engine, padding included, where its arguments do not say."""
ENCODER_COPIES = 3
"""How often attention's scores and the inner layer's values are held at a time (measured, in texts of 502 tokens: 2.9 to 3.0)."""


PYTORCH_BASE = 1_200_000_000
"""What the process of the built-in engine takes before any model is there (measured, with the libraries of CUDA: 1.19 GB resident)."""
BUILT_IN_STEP = {True: 4_096, False: 512}
"""Tokens of one step of that engine, by whether it has a GPU."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of one replica. per_gpu: of each of its GPUs (of the host, where it has none). notes: what was counted and what was assumed."""

    parameters: int
    weights: int
    kv_per_token: int
    kv_cache: int
    overhead: int
    gpus: int
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.overhead

    @property
    def per_gpu(self) -> int:
        return -(-self.total // max(1, self.gpus))


def estimate(
    config: Mapping[str, Any],
    *,
    context: int,
    concurrency: int = 1,
    gpus: int = 1,
    quantisation: str = "",
    kv_dtype: str = "",
    weights_bytes: int | None = None,
) -> Estimate:
    """context: tokens of one sequence; concurrency: sequences at a time. gpus 0: on the host's processors.

    weights_bytes: what the checkpoint's index or its files say; it wins over the count. quantisation: over what the config names.
    Raises ServiceError where the config lacks what the count needs; the message names it.
    """
    if context < 1 or concurrency < 1 or context * concurrency > MOST_TOKENS:
        raise ServiceError(f"{context} tokens x {concurrency}: use at least one of each, and at most {MOST_TOKENS:,} together", "context")
    text = config.get("text_config")
    shape = {**config, **text} if isinstance(text, Mapping) else dict(config)
    notes: list[str] = []
    hidden, layers = _number(shape, "hidden_size"), _number(shape, "num_hidden_layers")
    heads = _number(shape, "num_attention_heads")
    kv_heads = _number(shape, "num_key_value_heads", default=heads)
    head = _number(shape, "head_dim", default=max(1, hidden // heads))
    dtype = str(shape.get("torch_dtype") or shape.get("dtype") or "bfloat16").removeprefix("torch.")
    parameters = _parameters(shape, hidden, layers, heads, kv_heads, head)
    per_parameter, said = _per_parameter(shape, dtype, quantisation)
    notes.append(said)
    if weights_bytes is not None and weights_bytes > 0:
        weights = weights_bytes
        notes.append("weights: as its files say")
    else:
        weights = int(parameters * per_parameter)
        notes.append(f"weights: {parameters / 1e9:.2f} billion parameters, counted from its shapes")
    kv_bytes = BYTES.get(kv_dtype or (dtype if dtype in BYTES else "bfloat16"), 2.0)
    rank = shape.get("kv_lora_rank")
    if isinstance(rank, int) and rank > 0:
        per_layer = (rank + _number(shape, "qk_rope_head_dim", default=64)) * kv_bytes
        notes.append("KV cache: one compressed vector a token and layer (multi-head latent attention)")
    else:
        per_layer = 2 * kv_heads * head * kv_bytes
    windowed, window = _windows(shape, layers, context)
    held = (layers - windowed) * context + windowed * min(window, context)
    if windowed:
        notes.append(f"KV cache: {windowed} of {layers} layers hold {window} tokens at most")
    kv_cache = int(per_layer * held * concurrency)
    overhead = int(weights * ACTIVATION_SHARE) + CONTEXT_BYTES * gpus
    return Estimate(parameters, weights, int(per_layer * layers), kv_cache, overhead, gpus, tuple(notes))


def estimate_encoder(
    config: Mapping[str, Any], *, context: int, batch_tokens: int = ENCODER_BATCH, quantisation: str = "", weights_bytes: int | None = None
) -> Estimate:
    """Of an encoder that the engine ``onnx`` runs on the host's processors: its files are in memory once, there is no KV cache, and a
    batch's activations stay with the process, which grows to its longest texts. Raises ServiceError as ``estimate`` does."""
    hidden, layers = _number(config, "hidden_size"), _number(config, "num_hidden_layers")
    heads, inner = _number(config, "num_attention_heads"), _number(config, "intermediate_size", default=4 * hidden)
    positions = _number(config, "max_position_embeddings", default=512)
    parameters = (_number(config, "vocab_size") + positions) * hidden + layers * (4 * hidden * hidden + 2 * hidden * inner)
    if weights_bytes is not None and weights_bytes > 0:
        weights, said = weights_bytes, "weights: as its files say"
    else:
        weights = parameters * (1 if "8" in quantisation else 4)
        said = f"weights: {parameters / 1e6:.1f} million parameters, counted from its shapes"
    longest = min(context, positions)
    activations = ENCODER_COPIES * 4 * batch_tokens * (heads * longest + inner)
    note = f"activations: batches of {batch_tokens} tokens, texts of {longest}"
    return Estimate(parameters, weights, 0, 0, activations + ENCODER_BASE, 0, (said, note))


def estimate_built_in(
    config: Mapping[str, Any], *, context: int, concurrency: int, gpus: int, dtype: str = "auto", weights_bytes: int | None = None
) -> Estimate:
    """Of the built-in engine: on processors it holds everything as float32 where it is not told otherwise, and in each step it reads the
    whole cache into place, under a mask of the step's tokens. Raises ServiceError as ``estimate`` does."""
    said = str(config.get("torch_dtype") or config.get("dtype") or "bfloat16").removeprefix("torch.")
    held = dtype if dtype != "auto" else said if gpus else "float32"
    if weights_bytes and BYTES.get(held, 2.0) != BYTES.get(said, 2.0):
        weights_bytes = int(weights_bytes * BYTES.get(held, 2.0) / BYTES.get(said, 2.0))
    whole = {**config, "torch_dtype": held}
    found = estimate(whole, context=context, concurrency=concurrency, gpus=gpus, weights_bytes=weights_bytes)
    text = config.get("text_config")
    shape = {**config, **text} if isinstance(text, Mapping) else dict(config)
    heads = _number(shape, "num_attention_heads")
    kv_heads = _number(shape, "num_key_value_heads", default=heads)
    head = _number(shape, "head_dim", default=max(1, _number(shape, "hidden_size") // heads))
    width = BYTES.get(held, 2.0)
    step = int(context * concurrency * width * ((2 * heads + kv_heads) * head + BUILT_IN_STEP[gpus > 0]))
    base = 0 if gpus else PYTORCH_BASE
    note = f"held as {held}; a step reads the cache into place"
    return replace(found, overhead=found.overhead + step + base, notes=(*found.notes, note))


def _number(shape: Mapping[str, Any], name: str, *, default: int | None = None) -> int:
    for key in (name, *OTHER_NAMES.get(name, ())):
        value = shape.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    if default is None:
        raise ServiceError(f"its config.json does not say {name}: give the memory by hand", "memory")
    return default


OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head",),
    "intermediate_size": ("n_inner", "ffn_dim", "d_ff"),
}
"""What older families call the same."""


def _parameters(shape: Mapping[str, Any], hidden: int, layers: int, heads: int, kv_heads: int, head: int) -> int:
    """Of a decoder as Llama and its kin have it: embeddings, attention, gated feed-forward or experts, norms."""
    vocabulary = _number(shape, "vocab_size")
    inner = _number(shape, "intermediate_size", default=4 * hidden)
    embeddings = vocabulary * hidden * (1 if shape.get("tie_word_embeddings") else 2)
    rank = shape.get("kv_lora_rank")
    if isinstance(rank, int) and rank > 0:
        attention = _latent_attention(shape, hidden, heads, rank)
    else:
        attention = hidden * head * (2 * heads + 2 * kv_heads)
    # older families have no gate: two matrices instead of three
    matrices = 2 if str(shape.get("model_type", "")) in UNGATED else 3
    dense = matrices * hidden * inner
    experts = next((int(shape[key]) for key in ("num_local_experts", "n_routed_experts", "num_experts") if shape.get(key)), 0)
    if not experts:
        return embeddings + layers * (attention + dense + 2 * hidden) + hidden
    expert_inner = _number(shape, "moe_intermediate_size", default=inner)
    shared = shape.get("n_shared_experts")
    sparse = matrices * hidden * expert_inner * (experts + (shared if isinstance(shared, int) else 0)) + hidden * experts
    first = shape.get("first_k_dense_replace")
    plain = min(layers, first) if isinstance(first, int) and first > 0 else 0
    return embeddings + layers * (attention + 2 * hidden) + plain * dense + (layers - plain) * sparse + hidden


UNGATED = frozenset({"gpt2", "opt", "bloom", "gpt_neox", "falcon", "phi", "bert", "roberta"})


def _latent_attention(shape: Mapping[str, Any], hidden: int, heads: int, rank: int) -> int:
    nope, rope = _number(shape, "qk_nope_head_dim", default=128), _number(shape, "qk_rope_head_dim", default=64)
    value = _number(shape, "v_head_dim", default=128)
    low = shape.get("q_lora_rank")
    if isinstance(low, int) and low > 0:
        queries = hidden * low + low * heads * (nope + rope)
    else:
        queries = hidden * heads * (nope + rope)
    return queries + hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden


def _per_parameter(shape: Mapping[str, Any], dtype: str, wanted: str) -> tuple[float, str]:
    """Bytes of one parameter, and the sentence that says why. wanted: a name such as ``awq``, ``gptq``, ``fp8``, ``int8``, ``int4``."""
    quantised = shape.get("quantization_config")
    of = quantised if isinstance(quantised, Mapping) else {}
    method = (wanted or str(of.get("quant_method", ""))).lower()
    if method in ("", "none"):
        if dtype not in BYTES:
            return 2.0, f"the type {dtype[:40]!r} is not known: counted as 16 bits"
        return BYTES[dtype], f"{dtype}: {BYTES[dtype]:g} bytes a parameter"
    bits = of.get("bits", of.get("w_bit"))
    if not isinstance(bits, int) or not 1 <= bits <= 16:
        bits = 8 if "8" in method else 4
    group = of.get("group_size", GROUP)
    scales = 0.0 if bits >= 8 else (2.0 + bits / 8) / (group if isinstance(group, int) and group > 0 else GROUP)
    size = bits / 8 + scales
    return size, f"{method}: {bits} bits, {size:.3f} bytes a parameter with its scales"


def _windows(shape: Mapping[str, Any], layers: int, context: int) -> tuple[int, int]:
    """(layers with a sliding window, its tokens); (0, 0) where there is none or it is longer than the context."""
    window = shape.get("sliding_window")
    if not isinstance(window, int) or window <= 0 or window >= context or shape.get("use_sliding_window") is False:
        return 0, 0
    kinds = shape.get("layer_types")
    if isinstance(kinds, list):
        return min(layers, sum(kind == "sliding_attention" for kind in kinds)), window
    pattern = shape.get("sliding_window_pattern")
    if isinstance(pattern, int) and pattern > 1:
        return layers - layers // pattern, window
    return layers, window
