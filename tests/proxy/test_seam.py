"""Where apps and targets speak different formats: every pair of two formats, in one process without sockets, byte by byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from apps.contracts.journal import FIRST_OFFSET, read_frames
from apps.contracts.snapshot import (
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
)
from apps.contracts.usage import UsageRecord, decode_record
from apps.proxy import addresses, dialects
from apps.proxy.engine import Engine
from apps.proxy.holder import Holder
from apps.proxy.http.errors import Truncated
from apps.proxy.http.types import Request
from apps.proxy.journal import Journal
from apps.proxy.leases import Leases
from apps.proxy.leases_fake import FakeLeaseBook, FakeLeaseStore
from apps.proxy.response_shelf import ResponseShelf
from apps.proxy.server import PublicApp
from apps.proxy.steps.authenticate import Authenticator
from tests.proxy.conftest import KEY, ORG
from tests.proxy.standalone import PEPPER, config_of, digest_of
from tests.proxy.toy_format import LINES, ToyBack, ToyFront, ToyNative

decode = msgspec.json.decode
encode = msgspec.json.encode
JSON = {b"content-type": b"application/json"}
SSE = {b"content-type": b"text/event-stream"}
TOY = {b"content-type": LINES}
ASKED = {"model": "open", "messages": [{"role": "user", "content": "How far?"}]}
COMPLETION = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Far."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


def event(text: str = "", finish: str | None = None, **more: Any) -> bytes:
    delta = {"role": "assistant", "content": text} if text else {}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", **more}
    chunk.setdefault("choices", [{"index": 0, "delta": delta, "finish_reason": finish}])
    return b"data: %b\n\n" % encode(chunk)


USAGE = event(choices=[], usage=COMPLETION["usage"])
DONE = b"data: [DONE]\n\n"


class Connection:
    """One upstream call: what it was sent, and the sink of its answer."""

    reused = False
    last_byte_at = 0.0
    raw: Any = None
    raw_to: Any = None

    def __init__(self, port: int) -> None:
        self.port = port
        self.aborted = False
        self.head, self.body = b"", b""
        self.sink: Any = None

    def send(self, data: bytes, sink: Any, *, replay_safe: bool) -> None:
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        self.sink = sink

    def abort(self) -> None:
        self.aborted = True

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    def answer(self, status: int, headers: dict[bytes, bytes], *pieces: bytes, end: bool = True) -> None:
        self.sink.head(status, headers)
        for piece in pieces:
            self.sink.data(piece)
            if not self.sink.done:
                self.sink.flush()
        if end and not self.sink.done:
            self.sink.end()

    def cut(self) -> None:
        self.sink.failed(Truncated("cut"))


class Reply:
    """What the app gets. body: of a stream, everything so far."""

    on_gone: Any = None
    gone = False

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = ""

    def set_flow(self, flow: Any) -> None: ...

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        self.start(status, headers, body)
        self.ended = "whole"

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        assert not self.status, "answered twice"
        self.status = status
        lines = headers.decode().split("\r\n")[:-1]
        self.headers = dict(line.split(": ", 1) for line in lines)
        assert len(self.headers) == len(lines), "a header twice"
        self.body = data

    def write(self, data: bytes) -> None:
        assert data and not self.ended
        self.body += data

    def raw_writer(self) -> None:
        return None

    def finish(self, data: bytes = b"") -> None:
        assert not self.ended
        self.body += data
        self.ended = "whole"

    def abort(self) -> None:
        assert not self.ended
        self.ended = "broken"

    @property
    def json(self) -> Any:
        return decode(self.body)

    @property
    def lines(self) -> list[Any]:
        return [decode(line) for line in self.body.split(b"\n") if line]

    @property
    def text(self) -> str:
        """Of a stream in OpenAI's format."""
        events = [decode(part[6:]) for part in self.body.split(b"\n\n") if part.startswith(b"data: {")]
        return "".join(choice["delta"].get("content") or "" for one in events for choice in one.get("choices", ()))


