"""The decision what to do next: it converges, repeats itself, promises no memory twice and leaves alone what runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.agent.reconcile import Actual, Drain, Forget, Machine, Start, Stop, Wait, newer, reconcile
from apps.contracts.fleet import DesiredState, ReplicaSpec, launch_digest

GIB = 2**30
GPUS: dict[str, int | None] = {"GPU-a": 80 * GIB, "GPU-b": 24 * GIB, "GPU-c": None}


def replica_id(number: int) -> str:
    return str(UUID(int=number))


def spec(number: int = 1, **changes: Any) -> ReplicaSpec:
    return msgspec.structs.replace(ReplicaSpec(replica=replica_id(number), deployment="chat", engine="simulated"), **changes)


def order(*specs: ReplicaSpec, **changes: Any) -> DesiredState:
    return msgspec.structs.replace(DesiredState(epoch=1, sequence=1, replicas=list(specs)), **changes)


def running(one: ReplicaSpec, port: int = 30_000, **changes: Any) -> Actual:
    actual = Actual(one.replica, launch_digest(one), "running", tuple(one.gpus), one.gpu_memory, port, began=True)
    return actual._replace(**changes)


def plan(desired: DesiredState | None, *actual: Actual, gpus: dict[str, int | None] = GPUS, taken: tuple[int, ...] = (), now: float = 0.0):
    return reconcile(desired, {one.replica: one for one in actual}, Machine(gpus, frozenset(taken)), now)


def test_without_an_order_everything_goes_on() -> None:
    assert plan(None, running(spec())) == ()


def test_what_is_wanted_starts_on_a_port_of_its_own() -> None:
    found = plan(order(spec(1), spec(2)), taken=(30_000,))
    assert [(type(action), action.port) for action in found] == [(Start, 30_001), (Start, 30_002)]


def test_what_runs_as_ordered_is_left_alone() -> None:
    assert plan(order(msgspec.structs.replace(spec(), revision=9, drain_seconds=5.0)), running(spec())) == ()


def test_what_is_not_listed_drains_and_is_forgotten_once_it_is_gone() -> None:
    assert plan(order(), running(spec())) == (Drain(replica_id(1), 60.0),)
    assert plan(order(), running(spec(), drain_seconds=7.0)) == (Drain(replica_id(1), 7.0),)
    assert plan(order(), running(spec(), hold="draining")) == ()
    assert plan(order(), running(spec(), hold="none")) == (Forget(replica_id(1)),)


def test_a_changed_launch_is_drained_first_and_started_after() -> None:
    changed = spec(arguments={"ttft_ms": "5"}, drain_seconds=7.0)
    assert plan(order(changed), running(spec())) == (Drain(replica_id(1), 7.0),)
    assert plan(order(changed), running(spec(), hold="draining")) == ()
    assert plan(order(changed), running(spec(), hold="none")) == (Start(changed, 30_000),)


def test_drain_and_stop() -> None:
    assert plan(order(spec(want="drain", drain_by_ms=99)), running(spec())) == (Drain(replica_id(1), 60.0, 99),)
    assert plan(order(spec(want="stop")), running(spec(), hold="draining")) == (Stop(replica_id(1)),)
    assert plan(order(spec(want="stop")), running(spec(), hold="stopping")) == ()


@pytest.mark.parametrize("mode", ["draining", "maintenance"])
def test_a_worker_that_drains_starts_nothing(mode: str) -> None:
    assert plan(order(spec(1), spec(2), mode=mode), running(spec(1))) == (Drain(replica_id(1), 60.0),)


def test_a_cordoned_worker_starts_again_what_it_had() -> None:
    crashed = running(spec(1), hold="none", retry_at=5.0)
    found = plan(order(spec(1), spec(2), mode="cordoned"), crashed, now=6.0)
    assert isinstance(found[0], Start) and found[0].spec == spec(1)
    assert isinstance(found[1], Wait) and found[1].reason == "cordoned"


def test_memory_that_leaves_is_waited_for_and_memory_that_is_not_there_is_refused() -> None:
    old, new = spec(1, gpus=["GPU-b"], gpu_memory=20 * GIB), spec(2, gpus=["GPU-b"], gpu_memory=20 * GIB)
    (waits,) = plan(order(new), running(old, hold="draining"))
    assert isinstance(waits, Wait) and waits.reason == "waits_for_memory" and not waits.final and "4.0 GiB" in waits.message
    (refused,) = plan(order(old, new), running(old))
    assert isinstance(refused, Wait) and refused.reason == "gpu_overcommitted" and refused.final
    (strange,) = plan(order(spec(gpus=["GPU-z"])))
    assert isinstance(strange, Wait) and strange.reason == "gpu_unknown" and "GPU-a" in strange.message
    (twice,) = plan(order(spec(gpus=["GPU-a", "GPU-a"], gpu_memory=GIB)))
    assert isinstance(twice, Wait) and twice.reason == "gpu_overcommitted"


def test_a_gpu_of_unknown_size_is_shared_by_nobody() -> None:
    first, second = spec(1, gpus=["GPU-c"], gpu_memory=GIB), spec(2, gpus=["GPU-c"], gpu_memory=GIB)
    start, wait = plan(order(first, second))
    assert isinstance(start, Start) and isinstance(wait, Wait) and wait.reason == "gpu_overcommitted"


def test_who_waits_with_priority_is_not_overtaken() -> None:
    leaves = spec(1, gpus=["GPU-b"], gpu_memory=12 * GIB)
    urgent, small = spec(2, gpus=["GPU-b"], gpu_memory=20 * GIB, priority=5), spec(3, gpus=["GPU-b"], gpu_memory=10 * GIB)
    found = plan(order(urgent, small), running(leaves, hold="draining"))
    assert [(action.replica, action.reason) for action in found if isinstance(action, Wait)] == [
        (replica_id(2), "waits_for_memory"),
        (replica_id(3), "gpu_overcommitted"),
    ]


def test_a_back_off_is_kept_and_giving_up_is_final_until_the_order_changes() -> None:
    failed = running(spec(), hold="none", retry_at=10.0)
    assert plan(order(spec()), failed, now=9.0) == ()
    assert isinstance(plan(order(spec()), failed, now=10.0)[0], Start)
    over = failed._replace(retry_at=None, given_up=True)
    assert plan(order(spec()), over, now=99.0) == ()
    assert isinstance(plan(order(spec(model="other")), over)[0], Start)


def test_a_port_that_is_named_is_waited_for() -> None:
    (wait,) = plan(order(spec(port=30_500)), taken=(30_500,))
    assert isinstance(wait, Wait) and wait.reason == "waits_for_port" and "30500" in wait.message
    (none,) = plan(order(spec(), port_first=1, port_last=2), taken=(1, 2))
    assert isinstance(none, Wait) and none.reason == "waits_for_port"
    desired = order(spec(), port_first=1, port_last=2)
    (start,) = reconcile(desired, {}, Machine(GPUS, frozenset({40_000}), (40_000, 40_001)), 0.0)
    assert isinstance(start, Start) and start.port == 40_001, "the machine's own word about its ports comes first"


def test_only_newer_orders_are_taken() -> None:
    held = DesiredState(epoch=2, sequence=5)
    assert newer(None, held)
    assert (
        not newer(held, held) and not newer(held, DesiredState(epoch=1, sequence=99)) and not newer(held, DesiredState(epoch=2, sequence=4))
    )
    assert newer(held, DesiredState(epoch=2, sequence=6)) and newer(held, DesiredState(epoch=3, sequence=1))


# A whole worker, played: orders come and processes die at random, and the plans are carried out step by step.

specs = st.builds(
    spec,
    st.integers(1, 6),
    gpus=st.lists(st.sampled_from(["GPU-a", "GPU-b", "GPU-c"]), unique=True, max_size=2),
    gpu_memory=st.none() | st.sampled_from([8 * GIB, 20 * GIB, 40 * GIB]),
    priority=st.integers(0, 2),
    want=st.sampled_from(["serve", "serve", "serve", "drain", "stop"]),
    model=st.sampled_from(["", "other"]),
)
orders = st.tuples(st.lists(specs, max_size=6), st.sampled_from(["active", "active", "cordoned", "draining", "maintenance"]))
events = st.lists(st.one_of(orders, st.tuples(st.just("ends"), st.integers(1, 6)), st.just("passes")), max_size=25)


@dataclass
class Played:
    desired: DesiredState | None = None
    actual: dict[str, Actual] = field(default_factory=dict)
    now: float = 0.0
    starts: int = 0

    def step(self) -> bool:
        """Carry out a plan; whether it changed anything."""
        machine = Machine(GPUS)
        before = dict(self.actual)
        planned = reconcile(self.desired, self.actual, machine, self.now)
        assert planned == reconcile(self.desired, self.actual, machine, self.now)
        changed = False
        for action in planned:
            match action:
                case Start(one, port):
                    known = self.actual.get(one.replica)
                    assert known is None or known.hold == "none", "started over a process that is there"
                    self.actual[one.replica] = running(one, port)
                    self.starts += 1
                case Drain(replica):
                    one = before[replica]
                    wanted = {spec.replica: spec for spec in reversed(self.desired.replicas)}.get(replica) if self.desired else None
                    as_ordered = wanted is not None and wanted.want == "serve" and one.launch == launch_digest(wanted)
                    assert not (as_ordered and self.desired and self.desired.mode in ("active", "cordoned")), "a healthy one was ended"
                    self.actual[replica] = one._replace(hold="draining")
                case Stop(replica):
                    self.actual[replica] = before[replica]._replace(hold="stopping")
                case Forget(replica):
                    assert self.actual.pop(replica).hold == "none"
                case Wait():
                    continue
            changed = True
        self.check()
        again = [
            action for action in reconcile(self.desired, self.actual, machine, self.now) if not isinstance(action, Wait | Forget | Start)
        ]
        assert again == [], "what was ordered already is ordered again"
        return changed

    def check(self) -> None:
        ports = [one.port for one in self.actual.values() if one.hold != "none"]
        assert len(ports) == len(set(ports))
        for gpu, total in GPUS.items():
            users = [one for one in self.actual.values() if one.hold != "none" and gpu in one.gpus]
            if total is None or any(one.gpu_memory is None for one in users):
                assert len(users) <= 1, f"{gpu} is not held alone"
            else:
                assert sum(one.gpu_memory or 0 for one in users) <= total, f"{gpu} is promised twice"

    def depart(self) -> bool:
        gone = [one for one in self.actual.values() if one.hold in ("draining", "stopping")]
        for one in gone:
            self.actual[one.replica] = one._replace(hold="none")
        return bool(gone)


@given(events)
def test_whatever_happens_it_converges_and_promises_nothing_twice(happened: list[Any]) -> None:
    world = Played()
    for number, event in enumerate(happened, start=1):
        if event == "passes":
            world.depart()
        elif event[0] == "ends":
            one = world.actual.get(replica_id(event[1]))
            if one is not None and one.hold == "running":
                world.actual[one.replica] = one._replace(hold="none", retry_at=world.now + 3)
        else:
            world.desired = DesiredState(epoch=1, sequence=number, mode=event[1], replicas=event[0])
        world.now += 1
        world.step()
    for _ in range(20):
        world.now += 10
        if not world.step() and not world.depart():
            break
    else:
        raise AssertionError(f"no rest: {world.actual}")
    starts = world.starts
    for _ in range(3):
        world.now += 10
        assert not world.step()
    assert world.starts == starts
    if world.desired is None:
        return
    listed = {spec.replica for spec in world.desired.replicas}
    assert set(world.actual) <= listed
    wanted: dict[str, ReplicaSpec] = {}
    for one in world.desired.replicas:
        wanted.setdefault(one.replica, one)
    for one in world.actual.values():
        if one.hold == "running":
            assert one.launch == launch_digest(wanted[one.replica]) and wanted[one.replica].want == "serve"
    waiting = {a.replica for a in reconcile(world.desired, world.actual, Machine(GPUS), world.now) if isinstance(a, Wait)}
    for one in wanted.values():
        runs = one.replica in world.actual and world.actual[one.replica].hold == "running"
        may = one.want == "serve" and world.desired.mode in ("active", "cordoned")
        assert runs == (may and one.replica not in waiting)
