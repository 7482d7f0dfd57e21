"""``python -m apps.engine onnx``: its arguments, by vLLM's names where vLLM has them, and the backend that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from apps.engine.onnx.folder import POOLINGS, TASKS


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is this engine's own; the model and where to listen are every engine's."""
    parser.add_argument("--task", default="", choices=["", *TASKS], help="default: as config.json says")
    parser.add_argument("--file", default="", help="which .onnx file of the directory; default: model.onnx")
    parser.add_argument("--quantization", default="", choices=["", "none", "int8"], help="int8: model_int8.onnx or model_quantized.onnx")
    parser.add_argument("--pooling", default="", choices=["", *POOLINGS], help="of embeddings; default: as 1_Pooling says, else mean")
    parser.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, help="vectors to length 1; default: as modules.json says, else yes"
    )
    parser.add_argument("--max-model-len", type=int, default=0, help="tokens of a text; default: the model's")
    parser.add_argument("--max-num-seqs", type=int, default=32, help="texts of a batch (%(default)s)")
    parser.add_argument("--max-num-batched-tokens", type=int, default=4_096, help="tokens of a batch, padding included (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="default: as many as this process may use")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])


def backend(options: argparse.Namespace) -> object:
    """A ``Backend``. onnxruntime is imported here, so that the list of arguments needs none of it."""
    from apps.engine.onnx.backend import OnnxBackend, Settings

    return OnnxBackend(
        Settings(
            Path(options.model),
            options.task,
            options.file,
            options.quantization == "int8",
            options.pooling,
            options.normalize,
            options.max_model_len,
            options.max_num_seqs,
            options.max_num_batched_tokens,
            options.threads,
            options.device == "cuda",
        )
    )
