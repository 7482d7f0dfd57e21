"""A proxy process and three simulated engines as replicas of one deployment: they are killed and stopped while requests run."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest

from apps.contracts.fleet import PROVIDER_PREFIX, REPLICAS_URL, EndpointFacts, ReplicaEndpoint
from apps.contracts.snapshot import Deadlines, Endpoint, Fragment, ProviderFragment
from apps.proxy.fleet.follow import FILE
from apps.simulator.harness import SimulatorServer
from tests.proxy.lab import KEY, ORG, Got, Lab, at, keys, prices, route, until
from tests.proxy.standalone import StandaloneProxy, free_port

pytestmark = pytest.mark.kill

CALM = Deadlines(first_byte_ms=60_000, idle_ms=60_000, total_ms=110_000)
"""So that what a test sees is the watch over replicas, not a deadline."""
CHAT = PROVIDER_PREFIX + "chat"
LONE = PROVIDER_PREFIX + "lone"
ROUTES = [
    route("chat", [at(CHAT, "sim-chat")], deadlines=CALM),
    route("prefilled", [at(CHAT, "sim-chat", prefill=True)], deadlines=CALM),
    route("sticky", [at(CHAT, "sim-chat")], deadlines=CALM, sticky="session"),
    route("lone", [at(LONE, "sim-chat")], deadlines=CALM, queue_ms=60_000),
    route("hasty", [at(LONE, "sim-chat")], deadlines=Deadlines(first_byte_ms=700, total_ms=110_000), queue_ms=60_000),
    route("hedged", [at(CHAT, "sim-chat"), at(LONE, "sim-chat")], deadlines=CALM, hedge_percent=100, hedge_after_ms=50),
    route("backed", [at(LONE, "sim-chat"), at("outside", "sim-chat")], deadlines=CALM),
]


@dataclass
class Place:
    lab: Lab
    engines: dict[str, SimulatorServer]
    """By replica's id."""

    def ask(self, count: int, *, stream: bool, model: str = "chat") -> list[list[Got]]:
        return [self.lab.later(model, stream=stream) for _ in range(count)]

    def replicas(self, deployment: str = "chat") -> dict[str, dict[str, Any]]:
        fleet = self.lab.states()["fleet"]
        found = next(row for row in fleet if row["deployment"] == f"{ORG}/{deployment}")
        return {row["replica"]: row for row in found["replicas"]}

    def waiting(self, deployment: str) -> int:
        """Requests that are held because no replica is there."""
        found = next(row for row in self.lab.states()["fleet"] if row["deployment"] == f"{ORG}/{deployment}")
        return int(found["waiting"])

    def idle(self) -> bool:
        return all(row["running"] == row["tokens"] == 0 for row in self.replicas().values())

    def script(self, *, first_byte_ms: float = 0, **behaviour: Any) -> None:
        for engine in self.engines.values():
            engine.control(models={"sim-chat": {"first_byte_ms": {"kind": "fixed", "value": first_byte_ms}, **behaviour}})

    def endpoints(self, got: Got) -> list[tuple[str, str, str]]:
        """(replica, role, outcome) of each attempt."""
        return [(a["endpoint"], a["role"], a["outcome"]) for a in self.lab.record(got)["attempts"]]


