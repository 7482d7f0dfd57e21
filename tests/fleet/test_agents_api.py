"""What agents call, over ASGI as uvicorn would call it: answers, refusals, a long poll that wakes, a database that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.fleet import (
    MAX_BODY_BYTES,
    PATH,
    DesiredAnswer,
    HeartbeatAnswer,
    JoinAnswer,
    Refused,
    credential_text,
    secret_digest,
)
from apps.fleet.agents.bell import Bell
from apps.fleet.agents.server import AgentApi
from apps.fleet.joining import worker_revoke
from apps.fleet.models import Worker
from apps.fleet.reconciling import fleet_reconcile
from tests.fleet.conftest import FakeAgent, now_ms, worker_again


class Quiet(Bell):
    """A bell that a test rings itself: nothing listens to the database."""

    def __init__(self) -> None:
        super().__init__({})
        self.listening = True
        self._task = None

    def join(self, worker: str) -> asyncio.Event:
        event = asyncio.Event()
        self._waiting[worker].add(event)
        return event


async def inside(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """In the test's own thread, whose transaction sees what the test made."""
    return await sync_to_async(function, thread_sensitive=True)(*args, **named)


def calls(scenario: Callable[[httpx.AsyncClient, Quiet], Awaitable[Any]], *, run: Any = inside) -> Any:
    """Run a scenario against the API."""

    async def play() -> Any:
        bell = Quiet()
        transport = httpx.ASGITransport(app=AgentApi(None, run=run, bell=bell))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await scenario(client, bell)

    return async_to_sync(play)()


def bearer(agent: FakeAgent, secret: str = "") -> dict[str, str]:
    return {"authorization": f"Bearer {credential_text(str(agent.id), secret or agent.secret)}"}


def refused(response: httpx.Response, code: str, status: int) -> Refused:
    assert response.status_code == status, response.text
    found = msgspec.json.decode(response.content, type=Refused)
    assert found.code == code and found.message
    return found


def post(client: httpx.AsyncClient, call: str, message: Any, **more: Any) -> Awaitable[httpx.Response]:
    content = message if isinstance(message, bytes) else msgspec.json.encode(message)
    return client.post(PATH + call, content=content, **more)


def test_a_worker_joins_reports_and_gets_its_order(demo: Organisation, agent: Callable[..., FakeAgent], deploy: Any) -> None:
    one = agent("w1")
    deploy()

    async def scenario(client: httpx.AsyncClient, bell: Quiet) -> DesiredAnswer:
        again = msgspec.json.decode((await post(client, "join", one.joining())).content, type=JoinAnswer)
        assert again.worker == str(one.id) and again.name == "w1"
        answers = await asyncio.gather(*(post(client, "heartbeat", one.heartbeat(), headers=bearer(one)) for _ in range(3)))
        assert [msgspec.json.decode(answer.content, type=HeartbeatAnswer).epoch for answer in answers] == [1, 1, 1]
        await inside(fleet_reconcile)
        order = await post(client, "desired", {"epoch": 0, "sequence": 0}, headers=bearer(one))
        return msgspec.json.decode(order.content, type=DesiredAnswer)

    state = calls(scenario).state
    assert state is not None and [spec.deployment for spec in state.replicas] == ["chat"]
    assert worker_again(one.worker).beat == 3


def test_a_long_poll_waits_for_a_change_and_no_longer_than_it_was_asked(agent: Callable[..., FakeAgent], deploy: Any) -> None:
    one = agent("w1")
    one.beat()
    held = {"epoch": 1, "sequence": 1}

    async def scenario(client: httpx.AsyncClient, bell: Quiet) -> tuple[DesiredAnswer, DesiredAnswer]:
        nothing = await post(client, "desired", {**held, "wait_seconds": 0.01}, headers=bearer(one))
        poll = asyncio.ensure_future(post(client, "desired", {**held, "wait_seconds": 60}, headers=bearer(one)))
        while not bell._waiting:
            await asyncio.sleep(0)
        await inside(deploy)
        await inside(fleet_reconcile)
        bell.ring(str(one.id))
        order = await asyncio.wait_for(poll, 60)
        assert not bell._waiting
        return tuple(msgspec.json.decode(answer.content, type=DesiredAnswer) for answer in (nothing, order))  # type: ignore[return-value]

    nothing, order = calls(scenario)
    assert nothing.state is None
    assert order.state is not None and order.state.version > (1, 1)