PORTS = {"open": 1, "toy": 2, "toy-2": 3, "gemini": 4}


def config() -> list[Fragment]:
    found: list[Fragment] = []
    for name, port in PORTS.items():
        endpoints = [Endpoint(name="main", base_url=f"http://127.0.0.1:{port}/v1")]
        kind = {"open": "openai", "gemini": "gemini"}.get(name, "toy")
        found.append(ProviderFragment(id=name, name=name, kind=kind, organisation=ORG, allow_private_addresses=True, endpoints=endpoints))
        price = PriceVersion(version="p", input=1_000_000_000, output=2_000_000_000)
        found.append(PriceFragment(id=f"{name}/m", provider=name, model="m", versions=[price]))
    for name, providers in {
        "open": ["open"],
        "toy": ["toy"],
        "toy-open": ["toy", "open"],
        "open-toy": ["open", "toy"],
        "toys": ["toy", "toy-2"],
        "embed": ["toy", "gemini"],
    }.items():
        targets = [Target(provider=provider, model="m") for provider in providers]
        found.append(RouteFragment(id=name, name=name, organisation=ORG, targets=targets, resilience=Resilience(rescue="any")))
    cap = RouteFragment(id="cap", name="cap", organisation=ORG, targets=[Target(provider="toy", model="m")], max_output_tokens=77)
    canned = Resilience(level="minimal", canned="Back soon.")
    closed = RouteFragment(id="closed", name="closed", organisation=ORG, targets=[Target(provider="open", model="m")], resilience=canned)
    key = KeyFragment(id="k", name="k", public_id="k", organisation=ORG, digests=[digest_of(KEY)], explain=True)
    return [*found, cap, closed, key]


class Seam:
    """A proxy without sockets: ``ask`` it, answer its ``calls``."""

    def __init__(self, engine: Engine, shelf: ResponseShelf | None = None) -> None:
        self.engine = engine
        self.calls: list[Connection] = []
        self._app = PublicApp(engine, None, shelf or ResponseShelf(None, PEPPER))

    def take(self, port: int) -> Connection:
        self.calls.append(Connection(port))
        return self.calls[-1]

    def ask(self, path: str, body: dict[str, Any], method: str = "POST", **headers: str) -> Reply:
        sent = {b"authorization": f"Bearer {KEY}".encode(), **JSON}
        sent |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        reply = Reply()
        self._app(Request(method, path, b"", sent, encode(body), time.perf_counter_ns(), "", False), reply)  # type: ignore[arg-type]
        return reply

    def chat(self, model: str, *, stream: bool = False, headers: dict[str, str] | None = None, **more: Any) -> Reply:
        body = {**ASKED, "model": model, **({"stream": True} if stream else {}), **more}
        return self.ask("/v1/chat/completions", body, **(headers or {}))

    def toy(self, model: str, *, stream: bool = False, headers: dict[str, str] | None = None, **more: Any) -> Reply:
        body = {"model": model, "ask": "How far?", **({"stream": True} if stream else {}), **more}
        return self.ask("/v1/toy", body, **(headers or {}))

    @property
    def record(self) -> UsageRecord:
        data = next(iter(sorted(self.engine.journal.directory.glob("*.seg")))).read_bytes()
        found = [decode_record(payload) for payload, _ in read_frames(data, FIRST_OFFSET)]
        whole = [one for one in found if isinstance(one, UsageRecord)]
        assert len(whole) == 1
        return whole[0]


