"""Whether a model can be exported, said before anything heavy is imported: what it is, that it is data only, and what it would do.

Pure: JSON, paths and the names of files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from apps.engine.onnx.folder import OFFSET_POSITIONS, TASKS, Task

ENCODERS = frozenset(
    {
        "albert", "bert", "camembert", "deberta-v2", "distilbert", "electra", "ernie", "modernbert", "mpnet", "roberta", "xlm-roberta",
    }
)  # fmt: skip
"""Families whose export is tried by tests. All read ids and a mask, and see a whole text at once."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class NotExportable(Exception):
    """The message says why and what to do."""


class Source(NamedTuple):
    """labels: how many a classifier has, 0 for an encoder. vocabulary, tokens: bounds of what may be asked. segments: whether it tells two
    texts apart by token types. bytes: of its weights."""

    path: Path
    family: str
    task: Task
    labels: int
    vocabulary: int
    tokens: int
    segments: bool
    bytes: int


def source_read(path: Path, task: str = "") -> Source:
    """Raises NotExportable."""
    config = _config(path)
    family = str(config.get("model_type", ""))
    names = [str(name) for name in config.get("architectures") or []]
    classifier = any(name.endswith("ForSequenceClassification") for name in names)
    if family not in ENCODERS:
        raise NotExportable(
            f"{path} is a {family or 'nameless'} model ({', '.join(names) or 'no architecture'}). Encoders are exported: "
            f"{', '.join(sorted(ENCODERS))}. What writes text is served by vLLM or the built-in engine from its safetensors as they are."
        )
    labels = _labels(config) if classifier else 0
    found = task or ("embeddings" if not classifier else "rerank" if labels == 1 else "classify")
    if found == "embedding":
        found = "embeddings"
    if found not in TASKS:
        raise NotExportable(f"{found!r} is no task: use embeddings, rerank or classify.")
    if found != "embeddings" and not classifier:
        raise NotExportable(
            f"{path} has no head that classifies ({', '.join(names) or 'no architecture'}), so it cannot {found}. Export it for "
            "embeddings, or name a model whose config.json says ...ForSequenceClassification."
        )
    if found == "rerank" and labels != 1:
        raise NotExportable(f"{path} has {labels} labels, and a reranker gives one score. Export it with --task classify.")
    positions = config.get("max_position_embeddings")
    tokens = positions if isinstance(positions, int) and positions > 2 else 512
    return Source(
        path,
        family,
        found,  # type: ignore[arg-type]
        labels,
        _number(config, "vocab_size"),
        tokens - 2 if family in OFFSET_POSITIONS else tokens,
        _segments(config),
        _weights(path),
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise NotExportable(f"{path} is no directory. Name the one that has the model's config.json and *.safetensors.")
    for name in ("config.json", "tokenizer_config.json"):
        file = path / name
        if not file.is_file():
            if name == "config.json":
                raise NotExportable(f"{path} has no config.json. Name the directory that the model was saved to.")
            continue
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise NotExportable(f"{file} is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise NotExportable(f"{file} is not a JSON object.")
        if found.get("auto_map"):
            raise NotExportable(
                f"{file} names code that comes with the model (auto_map). It is not run here, whoever wrote it. Take a model of a family "
                "that transformers has itself, or an ONNX file that its makers exported."
            )
    config: dict[str, Any] = json.loads((path / "config.json").read_bytes())
    return config


def _weights(path: Path) -> int:
    found = list(path.glob("*.safetensors"))
    if found:
        return sum(file.stat().st_size for file in found)
    pickled = sorted(file.name for file in path.iterdir() if file.suffix in PICKLED and file.name != "training_args.bin")
    if pickled:
        raise NotExportable(
            f"{path} holds pickled weights ({pickled[0]}): loading them can run any program. Convert them to safetensors first "
            "(save_pretrained does), where you trust them."
        )
    raise NotExportable(f"{path} holds no *.safetensors. Name the directory that the model was saved to.")


def _labels(config: dict[str, Any]) -> int:
    named = config.get("id2label")
    if isinstance(named, dict):
        return len(named)
    count = config.get("num_labels")
    return count if isinstance(count, int) and count > 0 else 2


def _segments(config: dict[str, Any]) -> bool:
    """DistilBERT and MPNet have no such table, whatever their config says; RoBERTa's has one row."""
    types = config.get("type_vocab_size", 2)
    return config.get("model_type") in ("bert", "albert", "electra", "ernie", "deberta-v2") and isinstance(types, int) and types > 1


def _number(config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or value < 1:
        raise NotExportable(f"config.json does not say {name}.")
    return value
