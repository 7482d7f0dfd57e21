"""What a worker's agent and the control plane say to each other, and what proxies learn of replicas. Pure.

The agent dials out only. Every call is a POST of one struct as JSON to ``PATH`` + its name and is answered by one struct, or by status 4xx
with a ``Refused``; all but ``join`` carry ``Authorization: Bearer <credential>``::

    join        JoinRequest       -> JoinAnswer        a one-time token becomes the worker's own credential
    heartbeat   Heartbeat         -> HeartbeatAnswer   every ``heartbeat_seconds``, at once when a replica's state changes, early
                                                       when an engine's load moves
    desired     DesiredWant       -> DesiredAnswer     held open up to ``wait_seconds``: what the worker shall run
    ack         Acknowledgement   -> Done              the desired state that the agent acts on, and what of it it refuses
    credential  RotateRequest     -> Done              the next credential; the old one dies with the first use of the new one
    preemption  PreemptionNotice  -> Done              the machine will be taken away
    logs        LogTail           -> Done              the last lines of an engine, when they were asked for or it failed

The control plane is the only writer of desired state. Whatever is ordered carries (epoch, sequence), compared as a pair: an epoch begins
anew where the sequence may have been lost (a restored database), and anything older than what was seen is ignored.

Facts, states and reasons are in ``apps.contracts.fleet_facts``. Times ``*_ms`` are milliseconds since the epoch on the sender's clock,
durations ``*_seconds`` are seconds, memory is bytes, shares are 0 to 1. **None means unknown and is never 0.** Unknown fields are ignored,
so that either side may be newer.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from apps.contracts.fleet_facts import (
    MAX_LINE,
    Count,
    EngineKind,
    GpuFacts,
    HostFacts,
    Identifier,
    Message,
    Name,
    Port,
    Reason,
    ReplicaReport,
    Seconds,
    Sentence,
    Share,
    Text,
)

PROTOCOL = 1
"""Rises when an older peer would misunderstand; a refused peer gets ``version_unsupported``."""
PATH = "/api/agent/v1/"
EARLY_SECONDS = 2.0
"""Between two heartbeats that are sent early (``apps.contracts.early``)."""
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_SKEW_MS = 30_000
"""A worker whose clock is further off is told so (``HeartbeatAnswer.skew_ms``) and shown so; it goes on serving."""

WorkerMode = Literal["active", "cordoned", "draining", "maintenance"]
"""``cordoned``: what runs goes on, nothing new starts. ``draining``: all replicas drain. ``maintenance``: drained, and none is started."""
WORKER_MODES: tuple[str, ...] = get_args(WorkerMode)
RefusalCode = Literal[
    "token_unknown",
    "token_used",  # by another worker: the same worker's repeated join is answered again
    "token_expired",
    "name_taken",  # another worker that is not gone has this name
    "credential_unknown",
    "credential_revoked",
    "heartbeat_replayed",  # a sequence that was seen, of this boot
    "boot_replaced",  # a newer boot of this agent has reported: two agents share one state directory or credential
    "version_unsupported",
    "malformed",
    "busy",  # come again after retry_seconds
]
REFUSAL_CODES: tuple[str, ...] = get_args(RefusalCode)
FATAL_REFUSALS: frozenset[str] = frozenset({"token_unknown", "token_used", "token_expired", "name_taken", "version_unsupported"})
"""A join that is refused so will be refused again."""


class Refused(Message, frozen=True):
    """Why a call was not done. message: a sentence that says what to do. retry_seconds: None: as the agent's back-off has it."""

    code: RefusalCode
    message: Sentence
    retry_seconds: Seconds | None = None


class Done(Message, frozen=True):
    """It was done, now or before. now_ms: the control plane's clock."""

    now_ms: int


# Joining


class JoinRequest(Message, frozen=True):
    """token: shown once by the control plane. secret_digest: ``secret_digest`` of a secret that the agent made and keeps: it never crosses
    the wire in a body, and a join whose answer was lost is repeated with the same token and digest, and answered again.
    name: how the worker wants to be called."""

    protocol: int
    token: Text
    secret_digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    name: Name
    agent_version: Text
    sent_at_ms: int
    host: HostFacts
    gpus: Annotated[list[GpuFacts], Meta(max_length=64)] = []


