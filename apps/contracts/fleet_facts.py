"""What a worker's agent reports of the machine, its GPUs and its engines, and the words for it. Pure.

The calls that carry it are in ``apps.contracts.fleet``. Times ``*_ms`` are milliseconds since the epoch on the sender's clock, durations
are seconds, memory is bytes, shares are 0 to 1. **None means unknown and is never 0.** Unknown fields are ignored: either may be newer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

MAX_LINES = 50
MAX_LINE = 500
"""The tail of a log that a report carries: lines, and characters of each, credentials taken out by the agent."""

Text = Annotated[str, Meta(max_length=200)]
Sentence = Annotated[str, Meta(max_length=2_000)]
Name = Annotated[str, Meta(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Of workers, deployments, pools: as DNS labels are."""
Identifier = Annotated[str, Meta(max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""A UUID in canonical text."""
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400 * 7)]
Port = Annotated[int, Meta(ge=1, le=65_535)]

ReplicaState = Literal[
    "pending", "downloading", "starting", "loading", "warming", "ready", "draining", "stopping", "stopped", "failed"
]  # fmt: skip
"""``pending``: accepted, waits (``reason`` says for what). ``downloading``: the artifact. ``starting``: the process runs, nothing listens.
``loading``: it listens, the model is not in memory. ``warming``: it answers, the warm-up runs. ``ready``: generations succeed.
``draining``: takes nothing new, finishes what runs. ``stopping``: told to end. ``stopped``: no process is left, as ordered.
``failed``: no process is left or it is of no use (``reason`` says why); the agent tries again by itself while ``retry_at_ms`` is set."""
REPLICA_STATES: tuple[str, ...] = get_args(ReplicaState)
SERVING: frozenset[str] = frozenset({"ready"})
"""States that may get new requests."""
HOLDING: frozenset[str] = frozenset({"downloading", "starting", "loading", "warming", "ready", "draining", "stopping"})
"""States that hold their share of GPU memory."""

Reason = Literal[
    "",
    "waits_for_memory",  # the GPUs' share is still held by what is being stopped, or by a process that is not ours
    "waits_for_port",  # every port of the range is taken
    "cordoned",  # the worker takes nothing new
    "backing_off",  # starts again at retry_at_ms
    "gpu_unknown",  # the worker has no such GPU
    "gpu_overcommitted",  # replicas together want more of a GPU than it has
    "engine_unknown",  # this agent knows no such engine
    "engine_missing",  # the engine is not installed here
    "recipe_unknown",  # the worker's settings name no such command
    "argument_refused",  # an argument that the engine's allow-list does not hold
    "artifact_missing",  # the path or revision does not exist
    "artifact_outside",  # the path lies outside the directories that the worker's settings allow
    "artifact_unsafe",  # pickled weights, and the deployment does not allow them
    "artifact_malformed",  # not the format it claims to be
    "artifact_mismatch",  # another digest
    "remote_code",  # the model needs code of its own, and the deployment does not allow it
    "no_space",  # the disk is full
    "download_failed",
    "start_failed",  # the command could not be run
    "exited",  # it ended with exit code 0, though nobody asked it to
    "crashed",  # it ended with another exit code
    "killed",  # a signal that the agent did not send ended it
    "out_of_memory",  # of the machine or of the GPU
    "never_ready",  # ready_seconds went by
    "not_an_engine",  # what listens there does not speak the engine's protocol
    "serves_errors",  # it says that it is well, and generations fail
    "stalled",  # requests run and no token comes
    "unhealthy",  # it does not answer its health probe
    "token_refused",  # it refuses the token that it was started with
    "serves_anyone",  # it answers without the token that it was told to demand
    "drain_deadline",  # stopped with requests still running
    "lost",  # the agent was away and the process was gone when it came back
]
REASONS: tuple[str, ...] = get_args(Reason)

EngineKind = Literal["vllm", "built_in", "onnx", "command", "simulated"]
ENGINE_KINDS: tuple[str, ...] = get_args(EngineKind)


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all that is sent. Raises ``msgspec.ValidationError`` for what does not fit when decoded."""

    def plain(self) -> dict[str, Any]:
        """JSON-able, what is at its default left out."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


# Facts about the machine


class GpuProcess(Message, frozen=True):
    """A process that holds memory of a GPU. replica: whose it is; "" where it is none of ours."""

    pid: Count
    memory: Count | None = None
    replica: str = ""


class GpuFacts(Message, frozen=True):
    """One GPU as NVML tells it. uuid: ``GPU-...``. utilisation, memory_utilisation: 0 to 1, of time, over NVML's last sample period: near 1
    whatever the load is, so never a measure of room. power, power_limit: watts. temperature: degrees Celsius.
    ecc_corrected, ecc_uncorrected: since the driver was loaded. xids: XID errors that the agent has seen, the newest last.
    simulated: made up by a fake, and to be shown so."""

    uuid: Text
    index: Count
    name: Text
    memory_total: Count | None = None
    memory_used: Count | None = None
    utilisation: Share | None = None
    memory_utilisation: Share | None = None
    power: float | None = None
    power_limit: float | None = None
    temperature: float | None = None
    ecc_corrected: Count | None = None
    ecc_uncorrected: Count | None = None
    xids: Annotated[list[int], Meta(max_length=20)] | None = None
    driver_version: Text | None = None
    cuda_version: Text | None = None
    compute_capability: Text | None = None
    processes: Annotated[list[GpuProcess], Meta(max_length=200)] | None = None
    simulated: bool = False


class EngineOffer(Message, frozen=True):
    """An engine that the worker could run. version: None: not known before it runs. recipe: of ``command``. problem: why it cannot be used
    now, as a sentence; "" where it can. bearer: it can demand a token, and gets one of each replica."""

    engine: EngineKind
    version: Text | None = None
    recipe: Text = ""
    problem: Sentence = ""
    bearer: bool = False


class HostFacts(Message, frozen=True):
    """address: a name or IP address under which proxies reach the worker's engines. memory_*, disk_free: bytes; disk_free of where
    artifacts are kept. load: of one minute. gpu_problem: why GPUs cannot be seen, as a sentence; "" where they can or there are none.
    labels: the operator's, for placement. engines: what can run here."""

    hostname: Text
    address: Text
    system: Text = ""
    architecture: Text = ""
    cpus: Count | None = None
    memory_total: Count | None = None
    memory_available: Count | None = None
    disk_free: Count | None = None
    load: float | None = None
    gpu_problem: Sentence = ""
    region: Text = ""
    pool: Text = ""
    spot: bool = False
    labels: Annotated[dict[str, str], Meta(max_length=50)] = {}
    engines: Annotated[list[EngineOffer], Meta(max_length=50)] = []


# What the worker reports


class PhaseTimings(Message, frozen=True):
    """Seconds that the last start spent in each phase; None: not reached, or not needed."""

    downloading: float | None = None
    starting: float | None = None
    loading: float | None = None
    warming: float | None = None


class EngineMetrics(Message, frozen=True):
    """What an engine says of itself, in one vocabulary; None: this version does not tell. at_ms: when it was read.

    running, waiting: requests. kv_used: share of the KV cache. in_flight_tokens: prompt and output tokens of the running requests.
    prompt_tokens, output_tokens, preemptions, finished: counted since the engine started. ttft_*, itl_*: seconds, over the last minute
    at most, from the engine's histograms: upper bounds. source: the metric names that were read, e.g. ``vllm>=0.11``."""

    at_ms: int
    running: Count | None = None
    waiting: Count | None = None
    kv_used: Share | None = None
    in_flight_tokens: Count | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    preemptions: Count | None = None
    finished: Count | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    itl_p50: float | None = None
    itl_p95: float | None = None
    source: Text = ""


class Failure(Message, frozen=True):
    """The last time that a replica failed, told until it fails again: what failed between two heartbeats is not lost. starts: which of
    its starts it was. exit_code: negative: the signal; None: the process did not end by itself. lines: the end of its log then."""

    reason: Reason
    message: Sentence
    at_ms: int
    starts: Count = 0
    exit_code: int | None = None
    lines: Annotated[list[Annotated[str, Meta(max_length=MAX_LINE)]], Meta(max_length=MAX_LINES)] = []


class ReplicaReport(Message, frozen=True):
    """A replica as it is. since_ms: when it came into this state. launch: ``launch_digest`` of what it was started with.
    url: its base address without ``/v1``, "" before it listens; model: what requests must name there.
    starts: how often its process was started by this spec. retry_at_ms: when the agent tries again. exit_code: of the last process;
    negative: the signal. message: what happened and what to do. lines: the end of its log, only in the report of a state's change, and
    where it failed. downloaded: bytes of the model that are there, of download_bytes, while it comes from a hub. healthy_at_ms: the last
    generation that succeeded, by a probe or for a client."""

    replica: Identifier
    deployment: Name
    state: ReplicaState
    since_ms: int
    launch: Text = ""
    reason: Reason = ""
    message: Sentence = ""
    url: Text = ""
    model: Text = ""
    engine: EngineKind | None = None
    engine_version: Text | None = None
    pid: Count | None = None
    gpus: Annotated[list[str], Meta(max_length=64)] = []
    starts: Count = 0
    retry_at_ms: int | None = None
    exit_code: int | None = None
    healthy_at_ms: int | None = None
    phases: PhaseTimings = PhaseTimings()
    downloaded: Count | None = None
    download_bytes: Count | None = None
    metrics: EngineMetrics | None = None
    last_failure: Failure | None = None
    lines: Annotated[list[Annotated[str, Meta(max_length=MAX_LINE)]], Meta(max_length=MAX_LINES)] = []