@pytest.fixture
async def seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Seam]:
    back = dialects.TranslatedDialect(ToyBack(), secret_header=b"x-toy: %b")
    monkeypatch.setitem(dialects.DIALECTS, "toy", back)
    monkeypatch.setitem(dialects.FRONTS, "toy", ToyFront())
    monkeypatch.setitem(dialects.NATIVES, "toy", ToyNative())
    monkeypatch.setitem(addresses.ADDRESSES, "/v1/toy", "toy")
    holder = Holder(None)
    holder.apply(config_of(config()))
    journal = Journal.create(tmp_path, boot_id=str(uuid4()), name="p", max_bytes=64 << 20)
    leases = Leases(FakeLeaseStore(FakeLeaseBook({}, lambda: 0), "boot"), now_ms=lambda: 0)
    engine = Engine(boot_id="boot", holder=holder, journal=journal, leases=leases, authenticator=Authenticator(PEPPER), hash_key=PEPPER)
    found = Seam(engine)
    monkeypatch.setattr(Engine, "pool", lambda self, origin: type("Pool", (), {"take": lambda self: found.take(origin.port)})())
    yield found
    assert not engine.in_flight
    engine.journal.close()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# --- an app with a format of its own, a target that speaks OpenAI's ---


async def test_a_front_asks_an_openai_target(seam: Seam) -> None:
    reply = seam.toy("open", most=9, mood="good")
    call = seam.calls[0]
    assert call.line == "POST /v1/chat/completions HTTP/1.1"
    assert decode(call.body) == {"model": "m", "messages": [{"role": "user", "content": "How far?"}], "max_tokens": 9}
    call.answer(200, JSON, encode(COMPLETION))
    assert reply.json == {"said": "Far.", "why": "stop", "in": 5, "out": 2} and reply.ended == "whole"
    assert reply.headers["x-bulkhead-approximated"] == "mood: not told"
    assert reply.headers["request-id"] == reply.headers["x-bulkhead-request-id"]
    record = seam.record
    assert (record.tokens.input, record.tokens.output, record.cost_nano, record.kind) == (5, 2, 9_000, "chat")
    assert record.bytes_out == len(reply.body)


async def test_a_fronts_stream_from_an_openai_target(seam: Seam) -> None:
    reply = seam.toy("open", stream=True)
    call = seam.calls[0]
    sent = decode(call.body)
    assert sent["stream_options"] == {"include_usage": True} and sent["max_tokens"] == 4096
    call.answer(200, SSE, event("Very ") + event("f"), event("ar."), event(finish="stop"), USAGE, DONE)
    assert reply.lines == [{"w": "Very "}, {"w": "f"}, {"w": "ar."}, {"why": "stop", "in": 5, "out": 2}]
    assert reply.ended == "whole" and seam.record.tokens.output == 2


async def test_a_stream_that_breaks_is_told_so_in_the_fronts_words(seam: Seam) -> None:
    reply = seam.toy("open", stream=True, temperature=0.7)
    seam.calls[0].answer(200, SSE, event("A" * 300), end=False)
    seam.calls[0].cut()
    seam.calls[1].answer(500, JSON, b"{}")  # asked for the rest
    assert reply.ended == "broken" and reply.lines[-1]["code"] == "stream_interrupted"
    assert seam.record.outcome == "error"


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"object":"chat.completion","choices":7}', b'{"choices":[{"message":null}]}'])
async def test_what_is_no_answer_is_no_answer_for_a_front_either(seam: Seam, body: bytes) -> None:
    reply = seam.toy("open")
    seam.calls[0].answer(200, JSON, body)
    await until(lambda: len(seam.calls) == 2)
    seam.calls[1].answer(200, JSON, body)
    assert reply.status == 502 and reply.json["code"] == "upstream_malformed"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":{"message":"no","type":"invalid_request_error","param":"max_tokens","code":"bad"}}', ("no", "bad", "max_tokens")),
        (b'{"error":"no"}', ("no", None, None)),
        (b"plain words", ("plain words", None, None)),
    ],
)
async def test_a_providers_error_in_the_fronts_words(seam: Seam, body: bytes, expected: tuple[Any, ...]) -> None:
    reply = seam.toy("open")
    seam.calls[0].answer(400, {b"content-type": b"text/plain"}, body)
    assert reply.status == 400 and reply.headers["content-type"] == "application/json"
    assert (reply.json["no"], reply.json["code"], reply.json["field"]) == expected