class JoinAnswer(Message, frozen=True):
    """worker: its id from now on; its credential is ``credential_text(worker, secret)``."""

    worker: Identifier
    name: Name
    now_ms: int
    heartbeat_seconds: Seconds = 10.0


class RotateRequest(Message, frozen=True):
    """secret_digest: of the next secret. Repeated with the same digest it changes nothing."""

    secret_digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Heartbeat(Message, frozen=True):
    """boot: changes with each start of the agent (UUIDv7: a later boot is greater). sequence: rises by one within a boot, from 1.
    epoch, applied: the desired state that the agent acts on; 0, 0: none yet. replicas: all that the agent knows of: one that is missing
    has no process there. link_lost_seconds: how long no heartbeat got through before this one."""

    protocol: int
    agent_version: Text
    boot: Identifier
    sequence: Count
    sent_at_ms: int
    host: HostFacts
    gpus: Annotated[list[GpuFacts], Meta(max_length=64)] = []
    replicas: Annotated[list[ReplicaReport], Meta(max_length=500)] = []
    epoch: Count = 0
    applied: Count = 0
    link_lost_seconds: Seconds = 0.0


class HeartbeatAnswer(Message, frozen=True):
    """epoch, sequence: of the newest desired state, so that an agent whose long poll hangs learns of it. skew_ms: the worker's clock less
    the control plane's, to half a round trip. rotate: get a new credential now. logs_of: replicas whose tail is wanted in ``logs``.
    early_seconds: the pause between heartbeats that come before their time because a load moved; longer where too many do."""

    now_ms: int
    epoch: Count
    sequence: Count
    skew_ms: int = 0
    heartbeat_seconds: Seconds = 10.0
    early_seconds: Seconds = EARLY_SECONDS
    rotate: bool = False
    logs_of: list[str] = []


class PreemptionNotice(Message, frozen=True):
    """The machine goes away at ``at_ms``, says ``source`` (``signal``, or the cloud whose metadata told)."""

    at_ms: int
    source: Text


class LogTail(Message, frozen=True):
    """The last lines of one replica's engine, oldest first."""

    replica: Identifier
    at_ms: int
    lines: Annotated[list[Annotated[str, Meta(max_length=MAX_LINE)]], Meta(max_length=500)]


# What the worker shall run


class Artifact(Message, frozen=True):
    """A model. source: ``path`` on the worker, below a directory that its settings allow; ``hub``: an id; ``none``: the engine needs none.
    digest: ``sha256:<hex>`` of the files by ``apps.agent.artifacts.digest_of``, checked before each start; "" is not checked.
    bytes: its size, where it is known, so that a full disk is seen before the download."""

    source: Literal["path", "hub", "none"] = "none"
    location: Annotated[str, Meta(max_length=1_000)] = ""
    revision: Text = ""
    digest: Text = ""
    format: Literal["safetensors", "gguf", "onnx", "pickle", ""] = ""
    quantisation: Text = ""
    bytes: Count | None = None
    allow_pickle: bool = False
    allow_remote_code: bool = False


class WarmUp(Message, frozen=True):
    """Requests that are made before a replica is ready. prompt_tokens, output_tokens: of each, about."""

    requests: Annotated[int, Meta(ge=0, le=1_000)] = 1
    prompt_tokens: Annotated[int, Meta(ge=1, le=100_000)] = 32
    output_tokens: Annotated[int, Meta(ge=1, le=10_000)] = 1


class HealthPolicy(Message, frozen=True):
    """A probe is a generation of one token (an embedding where the engine makes those), each ``interval_seconds``, and not while tokens
    flow. failures: in a row until the engine is replaced. ready_seconds: from start to ready. stall_seconds: with requests running and
    no new token."""

    interval_seconds: Seconds = 10.0
    timeout_seconds: Seconds = 10.0
    failures: Annotated[int, Meta(ge=1, le=100)] = 3
    ready_seconds: Seconds = 1_800.0
    stall_seconds: Seconds = 60.0


