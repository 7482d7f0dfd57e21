"""What heartbeats say of targets: only those in trouble, the worst first, bounded, and every event once."""

from __future__ import annotations

from msgspec.structs import replace

from apps.contracts.reports import MAX_EVENTS, MAX_TARGETS, events_in, place_of, targets_in
from apps.contracts.snapshot import (
    BreakerPolicy,
    Change,
    Delta,
    Endpoint,
    FlagFragment,
    ForcedBreaker,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
    encode_fragment,
)
from apps.proxy.breaker import Breaker, Breakers
from apps.proxy.holder import Holder
from apps.proxy.report import KEPT_MS, QUIET_MS, Report
from apps.proxy.runtime import CompiledTarget
from apps.proxy.state import States

POLICY = BreakerPolicy(consecutive=2, open_ms=1_000)


class Process:
    """A process with some targets of one provider at a settable time."""

    def __init__(self, models: int = 2, forced: str = "") -> None:
        self.now = 100.0
        self.states = States(lambda: self.now, Breakers())
        self.heard: list[str] = []
        self.states.breakers.on_change = lambda key, breaker: self.heard.append(key)
        self.report = Report(self.states, lambda: self.now, lambda: int(self.now * 1_000))
        self.holder = Holder(None, lambda: 0)
        self.holder.attach = self.states.attach
        provider = ProviderFragment(
            id="p", name="east", kind="openai", organisation="o-1", endpoints=[Endpoint(name="main", base_url="http://127.0.0.1:1/v1")]
        )
        self.targets = [Target(provider="east", model=f"m/{number}", max_concurrency=1) for number in range(models)]
        route = RouteFragment(
            id="r",
            name="chat",
            organisation="o-1",
            targets=self.targets,
            resilience=Resilience(breaker=POLICY),
            forced=[ForcedBreaker(target=self.targets[0], state="open")] if forced else [],
        )
        changes = [Change("providers", "p", encode_fragment(provider)), Change("routes", "r", encode_fragment(route))]
        self.holder.apply(Delta(0, 1, changes))

    def target(self, number: int = 0) -> CompiledTarget:
        return self.holder.current.tables["o-1"]["chat"].targets[number]

    def breaker(self, number: int = 0) -> Breaker:
        return self.target(number).state.breaker

    def open(self, number: int = 0) -> None:
        for _ in range(POLICY.consecutive):
            self.breaker(number).failure(self.now)


def test_while_all_is_well_nothing_is_said() -> None:
    assert Process().report.detail() == {}


def test_an_outage_is_one_event_and_one_row_until_it_is_over() -> None:
    process = Process()
    process.open()
    (row,) = targets_in(process.report.detail())
    assert (row.key, row.state, row.since_ms) == ("o-1/east/main/m/0", "open", 100_000)
    assert place_of(row.key) == ("o-1", "east", "main", "m/0")
    process.now += 2
    assert process.breaker().allows(process.now)
    process.breaker().failure(process.now)  # a failed probe: the same outage
    assert targets_in(process.report.detail()) == [row]
    process.now += 5
    assert process.breaker().allows(process.now)
    process.breaker().success(process.now)
    detail = process.report.detail()
    assert "targets" not in detail
    assert [(event.number, event.kind, event.at_ms) for event in events_in(detail)] == [(1, "opened", 100_000), (2, "closed", 107_000)]
    assert len(process.heard) == 3
    process.now += KEPT_MS / 1_000 + 1
    assert process.report.detail() == {}


def test_a_flip_that_sends_traffic_elsewhere_closes_no_breaker() -> None:
    process = Process()
    process.open()
    (row,) = targets_in(process.report.detail())
    route = process.holder.current.tables["o-1"]["chat"].fragment
    route = replace(route, targets=process.targets[:1], fallback=process.targets[1:])
    process.holder.apply(Delta(1, 2, [Change("routes", "r", encode_fragment(route))]))
    flag = FlagFragment(id="f", name="elsewhere", organisation="o-1", kind="fallback", subject="route", subject_id="r", on=True)
    for version, on in ((3, True), (4, False)):
        process.holder.apply(Delta(version - 1, version, [Change("flags", "f", encode_fragment(flag) if on else None)]))
        chain = [target.model for target in process.holder.current.tables["o-1"]["chat"].targets]
        assert chain == (["m/1"] if on else ["m/0"]) and targets_in(process.report.detail()) == [row]
    assert [event.kind for event in events_in(process.report.detail())] == ["opened"]
    process.now += 2
    assert process.breaker().allows(process.now)
    process.breaker().success(process.now)
    assert [event.kind for event in events_in(process.report.detail())] == ["opened", "closed"]


def test_forced_breakers_are_shown_and_are_no_events() -> None:
    process = Process(forced="open")
    detail = process.report.detail()
    assert [row.state for row in targets_in(detail)] == ["forced_open"] and "events" not in detail
    process.states.breakers.force(process.target().key, "", process.now)
    assert process.report.detail() == {}


def test_resting_and_waiting_targets_are_shown_without_a_countdown() -> None:
    process = Process()
    state = process.target().state
    state.resting_until = process.now + 20
    (row,) = targets_in(process.report.detail())
    assert row.state == "closed" and row.resting_until_ms == 120_000
    process.now += 1
    assert targets_in(process.report.detail()) == [row]
    process.now += 20
    assert process.report.detail() == {}
    slots = state.slots
    assert slots is not None and slots.take()
    assert slots.wait(1, process.now + 1, process.now) is not None
    assert [row.waiting for row in targets_in(process.report.detail())] == [1]


def test_a_refused_credential_is_told_once_a_minute() -> None:
    process = Process()
    for _ in range(3):
        process.report.credential_refused(process.target(), 401)
    process.report.credential_refused(process.target(1), 403)
    process.now += QUIET_MS / 1_000
    process.report.credential_refused(process.target(), 401)
    found = [(event.kind, event.key[-1], event.status) for event in events_in(process.report.detail())]
    assert found == [("refused", "0", 401), ("refused", "1", 403), ("refused", "0", 401)]


def test_what_is_said_is_bounded_the_worst_first() -> None:
    process = Process(models=MAX_TARGETS + 5)
    for number in range(MAX_TARGETS + 5):
        process.open(number)
    process.now += 2
    assert process.breaker(7).allows(process.now)
    detail = process.report.detail()
    rows = targets_in(detail)
    assert len(rows) == MAX_TARGETS and detail["targets_more"] == 5 and {row.state for row in rows} == {"open"}
    events = events_in(detail)
    assert len(events) == MAX_EVENTS and events[-1].number == MAX_TARGETS + 5


def test_a_target_that_no_config_names_is_not_reported() -> None:
    process = Process()
    process.open()
    process.holder.apply(Delta(1, 2, [Change("routes", "r", None)]))
    assert "targets" not in process.report.detail()


def test_readers_leave_out_what_they_do_not_understand() -> None:
    assert targets_in({"targets": [{"key": "a/b/c/d", "state": "open", "colour": 1}, {"key": 1}, 7]})[0].key == "a/b/c/d"
    assert targets_in({"targets": "none"}) == [] == events_in({})
    assert place_of("a/b") is None and place_of("a//c/d") is None
