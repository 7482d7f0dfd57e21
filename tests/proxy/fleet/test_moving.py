"""When all replicas were tried: who may be tried a second time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from apps.contracts.fleet import EndpointFacts, ReplicaEndpoint
from apps.proxy.fleet.moving import _again
from apps.proxy.fleet.replicas import Deployment, Fleet
from apps.proxy.runtime import CompiledRoute


def three() -> Deployment:
    fleet = Fleet(asyncio.get_running_loop().time)
    found = fleet.of("o", "chat")
    facts = [
        ReplicaEndpoint(replica=name, organisation="o", deployment="chat", url=f"http://127.0.0.1:{port}", model="m", epoch=1, sequence=1)
        for port, name in enumerate(("one", "two", "three"), 9)
    ]
    fleet.apply(EndpointFacts(epoch=1, sequence=1, whole=True, endpoints=facts))
    return found


def over(*deployments: Deployment | None) -> CompiledRoute:
    return cast(CompiledRoute, SimpleNamespace(live=[SimpleNamespace(replicas=one) for one in deployments]))


async def test_all_are_tried_again_while_one_of_them_is_in_rotation() -> None:
    chat = three()
    tried = list(chat.replicas.values())
    for replica in tried[1:]:
        chat.take_out(replica, "silence", 1.0)
    assert _again(chat, over(chat), tried)
    assert not _again(chat, over(chat, None), tried), "another target is better"
    assert not _again(chat, over(chat), tried[:1]), "one that failed alone is the dispatcher's to try again"
    chat.take_out(tried[0], "connection", 2.0)
    assert not _again(chat, over(chat), tried), "nobody is in rotation: such a request waits, or ends"
