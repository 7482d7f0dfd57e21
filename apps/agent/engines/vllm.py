"""vLLM: its flags, its metrics' names by version, and how it leaves.

What an order may not say is what would run code of the order's choice or open the server wider: ``--middleware``, plug-ins and parsers by
path, ``--host``, ``--port``, TLS, developer endpoints, ``--trust-remote-code`` (which follows the artifact).
"""

from __future__ import annotations

import shutil

from apps.agent.artifacts import Unfit
from apps.agent.engines.metrics import version_of
from apps.agent.engines.protocol import EngineSettings, Launch, Place, arguments_checked, number_of
from apps.contracts.fleet import ReplicaSpec
from apps.contracts.fleet_facts import EngineKind, EngineOffer

ALLOWED = frozenset(
    {
        "--async-scheduling", "--block-size", "--cpu-offload-gb", "--data-parallel-size", "--disable-log-stats", "--dtype",
        "--enable-auto-tool-choice", "--enable-chunked-prefill", "--enable-expert-parallel", "--enable-prefix-caching", "--enforce-eager",
        "--gpu-memory-utilization", "--kv-cache-dtype", "--limit-mm-per-prompt", "--max-logprobs", "--max-model-len",
        "--max-num-batched-tokens", "--max-num-seqs", "--no-enable-chunked-prefill", "--no-enable-prefix-caching",
        "--pipeline-parallel-size", "--quantization", "--reasoning-parser", "--runner", "--scheduling-policy", "--seed", "--swap-space",
        "--tensor-parallel-size", "--tokenizer-mode", "--tool-call-parser",
    }
)  # fmt: skip
DRAINS_SINCE = (0, 18, 0)
"""Since then ``--shutdown-timeout`` lets SIGTERM wait for running requests; before, SIGTERM aborts them (vllm-project/vllm#34730)."""
SPREADS = frozenset({"--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"})
_NOT_A_NAME = ("/", "\\")


class VllmEngine:
    """``vllm serve``, by the program that the worker's settings name."""

    kind: EngineKind = "vllm"

    def offers(self, settings: EngineSettings) -> list[EngineOffer]:
        problem = ""
        if shutil.which(settings.vllm) is None:
            problem = f"{settings.vllm} is not installed here. Install vLLM, or name its program in BULKHEAD_AGENT_VLLM."
        return [EngineOffer(engine="vllm", problem=problem, bearer=True)]

    def launch(self, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> Launch:
        program = shutil.which(settings.vllm)
        if program is None:
            raise Unfit("engine_missing", self.offers(settings)[0].problem)
        if not place.model_path:
            raise Unfit("artifact_missing", "vLLM needs a model: a path on the worker, or an id of the hub.")
        if spec.artifact.format not in ("", "safetensors", "pickle"):
            raise Unfit("artifact_malformed", f"vLLM is given safetensors here, not {spec.artifact.format}: take llama-server for GGUF.")
        words = arguments_checked(spec.arguments, ALLOWED, "vLLM")
        for name in ("--tool-call-parser", "--reasoning-parser"):
            if any(mark in (spec.arguments.get(name) or "") for mark in _NOT_A_NAME):
                raise Unfit("argument_refused", f"{name} names one of vLLM's own parsers, never a file.")
        model = spec.model or spec.deployment
        argv = [program, "serve", place.model_path, "--served-model-name", model, "--host", place.host, "--port", str(place.port)]
        pickled = spec.artifact.format == "pickle" and spec.artifact.allow_pickle
        argv += ["--load-format", "auto" if pickled or spec.artifact.allow_pickle else "safetensors"]
        if spec.artifact.allow_remote_code:
            argv.append("--trust-remote-code")
        if spec.artifact.quantisation and "--quantization" not in spec.arguments:
            argv += ["--quantization", spec.artifact.quantisation]
        if (
            len(spec.gpus) > 1
            and not {"--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"} & spec.arguments.keys()
        ):
            argv += ["--tensor-parallel-size", str(len(spec.gpus))]
        argv += self._memory(spec, place)
        version = version_of(spec.engine_version)
        drains = version is not None and version >= DRAINS_SINCE
        if drains:
            argv += ["--shutdown-timeout", str(max(1, round(place.drain_seconds)))]
        environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if spec.bearer:
            environment["VLLM_API_KEY"] = spec.bearer
        return Launch((*argv, *words), model, environment, vocabulary="vllm", version="/version", finishes=drains)

    def _memory(self, spec: ReplicaSpec, place: Place) -> list[str]:
        """vLLM takes a share of each GPU, whoever else is there: the share that was promised, and no more."""
        asked = number_of(spec.arguments, "--gpu-memory-utilization")
        totals = [place.gpu_memory.get(gpu) for gpu in spec.gpus]
        if spec.gpu_memory is None or not totals or any(not total for total in totals):
            return []
        share = int(spec.gpu_memory / max(total for total in totals if total) * 1000) / 1000
        if asked is None:
            return ["--gpu-memory-utilization", f"{share:.3f}"]
        if asked > share + 0.0005:
            raise Unfit(
                "argument_refused",
                f"--gpu-memory-utilization={asked:g} is more than {share:.3f}, which the ordered {spec.gpu_memory / 2**30:.1f} GiB are.",
            )
        return []