async def test_refusals_in_the_fronts_words(seam: Seam) -> None:
    assert seam.ask("/v1/toy", {"model": "open"}).json["field"] == "ask"
    assert seam.toy("nothing").json["code"] == "model_not_found"
    refused = seam.ask("/v1/toy", {"model": "open", "ask": "x"}, authorization="Bearer bk-nobody")
    assert (refused.status, refused.json["code"], refused.json["bulkhead"]["step"]) == (401, "invalid_api_key", "authenticate")
    wrong = seam.ask("/v1/toy", {}, method="GET")
    assert (wrong.status, wrong.headers["allow"], wrong.json["status"]) == (405, "POST", 405)
    assert not seam.calls


async def test_what_a_front_says_that_openai_cannot(seam: Seam) -> None:
    reply = seam.toy("open", paper="https://example.com/a.pdf")
    assert (reply.status, reply.json["code"], reply.json["field"]) == (400, "unsupported_operation", "messages[0].content[0]")
    assert not seam.calls and seam.record.outcome == "refused"


async def test_a_routes_prepared_answer_in_the_fronts_words(seam: Seam) -> None:
    assert seam.toy("closed").json["said"] == "Back soon."
    assert [line.get("w") for line in seam.toy("closed", stream=True).lines] == ["Back soon.", None]


# --- an app that speaks OpenAI's format, a target with another ---


async def test_an_openai_app_asks_another_format(seam: Seam) -> None:
    reply = seam.chat("toy", seed=7)
    call = seam.calls[0]
    assert call.line == "POST /v1/say/m HTTP/1.1" and b"\r\nhost: 127.0.0.1:2\r\n" in call.head
    assert decode(call.body) == {"ask": "How far?", "most": 4096, "turns": 1}
    call.answer(200, JSON, b'{"said":"Far.","why":"stop","in":3,"out":4}')
    assert reply.json["choices"][0]["message"]["content"] == "Far." and reply.json["usage"]["total_tokens"] == 7
    assert reply.headers["x-bulkhead-approximated"] == "seed: left out"
    assert (seam.record.tokens.input, seam.record.cost_nano) == (3, 11_000)


@pytest.mark.parametrize("usage", [False, True])
async def test_an_openai_apps_stream_from_another_format(seam: Seam, usage: bool) -> None:
    reply = seam.chat("toy", stream=True, **({"stream_options": {"include_usage": True}} if usage else {}))
    assert seam.calls[0].line == "POST /v1/say/m?live HTTP/1.1"
    seam.calls[0].answer(200, TOY, b'{"w":"Very"}\n{"w', b'":" far"}\n', b'{"why":"stop","in":3,"out":4}\n')
    assert reply.text == "Very far" and reply.body.endswith(DONE) and reply.ended == "whole"
    assert (b'"usage":{"prompt_tokens":3' in reply.body) == usage
    assert seam.record.tokens.output == 4


async def test_another_formats_error_in_openais_words(seam: Seam) -> None:
    reply = seam.chat("toy")
    seam.calls[0].answer(422, JSON, b'{"no":"not today"}')
    assert reply.status == 422 and reply.json["error"]["message"] == "not today" and reply.json["error"]["code"] == "toy_no"


async def test_a_stream_that_ends_without_its_end_is_broken(seam: Seam) -> None:
    reply = seam.chat("toy", stream=True)
    seam.calls[0].answer(200, TOY, b'{"w":"Very"}\n')
    seam.calls[1].answer(400, JSON, b'{"no":"more"}')
    assert reply.ended == "broken" and DONE not in reply.body