class RestartPolicy(Message, frozen=True):
    """Waits first_seconds, then twice as long each time up to most_seconds, with jitter. attempts: starts in a row that do not become ready
    until the agent gives up (``failed`` without ``retry_at_ms``); 0: never. settled_seconds: so long ready, and the count begins anew."""

    first_seconds: Seconds = 1.0
    most_seconds: Seconds = 300.0
    attempts: Count = 0
    settled_seconds: Seconds = 120.0


Task = Literal["chat", "completions", "embeddings", "rerank", "classify"]
TASKS: tuple[str, ...] = get_args(Task)


def _chat() -> list[Task]:
    return ["chat"]


class ReplicaSpec(Message, frozen=True):
    """One engine that the worker shall run. want: ``serve``; ``drain``: take nothing new, end by ``drain_by_ms`` (control plane's clock;
    None: ``drain_seconds`` from when it was learned), then stop; ``stop``: now. A replica that is no longer listed drains likewise.

    gpus: UUIDs; none: CPU only. gpu_memory: bytes of *each* of them, None: all of it. host_memory: bytes. arguments: the engine's
    own, checked against its allow-list; None as value: a flag. recipe: of ``command``: the worker's settings hold the commands.
    environment: names of the agent's variables that the engine may see. bearer: the token that the engine shall demand, "" for none.
    tasks: what it serves: the first is what the probe uses. priority: greater starts first. max_waiting: requests that may queue in it.
    Whatever ``launch_digest`` leaves out may change while the engine runs; a change of anything else replaces the engine."""

    replica: Identifier
    deployment: Name
    engine: EngineKind
    want: Literal["serve", "drain", "stop"] = "serve"
    model: Text = ""
    revision: Count = 0
    recipe: Text = ""
    engine_version: Text = ""
    artifact: Artifact = Artifact()
    arguments: Annotated[dict[str, str | None], Meta(max_length=100)] = {}
    tasks: Annotated[list[Task], Meta(min_length=1)] = msgspec.field(default_factory=_chat)
    gpus: Annotated[list[str], Meta(max_length=64)] = []
    gpu_memory: Count | None = None
    host_memory: Count | None = None
    port: Port | None = None
    environment: Annotated[list[str], Meta(max_length=50)] = []
    bearer: Text = ""
    priority: int = 0
    max_waiting: Count | None = None
    drain_seconds: Seconds = 60.0
    drain_by_ms: int | None = None
    warm_up: WarmUp = WarmUp()
    health: HealthPolicy = HealthPolicy()
    restart: RestartPolicy = RestartPolicy()


class DesiredState(Message, frozen=True):
    """All that a worker shall run; what is not listed shall not run. port_first, port_last: from which the agent gives engines theirs."""

    epoch: Annotated[int, Meta(ge=1)]
    sequence: Annotated[int, Meta(ge=1)]
    mode: WorkerMode = "active"
    port_first: Port = 30_000
    port_last: Port = 30_999
    replicas: Annotated[list[ReplicaSpec], Meta(max_length=500)] = []

    @property
    def version(self) -> tuple[int, int]:
        """(epoch, sequence): greater is newer."""
        return self.epoch, self.sequence


class DesiredWant(Message, frozen=True):
    """epoch, sequence: what the agent holds (0, 0: nothing). wait_seconds: how long to hold the call where there is nothing newer."""

    epoch: Count = 0
    sequence: Count = 0
    wait_seconds: Annotated[float, Meta(ge=0, le=60)] = 25.0


class DesiredAnswer(Message, frozen=True):
    """state: newer than what was held; None: there is nothing newer."""

    now_ms: int
    state: DesiredState | None = None


class ReplicaRefusal(Message, frozen=True):
    """A replica that the agent will not start. message: what to change."""

    replica: Identifier
    reason: Reason
    message: Sentence = ""


class Acknowledgement(Message, frozen=True):
    """The agent acts on this state since applied_at_ms. refused: what of it it cannot do; each is also reported as ``failed``."""

    epoch: Count
    sequence: Count
    applied_at_ms: int
    refused: Annotated[list[ReplicaRefusal], Meta(max_length=500)] = []


# What proxies learn: facts, never config


