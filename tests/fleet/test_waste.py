"""What own GPUs cost while nothing ran: hours, money and suggestions, each with its arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.fleet_facts import EngineMetrics, GpuProcess
from apps.fleet.counting import gpu_time_count
from apps.fleet.models import Deployment, GpuTime, Replica, Worker
from apps.fleet.reconciling import fleet_reconcile
from apps.fleet.waste import NANO, STATES, Use, by_team, cost, quiet_hours, suggestions
from apps.fleet.waste_selectors import gpu_uses
from controlplane import env
from controlplane.checks import fleet_settings
from tests.fleet.conftest import GB, FakeAgent, now_ms
from tests.scale import examples

DAY = dict.fromkeys(range(8, 20), (3.0, 1.0))
NIGHT = dict.fromkeys((*range(20, 24), *range(8)), (0.0, 4.0))


def use(**facts: object) -> Use:
    given: dict[str, object] = {
        "deployment": "chat",
        "team": "Search",
        "hours": {"serving": 36.0, "idle": 60.0},
        "by_hour": {**DAY, **NIGHT},
        "days": 4,
        "clock": 96,
        "price": 2 * NANO,
    }
    return Use(**{**given, **facts})  # type: ignore[arg-type]


def test_a_quiet_night_is_worth_scaling_to_zero() -> None:
    [found] = suggestions([use()])
    assert (found.kind, found.words) == ("night", "scale to zero from 20:00 to 08:00 UTC")
    assert found.saves == 48.0 and found.saves_nano == 96 * NANO
    assert found.arithmetic == "48.0 h idle in these 12 hours of 4 days, and next to nothing served: 48.0 h x $2.00 an hour = $96.00."


def test_what_is_there_for_nothing_much_is_consolidated() -> None:
    busy = dict.fromkeys(range(24), (4.0, 12.0))
    [found] = suggestions([use(hours={"serving": 96.0, "idle": 288.0}, by_hour=busy, least=1)])
    assert found.kind == "consolidate" and found.words == "run 2 replicas instead of 4.0"
    assert found.saves == pytest.approx(192.0)
    assert "serving 25% of the time; 2 would be serving 50% of it" in found.arithmetic
    assert suggestions([use(hours={"serving": 96.0, "idle": 288.0}, by_hour=busy, least=4)]) == [], "people want four at least"


def test_a_gpu_that_is_far_too_large() -> None:
    busy = dict.fromkeys(range(24), (4.0, 0.0))
    [found] = suggestions([use(hours={"serving": 96.0}, by_hour=busy, memory_each=8 * GB, memory_gpu=80 * GB, price=None)])
    assert found.kind == "smaller" and "8.0 of 80.0 GB (10%)" in found.arithmetic
    assert found.saves == pytest.approx(86.4) and found.saves_nano is None and "$" not in found.arithmetic


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"memory_used": 9 * GB, "utilisation": 0.2}, "(11%), had 9.0 GB in use at most, its GPUs worked 20% of the time while"),
        ({"memory_used": 2 * GB}, "(10%), had 2.0 GB in use at most, and the rest"),
        ({"memory_used": 70 * GB}, ""),
        ({"utilisation": 0.9}, ""),
    ],
)  # fmt: skip
def test_a_smaller_gpu_is_suggested_by_what_the_gpus_told_too(facts: dict[str, float], words: str) -> None:
    busy = dict.fromkeys(range(24), (4.0, 0.0))
    found = suggestions([use(hours={"serving": 96.0}, by_hour=busy, memory_each=8 * GB, memory_gpu=80 * GB, **facts)])
    assert [one.kind for one in found] == (["smaller"] if words else [])
    assert not words or words in found[0].arithmetic


def test_too_little_is_known_for_a_habit() -> None:
    assert suggestions([use(days=2, clock=48)]) == []
    assert suggestions([use(by_hour={}, hours={})]) == []


def test_teams_are_summed_and_mixed_prices_are_none() -> None:
    first, second = by_team([use(), use(deployment="other", hours={"idle": 1.0}), use(team="Ads", price=None)])
    assert (first.team, first.hours["idle"], first.price) == ("Search", 61.0, 2 * NANO)
    assert second.team == "Ads" and second.idle_nano is None
    assert cost(1 / 3, 1) == 1, "rounded up"


HOURS = st.dictionaries(st.integers(0, 23), st.tuples(st.floats(0, 50), st.floats(0, 50)))


@settings(max_examples=examples(100), deadline=None)
@given(HOURS, st.integers(0, 40), st.integers(0, 4), st.none() | st.integers(0, 10 * NANO))
def test_no_suggestion_saves_more_than_there_is(by_hour: dict[int, tuple[float, float]], days: int, gpus: int, price: int | None) -> None:
    serving, idle = (sum(pair[at] for pair in by_hour.values()) for at in (0, 1))
    one = use(hours={"serving": serving, "idle": idle}, by_hour=by_hour, days=days, clock=days * 24, gpus=gpus, price=price)
    for found in suggestions([one]):
        assert 0 < found.saves <= one.total + 1e-6
        assert (found.saves_nano is None) == (price is None)
        assert found.words and found.arithmetic.endswith(".")
        if found.kind == "night":
            assert found.saves <= idle + 1e-6
    quiet = quiet_hours(by_hour)
    if quiet is not None:
        assert 4 <= quiet[1] <= 24 and 0 <= quiet[0] <= 23


def counted(deployment: Deployment, worker: FakeAgent, hour: datetime, **states: float) -> None:
    for state, hours in states.items():
        spent = hours * 3600
        GpuTime.objects.create(
            hour=hour, deployment=deployment, worker=worker.worker, state=state, seconds=spent, gpu_seconds=spent * deployment.gpus
        )


def test_hours_are_read_with_owner_price_and_tokens(
    agent: Callable[..., FakeAgent], deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_GPU_HOUR_PRICES", "H100=4, L4=0.80")
    worker = agent("w1", gpus=2)
    worker.beat()
    deployment = deploy(gpus=2, memory=10 * GB)
    hour = datetime(2026, 11, 2, 9, tzinfo=UTC)
    counted(deployment, worker, hour, serving=0.25, idle=0.75)
    counted(deployment, worker, hour + timedelta(hours=40), idle=1.0)
    asked: list[int] = []

    def tokens() -> dict[str, int]:
        asked.append(1)
        return {"deployment:chat": 7_200}

    def read(start: datetime, end: datetime, simulated: bool = True) -> list[Use]:
        return gpu_uses(organisation=deployment.organisation_id, simulated=simulated, start=start, end=end, tokens=tokens)

    [found] = read(hour, hour + timedelta(hours=1))
    assert found.hours == {"serving": 0.5, "idle": 1.5} and found.by_hour == {9: (0.5, 1.5)}
    assert found.tokens_per_second == 1.0 and found.idle_share == 0.75
    assert (found.price, found.idle_nano, found.team) == (NANO * 8 // 10, 1_200_000_000, "nobody's")
    assert [state for state, _ in found.each] == list(STATES)
    assert read(hour, hour + timedelta(days=3))[0].days == 2
    asked.clear()
    assert read(hour + timedelta(days=9), hour + timedelta(days=10)) == [] == read(hour, hour + timedelta(days=3), simulated=False)
    assert asked == [], "where nothing was counted nothing more is asked"


def test_time_is_counted_with_what_the_gpus_told(agent: Callable[..., FakeAgent], deploy: Callable[..., Deployment]) -> None:
    worker = agent("w1", gpus=2, memory=80 * GB)
    worker.beat()
    deployment = deploy(gpus=1, memory=8 * GB)
    fleet_reconcile()
    worker.obey()
    [replica] = Replica.objects.all()
    [uuid] = replica.spec["gpus"]

    def told(used: int, utilisation: float | None, running: int, **more: Any) -> None:
        mine = {"memory_used": used, "utilisation": utilisation, **more}
        worker.gpus = [msgspec.structs.replace(gpu, **(mine if gpu.uuid == uuid else {"memory_used": 79 * GB})) for gpu in worker.gpus]
        metrics = EngineMetrics(at_ms=now_ms(), running=running)
        worker.reports = [msgspec.structs.replace(report, metrics=metrics) for report in worker.reports]
        worker.beat()

    now = timezone.now().replace(minute=10, second=0, microsecond=0)
    Worker.objects.update(last_seen_at=now)
    gpu_time_count(now=now)
    own = {"processes": [GpuProcess(pid=1, memory=6 * GB, replica=str(replica.pk))]}
    looks: list[Any] = [(5 * GB, 0.2, 3, {}), (9 * GB, 0.4, 3, {}), (20 * GB, None, 3, own)]
    for number, (used, utilisation, running, more) in enumerate([*looks, (5 * GB, 0.9, 0, {"processes": None})], 1):
        told(used, utilisation, running, **more)
        Worker.objects.update(last_seen_at=now + timedelta(minutes=number))
        gpu_time_count(now=now + timedelta(minutes=number))
    kept = {row.state: (row.gpu_seconds, row.memory_peak, row.measured_seconds, row.busy_seconds) for row in GpuTime.objects.all()}
    assert kept["serving"] == (180.0, 9 * GB, 120.0, pytest.approx(36.0)), "the others' memory on a shared card is not its own"
    assert kept["idle"] == (60.0, 5 * GB, 60.0, 54.0)
    hour = timedelta(hours=1)
    period: Any = {"organisation": deployment.organisation_id, "simulated": True, "start": now - hour, "end": now + hour, "tokens": dict}
    [found] = gpu_uses(**period)
    assert (found.memory_used, found.utilisation) == (9 * GB, pytest.approx(0.3)), "of the time while it served"
    Deployment.objects.update(engine="vllm")
    [found] = gpu_uses(**period)
    assert found.memory_used is None, "it takes all of it beforehand"


def test_prices_are_read_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_GPU_HOUR_PRICES", " H100 = 3.9 ,*=2.50,")
    assert env.gpu_hour_prices() == {"H100": 3_900_000_000, "*": 2_500_000_000}
    for wrong in ("H100", "=3", "H100=three", "H100=-1", "H100=nan"):
        monkeypatch.setenv("BULKHEAD_GPU_HOUR_PRICES", wrong)
        with pytest.raises(env.SettingError, match="dollars an hour"):
            env.gpu_hour_prices()
        assert [found.id for found in fleet_settings(None)] == ["bulkhead.E040"], "and nothing starts with it"
    monkeypatch.delenv("BULKHEAD_GPU_HOUR_PRICES")
    assert env.gpu_hour_prices() == {} and list(fleet_settings(None)) == []


def test_the_page_of_what_was_in_vain_shows_own_gpus(
    agent: Callable[..., FakeAgent], deploy: Callable[..., Deployment], signed_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_GPU_HOUR_PRICES", "*=2")
    client = signed_in("admin")
    assert "none measured" in client.get("/spend/waste/").content.decode()
    worker = agent("w1", gpus=1, memory=80 * GB)
    worker.beat()
    deployment = deploy(gpus=1, memory=8 * GB)
    counted(deployment, worker, timezone.now().replace(minute=0, second=0, microsecond=0), serving=2.0, idle=6.0)
    page = re.sub(r"\s+", " ", client.get("/spend/waste/").content.decode())
    assert "Own GPUs" in page and "What would cost less" in page
    assert "$12.00" in page, "six hours idle at two dollars"
    assert "Use a smaller GPU" in page and "8.0 of 80.0 GB (10%)" in page
