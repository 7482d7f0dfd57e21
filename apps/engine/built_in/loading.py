"""A model into memory: on which device, as which numbers, with how large a KV cache. What cannot be is said in a sentence."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from apps.engine import VERSION
from apps.engine.built_in.models import checked
from apps.engine.errors import UnfitModel

PAGE = 64
"""Tokens of a page of the KV cache."""
SHARE = {"cpu": 0.3, "cuda": 0.9}
"""Of the memory that is left beside the weights, what the KV cache and its like may take where the order names no amount."""
CUDA_CONTEXT = 700_000_000
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Options(NamedTuple):
    """model: a directory, or an id of the hub with its revision. memory: bytes that the whole engine may use, None: as SHARE has it.
    context, kv_tokens, batch_tokens: 0: by the model and the memory."""

    model: str
    revision: str = ""
    device: str = "auto"
    dtype: str = "auto"
    context: int = 0
    kv_tokens: int = 0
    batch_tokens: int = 0
    max_running: int = 64
    memory: int | None = None
    threads: int = 0
    pooling: str = ""


class Loaded(NamedTuple):
    """causal: writes; else it only reads (embeddings). context: tokens that fit its positions."""

    model: Any
    tokenizer: Any
    device: torch.device
    path: Path | None
    causal: bool
    context: int
    eos: frozenset[int]


def loaded(options: Options) -> Loaded:
    """Blocks for as long as the disk takes. Raises UnfitModel."""
    path = checked(options.model)
    device = _device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    kept = {"revision": options.revision or None, "trust_remote_code": False, "local_files_only": path is not None}
    try:
        config = AutoConfig.from_pretrained(options.model, **kept)
        # A class that is not in this list would come from code of the model's own.
        causal = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not _reads_only(config)
        tokenizer = AutoTokenizer.from_pretrained(options.model, use_fast=True, **kept)
        kind = AutoModelForCausalLM if causal else AutoModel
        with torch.device("cpu"):
            model = kind.from_pretrained(
                options.model, dtype=_dtype(options.dtype, config, device), use_safetensors=True, attn_implementation="sdpa", **kept
            )
        model = model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise UnfitModel(f"{options.model} does not fit: CUDA out of memory. {_first_line(error)}") from None
    except Exception as error:  # whatever a stranger's files make of the library: it is the model that is unfit
        raise UnfitModel(f"{options.model} cannot be loaded: {type(error).__name__}: {_first_line(error)}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise UnfitModel(f"{options.model} has no tokenizer.json: this engine reads tokenizers of that form only.")
    if len(tokenizer) > config.get_text_config().vocab_size:
        raise UnfitModel(f"{options.model}: its tokenizer has {len(tokenizer):,} tokens, and the model {config.vocab_size:,}.")
    positions = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 2_048)
    context = min(positions, options.context) if options.context else positions
    return Loaded(model, tokenizer, device, path, causal, context, _eos(model, tokenizer))


def kv_budget(found: Loaded, options: Options) -> tuple[int, int]:
    """(tokens of the KV cache, tokens of a batch). Raises UnfitModel where not even one short answer fits."""
    batch = options.batch_tokens or (512 if found.device.type == "cpu" else 4_096)
    wanted = options.kv_tokens or min(options.max_running * found.context, 262_144)
    if not options.kv_tokens:
        fits = _memory_left(found, options) // _bytes_a_token(found, batch)
        wanted = min(wanted, fits)
    wanted = wanted // PAGE * PAGE
    if wanted < 4 * PAGE:
        raise UnfitModel(
            f"Out of memory: {max(0, wanted)} tokens of KV cache fit beside the weights, and {4 * PAGE} are the least. Give it more memory."
        )
    return wanted, batch


def quieted() -> None:
    """Progress bars and the batching's own chatter belong to no log that people read for what went wrong."""
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.WARNING)


def version() -> str:
    return f"bulkhead {VERSION}, transformers {transformers.__version__}, torch {torch.__version__}"


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UnfitModel("There is no CUDA device that PyTorch can use here. Leave the device out, or look at the driver.")
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


def _dtype(name: str, config: Any, device: torch.device) -> torch.dtype:
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.float32  # most processors are slow at everything else
    said = getattr(config, "dtype", None)
    return said if isinstance(said, torch.dtype) else torch.bfloat16


def _reads_only(config: Any) -> bool:
    names = [str(name) for name in getattr(config, "architectures", None) or []]
    return bool(names) and not any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names)


def _eos(model: Any, tokenizer: Any) -> frozenset[int]:
    said = [tokenizer.eos_token_id, model.config.get_text_config().eos_token_id]
    if getattr(model, "generation_config", None) is not None:
        said.append(model.generation_config.eos_token_id)
    found: set[int] = set()
    for one in said:
        found.update(one if isinstance(one, list) else [] if one is None else [one])
    return frozenset(token for token in found if token >= 0)


def _bytes_a_token(found: Loaded, batch: int) -> int:
    """Of the KV cache, with what grows along with it: the mask of a batch, and the cache as it is read."""
    config = found.model.config.get_text_config()
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    width = found.model.dtype.itemsize
    cache = 2 * config.num_hidden_layers * kv_heads * size * width
    return int(cache + (2 * heads + kv_heads) * size * width + batch * width + 16)


def _memory_left(found: Loaded, options: Options) -> int:
    if options.memory is not None:
        return int((options.memory - _taken(found)) * 0.9)
    if found.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(found.device)
        return int(free * SHARE["cuda"])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(free * SHARE["cpu"])


def _taken(found: Loaded) -> int:
    """Bytes that are gone already: on CUDA the weights and the driver's context, on a processor the process as it is."""
    if found.device.type == "cuda":
        weights: int = sum(part.numel() * part.element_size() for part in found.model.parameters())
        return weights + CUDA_CONTEXT
    resident: int = psutil.Process().memory_info().rss
    return resident


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:500]
