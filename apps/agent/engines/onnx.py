"""The engine ``onnx``: ``apps.engine`` on onnxruntime, for embeddings, rerankers and classifiers; one task of one model.

``apps.agent.onnx_files`` looked at the model before; its directory holds what ``manage.py export-onnx`` and others export.
"""

from __future__ import annotations

import re

from apps.agent.artifacts import Unfit
from apps.agent.engines import own
from apps.agent.engines.protocol import EngineSettings, Launch, Place, arguments_checked, number_of
from apps.contracts.fleet import ReplicaSpec
from apps.contracts.fleet_facts import EngineKind, EngineOffer

NEEDED = ("numpy", "tokenizers", "msgspec", "uvicorn", "httptools", "uvloop")
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Either will do; only the second uses GPUs."""
NUMBERS = frozenset({"max-model-len", "max-num-batched-tokens", "max-num-seqs", "threads"})
WORDS = {"pooling": ("mean", "cls", "last", "max")}
FLAGS = frozenset({"normalize", "no-normalize"})
TASKS = frozenset({"embeddings", "rerank", "classify"})
_FILE = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*\.onnx\Z")


class OnnxEngine:
    """Arguments: max-model-len, max-num-seqs, max-num-batched-tokens, threads (whole numbers), pooling, normalize or no-normalize (flags),
    file (which .onnx of the directory)."""

    kind: EngineKind = "onnx"

    def offers(self, settings: EngineSettings) -> list[EngineOffer]:
        runtime, problem = self._runtime(settings)
        return [EngineOffer(engine="onnx", version=runtime or None, problem=problem, bearer=True)]

    def launch(self, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> Launch:
        runtime, problem = self._runtime(settings)
        if problem:
            raise Unfit("engine_missing", problem)
        if not place.model_path:
            raise Unfit("artifact_missing", "The engine onnx needs a model: a directory on the worker, or an id of the hub.")
        if spec.artifact.format != "onnx":
            raise Unfit("artifact_malformed", "The engine onnx reads the format onnx: manage.py export-onnx makes it of safetensors.")
        if spec.artifact.quantisation not in ("", "none", "int8"):
            raise Unfit(
                "argument_refused", f"The engine onnx has no {spec.artifact.quantisation!r}: take int8, or leave the quantisation out."
            )
        if len(spec.tasks) > 1 or spec.tasks[0] not in TASKS:
            raise Unfit("argument_refused", f"The engine onnx does one of {', '.join(sorted(TASKS))}, not {', '.join(spec.tasks)}.")
        if len(spec.gpus) > 1:
            raise Unfit("argument_refused", f"The engine onnx uses one GPU, and {len(spec.gpus)} were ordered.")
        if spec.gpus and not runtime.startswith("onnxruntime-gpu"):
            raise Unfit("engine_missing", "onnxruntime uses no GPU here: install onnxruntime-gpu in its place, or order no GPU.")
        model = spec.model or spec.deployment
        argv = [
            own.python_of(settings), "-m", "apps.engine", "onnx", "--model", place.model_path, "--name", model, "--host", place.host,
            "--port", str(place.port), "--drain-seconds", str(max(1, round(place.drain_seconds))), "--task", spec.tasks[0],
            "--device", "cuda" if spec.gpus else "cpu",
        ]  # fmt: skip
        if spec.artifact.quantisation:
            argv += ["--quantization", spec.artifact.quantisation]
        if spec.max_waiting is not None:
            argv += ["--max-waiting", str(spec.max_waiting)]
        argv += [f"--{word}" for word in self._arguments(spec)]
        return Launch(tuple(argv), model, own.environment(spec.bearer), vocabulary="built-in", version="/version", finishes=True)

    def _runtime(self, settings: EngineSettings) -> tuple[str, str]:
        """(what computes and its version, "") or ("", why it cannot be used)."""
        found = own.packages_of(settings, *NEEDED)
        if found.problem:
            return "", found.problem
        asked = [own.packages_of(settings, name) for name in RUNTIMES]
        for one in reversed(asked):
            for name, version in one.versions.items():
                return f"{name} {version}", ""
        return "", asked[0].problem

    def _arguments(self, spec: ReplicaSpec) -> list[str]:
        words = arguments_checked(spec.arguments, {*NUMBERS, *WORDS, *FLAGS, "file"}, "The engine onnx")
        for name, value in spec.arguments.items():
            if name in NUMBERS:
                number = number_of(spec.arguments, name)
                if number is None or number < 1 or value != str(int(number)):
                    raise Unfit("argument_refused", f"{name}={value} must be a whole number from 1 on.")
            elif name in WORDS and value not in WORDS[name]:
                raise Unfit("argument_refused", f"{name}={value} is none of {', '.join(WORDS[name])}.")
            elif name in FLAGS and value is not None:
                raise Unfit("argument_refused", f"{name} is a flag: give it no value.")
            elif name == "file" and not _FILE.match(value or ""):
                raise Unfit("argument_refused", f"file={value} is no .onnx file below the model's directory.")
        return words