def test_a_rotated_credential_replaces_the_old_one_with_its_first_use(agent: Callable[..., FakeAgent]) -> None:
    one = agent("w1")
    old, new = one.secret, "another-secret".ljust(40, "y")

    async def scenario(client: httpx.AsyncClient, bell: Quiet) -> None:
        for _ in range(2):
            done = await post(client, "credential", {"secret_digest": secret_digest(new)}, headers=bearer(one, old))
            assert done.status_code == 200
        assert (await post(client, "heartbeat", one.heartbeat(), headers=bearer(one, old))).status_code == 200  # not used yet
        assert (await post(client, "heartbeat", one.heartbeat(), headers=bearer(one, new))).status_code == 200
        refused(await post(client, "heartbeat", one.heartbeat(), headers=bearer(one, old)), "credential_unknown", 401)
        ack = {"epoch": 1, "sequence": 1, "applied_at_ms": now_ms()}
        assert (await post(client, "ack", ack, headers=bearer(one, new))).status_code == 200

    calls(scenario)
    assert (worker_again(one.worker).digest, worker_again(one.worker).next_digest) == (secret_digest(new), "")
    assert worker_again(one.worker).applied_sequence == 1


def test_what_is_wrong_is_said(agent: Callable[..., FakeAgent], actor: Actor) -> None:
    one = agent("w1")

    async def scenario(client: httpx.AsyncClient, bell: Quiet) -> None:
        beat = one.heartbeat()
        refused(await post(client, "heartbeat", beat), "credential_unknown", 401)
        refused(await post(client, "heartbeat", beat, headers={"authorization": "Bearer bkp_x"}), "credential_unknown", 401)
        refused(await post(client, "heartbeat", b"{", headers=bearer(one)), "malformed", 422)
        refused(await post(client, "heartbeat", {"protocol": 1}, headers=bearer(one)), "malformed", 422)
        refused(await post(client, "heartbeat", one.heartbeat(protocol=9), headers=bearer(one)), "version_unsupported", 426)
        refused(await post(client, "heartbeat", b"x" * (MAX_BODY_BYTES + 1), headers=bearer(one)), "malformed", 413)
        refused(await post(client, "nonsense", {}), "malformed", 404)
        refused(await client.get(PATH + "heartbeat"), "malformed", 405)
        refused(await post(client, "desired", {}, headers=bearer(one, "z" * 40)), "credential_unknown", 401)
        await inside(worker_revoke, actor=actor, worker=one.worker, reason="sold")
        for call, message in (("heartbeat", beat), ("desired", {}), ("ack", {"epoch": 1, "sequence": 1, "applied_at_ms": 1})):
            refused(await post(client, call, message, headers=bearer(one)), "credential_revoked", 403)

    calls(scenario)


def test_without_a_database_agents_are_asked_to_come_again(agent: Callable[..., FakeAgent]) -> None:
    one = agent("w1")

    async def away(function: Any, *args: Any, **named: Any) -> Any:
        raise OperationalError("the server is away")

    async def scenario(client: httpx.AsyncClient, bell: Quiet) -> None:
        for call, message in (("join", one.joining()), ("heartbeat", one.heartbeat()), ("desired", {})):
            assert refused(await post(client, call, message, headers=bearer(one)), "busy", 503).retry_seconds == 5.0

    calls(scenario, run=away)


def test_logs_and_notices_are_the_workers_own(agent: Callable[..., FakeAgent], deploy: Any) -> None:
    one, other = agent("w1"), agent("w2", pool="elsewhere")
    one.beat()
    deploy()
    fleet_reconcile()
    one.obey()
    replica = Worker.objects.get(pk=one.id).replicas.get()

    async def scenario(client: httpx.AsyncClient, bell: Quiet) -> None:
        tail = {"replica": str(replica.pk), "at_ms": now_ms(), "lines": ["a line"]}
        assert (await post(client, "logs", {**tail, "lines": ["not mine"]}, headers=bearer(other))).status_code == 200
        assert (await post(client, "logs", tail, headers=bearer(one))).status_code == 200
        notice = {"at_ms": now_ms() + 60_000, "source": "signal"}
        assert (await post(client, "preemption", notice, headers=bearer(one))).status_code == 200

    calls(scenario)
    replica.refresh_from_db()
    assert replica.lines == ["a line"]
    assert worker_again(one.worker).preempted_at is not None and worker_again(other.worker).preempted_at is None
    fleet_reconcile(now=timezone.now())
    assert worker_again(one.worker).state == "preempted"


@pytest.mark.django_db(transaction=True)
def test_a_change_that_commits_rings_the_bell() -> None:
    """The real bell on a real connection."""
    from django.db import connection

    from apps.fleet.orders import CHANNEL

    settings = connection.get_connection_params()
    kept = {name: settings[name] for name in ("dbname", "user", "password", "host", "port") if settings.get(name)}

    def tell() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, "w1"])

    async def play() -> None:
        bell = Bell(kept)
        event = bell.join("w1")
        assert bell.patience(60) < 60  # deaf as yet: it looks by itself meanwhile
        await asyncio.wait_for(event.wait(), 60)  # it rings once it listens: whatever was said before is looked up
        bell.leave("w1", event)
        event = bell.join("w1")
        await inside(tell)
        await asyncio.wait_for(event.wait(), 60)
        bell.close()

    async_to_sync(play)()