async def test_a_stream_of_nonsense_goes_to_the_next(seam: Seam) -> None:
    reply = seam.chat("toy-open", stream=True)
    for at, nonsense in enumerate((b'{"no":"overloaded"}\n', b"<html>\n")):
        await until(lambda at=at: len(seam.calls) > at)  # type: ignore[misc]
        seam.calls[at].answer(200, TOY, nonsense, end=False)
    seam.calls[2].answer(200, SSE, event("Far."), event(finish="stop"), USAGE, DONE)
    assert [call.port for call in seam.calls] == [2, 2, 1] and reply.text == "Far."


# --- what a format cannot say ---


async def test_a_target_that_cannot_be_told_is_left_out(seam: Seam) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    reply = seam.chat("toy-open", tools=tools)
    assert [call.port for call in seam.calls] == [PORTS["open"]]
    seam.calls[0].answer(200, JSON, encode(COMPLETION))
    record = seam.record
    assert reply.status == 200 and [(a.provider, a.role) for a in record.attempts] == [("open", "first")]
    refused = seam.chat("toy", tools=tools)
    assert (refused.status, refused.json["error"]["code"], refused.json["error"]["param"]) == (400, "unsupported_operation", "tools")
    assert "it has no hands" in refused.json["error"]["message"] and len(seam.calls) == 1


