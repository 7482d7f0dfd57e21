"""A fault of ours inside a request: one record, one answer, nothing held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from apps.contracts.journal import FIRST_OFFSET, read_frames
from apps.contracts.snapshot import Delta, Endpoint, KeyFragment, ProviderFragment, RouteFragment, Target
from apps.contracts.usage import UsageRecord, decode_record
from apps.proxy.engine import Engine
from apps.proxy.holder import Holder
from apps.proxy.http.types import Request
from apps.proxy.journal import Journal
from apps.proxy.leases import Leases
from apps.proxy.leases_fake import FakeLeaseBook, FakeLeaseStore
from apps.proxy.steps.authenticate import Authenticator
from tests.proxy.conftest import KEY, ORG
from tests.proxy.standalone import PEPPER, config_of, digest_of

ANSWER = b'{"id":"x","object":"chat.completion","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


class Connection:
    reused = False
    last_byte_at = 0.0
    raw: Any = None
    sink: Any = None
    aborted = False

    def send(self, data: bytes, sink: Any, *, replay_safe: bool) -> None:
        self.sink = sink

    def abort(self) -> None:
        self.aborted = True


class Reply:
    on_gone: Any = None
    gone = False
    status = 0

    def set_flow(self, flow: Any) -> None: ...

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        assert not self.status, "answered twice"
        self.status = status


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def engine(tmp_path: Path, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    def now_ms() -> int:
        return int(time.time() * 1000)

    async def make() -> Engine:
        holder = Holder(None)
        whole: Delta = config_of(
            [
                ProviderFragment(
                    id="p",
                    name="east",
                    kind="openai",
                    organisation=ORG,
                    allow_private_addresses=True,
                    endpoints=[Endpoint(name="main", base_url="http://127.0.0.1:1/v1")],
                ),
                RouteFragment(id="r", name="chat", organisation=ORG, targets=[Target(provider="east", model="m")]),
                KeyFragment(id="k", name="k", public_id="k", organisation=ORG, digests=[digest_of(KEY)]),
            ]
        )
        holder.apply(whole)
        journal = Journal.create(tmp_path, boot_id=str(uuid4()), name="p", max_bytes=64 << 20)
        leases = Leases(FakeLeaseStore(FakeLeaseBook({}, now_ms), "boot"), now_ms=now_ms)
        return Engine(boot_id="boot", holder=holder, journal=journal, leases=leases, authenticator=Authenticator(PEPPER), hash_key=PEPPER)

    made = asyncio.new_event_loop().run_until_complete(make())
    pool = type("Pool", (), {"take": lambda self: connection})()
    monkeypatch.setattr(Engine, "pool", lambda self, origin: pool)
    yield made
    made.journal.close()


def records(engine: Engine) -> list[UsageRecord]:
    data = next(iter(sorted(engine.journal.directory.glob("*.seg")))).read_bytes()
    found = [decode_record(payload) for payload, _ in read_frames(data, FIRST_OFFSET)]
    return [record for record in found if isinstance(record, UsageRecord)]


def ask(engine: Engine, reply: Reply) -> None:
    body = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}'
    headers = {b"authorization": f"Bearer {KEY}".encode(), b"content-type": b"application/json"}
    engine.handle("chat", Request("POST", "/v1/chat/completions", b"", headers, body, time.perf_counter_ns(), "", False), reply)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["finish_json", "after-the-record", "dialect"])
def test_one_record_and_one_answer(engine: Engine, connection: Connection, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def fault(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    if where == "finish_json":
        monkeypatch.setattr(engine, "finish_json", fault)
    elif where == "after-the-record":
        monkeypatch.setattr("apps.proxy.engine.constant_head", fault)
    else:
        monkeypatch.setattr("apps.proxy.dialects.openai.OpenAIDialect.answer", fault)
    reply = Reply()
    ask(engine, reply)
    connection.sink.head(200, {b"content-type": b"application/json"})
    connection.sink.data(ANSWER)
    connection.sink.end()
    assert reply.status == 500
    found = records(engine)
    assert len(found) == 1
    assert engine.metrics.running == 0 and not engine.in_flight
    if where != "after-the-record":
        assert (found[0].outcome, found[0].error_code) == ("error", "internal_error")


def test_a_request_goes_through_without_a_fault(engine: Engine, connection: Connection) -> None:
    reply = Reply()
    ask(engine, reply)
    connection.sink.head(200, {b"content-type": b"application/json"})
    connection.sink.data(ANSWER)
    connection.sink.end()
    assert reply.status == 200 and [r.outcome for r in records(engine)] == ["ok"]
