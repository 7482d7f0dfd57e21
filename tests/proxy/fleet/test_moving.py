"""When a request has failed at every replica in rotation: does it wait for another try?"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from apps.contracts.fleet import EndpointFacts, ReplicaEndpoint
from apps.proxy.errors import AttemptFailed, UpstreamAnswered, UpstreamBroken, UpstreamSilent
from apps.proxy.fleet.moving import _may_wait, end_of
from apps.proxy.fleet.replicas import Deployment, Fleet, Replica
from apps.proxy.fleet.tries import Tries
from apps.proxy.runtime import CompiledRoute

SILENT, BROKEN = UpstreamSilent("first byte", 6.0), UpstreamBroken("reset", code="upstream_error", sent=True)
BUSY, WRONG = UpstreamAnswered(503, {}, b""), UpstreamAnswered(500, {}, b"")


def made(*names: str) -> Deployment:
    fleet = Fleet(asyncio.get_running_loop().time)
    found = fleet.of("o", "chat")
    facts = [
        ReplicaEndpoint(replica=name, organisation="o", deployment="chat", url=f"http://127.0.0.1:{port}", model="m", epoch=1, sequence=1)
        for port, name in enumerate(names, 9)
    ]
    fleet.apply(EndpointFacts(epoch=1, sequence=1, whole=True, endpoints=facts))
    return found


def over(*deployments: Deployment | None) -> CompiledRoute:
    return cast(CompiledRoute, SimpleNamespace(live=[SimpleNamespace(replicas=one) for one in deployments]))


async def test_a_request_waits_unless_another_target_could_answer_or_the_dispatcher_asks_again() -> None:
    chat = made("one")
    replicas = list(chat.replicas.values())
    tries: Tries[Replica] = Tries()

    def waits(failed: AttemptFailed, *targets: Deployment | None) -> bool:
        return _may_wait(chat, over(*(targets or (chat,))), tries, failed)

    tries.failed(replicas[0], 1.0, "refused")
    assert not waits(WRONG) and not waits(BROKEN), "the only one is the dispatcher's to try again"
    assert waits(BUSY), "it says that it cannot now"
    assert waits(SILENT), "it is asked whether it lives"
    assert not waits(SILENT, chat, None) and not waits(BUSY, chat, None), "another target is better"
    chat.take_out(replicas[0], "connection", 2.0)
    assert waits(BROKEN), "nobody is in rotation"
    chat = made("one", "two", "three")
    assert waits(BUSY) and waits(BROKEN) and waits(WRONG), "others may come back"
    assert not waits(BUSY, chat, None)


async def test_a_sign_of_life_wakes_who_waits_for_a_replica_in_rotation() -> None:
    chat, loop = made("one", "two", "three"), asyncio.get_running_loop()
    replicas = list(chat.replicas.values())
    waiting = asyncio.ensure_future(chat.arrival(loop, 60, replicas))
    await asyncio.sleep(0)
    assert chat.waiting == 1
    chat.take_out(replicas[1], "silence", 1.0)
    chat.heard(replicas[1], 2.0)
    await asyncio.sleep(0)
    assert not waiting.done(), "it is out"
    chat.heard(replicas[0], 2.0)
    await asyncio.wait_for(waiting, 60)
    assert chat.waiting == 0 and replicas[0].answered == 2.0
    await chat.arrival(loop, 60, replicas[:1])  # somebody else is there


def test_how_an_attempt_failed() -> None:
    assert [end_of(one) for one in (SILENT, BROKEN, BUSY)] == ["silent", "broken", "refused"]
