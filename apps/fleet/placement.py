"""Where a replica may run, and where it runs best: a filter that keeps its reasons, then a score that shows its parts. Pure.

Each filter says in one short sentence why a worker cannot take the replica (``6.1 GB free on its best GPU, needs 14.0``); a worker with no
reason against it survives. Survivors are scored, the highest first; equal scores fall to the worker's name, so that the same question has
the same answer. What is free is what nobody was promised, and never more than what the device itself says is free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

GB = 1_000_000_000
OCCUPIED = 1_500_000_000
"""Bytes that a GPU may hold without our doing before that is called a stranger's: a display, a driver's context, monitoring."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as placement sees it. Bytes. used: what the device says is in use, by anybody; None: it does not say.

    promised: to replicas of ours. resident: what of ``used`` replicas of ours hold already, at most ``promised``: counted once, not twice.
    total None: the device does not say how much it has, so nothing is placed on it. unhealthy: why, in words; empty for a healthy one.
    """

    uuid: str
    name: str = ""
    vendor: str = "nvidia"
    total: int | None = None
    used: int | None = None
    promised: int = 0
    resident: int = 0
    unhealthy: str = ""

    @property
    def free(self) -> int:
        """Bytes that may still be promised."""
        if self.total is None:
            return 0
        strangers = max(0, (self.used or 0) - self.resident)
        # What drivers and monitors take is in every estimate's overhead; beyond that it is somebody's, and not ours to give.
        return max(0, self.total - self.promised - (strangers if strangers > OCCUPIED else 0))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker as placement sees it. closed: why it takes nothing now, in words; empty: it does.

    memory_total None: the host does not say. engines None: the agent did not say which it can start, so none is ruled out.
    replicas: of ours on it, of any deployment; siblings: of the same deployment. warm: it ran this artifact, so its disk may have it.
    cut_off: proxies cannot reach a replica on it now; doubted: a moment ago they could not.
    """

    id: str
    name: str
    closed: str = ""
    region: str = ""
    pool: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    spot: bool = False
    memory_total: int | None = None
    memory_promised: int = 0
    engines: frozenset[str] | None = None
    devices: tuple[Device, ...] = ()
    replicas: int = 0
    siblings: int = 0
    warm: bool = False
    cut_off: bool = False
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """What one replica takes. gpus 0: it runs on the host's processors and ``memory`` is of the host; else ``memory`` is of each GPU.

    exclusive: it takes whole GPUs, as engines do that fill what they find; ``memory`` is then the least that each must have.
    labels: what a worker must carry. region empty: any. vendor empty: any.
    """

    gpus: int = 0
    memory: int = 0
    exclusive: bool = True
    engine: str = ""
    region: str = ""
    pool: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    vendor: str = ""
    spot_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What placement says of one worker. reasons: why not, empty for a survivor; kinds: the filter of ``FILTERS`` that each comes from.
    score and parts: of survivors; parts add up to the score.

    devices: the uuids it would take there; claims: the bytes of each, in the same order.
    """

    worker: str
    name: str
    reasons: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    score: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()
    devices: tuple[str, ...] = ()
    claims: tuple[int, ...] = ()

    @property
    def fits(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Placement:
    """Every worker that was asked, survivors by score first, then the others by name."""

    judged: tuple[Judged, ...]

    @property
    def best(self) -> Judged | None:
        """Where the replica goes; None where it fits nowhere."""
        return self.judged[0] if self.judged and self.judged[0].fits else None

    @property
    def survivors(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.judged if one.fits)

    @property
    def dropped(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.judged if not one.fits)

    def summary(self) -> str:
        """Why it fits nowhere, in a sentence: the commonest reasons first, with how many workers each keeps out."""
        if not self.judged:
            return "No worker has joined: join one on the Workers page."
        if self.best:
            return f"{len(self.survivors)} of {len(self.judged)} workers can take it."
        tally: dict[str, int] = {}
        for one in self.judged:
            tally[one.reasons[0]] = tally.get(one.reasons[0], 0) + 1
        most = sorted(tally.items(), key=lambda item: (-item[1], item[0]))[:3]
        return "No worker can take it: " + "; ".join(f"{reason} ({count})" for reason, count in most) + "."


def gigabytes(size: int) -> str:
    """``6.1``: bytes as decimal gigabytes, as GPU vendors count."""
    return f"{size / GB:.1f}"


def place(need: Need, workers: Sequence[Candidate]) -> Placement:
    """Filter, then score. Total: never raises, whatever the workers say of themselves."""
    judged = [_judge(need, worker) for worker in workers]
    survivors = sorted((one for one in judged if one.fits), key=lambda one: (-one.score, one.name, one.worker))
    dropped = sorted((one for one in judged if not one.fits), key=lambda one: (one.name, one.worker))
    return Placement((*survivors, *dropped))


def _judge(need: Need, worker: Candidate) -> Judged:
    against = [(kind, reason) for kind, test in FILTERS.items() for reason in [test(need, worker)] if reason]
    if against:
        return Judged(worker.id, worker.name, tuple(reason for _, reason in against), tuple(kind for kind, _ in against))
    chosen = _devices(need, worker)
    parts = tuple((name, round(part(need, worker, chosen), 3)) for name, part in SCORES.items())
    claims = tuple((device.total or 0) if need.exclusive else need.memory for device in chosen)
    return Judged(
        worker.id, worker.name, (), (), round(sum(value for _, value in parts), 3), parts, tuple(device.uuid for device in chosen), claims
    )


def _usable(need: Need, device: Device) -> bool:
    if device.unhealthy or (need.vendor and device.vendor != need.vendor):
        return False
    whole = not need.exclusive or (device.promised == 0 and device.total is not None and device.free == device.total)
    return whole and device.free >= need.memory and device.total is not None


def _devices(need: Need, worker: Candidate) -> tuple[Device, ...]:
    """The GPUs it would take: of one model where that is possible, because the slowest sets the pace; the tightest fit first."""
    if not need.gpus:
        return ()
    usable = sorted((device for device in worker.devices if _usable(need, device)), key=lambda device: (device.free, device.uuid))
    by_model: dict[str, list[Device]] = {}
    for device in usable:
        by_model.setdefault(device.name, []).append(device)
    alike = [found[: need.gpus] for found in by_model.values() if len(found) >= need.gpus]
    if alike:
        alike.sort(key=_room)
        return tuple(alike[0])
    return tuple(usable[: need.gpus])


def _room(devices: list[Device]) -> tuple[int, str]:
    """What stays the largest for others comes last."""
    return sum(device.free for device in devices), devices[0].name


# --- filters: None, or why not ---


def _closed(need: Need, worker: Candidate) -> str | None:
    return worker.closed or None


def _cut_off(need: Need, worker: Candidate) -> str | None:
    return "proxies cannot reach what runs on it" if worker.cut_off else None


def _pool(need: Need, worker: Candidate) -> str | None:
    return None if worker.pool == need.pool else f"is in the pool {worker.pool or 'none'}, needs {need.pool}"


def _region(need: Need, worker: Candidate) -> str | None:
    return None if not need.region or worker.region == need.region else f"is in the region {worker.region or 'none'}, needs {need.region}"


def _labels(need: Need, worker: Candidate) -> str | None:
    missing = [f"{name}={value}" for name, value in sorted(need.labels.items()) if worker.labels.get(name) != value]
    return f"lacks the label {', '.join(missing)}" if missing else None


def _spot(need: Need, worker: Candidate) -> str | None:
    return "is a spot machine, which the deployment does not allow" if worker.spot and not need.spot_allowed else None


def _engine(need: Need, worker: Candidate) -> str | None:
    if not need.engine or worker.engines is None or need.engine in worker.engines:
        return None
    return f"cannot start the engine {need.engine} (has {', '.join(sorted(worker.engines)) or 'none'})"


def _host_memory(need: Need, worker: Candidate) -> str | None:
    if need.gpus:
        return None
    if worker.memory_total is None:
        return "does not say how much memory it has"
    free = worker.memory_total - worker.memory_promised
    return None if free >= need.memory else f"{gigabytes(max(0, free))} GB of memory free, needs {gigabytes(need.memory)}"


def _gpus(need: Need, worker: Candidate) -> str | None:
    """One reason, the first that holds: too few GPUs, of the vendor, healthy, known, free, large enough."""
    if not need.gpus:
        return None
    devices = [device for device in worker.devices if not need.vendor or device.vendor == need.vendor]
    if len(devices) < need.gpus:
        of = f" {need.vendor}" if need.vendor else ""
        return f"has {len(devices) or 'no'}{of} GPU{'' if len(devices) == 1 else 's'}, needs {need.gpus}"
    healthy = [device for device in devices if not device.unhealthy]
    if len(healthy) < need.gpus:
        sick = next(device for device in devices if device.unhealthy)
        return f"{len(devices) - len(healthy)} of its {len(devices)} GPUs cannot be used: {sick.unhealthy}"
    known = [device for device in healthy if device.total is not None]
    if len(known) < need.gpus:
        return "its GPUs do not say how much memory they have"
    if sum(_usable(need, device) for device in known) >= need.gpus:
        return None
    largest = sorted((device.total or 0 for device in known), reverse=True)[need.gpus - 1]
    if largest < need.memory:
        return f"{gigabytes(largest)} GB on {_which(need)}, needs {gigabytes(need.memory)}"
    free = sorted((device.free for device in known), reverse=True)[need.gpus - 1]
    if free < need.memory or not need.exclusive:
        return f"{gigabytes(free)} GB free on {_which(need)}, needs {gigabytes(need.memory)}"
    idle = sum(device.promised == 0 and device.free == device.total for device in known)
    return f"{idle} of its {len(known)} GPUs {'is' if idle == 1 else 'are'} idle, needs {need.gpus} whole"


def _which(need: Need) -> str:
    return "its best GPU" if need.gpus == 1 else f"its GPU number {need.gpus}"


FILTERS: dict[str, Callable[[Need, Candidate], str | None]] = {
    "Takes nothing now": _closed,
    "Cut off from proxies": _cut_off,
    "In another pool": _pool,
    "In another region": _region,
    "Lacks a label": _labels,
    "A spot machine": _spot,
    "Cannot start the engine": _engine,
    "Too little memory on the host": _host_memory,
    "No GPU for it": _gpus,
}
"""What each kind of reason is called where many workers are said no to; in the order in which reasons are given."""


# --- scores ---


def _apart(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """A deployment's replicas stand apart: one lost machine takes one of them."""
    return 100.0 / (1 + worker.siblings)


