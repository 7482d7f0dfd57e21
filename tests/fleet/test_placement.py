"""Where a replica may run: nothing is promised twice, and every refusal says why. Also against real machines' documents."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.fleet.placement import GB, Candidate, Device, Need, place

GIB = 2**30
DOCUMENTS = Path(os.environ.get("BULKHEAD_MATERIAL", Path(__file__).parents[3] / "shared" / "material")) / "traces" / "gpu-workers-gpustack"


def gpu(uuid: str = "GPU-a", **facts: Any) -> Device:
    return Device(**{"uuid": uuid, "name": "L4", "total": 24 * GB, "used": 0, **facts})


def worker(name: str = "w", *devices: Device, **facts: Any) -> Candidate:
    return Candidate(id=name, name=name, devices=devices, **{"memory_total": 64 * GB, **facts})


SHARED = Need(gpus=1, memory=14 * GB, exclusive=False)


@pytest.mark.parametrize(
    ("need", "candidate", "reason"),
    [
        (SHARED, worker("w", gpu(promised=int(17.9 * GB))), "6.1 GB free on its best GPU, needs 14.0"),
        (SHARED, worker("w", gpu(used=int(17.9 * GB))), "6.1 GB free on its best GPU, needs 14.0"),
        (SHARED, worker("w", gpu(total=8 * GB)), "8.0 GB on its best GPU, needs 14.0"),
        (SHARED, worker("w"), "has no GPUs, needs 1"),
        (SHARED, worker("w", gpu(total=None)), "its GPUs do not say how much memory they have"),
        (SHARED, worker("w", gpu(unhealthy="XID error 79")), "1 of its 1 GPUs cannot be used: XID error 79"),
        (SHARED, worker("w", gpu(), closed="is cordoned"), "is cordoned"),
        (SHARED, worker("w", gpu(), cut_off=True), "proxies cannot reach what runs on it"),
        (SHARED, worker("w", gpu(), pool="batch"), "is in the pool batch, needs default"),
        (SHARED, worker("w", gpu(), spot=True), "is a spot machine, which the deployment does not allow"),
        (Need(region="eu"), worker("w"), "is in the region none, needs eu"),
        (Need(labels={"zone": "a"}), worker("w", labels={"zone": "b"}), "lacks the label zone=a"),
        (Need(engine="vllm"), worker("w", engines=frozenset({"simulated"})), "cannot start the engine vllm (has simulated)"),
        (Need(memory=65 * GB), worker("w"), "64.0 GB of memory free, needs 65.0"),
        (Need(memory=GB), worker("w", memory_total=None), "does not say how much memory it has"),
        (Need(gpus=2, memory=GB), worker("w", gpu(), gpu("GPU-b", promised=1)), "1 of its 2 GPUs is idle, needs 2 whole"),
        (Need(gpus=1, memory=GB, vendor="amd"), worker("w", gpu()), "has no amd GPUs, needs 1"),
    ],
)
def test_every_refusal_says_why(need: Need, candidate: Candidate, reason: str) -> None:
    found = place(need, [candidate])
    assert found.best is None
    assert found.judged[0].reasons[0] == reason
    assert reason in found.summary()


def test_what_our_own_replicas_hold_is_not_counted_twice() -> None:
    held = gpu(used=10 * GB, promised=10 * GB, resident=10 * GB)
    assert held.free == 14 * GB
    assert place(SHARED, [worker("w", held)]).best is not None


def test_replicas_stand_apart_and_fit_tightly() -> None:
    crowd = worker("crowd", gpu(), siblings=1)
    large = worker("large", gpu(total=80 * GB))
    small = worker("small", gpu())
    found = place(SHARED, [crowd, large, small])
    assert [one.name for one in found.judged] == ["small", "large", "crowd"]
    assert found.judged[0].score == pytest.approx(sum(value for _, value in found.judged[0].parts))


def test_where_proxies_could_not_reach_a_replica_a_moment_ago_comes_last() -> None:
    best = worker("best", gpu(), doubted=True, warm=True)
    found = place(SHARED, [best, worker("crowd", gpu(total=80 * GB), siblings=9, replicas=9)])
    assert [one.name for one in found.judged] == ["crowd", "best"]
    assert place(SHARED, [best]).best is not None


def test_what_needs_no_gpu_leaves_gpu_machines_alone() -> None:
    found = place(Need(memory=GB), [worker("gpus", gpu()), worker("plain")])
    assert found.best is not None and found.best.name == "plain"


def test_gpus_of_one_model_are_taken_together() -> None:
    mixed = worker("w", gpu("a", name="4080", total=16 * GB), gpu("b", name="4090"), gpu("c", name="4090"))
    best = place(Need(gpus=2, memory=10 * GB), [mixed]).best
    assert best is not None and best.devices == ("b", "c") and best.claims == (24 * GB, 24 * GB)


devices = st.builds(
    Device,
    uuid=st.uuids().map(str),
    name=st.sampled_from(["A", "B"]),
    total=st.none() | st.integers(0, 100 * GB),
    used=st.none() | st.integers(0, 100 * GB),
    promised=st.integers(0, 100 * GB),
    resident=st.integers(0, 100 * GB),
    unhealthy=st.sampled_from(["", "", "", "XID error 79"]),
)
candidates = st.builds(
    Candidate,
    id=st.uuids().map(str),
    name=st.sampled_from("abcdef"),
    closed=st.sampled_from(["", "", "is silent"]),
    pool=st.sampled_from(["default", "batch"]),
    spot=st.booleans(),
    memory_total=st.none() | st.integers(0, 100 * GB),
    memory_promised=st.integers(0, 100 * GB),
    devices=st.lists(devices, max_size=6).map(tuple),
    siblings=st.integers(0, 3),
)
needs = st.builds(
    Need,
    gpus=st.integers(0, 4),
    memory=st.integers(0, 90 * GB),
    exclusive=st.booleans(),
    pool=st.sampled_from(["default", "batch"]),
    spot_allowed=st.booleans(),
)


@given(needs, st.lists(candidates, max_size=6, unique_by=lambda one: one.id))
def test_a_survivor_really_has_the_room_and_the_others_say_why(need: Need, workers: list[Candidate]) -> None:
    found = place(need, workers)
    assert {one.worker for one in found.judged} == {one.id for one in workers}
    by_id = {one.id: one for one in workers}
    scores = [one.score for one in found.survivors]
    assert scores == sorted(scores, reverse=True)
    for one in found.dropped:
        assert all(one.reasons)
    for one in found.survivors:
        host = by_id[one.worker]
        assert not host.closed and host.pool == need.pool and (need.spot_allowed or not host.spot)
        assert len(set(one.devices)) == len(one.claims) == need.gpus
        held = {device.uuid: device for device in host.devices}
        for uuid, claim in zip(one.devices, one.claims, strict=True):
            device = held[uuid]
            assert device.total is not None and not device.unhealthy
            assert device.promised + claim <= device.total
            assert claim >= need.memory
            if need.exclusive:
                assert device.promised == 0
        if not need.gpus:
            assert host.memory_total is not None and host.memory_promised + need.memory <= host.memory_total
    assert found == place(need, list(reversed(workers)))


# --- machines that exist ---


def documents() -> list[Candidate]:
    """The worker documents of gpustack's fixtures as candidates. Their ``allocated`` is what was promised there."""
    found = []
    for path in sorted(DOCUMENTS.rglob("*.json")):
        host = json.loads(path.read_text())
        status = host["status"]
        made = []
        for number, device in enumerate(status.get("gpu_devices") or []):
            memory = device["memory"]
            made.append(
                Device(
                    uuid=f"{device.get('uuid') or 'gpu'}-{number}",
                    name=device["name"],
                    vendor=device["vendor"].lower(),
                    total=memory["total"],
                    used=memory.get("used"),
                    promised=memory.get("allocated") or 0,
                    resident=min(memory.get("used") or 0, memory.get("allocated") or 0),
                )
            )
        reserved = (host.get("system_reserved") or {}).get("memory") or 0
        closed = "" if str(host["state"]).lower() in ("ready", "running") else f"is {host['state']}"
        found.append(
            Candidate(
                id=path.stem,
                name=path.stem,
                closed=closed,
                memory_total=(status.get("memory") or {}).get("total"),
                memory_promised=reserved,
                devices=tuple(made),
            )
        )
    return found


