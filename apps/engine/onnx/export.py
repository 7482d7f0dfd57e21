"""A safetensors model as ONNX: ``python -m apps.engine.onnx.export MODEL_DIR OUT_DIR`` (``manage.py export-onnx`` starts it with the
engines' interpreter).

What comes out is refused unless it agrees with what went in. The directory appears whole or not at all, and holds what the onnx engine
and others read: ``model.onnx``, ``model_int8.onnx``, the tokenizer, ``config.json``, ``1_Pooling`` and ``modules.json`` of embeddings, and
``export.json`` with everything that was measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from apps.engine.onnx.folder import POOLINGS
from apps.engine.onnx.source import NotExportable, Source, source_read

OPSET = 18
TOLERANCE = 1e-3
"""Largest difference between torch's and onnxruntime's outputs, in units of the outputs' own size (their root mean square)."""
KEPT = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "sentence_bert_config.json",
    "config_sentence_transformers.json", "modules.json", "1_Pooling/config.json",
)  # fmt: skip
POOLERS = frozenset({"bert", "camembert", "ernie", "mpnet", "roberta", "xlm-roberta"})
"""Have a layer on top that embeddings do not use, and whose weights are often missing."""
SHAPES = ((1, 8), (3, 21), (8, 64))
"""Rows and tokens of what agreement is judged by; ragged, so that padding is judged too."""


class Wish(NamedTuple):
    """What was asked for."""

    source: Source
    out: Path
    int8: bool
    pooling: str
    tolerance: float
    batch: int
    tokens: int
    rounds: int
    threads: int
    texts: Path | None
    force: bool
    quiet: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """0: exported. 1: refused, with the reason on stderr. 2: the command line was not understood."""
    given = _arguments(arguments)
    try:
        wish = Wish(
            source_read(given.model, given.task),
            given.out,
            given.int8,
            given.pooling,
            given.tolerance,
            given.batch,
            given.tokens,
            given.rounds,
            given.threads or len(os.sched_getaffinity(0)),
            given.texts,
            given.force,
            given.json,
        )
        _free(wish.out, force=wish.force)
        report = exported(wish)
    except NotExportable as refused:
        print(f"export-onnx: {refused}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(report, indent=1))
    else:
        from apps.engine.onnx.measure import table

        print(table(report))
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="manage.py export-onnx", description="Export an encoder from safetensors to ONNX, in FP32 and INT8."
    )
    parser.add_argument("model", type=Path, help="directory with config.json, *.safetensors and the tokenizer")
    parser.add_argument("out", type=Path, help="directory to make")
    parser.add_argument(
        "--task", default="", choices=["embedding", "embeddings", "rerank", "classify"], help="default: as config.json says"
    )
    parser.add_argument("--pooling", default="", choices=POOLINGS, help="of embeddings; default: as 1_Pooling says, else mean")
    parser.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True, help="also quantise to INT8 (default: yes)")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest relative difference to torch (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="texts of a batch, for the throughput (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a text, for speed (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="measurements whose median counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="default: as many as this process may use")
    parser.add_argument("--texts", type=Path, help="a text a line, to judge INT8 by; default: random tokens")
    parser.add_argument("--force", action="store_true", help="replace OUT_DIR where it exists")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    for name, low, high in (("batch", 1, 4096), ("tokens", 4, 8192), ("rounds", 1, 1000), ("threads", 0, 1024)):
        if not low <= getattr(given, name) <= high:
            parser.error(f"--{name} is from {low} to {high}")
    if not 0 < given.tolerance < 1:
        parser.error("--tolerance is above 0 and below 1")
    return given


def _free(out: Path, *, force: bool) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not force:
        raise NotExportable(f"{out} exists and is not empty. Name another directory, or replace it with --force.")
    if force and out.exists() and not (out / "export.json").is_file() and any(out.iterdir()):
        raise NotExportable(f"{out} was not made by export-onnx (it has no export.json): it is not replaced. Remove it yourself.")
    if not out.absolute().parent.is_dir():
        raise NotExportable(f"{out.absolute().parent} does not exist. Make it first.")


