"""Facts about replicas: newest wins, damage is refused, what was known last is kept; and what a process makes of them."""

from __future__ import annotations

import asyncio
import stat
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.fleet import EndpointFacts, ReplicaEndpoint
from apps.contracts.snapshot import BreakerPolicy
from apps.proxy.fleet.follow import FactsFollower
from apps.proxy.fleet.replicas import Deployment, Fleet, Replica, usable
from apps.proxy.store import StoreAway
from tests.scale import examples


def name(number: int) -> str:
    return str(uuid.UUID(int=number))


def fact(number: int, sequence: int = 1, **changes: Any) -> ReplicaEndpoint:
    given = {
        "replica": name(number),
        "organisation": "o",
        "deployment": "chat",
        "url": f"http://127.0.0.1:{20_000 + number}",
        "model": "m",
        "epoch": 1,
        "sequence": sequence,
    }
    return ReplicaEndpoint(**{**given, **changes})


def facts(*endpoints: ReplicaEndpoint, sequence: int, epoch: int = 1, whole: bool = False) -> EndpointFacts:
    return EndpointFacts(epoch=epoch, sequence=sequence, whole=whole, endpoints=list(endpoints))


def fleet() -> tuple[Fleet, Deployment]:
    found = Fleet(lambda: 0.0)
    return found, found.of("o", "chat")


def ids(deployment: Deployment) -> set[int]:
    return {uuid.UUID(replica).int for replica in deployment.replicas}


def test_changes_are_taken_over_and_older_ones_ignored() -> None:
    known, chat = fleet()
    assert known.apply(facts(fact(1), fact(2), sequence=5, whole=True))
    assert known.apply(facts(fact(3, 6), fact(1, 6, state="gone"), sequence=6))
    assert ids(chat) == {2, 3}
    assert not known.apply(facts(fact(1, 4), sequence=4)) and not known.apply(facts(sequence=6))
    assert ids(chat) == {2, 3} and (known.epoch, known.sequence) == (1, 6)
    assert known.apply(facts(fact(9, epoch=2), sequence=1, epoch=2, whole=True)), "another epoch begins anew"
    assert ids(chat) == {9}


def test_a_deployment_that_is_named_later_finds_what_was_said_before() -> None:
    known, _ = fleet()
    known.apply(facts(fact(1), fact(2, deployment="later"), sequence=1, whole=True))
    assert ids(known.of("o", "later")) == {2} and ids(known.of("other", "later")) == set()


def test_a_replica_keeps_its_seat_while_its_address_stays() -> None:
    known, chat = fleet()
    gone: list[Replica] = []
    known.on_gone = gone.append
    known.apply(facts(fact(1), sequence=1, whole=True))
    before = chat.replicas[name(1)]
    chat.balancer.take(before, 50)
    known.apply(facts(fact(1, 2, capacity_tokens=900, weight=50), sequence=2))
    assert chat.replicas[name(1)] is before and (before.capacity, before.weight, before.outstanding) == (900, 50, 50)
    known.apply(facts(fact(1, 3, url="http://127.0.0.1:1"), sequence=3))
    assert chat.replicas[name(1)] is not before and gone == [before]
    chat.balancer.give(before, 50)
    assert before.outstanding == 0


def test_draining_and_weightless_replicas_get_nothing() -> None:
    known, chat = fleet()
    known.apply(facts(fact(1, state="draining"), fact(2, weight=0), fact(3), sequence=1, whole=True))
    assert {chat.choose(1, [], b"", (), 0.0) for _ in range(10)} == {chat.replicas[name(3)]}
    chat.take_out(chat.replicas[name(3)], "silence", 0.0)
    assert chat.choose(1, [], b"", (), 0.0) is None, "nobody is better than who drains or is silent"


def test_out_by_a_broken_connection_is_asked_where_nobody_else_is_left() -> None:
    known, chat = fleet()
    known.apply(facts(fact(1), fact(2), sequence=1, whole=True))
    one, two = (chat.replicas[name(number)] for number in (1, 2))
    chat.take_out(one, "connection", 0.0)
    assert chat.choose(1, [], b"", (), 0.0) is two and chat.choose(1, [], b"", [two], 0.0) is one
    known.apply(facts(fact(1, 2), sequence=2))
    assert one.why == "connection" and not one.open, "facts do not bring it back"
    chat.bring_back(one)
    assert one.open and not one.why


def test_an_open_breaker_is_passed_over_and_asked_by_one_when_its_time_is_over() -> None:
    known = Fleet(lambda: 0.0)
    chat = known.of("o", "chat", BreakerPolicy(consecutive=1, open_ms=2_000))
    known.apply(facts(fact(1), fact(2), sequence=1, whole=True))
    one, two = (chat.replicas[name(number)] for number in (1, 2))
    one.state.breaker.failure(0.0)
    assert {chat.choose(1, [], b"", (), 1.0) for _ in range(10)} == {two}
    chat.balancer.take(two, 100)
    assert chat.choose(1, [], b"", (), 3.0) is one and chat.choose(1, [], b"", (), 3.0) is two, "one probe"
    two.state.resting_until = 9.0
    assert chat.choose(1, [], b"", (), 4.0) in (one, two), "asking is better than refusing"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h",
        "http://",
        "http://user@h",
        "http://h?x=1",
        "http://h#x",
        "http://h:0",
        "http://h:99999",
        "http://h/\r\nx: y",
        "//h",
        "h",
    ],
)
def test_an_address_that_cannot_be_called_is_left_out(url: str) -> None:
    assert not usable(fact(1, url=url))
    known, chat = fleet()
    known.apply(facts(fact(1, url=url), fact(2), sequence=1, whole=True))
    assert ids(chat) == {2}


