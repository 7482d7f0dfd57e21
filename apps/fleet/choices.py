"""States of workers, replicas, deployments and GPUs as pages show them, and what a person may choose."""

from __future__ import annotations

from apps.ui.status import Status

WORKER_EVENT, REPLICA_EVENT, DEPLOYMENT_EVENT = "fleet.worker", "fleet.replica", "fleet.deployment"
"""Kinds of the facts that the fleet records."""

MODES = [("active", "In service"), ("cordoned", "Cordoned"), ("draining", "Draining"), ("maintenance", "Maintenance")]
ENGINES = [
    ("simulated", "Simulated"),
    ("vllm", "vLLM"),
    ("built_in", "Built-in"),
    ("command", "Command"),
    ("onnx", "ONNX"),
]
ENGINE_LABELS = dict(ENGINES)
SOURCES = [("none", "None"), ("path", "A path on the worker"), ("hub", "A hub id")]
FORMATS = [("", "As the engine finds"), ("safetensors", "safetensors"), ("gguf", "GGUF"), ("onnx", "ONNX"), ("pickle", "Pickle")]
STRATEGIES = [("auto", "Surge where there is room, else in place"), ("surge", "Surge"), ("in_place", "In place")]
WANTS = [("serve", "Serve"), ("drain", "Drain"), ("stop", "Stop")]
SCALING = [("off", "By hand"), ("dry_run", "Dry run"), ("on", "Automatic")]

WORKER_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("ready", "In service", "good", hint="It takes and runs replicas."),
        Status("skewed", "Clock is off", "warn", "clock", hint="Its clock is more than 30 s off: set it by NTP. It serves on."),
        Status("joining", "Joining", "info", "progress", hint="It has joined and has not reported yet."),
        Status("cordoned", "Cordoned", "warn", "block", hint="What runs goes on; nothing new is placed here."),
        Status("draining", "Draining", "warn", "leave", hint="Its replicas finish what they run and move away."),
        Status("maintenance", "Maintenance", "neutral", "settings", hint="Drained; nothing is placed here until it returns."),
        Status("preempted", "Being taken away", "warn", "leave", hint="Its machine goes: its replicas move first."),
        Status("silent", "Silent", "bad", "question", hint="No heartbeat for 30 s. Its replicas may still serve."),
        Status("lost", "Lost", "bad", "cross", hint="No heartbeat for 90 s: its replicas were replaced."),
        Status("revoked", "Removed", "neutral", "stop", hint="Its credential opens nothing any more."),
    )
}

REPLICA_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("pending", "Pending", "info", "clock", hint="The worker has it and waits."),
        Status("downloading", "Downloading", "info", "download", hint="The model is being fetched."),
        Status("starting", "Starting", "info", "progress", hint="The process runs; nothing listens yet."),
        Status("loading", "Loading", "info", "progress", hint="The model is going into memory."),
        Status("warming", "Warming up", "info", "progress", hint="It answers; warm-up requests run."),
        Status("ready", "Ready", "good", hint="Generations succeed: it gets requests."),
        Status("unreached", "Not reached", "bad", "question", hint="Its worker says that it is well, and proxies cannot reach it."),
        Status("draining", "Draining", "warn", "leave", hint="No new requests; what runs is finished."),
        Status("stopping", "Stopping", "warn", "stop", hint="It was told to end."),
        Status("stopped", "Stopped", "neutral", "stop", hint="No process is left."),
        Status("failed", "Failed", "bad", hint="It serves nothing; the reason says why."),
        Status("unheard", "Ordered", "info", "clock", hint="Its worker has not said a word of it yet."),
        Status("lost", "Lost", "bad", "question", hint="Its worker was lost; another one took its place."),
    )
}

GPU_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("free", "Free", "good", hint="Nothing of it is promised."),
        Status("promised", "Promised", "info", "check", hint="Replicas hold a share of its memory, or all of it."),
        Status("unknown", "Unknown", "unknown", hint="Its worker has not told anything of it."),
        Status("trouble", "Faulty", "bad", hint="It reports errors: nothing new is placed on it."),
        Status("gone", "Not reported", "bad", hint="Its worker does not see it any more."),
    )
}

TOKEN_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("open", "Waiting", "info", "clock", hint="Nobody has used it yet."),
        Status("used", "Used", "good", hint="A worker joined with it; it joins nobody else."),
        Status("expired", "Ended", "neutral", "stop", hint="Its time is over: make another one."),
        Status("revoked", "Revoked", "neutral", "block", hint="Somebody took it back."),
    )
}

DEPLOYMENT_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("serving", "Serving", "good", hint="As many replicas are ready as are wanted."),
        Status("zero", "Scaled to zero", "neutral", "dash", hint="No replica is wanted now."),
        Status("starting", "Starting", "info", "progress", hint="Replicas are on their way."),
        Status("rolling", "Rolling out", "info", "progress", hint="A new revision takes over."),
        Status("degraded", "Degraded", "warn", hint="Fewer replicas are ready than wanted."),
        Status("down", "Down", "bad", hint="Replicas are wanted and none is ready."),
        Status("disabled", "Disabled", "neutral", "stop", hint="Nothing runs until it is enabled."),
    )
}

REASONS: dict[str, str] = {
    "waits_for_memory": "Waits for GPU memory that is still held.",
    "waits_for_port": "Waits for a free port.",
    "cordoned": "The worker is cordoned.",
    "backing_off": "Starts again after a pause.",
    "gpu_unknown": "The worker has no such GPU.",
    "gpu_overcommitted": "Replicas together want more of a GPU than it has.",
    "engine_unknown": "This agent knows no such engine: update it.",
    "engine_missing": "The engine is not installed on the worker.",
    "recipe_unknown": "The worker's settings name no such command.",
    "argument_refused": "An argument is not on the engine's list.",
    "artifact_missing": "The model's path or revision does not exist there.",
    "artifact_outside": "The model's path lies outside the directories that the worker allows.",
    "artifact_unsafe": "Pickled weights are refused unless the deployment allows them.",
    "artifact_malformed": "The model is not of the format it claims.",
    "artifact_mismatch": "The model has another digest.",
    "remote_code": "The model needs code of its own, which the deployment does not allow.",
    "no_space": "The worker's disk is full.",
    "download_failed": "The model could not be fetched.",
    "start_failed": "The command could not be run.",
    "exited": "The engine ended by itself.",
    "crashed": "The engine crashed.",
    "killed": "Something killed the engine.",
    "out_of_memory": "It ran out of memory.",
    "never_ready": "It did not get ready in time.",
    "not_an_engine": "What listens there does not speak the engine's protocol.",
    "serves_errors": "It says that it is well, and generations fail.",
    "stalled": "Requests run and no token comes.",
    "unhealthy": "It does not answer its probe.",
    "token_refused": "It refuses the token that it was started with.",
    "serves_anyone": "It serves without the token that it was told to demand.",
    "drain_deadline": "Stopped with requests still running.",
    "lost": "The process was gone when the agent came back.",
}
"""The contract's reason codes in words."""

ENDINGS: dict[str, str] = {
    "stopped": "stopped as ordered",
    "lost": "its worker was lost",
    "revoked": "its worker was removed",
    "missing": "its worker no longer had it",
    "gave_up": "it could not be started",
}
"""Why a replica ended."""
