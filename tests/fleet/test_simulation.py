"""The simulation of scaling: nothing gets lost in it, and its figures add up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from apps.fleet.scaling import Policy
from apps.fleet.simulation import Run, Speed, by_policy, cheapest_fixed, cheapest_oracle, demand_of, fixed
from apps.fleet.traces import Arrival, TraceError, trace_read

SPEED = Speed(prefill=1_000, itl=0.05, slots=8, kv=50_000, cold=20)


def wave(seconds: int = 600, busy: float = 4.0, seed: int = 3) -> list[Arrival]:
    """Quiet, a rush in the middle third, quiet."""
    chance = random.Random(seed)
    found, now = [], 0.0
    while now < seconds:
        rate = busy if seconds / 3 < now < 2 * seconds / 3 else busy / 16
        now += chance.expovariate(rate)
        found.append(Arrival(now, chance.randrange(50, 800), chance.randrange(1, 200)))
    return found


def test_one_request_on_an_idle_replica_takes_what_it_takes() -> None:
    found = Run([Arrival(0.0, 500, 10)], SPEED, fixed(1)).run("one")
    assert (found.requests, found.wait_p95, found.peak) == (1, 0.0, 1)
    assert found.ttft_p95 == pytest.approx(0.55)
    assert found.gpu_hours * 3600 == pytest.approx(0.5 + 10 * 0.05)


def test_nobody_is_lost_while_replicas_come_and_go() -> None:
    trace = wave()
    runs: list[Run] = []

    def order(run: Run, now: float) -> int:
        runs[:] = [run]
        return int(now // 20) % 4  # down to zero, too

    found = Run(trace, SPEED, order).run("to and fro")
    run = runs[0]
    assert found.requests == len(trace) and run._open == 0 and not run.held
    assert all(one.running == one.kv == one.outstanding == 0 and not one.line for one in run.replicas)
    assert all(request.asked.at <= request.began <= request.first < float("inf") for request in run._requests)
    assert found.peak <= 8


def test_a_fixed_fleet_is_paid_from_beginning_to_end() -> None:
    trace = wave()
    three, six = (Run(trace, SPEED, fixed(count)).run("fixed") for count in (3, 6))
    assert three.mean == pytest.approx(3) and six.mean == pytest.approx(6)
    assert six.violations <= three.violations and six.wait_p95 <= three.wait_p95


def test_the_policy_pays_less_than_the_fleet_that_it_need_not_have_and_waits_less_than_none_at_all() -> None:
    trace = wave()
    policy = Policy(minimum=1, maximum=8, tokens_each=2_500, down_after=60, up_most=8, down_most=8, limit_seconds=10)
    scaled = Run(trace, SPEED, by_policy(policy), every=5).run("policy")
    most, least = (Run(trace, SPEED, fixed(count)).run("fixed") for count in (8, 1))
    assert scaled.gpu_hours < most.gpu_hours
    assert scaled.wait_p95 < least.wait_p95 and scaled.violations < least.violations
    assert scaled.steps >= 2 and scaled.timeline[0] == (0.0, 1)


def test_the_oracle_costs_no_more_than_the_fixed_fleet_that_does_as_well() -> None:
    trace = wave()
    best = cheapest_fixed(trace, SPEED, most=8, allowed=0.05, every=5, target=2)
    oracle = cheapest_oracle(trace, SPEED, minimum=1, allowed=0.05, every=5, target=2)
    assert best.violations <= 0.05 and oracle.violations <= 0.05
    assert oracle.gpu_hours <= best.gpu_hours
    assert sum(demand_of(trace, SPEED)) > 0


def test_the_same_trace_gives_the_same_figures() -> None:
    trace = wave()
    policy = Policy(minimum=0, maximum=4, tokens_each=2_500, idle_after=30)
    assert Run(trace, SPEED, by_policy(policy)).run("a") == Run(trace, SPEED, by_policy(policy)).run("a")


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
MOONCAKE = (
    '{"timestamp": 1000, "input_length": 6758, "output_length": 500, "hash_ids": [0]}\n'
    '{"timestamp": 3000, "input_length": 1, "output_length": 2}\n'
)


def test_traces_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(AZURE)
    (tmp_path / "m.jsonl").write_text(MOONCAKE)
    first, second = trace_read(tmp_path / "a.csv")
    assert (first, second.read, second.write) == (Arrival(0.0, 374, 44), 396, 109)
    assert second.at == pytest.approx(4.314579, abs=1e-5)
    assert trace_read(tmp_path / "m.jsonl") == [Arrival(0.0, 6758, 500), Arrival(2.0, 1, 2)]
    assert len(trace_read(tmp_path / "a.csv", rate=5)) == 10
    many = trace_read(tmp_path / "a.csv", rate=2_000, valley=0.0)
    assert len(many) < 1_000 and many[0].at == 0.0, "nearly nobody is left at both ends, where all of these are"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "", "line 1"),
        ("a.csv", "time,tokens\n1,2\n", "must name TIMESTAMP"),
        ("a.csv", AZURE + "yesterday,1,2\n", "line 4 cannot be read"),
        ("a.csv", AZURE + "2023-11-16 18:15:50.9,-4,2\n", "line 4 cannot be read"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no request"),
        ("a.jsonl", "{}\n", "line 1 cannot be read"),
        ("a.jsonl", "no json\n", "line 1 cannot be read"),
    ],
)
def test_files_that_are_no_trace(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TraceError, match=says):
        trace_read(tmp_path / name)