async def test_after_a_failure_who_cannot_be_told_is_passed_over(seam: Seam) -> None:
    reply = seam.chat("open-toy", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
    seam.calls[0].answer(401, JSON, b'{"error":{"message":"who?"}}')
    assert reply.status == 502 and len(seam.calls) == 1


async def test_explained_before_it_is_asked(seam: Seam) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    plan = seam.chat("toy-open", tools=tools, headers={"x_bulkhead_explain": "dry-run"}).json
    assert plan["would"] == {"call": "open/main/m"} and "no hands" in plan["candidates"][0]["left_out"]
    alone = seam.toy("toy", headers={"x_bulkhead_explain": "dry-run"}).json
    assert alone["object"] == "bulkhead.plan" and alone["would"] == {"call": "toy/main/m"}


async def test_embeddings_are_not_asked_of_a_format_that_has_none(seam: Seam) -> None:
    reply = seam.ask("/v1/embeddings", {"model": "toy", "input": "x"})
    assert reply.status == 400 and reply.json["error"]["code"] == "unsupported_operation"


async def test_embeddings_of_a_format_that_has_them(seam: Seam) -> None:
    reply = seam.ask("/v1/embeddings", {"model": "embed", "input": ["x", "y"]})
    assert [call.line for call in seam.calls] == ["POST /v1/models/m:batchEmbedContents HTTP/1.1"]
    seam.calls[0].answer(200, JSON, b'{"embeddings":[{"values":[0.5]},{"values":[0.25]}]}')
    assert [row["embedding"] for row in reply.json["data"]] == [[0.5], [0.25]]
    assert seam.record.kind == "embeddings" and seam.record.estimated, "Gemini counts no tokens of them"


# --- both speak the same ---


async def test_the_same_format_passes_through(seam: Seam) -> None:
    sent = {"ask": "How far?", "most": 3, "unknown": [1, {"a": None}]}
    reply = seam.ask("/v1/toy", {"model": "toy", **sent}, toy_feature="on", other="off")
    call = seam.calls[0]
    assert decode(call.body) == {"model": "m", **sent}
    assert b"\r\ntoy-feature: on\r\n" in call.head and b"other" not in call.head
    answer = b'{"said": "Far.",  "why":"stop","in":3,"out":4, "more": {}}'
    call.answer(200, JSON, answer)
    assert reply.body == answer and seam.record.tokens.output == 4
    assert "x-bulkhead-approximated" not in reply.headers


async def test_what_only_its_own_format_can_be_told_goes_there_or_nowhere(seam: Seam) -> None:
    reply = seam.toy("open-toy", magic=[1])
    assert [call.port for call in seam.calls] == [PORTS["toy"]] and decode(seam.calls[0].body)["magic"] == [1]
    seam.calls[0].answer(200, JSON, b'{"said":"!","why":"stop","in":3,"out":4}')
    assert reply.json["said"] == "!"
    refused = seam.toy("open", magic=[1])
    assert (refused.status, refused.json["code"], refused.json["field"]) == (400, "unsupported_operation", "magic")


async def test_a_cap_that_the_app_did_not_set_is_set(seam: Seam) -> None:
    seam.toy("cap")
    assert decode(seam.calls[0].body)["most"] == 77
    seam.calls[0].answer(200, JSON, b'{"said":"","why":"stop","in":1,"out":1}')


async def test_a_stream_of_the_same_format_passes_through(seam: Seam) -> None:
    reply = seam.toy("toy", stream=True)
    pieces = [b'{"w": "Very"}\n', b'{"x":1}\n', b'{"why":"stop","in":3,"out":4}\n']
    seam.calls[0].answer(200, TOY, *pieces)
    assert reply.body == b"".join(pieces) and reply.ended == "whole" and seam.record.tokens.output == 4


async def test_a_stream_of_the_same_format_that_breaks_is_told_so(seam: Seam) -> None:
    reply = seam.toy("toys", stream=True)
    seam.calls[0].answer(200, TOY, b'{"w":"Very"}\n', end=False)
    seam.calls[0].cut()
    assert reply.ended == "broken" and [line.get("w") for line in reply.lines] == ["Very", None]
    assert reply.lines[-1]["code"] == "stream_interrupted" and len(seam.calls) == 1


# --- streams that one begins and another ends ---


@pytest.mark.parametrize(("front", "route"), [("chat", "toy-open"), ("chat", "open-toy"), ("chat", "toys"), ("toy", "open-toy")])
async def test_a_broken_stream_is_gone_on_with_across_formats(seam: Seam, route: str, front: str) -> None:
    """What begins in the app's own format passes through, and is told as broken (above)."""
    reply = seam.chat(route, stream=True, temperature=0) if front == "chat" else seam.toy(route, stream=True, temperature=0)
    first = seam.calls[0]
    if route.startswith("toy"):
        first.answer(200, TOY, b'{"w":"Very "}\n{"w":"far"}\n', end=False)
    else:
        first.answer(200, SSE, event("Very "), event("far"), end=False)
    first.cut()
    second = seam.calls[1]
    assert second.port != first.port
    if route == "toy-open":
        second.answer(200, SSE, event("Very far"), event(" away."), event(finish="stop"), USAGE, DONE)
    else:
        second.answer(200, TOY, b'{"w":"Very far"}\n', b'{"w":" away."}\n', b'{"why":"stop","in":5,"out":6}\n')
    assert reply.ended == "whole"
    if front == "chat":
        assert reply.text == "Very far away." and reply.body.count(b'"id":"' + (b"toy-1" if route[0] == "t" else b"c-1")) > 2
    else:
        assert "".join(line.get("w", "") for line in reply.lines) == "Very far away." and reply.lines[-1]["why"] == "stop"
    assert [(a.provider, a.role) for a in seam.record.attempts] == [
        (route.split("-")[0] if route != "toys" else "toy", "first"),
        ({"toy-open": "open", "open-toy": "toy", "toys": "toy-2"}[route], "rescue"),
    ]


# --- the same call twice ---


async def test_an_answer_is_given_again_as_it_was(seam: Seam) -> None:
    first = seam.toy("open", headers={"idempotency_key": "one"})
    await until(lambda: bool(seam.calls))
    seam.calls[0].answer(200, JSON, encode(COMPLETION))
    second = seam.toy("open", headers={"idempotency_key": "one"})
    await until(lambda: bool(second.ended))
    assert first.json["said"] == "Far." and second.body == first.body and len(seam.calls) == 1
    assert second.headers["x-bulkhead-idempotency"].startswith("replayed")