def test_a_token_that_would_forge_a_header_is_left_out() -> None:
    assert not usable(fact(1, bearer="x\r\nhost: evil")) and usable(fact(1, bearer="sk-well"))


def test_what_no_route_names_is_forgotten_when_nothing_runs_there() -> None:
    known, chat = fleet()
    known.apply(facts(fact(1), sequence=1, whole=True))
    replica = chat.replicas[name(1)]
    chat.balancer.take(replica, 1)
    known.keep([])
    assert list(known) == [chat] and not known.wanted
    chat.balancer.give(replica, 1)
    known.keep([])
    assert list(known) == []
    known.keep(["o/chat"])
    assert known.wanted


STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["ready", "draining", "gone"]), st.sampled_from(["a", "b"])), min_size=1, max_size=30
)


@settings(max_examples=examples(60), deadline=None)
@given(STEPS, st.randoms(use_true_random=False))
def test_changes_and_the_whole_lead_to_the_same(steps: list[tuple[int, str, str]], random: Any) -> None:
    """Whatever is lost, doubled or overtaken on the way: who asks after what it has ends with what there is."""
    log = [fact(number, at, state=state, url=f"http://{host}:{30_000 + number}") for at, (number, state, host) in enumerate(steps, 1)]
    known, chat = fleet()
    for _ in range(20):
        at = random.randint(0, len(log))
        told = known.sequence if random.random() < 0.7 else random.randint(0, len(log))
        newest = {one.replica: one for one in log[told:at]}
        known.apply(facts(*newest.values(), sequence=at) if told <= known.sequence else facts(sequence=known.sequence))
    newest = {one.replica: one for one in log[known.sequence :]}
    known.apply(facts(*newest.values(), sequence=len(log)))
    there = {one.replica: one for one in log}
    assert {id: replica.fact.url for id, replica in chat.replicas.items()} == {
        id: one.url for id, one in there.items() if one.state != "gone"
    }
    assert {seat.id for seat in chat.balancer.ready} == {id for id, one in there.items() if one.state == "ready"}


class Source:
    """Answers what is put in, in turn; then that it is away."""

    def __init__(self, *answers: EndpointFacts | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int]] = []

    async def replica_facts(self, epoch: int, after: int) -> EndpointFacts | None:
        self.asked.append((epoch, after))
        if not self.answers:
            raise StoreAway("away")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


def test_what_was_known_last_is_kept_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "replicas.lkg"

    async def work() -> None:
        known, _ = fleet()
        follower = FactsFollower(Source(facts(fact(1, bearer="sk-x"), sequence=7, whole=True), None), known, file)
        await follower.ask()
        await follower.ask()
        await follower.ask()
        assert known.sequence == 7

    run(work)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again, chat = fleet()
    source = Source(facts(fact(2), sequence=3))
    follower = FactsFollower(source, again, file)
    follower.load()
    assert ids(chat) == {1}
    run(follower.ask)
    assert source.asked == [(1, 7)] and ids(chat) == {1}, "older than what is known"
    source.answers.append(facts(fact(2), sequence=3, whole=True))
    run(follower.ask)
    assert ids(chat) == {2}, "the database was set back"


def test_a_restored_database_is_believed(tmp_path: Path) -> None:
    known, chat = fleet()
    follower = FactsFollower(Source(facts(fact(2, epoch=9), sequence=1, epoch=9, whole=True)), known, tmp_path / "f")
    known.apply(facts(fact(1), sequence=7, whole=True))
    run(follower.ask)
    assert ids(chat) == {2} and (known.epoch, known.sequence) == (9, 1)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"epoch": "x"}', b"\x00\xff"])
def test_a_damaged_file_is_said_and_not_used(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "f").write_bytes(damage)
    known, chat = fleet()
    FactsFollower(Source(), known, tmp_path / "f").load()
    assert not chat.replicas and not known.known and "is not used" in caplog.text


def test_facts_that_cannot_be_read_leave_what_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known, chat = fleet()
    known.apply(facts(fact(1), sequence=1, whole=True))
    follower = FactsFollower(Source(msgspec.ValidationError("wrong"), StoreAway("away")), known, tmp_path / "f")
    run(follower.ask)
    run(follower.ask)
    assert ids(chat) == {1} and "the last known stay: wrong" in caplog.text


def test_a_request_waits_until_somebody_comes_or_its_patience_ends() -> None:
    async def work() -> None:
        known, chat = fleet()
        told: list[int] = []
        known.on_held = lambda: told.append(1)
        loop = asyncio.get_running_loop()
        waiting = [asyncio.ensure_future(chat.arrival(loop, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        assert (chat.waiting, chat.report(0.0).held, told) == (3, 3, [1])
        waiting[0].cancel()
        known.apply(facts(fact(1), sequence=1, whole=True))
        await asyncio.gather(*waiting, return_exceptions=True)
        assert chat.waiting == 0
        await chat.arrival(loop, 60)
        chat.take_out(chat.replicas[name(1)], "silence", 0.0)
        await chat.arrival(loop, 0.001)
        assert chat.waiting == 0

    run(work)
