"""What to do next: a pure function of what shall run, what runs and what the machine has.

What holds after every plan, whatever came before (``tests/agent/test_reconcile.py``):

- no GPU's memory is promised twice: the shares of all that holds memory and of all that starts fit into it; a replica that wants the whole
  GPU has it alone. What drains or stops holds its share until its last process is gone;
- a replica that runs as ordered is left alone, whoever else waits;
- desired states older than what was seen change nothing;
- asked again before anything happened, it says the same; asked after it was done, it says nothing new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from apps.contracts.fleet import DesiredState, ReplicaSpec, launch_digest
from apps.contracts.fleet_facts import Reason

Hold = Literal["none", "running", "draining", "stopping"]
"""Whether a replica has a process, and whether it has been told to leave."""


class Actual(NamedTuple):
    """A replica as the agent has it. launch: of the process that runs, or that ran last. gpus, gpu_memory, port: what it holds.
    retry_at: seconds on the caller's clock; None: none is due. given_up: it will not be started again by this launch.
    began: it was started at least once by this launch. drain_seconds: by its last order, for when it is no longer listed."""

    replica: str
    launch: str
    hold: Hold = "none"
    gpus: tuple[str, ...] = ()
    gpu_memory: int | None = None
    port: int = 0
    retry_at: float | None = None
    given_up: bool = False
    began: bool = False
    drain_seconds: float = 60.0


class Machine(NamedTuple):
    """gpus: UUID -> bytes, None where the driver does not say: then nothing can share it. taken: ports that others listen on. ports: first
    and last of those that engines may have here; None: as ordered."""

    gpus: Mapping[str, int | None]
    taken: frozenset[int] = frozenset()
    ports: tuple[int, int] | None = None


class Start(NamedTuple):
    """Start this engine; it holds its GPUs and its port from now on."""

    spec: ReplicaSpec
    port: int


class Drain(NamedTuple):
    """Give it nothing new, let it finish, end it. by_ms: until then, on the control plane's clock; None: seconds from now."""

    replica: str
    seconds: float
    by_ms: int | None = None


class Stop(NamedTuple):
    """End it now."""

    replica: str


class Forget(NamedTuple):
    """No process is left and nobody wants it: drop it, and all that it left on the disk."""

    replica: str


class Wait(NamedTuple):
    """It shall run and cannot yet. final: it cannot, unless the order changes."""

    replica: str
    reason: Reason
    message: str
    final: bool = False


Action = Start | Drain | Stop | Forget | Wait


def newer(held: DesiredState | None, offered: DesiredState) -> bool:
    """Whether an order replaces the one that is held. An equal one does not: it says the same."""
    return held is None or offered.version > held.version


class Free:
    """What is left of each GPU: of its memory, and whether somebody has it alone."""

    def __init__(self, gpus: Mapping[str, int | None]) -> None:
        self._total = gpus
        self._held: dict[str, int] = dict.fromkeys(gpus, 0)
        self._alone: set[str] = set()
        self._users: dict[str, int] = dict.fromkeys(gpus, 0)

    def take(self, gpus: Iterable[str], memory: int | None) -> None:
        """Count it in, whether it fits or not: it is there."""
        for gpu in gpus:
            self._users[gpu] = self._users.get(gpu, 0) + 1
            if memory is None or self._total.get(gpu) is None:
                self._alone.add(gpu)
            else:
                self._held[gpu] = self._held.get(gpu, 0) + memory

    def lacking(self, gpus: Iterable[str], memory: int | None) -> str:
        """The first GPU that has no room for this, with the figures; "" where all have."""
        for gpu in gpus:
            total = self._total.get(gpu)
            if gpu in self._alone:
                return f"{gpu} is held whole by another replica"
            if memory is None or total is None:
                if self._users.get(gpu):
                    return f"{gpu} is in use and is wanted whole"
            elif self._held[gpu] + memory > total:
                return f"{gpu} has {_gib(total - self._held[gpu])} of {_gib(total)} left, and {_gib(memory)} are wanted"
        return ""


def reconcile(desired: DesiredState | None, actual: Mapping[str, Actual], machine: Machine, now: float) -> tuple[Action, ...]:
    """The actions to take, in this order. Without an order nothing is done: whatever was adopted goes on.

    now: seconds on the clock of ``Actual.retry_at``.
    """
    if desired is None:
        return ()
    specs: dict[str, ReplicaSpec] = {}
    for spec in desired.replicas:
        specs.setdefault(spec.replica, spec)
    actions: list[Action] = []
    leaving: set[str] = set()  # what holds memory now and will not for long
    for replica in sorted(actual):
        one = actual[replica]
        order = _departure(one, specs.get(replica), desired.mode)
        if order is not None:
            actions.append(order)
        if one.hold in ("draining", "stopping") or isinstance(order, Drain | Stop):
            leaving.add(replica)
    actions += _arrivals(desired, specs, actual, machine, now, leaving)
    return tuple(actions)