def exported(wish: Wish) -> dict[str, Any]:
    """Export, check, quantise, measure; then the directory is there. Raises NotExportable."""

    def say(text: str) -> None:
        if not wish.quiet:
            print(f"  ..  {text}", file=sys.stderr, flush=True)

    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import torch
    except ImportError as error:
        raise NotExportable(
            f"{error.name} is not installed for {sys.executable}. Make the engines' environment: python deploy/engine.py"
        ) from None
    torch.set_num_threads(wish.threads)
    from apps.engine.onnx import measure

    say(f"loading {wish.source.path}")
    model = _model(wish.source)
    work = Path(tempfile.mkdtemp(prefix=f".{wish.out.name}.", dir=wish.out.absolute().parent))
    try:
        _describe(wish, work)
        say("exporting")
        _graph(model, wish.source, work / "model.onnx")
        say("comparing with torch")
        difference = measure.difference(model, wish.source, work, SHAPES)
        if not difference <= wish.tolerance:  # also where it is not a number
            raise NotExportable(
                f"The ONNX model differs from torch's by {difference:.2e} of its outputs' size, and {wish.tolerance:.0e} is allowed "
                "(--tolerance). Nothing was kept."
            )
        if wish.int8:
            say("quantising to INT8")
            _quantise(work / "model.onnx", work / "model_int8.onnx")
        say("measuring")
        report = {"source": str(wish.source.path), "family": wish.source.family, "task": wish.source.task, "difference": difference}
        report |= measure.measured(model, wish.source, work, wish)
        (work / "export.json").write_text(json.dumps(report, indent=1) + "\n")
        if wish.out.exists():
            shutil.rmtree(wish.out)
        work.chmod(0o755)
        work.rename(wish.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**report, "out": str(wish.out)}


def _model(source: Source) -> Any:
    """torch's, in FP32, ready to be asked. Nothing is fetched and no code of the model's is run."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = transformers.AutoModel if source.task == "embeddings" else transformers.AutoModelForSequenceClassification
    named = {"add_pooling_layer": False} if source.task == "embeddings" and source.family in POOLERS else {}
    try:
        model, said = kind.from_pretrained(
            source.path, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="float32",
            attn_implementation="eager", output_loading_info=True, **named,
        )  # fmt: skip
    except Exception as error:  # transformers raises many kinds
        raise NotExportable(f"{source.path} cannot be loaded: {str(error)[:500]}") from None
    if missing := sorted(said.get("missing_keys", ())):
        raise NotExportable(
            f"{source.path} lacks weights that the model needs ({', '.join(missing[:3])}): they would be random numbers. "
            + ("Was its classifier trained? " if source.task != "embeddings" else "")
            + "Copy the model anew, or name another task."
        )
    return model.eval()


def _describe(wish: Wish, work: Path) -> None:
    """Everything beside the graphs: the tokenizer whole, and how vectors are made of it."""
    import transformers

    source = wish.source
    for name in KEPT:
        if (source.path / name).is_file():
            (work / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.path / name, work / name)
    if not (work / "tokenizer.json").is_file():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                source.path, local_files_only=True, trust_remote_code=False, use_fast=True
            )
        except Exception as error:
            raise NotExportable(f"{source.path} has no tokenizer that can be read: {str(error)[:300]}") from None
        tokenizer.save_pretrained(work)
        if not (work / "tokenizer.json").is_file():
            raise NotExportable(f"{source.path} has a tokenizer that cannot be saved as tokenizer.json. Save a fast one beside the model.")
    if source.task == "embeddings" and (wish.pooling or not (work / "1_Pooling/config.json").is_file()):
        modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
        chosen = wish.pooling or "mean"
        (work / "1_Pooling").mkdir(exist_ok=True)
        pooling = {f"pooling_mode_{name}": mode == chosen for mode, name in modes.items()}
        (work / "1_Pooling/config.json").write_text(json.dumps(pooling, indent=1) + "\n")


def _graph(model: Any, source: Source, file: Path) -> None:
    """One graph for any number of rows and tokens."""
    import torch

    class Asked(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        """The model by position, with the one output that is served."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **more)[0]

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if source.segments else [])]
    example = torch.randint(0, min(1000, source.vocabulary), (2, 7), dtype=torch.int64)
    values = {"input_ids": example, "attention_mask": torch.ones_like(example), "token_type_ids": torch.zeros_like(example)}
    rows, tokens = torch.export.Dim("rows", min=1, max=65_536), torch.export.Dim("tokens", min=2, max=source.tokens)
    output = "last_hidden_state" if source.task == "embeddings" else "logits"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                Asked().eval(), tuple(values[name] for name in names), str(file), input_names=names, output_names=[output], dynamo=True,
                dynamic_shapes=tuple({0: rows, 1: tokens} for _ in names), opset_version=OPSET, verbose=False,
                external_data=source.bytes > 1_500_000_000,
            )  # fmt: skip
        except Exception as error:
            raise NotExportable(f"torch cannot export this {source.family}: {type(error).__name__}: {str(error)[:500]}") from None


def _quantise(graph: Path, out: Path) -> None:
    """Weights to INT8 now, activations as they come (dynamic): it needs no sample of the data."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # its advice to preprocess comes through the root logger
    try:
        quantize_dynamic(
            str(graph), str(out), weight_type=QuantType.QInt8, per_channel=True,
            use_external_data_format=graph.with_name(graph.name + ".data").exists(),
        )  # fmt: skip
    except Exception as error:
        raise NotExportable(f"The model cannot be quantised: {str(error)[:500]}. Export it with --no-int8.") from None


if __name__ == "__main__":
    sys.exit(main())
