"""The fleet: workers and their GPUs, deployments, replicas, and what proxies are told. Bytes for memory, milliseconds where a name says
so."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.fleet import choices

__all__ = ["Claim", "Deployment", "FleetClock", "Gpu", "JoinToken", "Replica", "ReplicaFact", "Worker"]


class FleetClock(models.Model):
    """One row: what orders the fleet's facts, and when the control plane heard anybody.

    epoch, sequence: of what proxies are told; taken under this row's lock, so that they commit in their order. forgotten: sequences up to
    here may have lost their tombstones. heard_at, listening_since: ``lifecycle.Pulse``. counted_at: until when ``GpuTime`` was counted.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    epoch = models.BigIntegerField()
    sequence = models.BigIntegerField(default=0)
    forgotten = models.BigIntegerField(default=0)
    heard_at = models.DateTimeField(null=True)
    listening_since = models.DateTimeField(null=True)
    counted_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [models.CheckConstraint(condition=Q(id=1), name="fleet_one_clock")]

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}"


class Worker(models.Model):
    """A machine that joined. People set ``mode``; everything under "facts" is what its agent said last.

    digest: SHA-256 of its credential's secret; next_digest: of the one that it will use next, which becomes ``digest`` with its first use.
    rotate: ask it for a new credential. boot, beat: its agent's last start and heartbeat, for telling replays. desired_*: the newest order;
    applied_*: the one it acts on. memory_claimed: of the host, promised to replicas that use no GPU. state: as last recorded, for events.
    fingerprint: of what was taken into rows of the last heartbeats, so that only changes are. gpu_facts, reports: ``GpuFacts`` and
    ``ReplicaReport`` of the last heartbeat as JSON. engines: what it can start, None: not said.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="workers")
    name = models.CharField(max_length=63)
    mode = models.CharField(max_length=12, choices=choices.MODES, default="active")
    mode_reason = models.CharField(max_length=500, blank=True, default="")
    state = models.CharField(max_length=12, default="joining")
    digest = models.CharField(max_length=64)
    next_digest = models.CharField(max_length=64, blank=True, default="")
    digest_at = models.DateTimeField()
    rotate = models.BooleanField(default=False)
    joined_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    desired_epoch = models.BigIntegerField(default=1)
    desired_sequence = models.BigIntegerField(default=1)
    applied_epoch = models.BigIntegerField(default=0)
    applied_sequence = models.BigIntegerField(default=0)
    memory_claimed = models.BigIntegerField(default=0)
    preempted_at = models.DateTimeField(null=True, blank=True)
    preempted_source = models.CharField(max_length=200, blank=True, default="")
    # facts
    fingerprint = models.CharField(max_length=32, blank=True, default="")
    boot = models.UUIDField(null=True, blank=True)
    beat = models.BigIntegerField(default=0)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    skew_ms = models.BigIntegerField(default=0)
    agent_version = models.CharField(max_length=200, blank=True, default="")
    address = models.CharField(max_length=200, blank=True, default="")
    region = models.CharField(max_length=200, blank=True, default="")
    pool = models.CharField(max_length=200, default="default")
    spot = models.BooleanField(default=False)
    labels = models.JSONField(default=dict, blank=True)
    memory_total = models.BigIntegerField(null=True, blank=True)
    engines = ArrayField(models.CharField(max_length=40), null=True, blank=True)
    host = models.JSONField(default=dict, blank=True)
    gpu_facts = models.JSONField(default=list, blank=True)
    reports = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(revoked_at=None), name="worker_name_once"),
            models.CheckConstraint(condition=Q(memory_claimed__gte=0), name="worker_claims_positive"),
        ]

    def __str__(self) -> str:
        return self.name


class JoinToken(models.Model):
    """Joins one worker, once, before it expires; only a hash is kept. secret_digest: of the worker's own secret that used it, so that a
    join whose answer was lost is answered again. hint: its last characters."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="join_tokens")
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=8)
    made_by = models.CharField(max_length=254, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    worker = models.ForeignKey(Worker, on_delete=models.SET_NULL, null=True, blank=True, related_name="tokens")
    secret_digest = models.CharField(max_length=64, blank=True, default="")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"…{self.hint}"


class Gpu(models.Model):
    """A GPU that a worker reported. claimed: bytes promised to replicas, never more than ``capacity`` (a CHECK), which is what the device
    has, or what was promised before it said less. capacity 0: it does not say. gone_at: it is no longer reported."""

    id = models.BigAutoField(primary_key=True)
    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="gpus")
    uuid = models.CharField(max_length=200)
    index = models.PositiveIntegerField(default=0)
    name = models.CharField(max_length=200)
    vendor = models.CharField(max_length=20, default="nvidia")
    capacity = models.BigIntegerField(default=0)
    claimed = models.BigIntegerField(default=0)
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["index", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["worker", "uuid"], name="gpu_once"),
            models.CheckConstraint(condition=Q(claimed__gte=0, claimed__lte=F("capacity")), name="gpu_never_overpromised"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.index}"


