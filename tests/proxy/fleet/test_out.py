"""What a proxy tells of replicas that it cannot reach, and when."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import msgspec

from apps.contracts.fleet import EndpointFacts, ReplicaEndpoint
from apps.contracts.reports import MAX_OUT, DeploymentReport, OutReport, deployments_in
from apps.proxy.fleet.replicas import Deployment, Fleet
from apps.proxy.gauges import Gauges


def known(now: list[float], *, count: int = 3) -> tuple[Fleet, Deployment]:
    """A deployment with replicas ``r0``, ``r1`` ..., the last of which drains."""
    fleet = Fleet(lambda: now[0])
    found = fleet.of("o", "chat")
    endpoints = [
        ReplicaEndpoint(
            replica=f"r{number}", organisation="o", deployment="chat", url=f"http://127.0.0.1:{number + 1}", model="m", epoch=1, sequence=1,
            state="draining" if number == count - 1 else "ready",
        )
        for number in range(count)
    ]  # fmt: skip
    fleet.apply(EndpointFacts(epoch=1, sequence=1, whole=True, endpoints=endpoints))
    return fleet, found


def test_who_is_out_is_named_with_when_it_left_and_not_when_it_was_asked_last() -> None:
    now = [100.0]
    _, chat = known(now)
    assert chat.report(0.0).out == [] and chat.report(0.0).answered_ms == 0
    for name, at in (("r1", 101.0), ("r0", 102.0), ("r2", 103.0)):
        chat.take_out(chat.replicas[name], "connection", at)
    chat.replicas["r1"].since = 150.0  # asked in vain
    chat.take_out(chat.replicas["r1"], "silence", 151.0)
    chat.replicas["r0"].answered = 90.0
    told = chat.report(1_000_000.0)
    assert told.out == [OutReport("r1", 1_101_000), OutReport("r0", 1_102_000)], "who drains is to go anyway"
    assert told.answered_ms == 1_090_000
    chat.bring_back(chat.replicas["r1"])
    assert chat.report(0.0).out == [OutReport("r0", 102_000)]


def test_those_that_are_named_are_the_longest_out_and_their_number_is_bounded() -> None:
    now = [0.0]
    _, chat = known(now, count=MAX_OUT + 6)
    for number in reversed(range(MAX_OUT + 5)):
        chat.take_out(chat.replicas[f"r{number}"], "connection", 500.0 - number)
    told = chat.report(0.0).out
    assert told is not None and [one.replica for one in told] == [f"r{MAX_OUT + 4 - number}" for number in range(MAX_OUT)]


def test_older_readers_and_writers_are_understood() -> None:
    report = DeploymentReport("o", "chat", 0, 1, 2, 3, 4, [OutReport("r0", 5)])
    assert deployments_in({"deployments": [report.plain()]}) == [report]
    assert deployments_in({"deployments": [["o", "chat", 0, 1, 2, 3]]}) == [DeploymentReport("o", "chat", 0, 1, 2, 3, 0, None)]

    class Before(msgspec.Struct, frozen=True, array_like=True):
        organisation: str
        name: str
        held: int
        running: int
        tokens: int
        asked: int

    assert msgspec.convert(report.plain(), Before) == Before("o", "chat", 0, 1, 2, 3)


def test_a_change_of_who_is_out_hurries_a_heartbeat_and_nothing_else_of_it_does() -> None:
    now = [10.0]
    fleet, chat = known(now)
    none: Any = SimpleNamespace(fleet=fleet, loop=SimpleNamespace(time=lambda: now[0]), offset_us=0)
    none.states = SimpleNamespace(bulkheads={})
    none.metrics, none.journal = SimpleNamespace(running=0), SimpleNamespace(fill=0.0)
    none.leases = SimpleNamespace(held=list)
    gauges = Gauges(none)
    assert not gauges.load_moved(1.0)
    chat.take_out(chat.replicas["r0"], "silence", 9.0)
    assert gauges.load_moved(2.0)
    [told] = deployments_in(gauges.detail())
    assert told.out is not None and abs(told.out[0].since_ms - (time.time() * 1000 - 1_000)) < 60_000, (
        "by the wall clock, as all times told"
    )
    now[0] = 30.0
    chat.replicas["r0"].since = 29.0
    chat.replicas["r1"].answered = 29.0
    assert not gauges.load_moved(20.0)
    chat.bring_back(chat.replicas["r0"])
    assert gauges.load_moved(21.0)
    gauges.detail()
    assert not gauges.load_moved(22.0)