@pytest.fixture(scope="module")
def machines() -> list[Candidate]:
    if not DOCUMENTS.is_dir():
        pytest.skip(f"no worker documents under {DOCUMENTS}: set BULKHEAD_MATERIAL to where they are")
    found = documents()
    assert len(found) == 40
    return found


def test_a_small_model_fits_wherever_a_free_gpu_is_large_enough(machines: list[Candidate]) -> None:
    found = place(Need(gpus=1, memory=14 * GB, exclusive=False), machines)
    fits = {one.name for one in found.survivors}
    for host in machines:
        assert (host.name in fits) == any(device.free >= 14 * GB for device in host.devices), host.name
    why = {one.name: one.reasons[0] for one in found.dropped}
    assert why["linux_cpu_1"] == "has no GPUs, needs 1"
    assert why["linux_nvidia_20_3080_12gx8"].endswith("on its best GPU, needs 14.0")
    assert "GB free on its best GPU, needs 14.0" in why["linux_nvidia_3_4090_24gx1"]  # somebody else holds 19 GB there
    assert "GB free on its best GPU, needs 14.0" in why["linux_rocm_1_7800_16gx1"]  # promised there already


def test_a_large_model_needs_whole_gpus_of_one_machine(machines: list[Candidate]) -> None:
    need = Need(gpus=8, memory=75 * GIB, vendor="nvidia")
    found = place(need, machines)
    assert {one.name for one in found.survivors} == {
        "linux_nvidia_13_A100_80gx8",
        "linux_nvidia_22_H100_80gx8",
        "linux_nvidia_23_H100_80gx8",
        "linux_nvidia_24_H100_80gx8",
        "linux_nvidia_25_H100_80gx8",
        "linux_nvidia_26_H200_141gx8",
    }
    assert found.best is not None and "H200" not in found.best.name  # the tightest fit: the largest machine stays free
    why = {one.name: one.reasons[0] for one in found.dropped}
    assert why["linux_nvidia_5_A100_80gx2"] == "has 2 nvidia GPUs, needs 8"
    assert why["linux_ascend_1_910b_64gx8"] == "has no nvidia GPUs, needs 8"


def test_a_mixed_machine_gives_gpus_of_one_model(machines: list[Candidate]) -> None:
    host = [one for one in machines if one.name == "linux_nvidia_18_4090_24gx4_4080_16gx4"]
    best = place(Need(gpus=4, memory=12 * GIB, vendor="nvidia"), host).best
    assert best is not None
    names = {device.name for device in host[0].devices if device.uuid in best.devices}
    assert len(names) == 1 and "4080" in names.pop()


def test_what_runs_on_processors_stays_off_gpu_machines(machines: list[Candidate]) -> None:
    best = place(Need(memory=32 * GIB), machines).best
    assert best is not None and best.name.startswith("linux_cpu")
