"""How many replicas, and why: the invariants that ``apps.fleet.scaling`` names, and each rule by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.fleet.scaling import Decision, Floor, Guards, Memory, Policy, PolicyError, Sample, decide, signals_of
from tests.scale import examples

POLICY = Policy(minimum=1, maximum=8, tokens_each=1_000, up_after=0, down_after=60, limit_seconds=30, up_most=8, down_most=8)


def sample(at: float = 0.0, *, ready: int = 2, **load: float | None) -> Sample:
    return Sample(at=at, ready=ready, **load)  # type: ignore[arg-type]


def one(policy: Policy, *samples: Sample, standing: int = 2, memory: Memory | None = None, **more: object) -> Decision:
    return decide(policy, samples, memory or Memory(), standing=standing, now=samples[-1].at, **more)  # type: ignore[arg-type]


def test_tokens_in_flight_ask_for_as_many_as_carry_them() -> None:
    decision = one(POLICY, sample(tokens=4_500))
    assert (decision.desired, decision.direction) == (5, "up")
    assert decision.because == "4,500 tokens in flight, 1,000 are well for a replica"
    assert decision.sentence() == "2 -> 5: 4,500 tokens in flight, 1,000 are well for a replica"


@pytest.mark.parametrize(
    ("load", "need"),
    [
        ({"waiting": 4.0}, 1),
        ({"waiting": 9.0}, 5),
        ({"kv": 0.8}, 2),
        ({"kv": 0.95}, 3),
        ({"ttft": 1.9}, 1),
        ({"ttft": 2.5}, 3),
        ({"ttft": 200.0}, 4),
        ({"kv": 0.95, "waiting": 9.0}, 5),
    ],
)
def test_each_signal_by_itself(load: dict[str, float], need: int) -> None:
    assert one(replace(POLICY, ttft_target=2.0), sample(**load)).need == need


def test_unknown_is_not_zero() -> None:
    decision = one(POLICY, sample())
    assert (decision.desired, decision.need, decision.because) == (2, None, "no signal is known")
    assert one(POLICY, sample(tokens=0.0, kv=None)).need == 1


def test_down_only_after_nobody_asked_for_as_many_for_long_enough() -> None:
    memory = one(POLICY, sample(tokens=4_000), standing=4).memory
    for at in (10.0, 30.0, 59.0):
        decision = one(POLICY, sample(at, tokens=500), standing=4, memory=memory)
        assert decision.desired == 4 and "4 were needed within 60 s" in decision.because
        memory = decision.memory
    decision = one(POLICY, sample(60.0, tokens=500), standing=4, memory=memory)
    assert (decision.desired, decision.direction) == (1, "down")


def test_up_only_after_everybody_asked_for_more_for_long_enough() -> None:
    policy = replace(POLICY, up_after=30)
    memory = one(policy, sample(0, tokens=500)).memory
    for at in (10.0, 30.0):
        decision = one(policy, sample(at, tokens=4_000), memory=memory)
        assert decision.desired == 2
        memory = decision.memory
    decision = one(policy, sample(30.5, tokens=6_000), memory=memory)
    assert decision.desired == 4, "as many as all of them asked for"


def test_limits_in_each_direction() -> None:
    policy = replace(POLICY, up_most=2, down_most=1)
    first = one(policy, sample(0, tokens=8_000))
    assert first.desired == 4 and "2 of them now" in first.because
    second = one(policy, sample(10, tokens=8_000), standing=4, memory=first.memory)
    assert second.desired == 4 and "2 were added within 30 s" in second.because
    third = one(policy, sample(30, tokens=8_000), standing=4, memory=second.memory)
    assert third.desired == 6
    down = one(policy, sample(200, tokens=10), standing=6, memory=third.memory)
    assert down.desired == 5


def test_to_zero_after_idleness_and_back_at_once() -> None:
    policy = replace(POLICY, minimum=0, idle_after=100, up_after=30)
    memory = Memory()
    standing = 1
    for at in range(0, 160, 10):
        decision = one(policy, sample(float(at), ready=1, tokens=0.0, waiting=0.0), standing=standing, memory=memory)
        memory, standing = decision.memory, decision.desired
        assert standing == (1 if at < 160 - 10 else 0) or at >= 100
    assert standing == 0
    decision = one(policy, sample(200, ready=0, held=3, waiting=3.0), standing=0, memory=memory)
    assert decision.desired == 1 and "3 held" in decision.because and "at once" in decision.because


def test_a_scheduled_floor_holds_and_ends() -> None:
    # 2026-11-23 is a Monday
    floors = (Floor(3, frozenset({0}), 8 * 60, 18 * 60),)
    policy = replace(POLICY, floors=floors, zone="Europe/Zurich")
    monday_nine = datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
    assert policy.floor(monday_nine) == 3
    assert policy.floor(monday_nine + 10 * 3600) == 1
    assert policy.floor(monday_nine + 24 * 3600) == 1
    night = Floor(2, frozenset({6}), 22 * 60, 6 * 60)
    assert replace(POLICY, floors=(night,)).floor(monday_nine - 4 * 3600) == 2, "Sunday's night lasts into Monday"
    decision = decide(policy, [sample(5.0)], Memory(), standing=1, now=5.0, wall=monday_nine)
    assert decision.desired == 3 and decision.because == "the floor is 3"


def test_load_that_rises_counts_at_once_and_load_that_falls_only_by_its_mean() -> None:
    quiet = [sample(float(at), tokens=500) for at in range(17)]
    rising = [*quiet, sample(18.0, tokens=3_000), sample(19.0, tokens=3_000)]
    assert one(POLICY, *rising).need == 3, "the mean of the last four seconds, of which half are quiet"
    assert one(replace(POLICY, rise=0), *rising).need == 1, "the mean of the look-back has not seen it yet"
    falling = [sample(float(at), tokens=3_000) for at in range(17)] + [sample(18.0, tokens=500), sample(19.0, tokens=500)]
    assert one(POLICY, *falling).need == 3
    with pytest.raises(PolicyError, match="rise is -1"):
        Policy(rise=-1)


@pytest.mark.parametrize(
    ("bound", "name", "words"),
    [
        ("power_guard", "power", "the GPUs draw 90% of their power limit (power_guard is 70%)"),
        ("memory_guard", "memory", "90% of the GPUs' memory is in use (memory_guard is 70%)"),
        ("utilisation_guard", "utilisation", "the GPUs work 90% of the time (utilisation_guard is 70%)"),
    ],
)
def test_each_guard_stops_a_step_down_explains_it_and_decides_nothing_alone(bound: str, name: str, words: str) -> None:
    policy = replace(POLICY, **{bound: 0.7})
    busy, calm = {name: 0.9}, {name: 0.6}
    held = one(policy, sample(tokens=0.0, **busy), standing=3)
    assert (held.desired, held.guarded) == (3, True) and words in held.because
    assert one(policy, sample(tokens=0.0, **calm), standing=3).desired == 1
    assert one(POLICY, sample(tokens=0.0, **busy), standing=3).desired == 1, "without a bound nothing is guarded"
    moment = [sample(0.0, tokens=0.0, **busy), sample(1.0, tokens=0.0, **calm)]
    assert one(policy, *moment, standing=3).guarded, "one quiet moment lets nothing pass"
    assert one(policy, sample(tokens=None, **busy), standing=3).need is None, "unknown load stays unknown, whatever cards say"
    up = one(policy, sample(tokens=5_000.0, **busy), standing=3)
    assert up.desired == 5 and getattr(up.guards, name) == 0.9, "it is kept with a decision that it did not touch"
    with pytest.raises(PolicyError, match="shares: at most 1"):
        replace(POLICY, **{bound: 1.5})


def test_gpus_that_work_hard_stop_a_step_down_and_cause_none_up() -> None:
    policy = replace(POLICY, power_guard=0.7)
    held = one(policy, sample(tokens=0.0), standing=3, guards=Guards(power=0.9, utilisation=1.0))
    assert held.desired == 3 and held.guarded and "90% of their power limit" in held.because
    assert one(policy, sample(tokens=0.0), standing=3, guards=Guards(power=0.3, utilisation=1.0)).desired == 1
    assert one(policy, sample(tokens=1_900.0), standing=2, guards=Guards(power=1.0, utilisation=1.0, memory=1.0)).desired == 2


def test_machines_are_asked_for_where_the_pool_has_no_room() -> None:
    assert one(POLICY, sample(tokens=6_000), room=1).machines == 3
    assert one(POLICY, sample(tokens=6_000), room=9).machines == 0
    assert one(POLICY, sample(tokens=6_000)).machines == 0, "not known is not none"


def test_a_dry_run_says_what_it_would_have_done() -> None:
    decision = one(replace(POLICY, dry_run=True), sample(tokens=4_500))
    assert decision.sentence().startswith("would have: 2 -> 5: ")
    assert decision.memory.steps == (), "nothing was done that limits count"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"minimum": 5, "maximum": 4}, "0 <= minimum <= maximum"),
        ({"maximum": 0, "minimum": 0}, "maximum >= 1"),
        ({"down_after": -1.0}, "down_after is -1.0"),
        ({"look_back": 0.0}, "look_back"),
        ({"kv_target": 1.5}, "are shares"),
        ({"zone": "Mars/Olympus"}, "no time zone"),
        ({"waiting_each": 0, "kv_target": 0, "tokens_each": 0}, "every signal is left out"),
        ({"floors": (Floor(99),)}, "scheduled floor"),
        ({"up_after": float("nan")}, "up_after is nan"),
    ],
)
def test_policies_that_cannot_be_followed(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        replace(POLICY, **wrong)  # type: ignore[arg-type]


POLICIES = st.builds(
    Policy,
    minimum=st.integers(0, 2),
    maximum=st.integers(2, 12),
    tokens_each=st.just(1_000.0),
    ttft_target=st.sampled_from([0.0, 1.0]),
    look_back=st.sampled_from([5.0, 30.0]),
    up_after=st.sampled_from([0.0, 20.0]),
    down_after=st.sampled_from([0.0, 60.0, 300.0]),
    up_most=st.integers(1, 12),
    down_most=st.integers(1, 12),
    limit_seconds=st.sampled_from([10.0, 60.0]),
    idle_after=st.sampled_from([0.0, 50.0]),
)
LOADS = st.fixed_dictionaries(
    {
        "waiting": st.none() | st.floats(0, 200),
        "tokens": st.none() | st.floats(0, 20_000),
        "kv": st.none() | st.floats(0, 1),
        "ttft": st.none() | st.floats(0, 30),
        "held": st.integers(0, 3),
    }
)


@settings(max_examples=examples(150), deadline=None)
@given(POLICIES, st.lists(LOADS, min_size=1, max_size=60), st.integers(0, 12), st.floats(1, 20))
def test_within_bounds_without_flapping(policy: Policy, loads: list[dict[str, float]], standing: int, every: float) -> None:
    """A deployment whose replicas are ready at once follows any load: bounds, limits and stabilisation hold at each step."""
    standing = min(max(standing, policy.minimum), policy.maximum)
    memory, samples = Memory(), []
    moved: list[tuple[float, int]] = []
    for number, load in enumerate(loads):
        now = number * every
        held = load["held"] if standing == 0 else 0
        samples.append(Sample(at=now, ready=standing, **{**load, "held": held}))  # type: ignore[arg-type]
        decision = decide(policy, samples, memory, standing=standing, now=now)
        assert policy.minimum <= decision.desired <= policy.maximum
        assert (decision.direction == "hold") == (not decision.changes)
        assert decision.because
        change = decision.desired - standing
        for at, before in moved:
            if change < 0 and before > 0:
                assert now - at >= policy.down_after, "down after up"
            if change > 0 and before < 0 and standing > 0:
                assert now - at >= policy.up_after, "up after down"
        lately = [step for at, step in (*moved, (now, change)) if now - at < policy.limit_seconds]
        assert -sum(step for step in lately if step < 0) <= policy.down_most
        if change:
            moved.append((now, change))
        standing, memory = decision.desired, decision.memory


@settings(max_examples=examples(150), deadline=None)
@given(POLICIES, LOADS, st.sampled_from(["waiting", "tokens", "kv", "ttft"]), st.floats(0, 50), st.integers(0, 12))
def test_more_load_never_needs_fewer(policy: Policy, load: dict[str, float | None], which: str, more: float, ready: int) -> None:
    if load[which] is None:
        return
    greater = {**load, which: load[which] + more}  # type: ignore[operator]
    least, most = (Sample(at=0.0, ready=ready, **values) for values in (load, greater))  # type: ignore[arg-type]
    before = {signal.name: signal.need for signal in signals_of(policy, [least], ready)}
    after = {signal.name: signal.need for signal in signals_of(policy, [most], ready)}
    assert all(after[name] >= need for name, need in before.items())
    needs = [decide(policy, [one], Memory(busy_at=0.0), standing=ready, now=0.0).need for one in (least, most)]
    assert needs[0] is None or needs[1] is None or needs[0] <= needs[1]
