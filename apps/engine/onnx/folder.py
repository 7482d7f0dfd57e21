"""A model's directory as the onnx engine reads it: which graph, what it does, how its output becomes an answer. Pure: JSON and paths only.

Nothing here is of our own making: the files are those that transformers and sentence-transformers write, so what others exported works::

    model.onnx, onnx/model.onnx        the graph; model_int8.onnx or model_quantized.onnx beside it: the same in INT8
    tokenizer.json                     the whole tokenizer
    config.json                        architecture, labels, positions
    1_Pooling/config.json              how tokens become one vector (embeddings)
    modules.json                       whether that vector is scaled to length 1
    sentence_bert_config.json          max_seq_length
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

Task = Literal["embeddings", "rerank", "classify"]
TASKS: tuple[str, ...] = get_args(Task)
Pooling = Literal["mean", "cls", "last", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
Activation = Literal["softmax", "sigmoid", "none"]

GRAPHS = ("model.onnx", "onnx/model.onnx")
INT8_GRAPHS = (
    "model_int8.onnx", "onnx/model_int8.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx", "onnx/model_qint8_avx512_vnni.onnx",
)  # fmt: skip
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "xlm-roberta-xl", "data2vec-text"})
"""Families that count positions from the padding token on: two fewer than their table has."""
MOST_TOKENS = 512
"""Where nothing says how many tokens a text may have."""
LEAST_TOKENS = 16
"""So that a query, a document and the special tokens fit."""
MOST_JSON = 64 * 1024 * 1024


class Unusable(Exception):
    """The directory cannot be served; the message says what to do."""


class Folder(NamedTuple):
    """path: the directory; graph: the ONNX file in it. pooling, normalise: of embeddings. activation: what makes scores and probabilities
    of logits. labels: of classes, by their number. most_tokens: of one text, special tokens included. matryoshka: whether vectors may be
    cut short; sizes: to which, () for any. pad: the padding token's id. segments: whether types mark a pair's second text."""

    path: Path
    graph: Path
    task: Task
    pooling: Pooling
    normalise: bool
    activation: Activation
    labels: tuple[str, ...]
    most_tokens: int
    matryoshka: bool
    sizes: tuple[int, ...]
    pad: int
    segments: bool

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"


def folder_read(
    path: Path,
    *,
    task: str = "",
    graph: str = "",
    int8: bool = False,
    pooling: str = "",
    normalise: bool | None = None,
    most_tokens: int = 0,
) -> Folder:
    """What is given wins over what the files say. Raises Unusable."""
    if not path.is_dir():
        raise Unusable(f"{path} is no directory. Name the one that has the model, its tokenizer.json and config.json.")
    if not (path / "tokenizer.json").is_file():
        raise Unusable(f"{path} has no tokenizer.json. Save the model's fast tokenizer there; manage.py export-onnx does.")
    config = _object(path / "config.json")
    found = task or _task(config)
    if found not in TASKS:
        raise Unusable(f"{found!r} is no task of this engine: use {', '.join(TASKS)}.")
    return Folder(
        path,
        _graph(path, graph, int8),
        found,  # type: ignore[arg-type]
        _pooling(path, pooling),
        _normalises(path) if normalise is None else normalise,
        _activation(config, found),
        _labels(config),
        _most_tokens(path, config, most_tokens),
        bool(config.get("is_matryoshka") or config.get("matryoshka_dimensions")),
        tuple(size for size in _list(config.get("matryoshka_dimensions")) if isinstance(size, int) and size > 0),
        _pad(config),
        _segments(path),
    )


def _object(file: Path, *, needed: bool = True) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_JSON:
            raise Unusable(f"{file} is larger than 64 MB: it is no configuration.")
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        if needed:
            raise Unusable(f"{file} is missing. Copy the model anew, all its files.") from None
        return {}
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{file} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Unusable(f"{file} is not a JSON object.")
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _task(config: dict[str, Any]) -> str:
    """By the architecture, as config.json names it: a sequence classifier with one output ranks, with more it classifies."""
    names = [name for name in _list(config.get("architectures")) if isinstance(name, str)]
    if any(name.endswith("ForSequenceClassification") for name in names):
        return "rerank" if len(_labels(config)) == 1 else "classify"
    return "embeddings"


def _graph(path: Path, wanted: str, int8: bool) -> Path:
    if wanted:
        file = path / wanted
        if not file.resolve().is_relative_to(path.resolve()) or file.suffix != ".onnx":
            raise Unusable(f"{wanted!r} is no .onnx file in the model's directory.")
        if not file.is_file():
            raise Unusable(f"{path} has no {wanted}.")
        return file
    names = INT8_GRAPHS if int8 else GRAPHS
    for name in names:
        if (path / name).is_file():
            return path / name
    if int8:
        raise Unusable(
            f"{path} holds no model in INT8 ({', '.join(names[:3])}). Leave the quantisation out, or export it anew with --int8."
        )
    present = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.onnx"))
    if len(present) == 1:
        return path / present[0]
    said = f"It has {', '.join(present[:6])}: name one of them as the argument file." if present else "It has no .onnx file."
    raise Unusable(f"{path} holds none of {', '.join(names)}. {said}")


def _pooling(path: Path, wanted: str) -> Pooling:
    if wanted:
        if wanted not in POOLINGS:
            raise Unusable(f"{wanted!r} is no pooling: use {', '.join(POOLINGS)}.")
        return wanted  # type: ignore[return-value]
    said = _object(path / "1_Pooling" / "config.json", needed=False)
    named = said.get("pooling_mode")
    modes: list[tuple[Pooling, bool]] = [
        ("mean", said.get("pooling_mode_mean_tokens") is True or named == "mean"),
        ("cls", said.get("pooling_mode_cls_token") is True or named == "cls"),
        ("last", said.get("pooling_mode_lasttoken") is True or named == "lasttoken"),
        ("max", said.get("pooling_mode_max_tokens") is True or named == "max"),
    ]
    chosen: list[Pooling] = [mode for mode, on in modes if on]
    if len(chosen) == 1:
        return chosen[0]
    if not said:
        return "mean"
    raise Unusable(f"{path / '1_Pooling'} pools in a way that this engine has not. It has {', '.join(POOLINGS)}: name one as pooling.")


def _normalises(path: Path) -> bool:
    """As modules.json says; where there is none, yes: so a dot product is a cosine."""
    file = path / "modules.json"
    if not file.is_file():
        return True
    try:
        modules = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{file} is not JSON: {error}") from None
    return any(isinstance(module, dict) and str(module.get("type", "")).endswith("Normalize") for module in _list(modules))


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if not isinstance(named, dict):
        count = config.get("num_labels")
        return tuple(f"LABEL_{number}" for number in range(count if isinstance(count, int) and 0 < count < 100_000 else 2))
    return tuple(str(named.get(str(number), f"LABEL_{number}")) for number in range(len(named)))


def _activation(config: dict[str, Any], task: str) -> Activation:
    """What the model says of itself (sentence-transformers' cross-encoders do), else the usual: one logit is a sigmoid's, several labels
    at once are sigmoids, one of several is a softmax."""
    nested = config.get("sentence_transformers")
    said = str(
        (nested.get("activation_fn") if isinstance(nested, dict) else "") or config.get("sbert_ce_default_activation_function") or ""
    )
    kind = said.rpartition(".")[2].lower()
    if kind in ("sigmoid", "softmax"):
        return "sigmoid" if kind == "sigmoid" else "softmax"
    if kind == "identity":
        return "none"
    if said:
        raise Unusable(f"config.json names the activation {said[:80]!r}, which this engine has not. It has Sigmoid, Softmax and Identity.")
    if task == "rerank" or len(_labels(config)) == 1 or config.get("problem_type") == "multi_label_classification":
        return "sigmoid"
    return "none" if config.get("problem_type") == "regression" else "softmax"


def _most_tokens(path: Path, config: dict[str, Any], wanted: int) -> int:
    """The least that anything says."""
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 2 and config.get("model_type") in OFFSET_POSITIONS:
        positions -= 2
    said = [
        positions,
        _object(path / "sentence_bert_config.json", needed=False).get("max_seq_length"),
        _object(path / "tokenizer_config.json", needed=False).get("model_max_length"),
    ]
    known = [int(number) for number in said if isinstance(number, (int, float)) and 2 < number < 10_000_000]
    most = min(known) if known else MOST_TOKENS
    if wanted > most or 0 < wanted < LEAST_TOKENS:
        raise Unusable(f"The model takes {most} tokens, not {wanted}. Give max-model-len from {LEAST_TOKENS} to {most}.")
    return wanted or most


def _segments(path: Path) -> bool:
    """Yes, unless the tokenizer says that the model takes no token types: then transformers gives it none either."""
    names = _object(path / "tokenizer_config.json", needed=False).get("model_input_names")
    return not isinstance(names, list) or "token_type_ids" in names


def _pad(config: dict[str, Any]) -> int:
    pad = config.get("pad_token_id")
    return pad if isinstance(pad, int) and pad >= 0 else 0