def _tight(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """The tightest fit: what is larger stays for those who need it."""
    if chosen:
        total = sum(device.total or 0 for device in chosen)
        return 40.0 * min(1.0, need.memory * len(chosen) / total) if total else 0.0
    return 0.0 if not worker.memory_total else 40.0 * (1 - min(1.0, worker.memory_promised / worker.memory_total))


def _plain(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """What needs no GPU stays off GPU machines."""
    return 30.0 if need.gpus or not worker.devices else 0.0


def _cached(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """A worker that ran the artifact has it on disk: its start is shorter."""
    return 20.0 if worker.warm else 0.0


def _cheap(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """Where spot is allowed it is wanted."""
    return 15.0 if worker.spot and need.spot_allowed else 0.0


def _reached(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """Where proxies could not reach a replica a moment ago a new one comes last: nobody knows yet whether they can again."""
    return 0.0 if worker.doubted else 250.0


def _alike(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """GPUs of one model: with a mixed set the slowest sets the pace."""
    return 10.0 if len({device.name for device in chosen}) == 1 else 0.0


def _calm(need: Need, worker: Candidate, chosen: Sequence[Device]) -> float:
    """Fewer replicas of any kind beside it."""
    return 10.0 / (1 + worker.replicas)


SCORES: dict[str, Callable[[Need, Candidate, Sequence[Device]], float]] = {
    "reached by proxies": _reached,
    "apart from its siblings": _apart,
    "tight fit": _tight,
    "keeps GPU machines free": _plain,
    "has the model on disk": _cached,
    "spot": _cheap,
    "GPUs alike": _alike,
    "calm machine": _calm,
}
"""What each part is called where a score is explained."""
