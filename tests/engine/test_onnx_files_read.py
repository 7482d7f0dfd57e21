"""What a model's directory says, before anything is loaded: to the engine onnx, and to the exporter. Needs none of their packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apps.engine.onnx.export import main as export
from apps.engine.onnx.folder import Unusable, folder_read
from apps.engine.onnx.source import NotExportable, source_read
from tests.launcher.conftest import ROOT

BERT = {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 1000, "max_position_embeddings": 128, "pad_token_id": 0}
RANKS = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
CLASSES = {**RANKS, "id2label": {"0": "spam", "1": "ham"}}


def folder(path: Path, config: Any = BERT, **files: Any) -> Path:
    """A directory with a config and these files; ``__`` stands for ``/``, JSON for what is no bytes."""
    everything = {"config.json": config, "tokenizer.json": {}, "model.onnx": b"x", **files}
    for name, content in everything.items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_tasks_follow_the_architecture(tmp_path: Path) -> None:
    for name, config, task, activation in (
        ("a", BERT, "embeddings", "softmax"), ("b", RANKS, "rerank", "sigmoid"), ("c", CLASSES, "classify", "softmax"),
        ("d", {**CLASSES, "problem_type": "multi_label_classification"}, "classify", "sigmoid"),
        ("e", {**RANKS, "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "rerank", "none"),
    ):  # fmt: skip
        found = folder_read(folder(tmp_path / name, config))
        assert (found.task, found.activation) == (task, activation), name
    assert folder_read(folder(tmp_path / "c", CLASSES)).labels == ("spam", "ham")


def test_pooling_scaling_and_lengths_are_what_the_files_say(tmp_path: Path) -> None:
    plain = folder_read(folder(tmp_path / "plain"))
    assert (plain.pooling, plain.normalise, plain.most_tokens, plain.matryoshka, plain.pad) == ("mean", True, 128, False, 0)
    said = folder(
        tmp_path / "said",
        {**BERT, "model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1, "matryoshka_dimensions": [32]},
        **{
            "1_Pooling__config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            "modules.json": [{"type": "sentence_transformers.models.Transformer"}],
            "tokenizer_config.json": {"model_max_length": 1000000000000000019884624838656},
        },
    )  # fmt: skip
    found = folder_read(said)
    assert (found.pooling, found.normalise, found.most_tokens, found.sizes, found.pad) == ("cls", False, 512, (32,), 1)
    (said / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert folder_read(said, pooling="last", normalise=True, most_tokens=100)[3:5] == ("last", True)
    assert folder_read(said).most_tokens == 256 and folder_read(said).segments
    (said / "tokenizer_config.json").write_text('{"model_input_names": ["input_ids", "attention_mask"]}')
    assert not folder_read(said).segments
    for wrong in (300, 3):
        with pytest.raises(Unusable, match=f"takes 256 tokens, not {wrong}"):
            folder_read(said, most_tokens=wrong)


def test_which_graph(tmp_path: Path) -> None:
    home = folder(tmp_path / "m", **{"model_int8.onnx": b"x", "onnx__model_q4.onnx": b"x"})
    assert folder_read(home).graph.name == "model.onnx" and folder_read(home, int8=True).graph.name == "model_int8.onnx"
    assert folder_read(home, graph="onnx/model_q4.onnx").graph.name == "model_q4.onnx"
    for wrong in ("../m/model.onnx/../../x.onnx", "/etc/passwd", "config.json", "absent.onnx"):
        with pytest.raises(Unusable):
            folder_read(home, graph=wrong)
    only = folder(tmp_path / "only", **{"model.onnx": None, "my_model.onnx": b"x"})
    assert folder_read(only).graph.name == "my_model.onnx"
    with pytest.raises(Unusable, match="no model in INT8"):
        folder_read(only, int8=True)


@pytest.mark.parametrize(
    "files",
    [{"tokenizer.json": None}, {"config.json": None}, {"config.json": b"{"}, {"config.json": []}, {"model.onnx": None},
     {"1_Pooling__config.json": {"pooling_mode_weightedmean_tokens": True}}, {"1_Pooling__config.json": b"["},
     {"config.json": {**RANKS, "sbert_ce_default_activation_function": "mine.Evil"}}, {"modules.json": b"{"}],
)  # fmt: skip
def test_what_cannot_be_served_says_why(tmp_path: Path, files: dict[str, Any]) -> None:
    config = files.pop("config.json", BERT)
    with pytest.raises(Unusable) as unusable:
        folder_read(folder(tmp_path / "m", config, **files))
    assert len(str(unusable.value)) > 20


@pytest.mark.parametrize(
    ("files", "task", "words"),
    [
        ({"config.json": {**BERT, "auto_map": {"AutoModel": "evil.Model"}}}, "", "auto_map"),
        ({"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.T", None]}}}, "", "auto_map"),
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "", "pickled"),
        ({"model.safetensors": None}, "", "no *.safetensors"),
        ({"config.json": {**BERT, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}}, "", "vLLM or the built-in"),
        ({}, "rerank", "no head"),
        ({"config.json": CLASSES}, "rerank", "classify"),
        ({"config.json": None}, "", "config.json"),
        ({"config.json": {**BERT, "vocab_size": None}}, "", "vocab_size"),
    ],
)
def test_what_is_not_exported_says_why(tmp_path: Path, files: dict[str, Any], task: str, words: str) -> None:
    config = files.pop("config.json", BERT)
    home = folder(tmp_path / "m", config, **{"model.safetensors": b"x", **files})
    with pytest.raises(NotExportable, match=words.replace("*", "[*]")):
        source_read(home, task)


def test_what_is_exported(tmp_path: Path) -> None:
    found = source_read(folder(tmp_path / "m", CLASSES, **{"model.safetensors": b"x" * 10}))
    assert (found.task, found.labels, found.tokens, found.segments, found.bytes) == ("classify", 2, 128, True, 10)
    roberta = {**BERT, "model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1}
    found = source_read(folder(tmp_path / "r", roberta, **{"model.safetensors": b"x"}), "embedding")
    assert (found.task, found.tokens, found.segments) == ("embeddings", 512, False)


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = folder(tmp_path / "m", **{"model.safetensors": b"x"})
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    for words in ([], ["--force"]):
        assert export([str(home), str(taken), *words]) == 1
    said = capsys.readouterr().err
    assert "not empty" in said and "was not made by export-onnx" in said and (taken / "mine.txt").is_file()
    assert export([str(home), str(tmp_path / "no" / "where")]) == 1


def test_manage_py_says_where_the_packages_are_missing(tmp_path: Path) -> None:
    environment = {**os.environ, "BULKHEAD_AGENT_ENGINE_PYTHON": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "export-onnx", "a", "b"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "BULKHEAD_AGENT_ENGINE_PYTHON" in done.stderr