def deployment(name: str) -> ProviderFragment:
    return ProviderFragment(
        id=f"p-{name}",
        name=PROVIDER_PREFIX + name,
        kind="openai",
        organisation=ORG,
        simulated=True,
        allow_private_addresses=True,
        endpoints=[Endpoint(name="main", base_url=REPLICAS_URL)],
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        # on ports of their own: one that was killed comes back where it was
        servers = [stack.enter_context(SimulatorServer(f"engine-{number}", port=free_port(), process=True)) for number in range(4)]
        outside = stack.enter_context(SimulatorServer("outside"))
        names = [str(uuid.UUID(int=number + 1)) for number in range(4)]
        facts = [
            ReplicaEndpoint(
                replica=name,
                organisation=ORG,
                deployment="lone" if number == 3 else "chat",
                url=server.url,
                model="sim-chat",
                epoch=1,
                sequence=1,
                bearer="sk-of-the-engine",
            )
            for number, (name, server) in enumerate(zip(names, servers, strict=True))
        ]
        (folder / FILE).write_bytes(msgspec.json.encode(EndpointFacts(epoch=1, sequence=1, whole=True, endpoints=facts)))
        other = ProviderFragment(
            id="p-outside",
            name="outside",
            kind="openai",
            organisation=ORG,
            simulated=True,
            allow_private_addresses=True,
            endpoints=[Endpoint(name="main", base_url=outside.base_url)],
        )
        fragments: list[Fragment] = [deployment("chat"), deployment("lone"), other, *ROUTES, *prices(ROUTES), *keys()]
        proxy = stack.enter_context(StandaloneProxy(fragments, folder))
        client = stack.enter_context(httpx.Client(base_url=proxy.url, timeout=120, limits=httpx.Limits(max_connections=100)))
        yield Place(Lab(proxy, outside, outside, client), dict(zip(names, servers, strict=True)))


@pytest.fixture
def place(running: Place) -> Iterator[Place]:
    """All replicas are in rotation and have nothing to do; afterwards the killed are started again and the stopped go on."""
    running.script()
    yield running
    for engine in running.engines.values():
        assert engine.pid is not None and engine._process is not None
        if engine._process.poll() is None:
            os.kill(engine.pid, signal.SIGCONT)
        else:
            engine.stop()
            engine.start()
    for name in ("chat", "lone"):
        until(lambda name=name: not any(row["out"] for row in running.replicas(name).values()), "who was out is back")  # type: ignore[misc]
    until(running.idle, "nothing is outstanding")


def test_requests_go_to_replicas_and_records_name_them(place: Place) -> None:
    place.script(first_byte_ms=300)
    answers = place.ask(9, stream=False) + place.ask(9, stream=True)
    place.lab.join()
    chat = [name for name in place.engines if name in place.replicas()]
    used: Counter[str] = Counter()
    for got in answers:
        assert got[0].whole, got[0].body
        assert got[0].headers["x-bulkhead-fallback"] == "false"
        [(replica, role, outcome)] = place.endpoints(got[0])
        assert (role, outcome) == ("first", "ok")
        used[replica] += 1
    assert set(used) == set(chat) and len(chat) == 3
    assert max(used.values()) <= 8, "eighteen at once are shared out by what is outstanding"
    until(place.idle, "nothing is outstanding")


def test_a_replica_that_answers_with_an_error_is_not_the_only_one(place: Place) -> None:
    for engine in list(place.engines.values())[:2]:
        engine.control(models={"sim-chat": {"faults": ["503x3"]}})
    answers = [place.lab.ask("chat", stream=bool(number % 2)) for number in range(6)]
    assert all(got.whole for got in answers)
    assert any(len(place.endpoints(got)) > 1 for got in answers), "somebody had asked the one that refuses"


def test_whatever_ends_a_request_nothing_stays_outstanding(place: Place) -> None:
    """Apps that leave before and after the first output, hedges that lose, errors that are the app's own."""
    place.script(first_byte_ms=400, tokens_per_second=50, output_tokens={"kind": "fixed", "value": 100})
    early = [place.lab.send("chat", stream=bool(number % 2)) for number in range(8)]
    until(lambda: sum(row["running"] for row in place.replicas().values()) == 8, "eight run")
    for sock in early[:4]:
        sock.close()
    until(lambda: sum(row["running"] for row in place.replicas().values()) == 4, "four are gone")
    for sock in early[4:]:
        if sock.recv(1):
            sock.close()
    hedged = [place.lab.later("hedged", stream=bool(number % 2)) for number in range(6)]
    place.lab.join()
    assert all(got[0].whole for got in hedged)
    assert any(len(place.endpoints(got[0])) > 1 for got in hedged), "somebody was asked twice"
    for engine in place.engines.values():
        engine.control(models={"sim-chat": {"faults": ["400x9"]}})
    assert [place.lab.ask("chat").status for _ in range(3)] == [400] * 3
    until(place.idle, "nothing is outstanding")
    until(lambda: all(row["running"] == 0 for row in place.replicas("lone").values()), "nor there")
    assert not any(row["out"] for row in place.replicas().values()), "nobody was to blame"


def test_an_app_of_another_format_finds_replicas_and_is_rescued(place: Place) -> None:
    place.script(tokens_per_second=25, output_tokens={"kind": "fixed", "value": 40})
    asked = {"model": "chat", "max_tokens": 40, "stream": True, "messages": [{"role": "user", "content": "How far is the moon?"}]}
    head = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    with place.lab.client.stream("POST", "/v1/messages", json=asked, headers=head) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        seen = [next(lines) for _ in range(12)]
        victim = next(name for name, row in place.replicas().items() if row["running"])
        place.engines[victim].kill()
        seen += list(lines)
    assert any("message_stop" in line for line in seen) and not any('"type":"error"' in line for line in seen), seen[-6:]
    until(place.idle, "nothing is outstanding")


def test_a_dry_run_says_whom_it_would_ask_and_why(place: Place) -> None:
    told = place.lab.ask("chat", headers={"x-bulkhead-explain": "dry-run"})
    balancing = json.loads(told.body)["candidates"][0]["balancing"]
    assert balancing["deployment"] == "chat" and balancing["replica"] in place.replicas()
    assert balancing["because"] == "it has the least outstanding tokens, by its weight"
    assert {row["replica"] for row in balancing["replicas"]} == set(place.replicas())
    sticky = place.lab.ask("sticky", headers={"x-bulkhead-explain": "dry-run", "x-bulkhead-session": "ada"})
    asked = json.loads(sticky.body)["candidates"][0]["balancing"]
    got = place.lab.ask("sticky", headers={"x-bulkhead-session": "ada"})
    assert asked["because"] == "its session stays with it" and asked["replica"] == place.endpoints(got)[0][0]


def test_a_session_stays_with_its_replica(place: Place) -> None:
    for name in ("ada", "grace"):
        seen = set()
        for _ in range(6):
            got = place.lab.ask("sticky", headers={"x-bulkhead-session": name})
            assert got.whole
            seen.add(place.endpoints(got)[-1][0])
        assert len(seen) == 1


def test_a_killed_replica_costs_no_request(place: Place) -> None:
    """Half of what runs has its first output and half has not: the first goes on elsewhere, the second moves unseen."""
    place.script(first_byte_ms=200, tokens_per_second=20, output_tokens={"kind": "fixed", "value": 30})
    streams = place.ask(12, stream=True)
    chat = list(place.replicas())
    victim = next(iter(chat))
    until(lambda: place.replicas()[victim]["running"] > 0, "the victim has work")
    place.script(first_byte_ms=1_500, tokens_per_second=0)
    waiting = place.ask(12, stream=False)
    until(lambda: sum(row["running"] for row in place.replicas().values()) >= 20, "all run")
    place.engines[victim].kill()
    until(lambda: place.replicas()[victim]["out"] == "connection", "the victim is out")
    after = place.lab.ask("chat")
    place.lab.join()
    assert after.whole
    for got in (*streams, *waiting):
        assert got[0].whole, (got[0].status, got[0].body[-500:])
    moved = [place.endpoints(got[0]) for got in waiting]
    assert any(len(attempts) > 1 and attempts[0][0] == victim and attempts[1][1] == "failover" for attempts in moved)
    until(place.idle, "nothing is outstanding")


def test_a_stream_whose_rescuer_dies_too_goes_on_at_the_third(place: Place) -> None:
    place.script(tokens_per_second=20, output_tokens={"kind": "fixed", "value": 60})
    killed: list[str] = []
    with place.lab.send("prefilled", stream=True) as stream:
        text = ""
        for _ in range(2):
            shown = text.count('"content"') + 3
            while text.count('"content"') < shown:
                text += stream.recv(65_536).decode()
            [busy] = [id for id, row in place.replicas().items() if row["running"]]
            place.engines[busy].kill()
            killed.append(busy)
        while "data: [DONE]" not in text and "error" not in text:
            text += stream.recv(65_536).decode()
    assert "data: [DONE]" in text, text[-500:]
    id = text.partition("x-bulkhead-request-id: ")[2].partition("\r\n")[0]
    record = place.lab.client.get(f"/v1/requests/{id}", headers={"authorization": f"Bearer {KEY}"}).json()
    tried = [(one["endpoint"], one["role"], one["outcome"]) for one in record["attempts"]]
    assert tried[:2] == [(killed[0], "first", "error"), (killed[1], "rescue", "error")]
    assert tried[-1][1:] == ("rescue", "ok") and tried[-1][0] not in killed
    until(place.idle, "nothing is outstanding")


def test_a_request_whose_only_replica_was_silent_is_answered_when_that_gives_a_sign_of_life(place: Place) -> None:
    lone = next(iter(place.replicas("lone")))
    pid = place.engines[lone].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    held = place.lab.later("hasty", stream=False)
    until(lambda: place.waiting("lone") == 1, "its deadline is over, and it waits")
    os.kill(pid, signal.SIGCONT)
    place.lab.join()
    assert held[0].whole
    assert [row[1:] for row in place.endpoints(held[0])] == [("first", "error"), ("failover", "ok")]


def test_a_replica_that_dies_while_nobody_asks_is_out_before_somebody_does(place: Place) -> None:
    assert all(got[0].whole for got in place.ask(9, stream=False) if place.lab.join() is None)
    chat = list(place.replicas())
    place.engines[chat[0]].kill()
    until(lambda: place.replicas()[chat[0]]["out"] == "connection", "its hanging up was noticed")
    answers = [place.lab.ask("chat") for _ in range(4)]
    assert all(got.whole and [row[2] for row in place.endpoints(got)] == ["ok"] for got in answers), "nobody had asked it"


def test_a_silent_replica_is_noticed_and_comes_back(place: Place) -> None:
    chat = list(place.replicas())
    victim = chat[1]
    pid = place.engines[victim].pid
    assert pid is not None
    place.script(first_byte_ms=200)
    os.kill(pid, signal.SIGSTOP)
    answers = place.ask(12, stream=False) + place.ask(6, stream=True)
    place.lab.join()
    for got in answers:
        assert got[0].whole, (got[0].status, got[0].body[-500:])
    assert place.replicas()[victim]["out"] == "silence"
    assert any(len(place.endpoints(got[0])) > 1 for got in answers), "somebody had asked it"
    assert [place.endpoints(place.lab.ask("chat"))[0][0] != victim for _ in range(6)] == [True] * 6
    os.kill(pid, signal.SIGCONT)
    until(lambda: place.replicas()[victim]["out"] == "", "it is back")
    until(place.idle, "nothing is outstanding")


def test_a_request_waits_for_the_only_replica_and_not_where_another_target_is(place: Place) -> None:
    lone = next(iter(place.replicas("lone")))
    pid = place.engines[lone].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    first = place.lab.ask("backed")
    assert first.whole and first.headers["x-bulkhead-target"].startswith("outside/")
    until(lambda: place.replicas("lone")[lone]["out"] == "silence", "it is out")
    held = place.lab.later("lone")
    until(lambda: place.waiting("lone") == 1, "one waits")
    other = place.lab.ask("backed")
    assert other.whole and other.headers["x-bulkhead-target"].startswith("outside/")
    os.kill(pid, signal.SIGCONT)
    place.lab.join()
    assert held[0].whole
    assert [attempt[0] for attempt in place.endpoints(held[0])] == [lone]


def test_a_request_that_found_the_only_replica_dead_waits_for_it(place: Place) -> None:
    assert place.lab.ask("lone", stream=False).whole
    place.script(first_byte_ms=60_000)
    lone = next(iter(place.replicas("lone")))
    running = [place.lab.later("lone", stream=stream) for stream in (False, True)]
    until(lambda: place.replicas("lone")[lone]["running"] == 2, "two run")
    engine = place.engines[lone]
    engine.kill()
    until(lambda: place.waiting("lone") == 2, "both wait")
    late = place.lab.later("lone", stream=False)
    until(lambda: place.waiting("lone") == 3, "so does one more")
    engine.stop()
    engine.start()
    place.lab.join()
    assert all(got[0].whole for got in (*running, late)), [got[0].body for got in running]
    assert [row[2] for row in place.endpoints(late[0])] == ["ok"], "it was not sent where nobody is"