class ReplicaEndpoint(Message, frozen=True):
    """A replica that proxies may call at ``url`` + ``/v1/...``, naming ``model``. Held per deployment, newest (epoch, sequence) wins.

    state: ``ready``; ``draining``: no new requests; ``gone``: forget it. weight: its share beside its like, 0 to 100. capacity_tokens: in
    flight at once, None: unknown. kv_used, waiting: as last reported, at at_ms. prefix_block: tokens of a block of its prefix cache.
    sealed: the token that it demands, under the proxies' seal key (a Fernet token), which no file or row holds open. bearer: the same as it
    is, of a source that seals nothing.
    """

    replica: Identifier
    organisation: Text
    deployment: Name
    url: Text
    model: Text
    epoch: Count
    sequence: Count
    state: Literal["ready", "draining", "gone"] = "ready"
    region: Text = ""
    weight: Annotated[int, Meta(ge=0, le=100)] = 100
    capacity_tokens: Count | None = None
    waiting: Count | None = None
    kv_used: Share | None = None
    prefix_block: Count | None = None
    bearer: Text = ""
    sealed: Annotated[str, Meta(max_length=1_000)] = ""
    at_ms: int = 0


class EndpointFacts(Message, frozen=True):
    """Endpoints that changed after what the asker held; whole: they are all there are, and what is not listed is gone."""

    epoch: Count
    sequence: Count
    whole: bool = False
    endpoints: list[ReplicaEndpoint] = []


PROVIDER_PREFIX = "deployment:"
"""A provider whose name begins so stands for a deployment of its organisation: ``deployment:chat-8b``. No person can name a provider so.
Routes target it as any provider (so prices, budgets, breakers and usage need not know the difference); its one endpoint carries
``REPLICAS_URL``, which leads nowhere: where an attempt goes is one of the deployment's ``ReplicaEndpoint``s, and the model that the
attempt names is the endpoint's, not the target's."""
REPLICAS_URL = "http://replicas.invalid/v1"
REPLICAS_CHANNEL = "bulkhead_replicas"
"""NOTIFY says the newest sequence as text when endpoints came, went or began to drain; what only their load says is found by polling.

Proxies ask ``proxy_api.proxy_replicas(epoch bigint, after bigint)``, which gives rows ``(epoch bigint, sequence bigint, whole boolean,
endpoint jsonb)``: at least one, the first three equal in all; ``endpoint`` is a ``ReplicaEndpoint`` as JSON, or NULL in the only row where
nothing changed. (0, 0), an epoch that is not the present one, or a sequence that is too old or was not given yet, get ``whole``."""


def deployment_of(provider: str) -> str:
    """The deployment that a provider's name stands for; empty for an ordinary provider."""
    return provider[len(PROVIDER_PREFIX) :] if provider.startswith(PROVIDER_PREFIX) else ""


# Credentials and digests

TOKEN_PREFIX = "bhj_"
"""A join token is ``bhj_<at least 32 url-safe characters>``."""
CREDENTIAL_PREFIX = "bhw_"
BEARER_PREFIX = "bhr_"
"""What a replica demands is ``bhr_<43 url-safe characters>``; known to its worker and to proxies alone."""
_CREDENTIAL = re.compile(r"bhw_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_([A-Za-z0-9_-]{32,128})\Z")


def credential_text(worker: str, secret: str) -> str:
    """What stands behind ``Bearer``."""
    return f"{CREDENTIAL_PREFIX}{worker}_{secret}"


def credential_parts(text: str) -> tuple[str, str] | None:
    """(worker, secret) of a credential; None where it is none."""
    found = _CREDENTIAL.match(text)
    return (found[1], found[2]) if found else None


def secret_digest(secret: str) -> str:
    """SHA-256 as 64 hex digits, of a secret with 192 bits or more of chance (so that no slower hash is needed)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def launch_digest(spec: ReplicaSpec) -> str:
    """32 hex digits of all that a running engine was started with: where it differs, the engine must be replaced.

    What may change while it runs is left out: want, the drain's, revision, priority, health, restart and warm_up.
    """
    kept = msgspec.structs.replace(
        spec,
        want="serve",
        revision=0,
        priority=0,
        drain_seconds=0.0,
        drain_by_ms=None,
        warm_up=WarmUp(),
        health=HealthPolicy(),
        restart=RestartPolicy(),
    )
    return hashlib.sha256(msgspec.json.encode(kept, order="sorted")).hexdigest()[:32]