class Deployment(models.Model):
    """A model that workers serve, and how. ``wanted`` replicas run, between ``least`` and ``most``; a change of what an engine is
    started with makes a new ``revision``, which is rolled out.

    provider: what routes target (``apps.contracts.fleet.PROVIDER_PREFIX``). model: what requests name at the engine. artifact, arguments,
    warm_up, health: as in ``ReplicaSpec``. gpus 0: on the host's processors. memory: bytes of each GPU (of the host without one).
    exclusive: it takes whole GPUs. config: the model's ``config.json``, with context and concurrency what ``memory`` was estimated from.
    scaling: what ``apps.fleet.scaling`` makes of it; scaling_mode: whether that acts. performance_budget: of ``apps.budgets``, by its id.
    unplaced: the last placement that found no worker (``placing.Unplaced`` as JSON), empty while there is none.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="deployments")
    name = models.CharField(max_length=63)
    provider = models.OneToOneField("providers.Provider", on_delete=models.PROTECT, related_name="deployment")
    owner = models.ForeignKey("ownership.Team", on_delete=models.PROTECT, null=True, blank=True, related_name="deployments")
    enabled = models.BooleanField(default=True)
    engine = models.CharField(max_length=20, choices=choices.ENGINES)
    recipe = models.CharField(max_length=200, blank=True, default="")
    engine_version = models.CharField(max_length=200, blank=True, default="")
    model = models.CharField(max_length=200)
    artifact = models.JSONField(default=dict, blank=True)
    arguments = models.JSONField(default=dict, blank=True)
    environment = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    tasks = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    gpus = models.PositiveSmallIntegerField(default=0)
    memory = models.BigIntegerField(default=0)
    exclusive = models.BooleanField(default=True)
    vendor = models.CharField(max_length=20, blank=True, default="")
    context = models.PositiveIntegerField(default=8192)
    concurrency = models.PositiveIntegerField(default=16)
    config = models.JSONField(default=dict, blank=True)
    region = models.CharField(max_length=200, blank=True, default="")
    pool = models.CharField(max_length=63, default="default")
    labels = models.JSONField(default=dict, blank=True)
    priority = models.IntegerField(default=0)
    spot_allowed = models.BooleanField(default=False)
    least = models.PositiveIntegerField(default=1)
    most = models.PositiveIntegerField(default=1)
    wanted = models.PositiveIntegerField(default=1)
    strategy = models.CharField(max_length=10, choices=choices.STRATEGIES, default="auto")
    surge = models.PositiveSmallIntegerField(default=1)
    drain_seconds = models.PositiveIntegerField(default=60)
    warm_up = models.JSONField(default=dict, blank=True)
    health = models.JSONField(default=dict, blank=True)
    max_waiting = models.PositiveIntegerField(null=True, blank=True)
    scaling = models.JSONField(default=dict, blank=True)
    scaling_mode = models.CharField(max_length=10, choices=choices.SCALING, default="off")
    performance_budget = models.UUIDField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=1)
    unplaced = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="deployment_name_once"),
            models.CheckConstraint(condition=Q(least__lte=F("most"), wanted__lte=F("most")), name="deployment_bounds"),
            models.CheckConstraint(condition=Q(memory__gte=0), name="deployment_memory"),
        ]

    def __str__(self) -> str:
        return self.name


class Replica(models.Model):
    """One engine on one worker, from its order to its end. ``ordinal`` is its place among those of its deployment that have not ended:
    that no place is given twice is a constraint, whoever places.

    want, drain_by: what was ordered; order_*: the first desired state of its worker that held it. spec: ``ReplicaSpec`` as JSON as it
    was when it was placed, so that an older revision stays what it is. bearer: the token that its engine demands, under the master key;
    empty: it demands none. state, reason, message, ...: as its worker reported; state empty:
    not heard of yet. unreached_since: proxies cannot reach it, although its worker says that it is ready; None: as far as is known they
    can. failure: the last time that it failed (``Failure`` as JSON), also once it is tried again; empty: it never did.
    placement: why it is where it is, as JSON. leaves: why it drains, in words. ending: of ``choices.ENDINGS``;
    ended_at: nothing of it is left, or nobody will hear of it again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="replicas")
    worker = models.ForeignKey(Worker, on_delete=models.PROTECT, related_name="replicas")
    ordinal = models.PositiveIntegerField()
    revision = models.PositiveIntegerField()
    want = models.CharField(max_length=6, choices=choices.WANTS, default="serve")
    drain_by = models.DateTimeField(null=True, blank=True)
    leaves = models.CharField(max_length=300, blank=True, default="")
    spec = models.JSONField()
    bearer = models.TextField(blank=True, default="")
    order_epoch = models.BigIntegerField(default=0)
    order_sequence = models.BigIntegerField(default=0)
    host_memory = models.BigIntegerField(default=0)
    placement = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=12, blank=True, default="")
    since = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=40, blank=True, default="")
    message = models.TextField(blank=True, default="")
    url = models.CharField(max_length=500, blank=True, default="")
    model = models.CharField(max_length=200, blank=True, default="")
    starts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    phases = models.JSONField(default=dict, blank=True)
    failure = models.JSONField(default=dict, blank=True)
    lines = models.JSONField(default=list, blank=True)
    lines_at = models.DateTimeField(null=True, blank=True)
    lines_wanted = models.DateTimeField(null=True, blank=True)
    engine_version = models.CharField(max_length=200, blank=True, default="")
    placed_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    unreached_since = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ending = models.CharField(max_length=20, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["deployment", "ordinal", "placed_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["deployment", "ordinal"], condition=Q(ended_at=None), name="replica_placed_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["worker"], condition=Q(ended_at=None), name="replica_of_worker"),
            models.Index(fields=["ended_at"], name="replica_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.deployment_id}/{self.ordinal}"


class Claim(models.Model):
    """Bytes of one GPU that are promised to a replica; its row and ``Gpu.claimed`` change together."""

    id = models.BigAutoField(primary_key=True)
    replica = models.ForeignKey(Replica, on_delete=models.CASCADE, related_name="claims")
    gpu = models.ForeignKey(Gpu, on_delete=models.CASCADE, related_name="claims")
    bytes = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["replica", "gpu"], name="claim_once"),
            models.CheckConstraint(condition=Q(bytes__gte=0), name="claim_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.bytes} of {self.gpu_id}"


class ReplicaFact(models.Model):
    """What proxies are told of a replica (``apps.contracts.fleet.ReplicaEndpoint`` as JSON, without its order). A replica that went
    stays as a tombstone for a while. Not a foreign key: a fact outlives what it is about."""

    replica = models.UUIDField(primary_key=True)
    sequence = models.BigIntegerField(db_index=True)
    gone = models.BooleanField(default=False)
    body = models.JSONField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.replica} at {self.sequence}"


class ScaleDecision(models.Model):
    """What the autoscaler decided of a deployment, also where it only would have. before, after: replicas wanted; facts: what it looked
    at."""

    id = models.BigAutoField(primary_key=True)
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="decisions")
    at = models.DateTimeField()
    before = models.PositiveIntegerField()
    after = models.PositiveIntegerField()
    applied = models.BooleanField(default=False)
    reason = models.CharField(max_length=1_000)
    facts = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["-at"]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["deployment", "-at"], name="scale_decision_of")]

    def __str__(self) -> str:
        return f"{self.before} -> {self.after}"


class GpuTime(models.Model):
    """How long replicas of a deployment stood in a state within an hour: seconds of replicas, and of GPUs (replica seconds x GPUs each).

    state: ``serving`` with requests running, ``idle`` ready without, ``loading``, ``failed``, and ``unheard`` while its worker is silent.
    memory_peak: the most bytes in use that any of its GPUs told of; None: none did. measured_seconds: GPU seconds of which the GPU told how
    much of the time it worked, busy_seconds: of these, worked.
    """

    id = models.BigAutoField(primary_key=True)
    hour = models.DateTimeField()
    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="gpu_times")
    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="gpu_times")
    state = models.CharField(max_length=10)
    seconds = models.FloatField(default=0.0)
    gpu_seconds = models.FloatField(default=0.0)
    memory_peak = models.BigIntegerField(null=True)
    measured_seconds = models.FloatField(default=0.0)
    busy_seconds = models.FloatField(default=0.0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["hour", "deployment", "worker", "state"], name="gpu_time_once")
        ]

    def __str__(self) -> str:
        return f"{self.deployment_id} {self.state} {self.hour}"
