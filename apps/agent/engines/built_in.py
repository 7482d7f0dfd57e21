"""The built-in engine: ``apps.engine`` on transformers' continuous batching, for safetensors of families that the library knows.

It never runs code that comes with a model, whatever an order allows; quantised weights are vLLM's.
"""

from __future__ import annotations

from apps.agent.artifacts import Unfit
from apps.agent.engines import own
from apps.agent.engines.protocol import EngineSettings, Launch, Place, arguments_checked, number_of
from apps.contracts.fleet import ReplicaSpec
from apps.contracts.fleet_facts import EngineKind, EngineOffer

NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "jinja2", "psutil", "msgspec", "uvicorn", "httptools", "uvloop")
NUMBERS = frozenset({"batch-tokens", "context", "kv-tokens", "max-running", "threads"})
WORDS = {"dtype": ("auto", "float32", "bfloat16", "float16"), "pooling": ("last", "mean", "cls")}
TASKS = frozenset({"chat", "completions", "embeddings"})


class BuiltInEngine:
    """Arguments: context, kv-tokens, batch-tokens, max-running, threads (whole numbers), dtype, pooling."""

    kind: EngineKind = "built_in"

    def offers(self, settings: EngineSettings) -> list[EngineOffer]:
        found = own.packages_of(settings, *NEEDED)
        version = ", ".join(f"{name} {found.versions[name]}" for name in ("transformers", "torch") if name in found.versions)
        return [EngineOffer(engine="built_in", version=version or None, problem=found.problem, bearer=True)]

    def launch(self, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> Launch:
        found = own.packages_of(settings, *NEEDED)
        if found.problem:
            raise Unfit("engine_missing", found.problem)
        if not place.model_path:
            raise Unfit("artifact_missing", "The built-in engine needs a model: a path on the worker, or an id of the hub.")
        if spec.artifact.format not in ("", "safetensors"):
            raise Unfit("artifact_malformed", f"The built-in engine loads safetensors, not {spec.artifact.format}.")
        if spec.artifact.quantisation:
            raise Unfit("argument_refused", "The built-in engine loads weights as they are: take vLLM for quantised ones.")
        if len(spec.gpus) > 1:
            raise Unfit("argument_refused", f"The built-in engine uses one GPU, and {len(spec.gpus)} were ordered: take vLLM for several.")
        if strange := sorted(set(spec.tasks) - TASKS):
            raise Unfit("argument_refused", f"The built-in engine does no {strange[0]}. It does: {', '.join(sorted(TASKS))}.")
        model = spec.model or spec.deployment
        argv = [
            own.python_of(settings), "-m", "apps.engine", "built-in", "--model", place.model_path, "--name", model, "--host", place.host,
            "--port", str(place.port), "--drain-seconds", str(max(1, round(place.drain_seconds))),
            "--device", "cuda" if spec.gpus else "cpu",
        ]  # fmt: skip
        if spec.max_waiting is not None:
            argv += ["--max-waiting", str(spec.max_waiting)]
        memory = spec.gpu_memory if spec.gpus else spec.host_memory
        if memory is not None:
            argv += ["--memory", str(memory)]
        argv += [f"--{word}" for word in self._arguments(spec)]
        return Launch(tuple(argv), model, own.environment(spec.bearer), vocabulary="built-in", version="/version", finishes=True)

    def _arguments(self, spec: ReplicaSpec) -> list[str]:
        words = arguments_checked(spec.arguments, {*NUMBERS, *WORDS}, "The built-in engine")
        for name, value in spec.arguments.items():
            if name in NUMBERS:
                number = number_of(spec.arguments, name)
                if number is None or number < 1 or number != int(number) or value != str(int(number)):
                    raise Unfit("argument_refused", f"{name}={value} must be a whole number from 1 on.")
            elif value not in WORDS[name]:
                raise Unfit("argument_refused", f"{name}={value} is none of {', '.join(WORDS[name])}.")
        return words