def _departure(one: Actual, spec: ReplicaSpec | None, mode: str) -> Action | None:
    """What ends this replica's process, if something shall."""
    if spec is None:
        if one.hold == "none":
            return Forget(one.replica)
        return Drain(one.replica, one.drain_seconds) if one.hold == "running" else None
    if one.hold in ("none", "stopping"):
        return None
    if spec.want == "stop":
        return Stop(one.replica)
    if one.hold == "draining":
        return None
    if spec.want == "drain":
        return Drain(one.replica, spec.drain_seconds, spec.drain_by_ms)
    if mode in ("draining", "maintenance") or one.launch != launch_digest(spec):
        return Drain(one.replica, spec.drain_seconds)
    return None


def _arrivals(
    desired: DesiredState,
    specs: Mapping[str, ReplicaSpec],
    actual: Mapping[str, Actual],
    machine: Machine,
    now: float,
    leaving: set[str],
) -> Iterable[Action]:
    """Starts what fits, in the order of priority, and says of the rest why it waits.

    Two counts: what is held at this moment, and what will be once all that leaves has left. Only what fits both starts; what fits only the
    second waits and keeps its place before those of lower priority.
    """
    held, later = Free(machine.gpus), Free(machine.gpus)
    ports = set(machine.taken)
    for one in actual.values():
        if one.hold == "none":
            continue
        held.take(one.gpus, one.gpu_memory)
        ports.add(one.port)
        if one.replica not in leaving:
            later.take(one.gpus, one.gpu_memory)
    for spec in sorted(specs.values(), key=lambda spec: (-spec.priority, spec.replica)):
        known = actual.get(spec.replica)
        if spec.want != "serve" or desired.mode in ("draining", "maintenance"):
            continue
        if known is not None and known.hold != "none" and spec.replica not in leaving:
            continue
        same = known is not None and known.launch == launch_digest(spec)
        if same and known is not None and known.given_up:
            continue
        strange = next((gpu for gpu in spec.gpus if gpu not in machine.gpus), None)
        if strange is not None:
            have = ", ".join(sorted(machine.gpus)) or "none"
            yield Wait(spec.replica, "gpu_unknown", f"This worker has no GPU {strange}. It has: {have}.", True)
            continue
        if len(set(spec.gpus)) != len(spec.gpus):
            yield Wait(spec.replica, "gpu_overcommitted", "A GPU is named twice.", True)
            continue
        if lacking := later.lacking(spec.gpus, spec.gpu_memory):
            yield Wait(spec.replica, "gpu_overcommitted", f"No room, and none will come: {lacking}.", True)
            continue
        later.take(spec.gpus, spec.gpu_memory)
        if known is not None and known.hold != "none":
            continue  # its own old process leaves first; its state says so
        if desired.mode == "cordoned" and not (same and known is not None and known.began):
            yield Wait(spec.replica, "cordoned", "The worker is cordoned: it starts nothing new. Lift the cordon.")
            continue
        if same and known is not None and known.retry_at is not None and known.retry_at > now:
            held.take(spec.gpus, spec.gpu_memory)  # its place is kept, or two would take turns
            continue
        if lacking := held.lacking(spec.gpus, spec.gpu_memory):
            yield Wait(spec.replica, "waits_for_memory", f"Waits for what leaves: {lacking}.")
            continue
        first, last = machine.ports or (desired.port_first, desired.port_last)
        port = _port(spec, first, last, ports)
        if port is None:
            wanted = f"port {spec.port}" if spec.port else f"every port from {first} to {last}"
            yield Wait(spec.replica, "waits_for_port", f"Taken: {wanted}. Free one, or give the worker others with BULKHEAD_AGENT_PORTS.")
            continue
        held.take(spec.gpus, spec.gpu_memory)
        ports.add(port)
        yield Start(spec, port)


def _port(spec: ReplicaSpec, first: int, last: int, ports: set[int]) -> int | None:
    if spec.port is not None:
        return spec.port if spec.port not in ports else None
    return next((port for port in range(first, last + 1) if port not in ports), None)


def _gib(amount: int) -> str:
    return f"{amount / 2**30:.1f} GiB"
