"""The messages between agent and control plane: what is unknown stays unknown, what does not fit is refused, digests tell what matters."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts import fleet, fleet_facts
from apps.contracts.identifiers import uuid7

REPLICA = str(uuid7())


def spec(**changes: object) -> fleet.ReplicaSpec:
    return msgspec.structs.replace(fleet.ReplicaSpec(replica=REPLICA, deployment="chat", engine="vllm"), **changes)


def test_a_fact_that_is_unknown_is_not_zero_after_the_wire() -> None:
    gpu = fleet_facts.GpuFacts(uuid="GPU-1", index=0, name="H200", memory_used=0)
    back = msgspec.json.decode(msgspec.json.encode(gpu), type=fleet_facts.GpuFacts)
    assert back == gpu
    assert back.memory_used == 0 and back.memory_total is None and back.ecc_uncorrected is None


def test_an_older_peer_reads_a_newer_one() -> None:
    known = {"now_ms": 1, "epoch": 1, "sequence": 2, "weather": "fine"}
    assert msgspec.convert(known, fleet.HeartbeatAnswer).sequence == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("engine", "torchserve"), ("deployment", "Chat Default"), ("port", 70_000), ("replica", "7"), ("tasks", []), ("gpu_memory", -1)],
)
def test_what_does_not_fit_is_refused(field: str, value: object) -> None:
    document = {**spec().plain(), field: value}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(document, fleet.ReplicaSpec)


def test_a_launch_digest_tells_what_needs_another_engine() -> None:
    same = fleet.launch_digest(spec())
    for calm in (
        {"want": "drain"},
        {"drain_by_ms": 5},
        {"drain_seconds": 1.0},
        {"revision": 4},
        {"priority": 2},
        {"health": fleet.HealthPolicy(failures=9)},
        {"restart": fleet.RestartPolicy(attempts=3)},
        {"warm_up": fleet.WarmUp(requests=0)},
    ):
        assert fleet.launch_digest(spec(**calm)) == same, calm
    for other in ({"gpus": ["GPU-1"]}, {"arguments": {"--max-model-len": "4096"}}, {"model": "m"}, {"bearer": "b"}, {"port": 30_001}):
        assert fleet.launch_digest(spec(**other)) != same, other
    left = fleet.launch_digest(spec(arguments={"--a": "1", "--b": None}))
    assert left == fleet.launch_digest(spec(arguments={"--b": None, "--a": "1"}))


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N"), include_characters="-_"), min_size=32, max_size=64))
def test_a_credential_comes_apart_as_it_was_put_together(secret: str) -> None:
    text = fleet.credential_text(REPLICA, secret)
    assert fleet.credential_parts(text) == (REPLICA, secret)
    assert fleet.credential_parts(text[1:]) is None and fleet.credential_parts(f"{text} ") is None


def test_every_state_is_sorted_into_holding_or_not() -> None:
    assert set(fleet_facts.REPLICA_STATES) - fleet_facts.HOLDING == {"pending", "stopped", "failed"}
    assert fleet_facts.SERVING < fleet_facts.HOLDING
