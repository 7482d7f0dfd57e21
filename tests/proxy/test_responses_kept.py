"""Responses that are kept and continued, in one process without sockets: what is asked of whom, what is kept, what is refused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from apps.proxy.engine import Engine
from apps.proxy.errors import Refusal
from apps.proxy.holder import Holder
from apps.proxy.http.types import Request
from apps.proxy.journal import Journal
from apps.proxy.leases import Leases
from apps.proxy.leases_fake import FakeLeaseBook, FakeLeaseStore
from apps.proxy.response_shelf import ResponseShelf, ShelfRules, Turn
from apps.proxy.steps.authenticate import Authenticator
from apps.proxy.store import StoreAway
from tests.proxy.conftest import KEY, ORG
from tests.proxy.standalone import PEPPER, config_of, digest_of
from tests.proxy.test_seam import DONE, JSON, SSE, USAGE, Connection, Reply, Seam, event, until

decode, encode = msgspec.json.decode, msgspec.json.encode
OTHER = "bk-otherkeyof-the-same-team"
PORTS = {"open": 1, "claude": 2, "native": 3}
KINDS = {"open": "openai", "claude": "anthropic", "native": "responses"}


class FakeShelfStore:
    """``ResponseStore`` in memory. away: it does not answer."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[str, int, bytes]] = {}
        self.away = False

    async def response_put(self, key: str, id: str, previous: str, organisation: str, seconds: int, size: int, sealed: bytes) -> None:
        self._there()
        self.rows[key, id] = (previous, size, sealed)

    async def response_chain(self, key: str, id: str, turns: int, size: int) -> list[tuple[str, str, int, bytes]]:
        self._there()
        found: list[tuple[str, str, int, bytes]] = []
        while (row := self.rows.get((key, id))) is not None and len(found) < turns and (not found or row[1] <= size):
            size -= row[1]
            found.append((id, row[0], 0, row[2]))
            id = row[0]
        return found

    async def response_drop(self, key: str, id: str) -> bool:
        self._there()
        return self.rows.pop((key, id), None) is not None

    def _there(self) -> None:
        if self.away:
            raise StoreAway("Postgres is away")


def config() -> list[Fragment]:
    found: list[Fragment] = []
    for name, port in PORTS.items():
        endpoint = Endpoint(name="main", base_url=f"http://127.0.0.1:{port}/v1")
        found.append(
            ProviderFragment(id=name, name=name, kind=KINDS[name], organisation=ORG, allow_private_addresses=True, endpoints=[endpoint])
        )
        price = PriceVersion(version="p", input=1_000_000_000, output=2_000_000_000)
        found.append(PriceFragment(id=f"{name}/m", provider=name, model="m", versions=[price]))
        targets = [Target(provider=name, model="m")]
        once = Resilience(rescue="off")
        found.append(RouteFragment(id=name, name=name, organisation=ORG, targets=targets, max_attempts=1, resilience=once))
    for number, token in enumerate((KEY, OTHER)):
        found.append(KeyFragment(id=f"k{number}", name="k", public_id=f"k{number}", organisation=ORG, digests=[digest_of(token)]))
    return found


class Kept(Seam):
    """A proxy that keeps responses in ``book``."""

    def __init__(self, engine: Engine, rules: ShelfRules | None = None) -> None:
        self.book = FakeShelfStore()
        self.shelf = ResponseShelf(self.book, PEPPER, rules)
        super().__init__(engine, self.shelf)

    async def say(self, model: str, text: Any, *, key: str = KEY, **more: Any) -> Reply:
        """Asks; where that goes on asynchronously, until a call went out or the answer is there."""
        before = len(self.calls)
        reply = self.ask("/v1/responses", {"model": model, "input": text, **more}, authorization=f"Bearer {key}")
        await until(lambda: bool(reply.ended) or len(self.calls) > before)
        return reply

    async def answered(self, reply: Reply, text: str = "Hi.") -> Any:
        """The last call's answer, given in its provider's format; the response as the app has it."""
        call = self.calls[-1]
        if "chat/completions" in call.line:
            message = {"role": "assistant", "content": text}
            call.answer(200, JSON, encode({**COMPLETION, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}))
        elif "/messages" in call.line:
            call.answer(200, JSON, encode({**CLAUDE, "content": [{"type": "text", "text": text}]}))
        else:
            call.answer(200, JSON, encode(native_response(f"resp_upstream_{len(self.calls)}", text)))
        await until(lambda: bool(reply.ended))
        return reply.json

    async def get(self, path: str, method: str = "GET", key: str = KEY, query: bytes = b"") -> Reply:
        reply = Reply()
        sent = {b"authorization": f"Bearer {key}".encode()}
        self._app(Request(method, path, query, sent, b"", time.perf_counter_ns(), "", False), reply)  # type: ignore[arg-type]
        await until(lambda: bool(reply.ended))
        return reply


COMPLETION = {
    "id": "c-1",
    "object": "chat.completion",
    "model": "m",
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


def native_response(ident: str, text: str, *before: dict[str, Any]) -> dict[str, Any]:
    said = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg_u", "type": "message", "role": "assistant", "status": "completed", "content": [said]}
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    return {
        "id": ident,
        "object": "response",
        "status": "completed",
        "created_at": 1,
        "model": "m",
        "output": [*before, message],
        "usage": usage,
        "store": True,
        "previous_response_id": None,
    }


@pytest.fixture
async def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    holder = Holder(None)
    holder.apply(config_of(config()))
    journal = Journal.create(tmp_path, boot_id=str(uuid4()), name="p", max_bytes=64 << 20)
    leases = Leases(FakeLeaseStore(FakeLeaseBook({}, lambda: 0), "boot"), now_ms=lambda: 0)
    engine = Engine(boot_id="boot", holder=holder, journal=journal, leases=leases, authenticator=Authenticator(PEPPER), hash_key=PEPPER)
    found = Kept(engine, getattr(request, "param", None))

    def pool(self: Engine, origin: Any) -> Any:
        return type("Pool", (), {"take": lambda self: found.take(origin.port)})()

    monkeypatch.setattr(Engine, "pool", pool)
    yield found
    assert not engine.in_flight
    engine.journal.close()


def sent(call: Connection) -> Any:
    return decode(call.body)


# --- what is kept ---


@pytest.mark.parametrize("model", PORTS)
@pytest.mark.parametrize(("store", "stored"), [({}, False), ({"store": False}, False), ({"store": True}, True)])
async def test_only_what_asks_for_it_is_kept(kept: Kept, model: str, store: dict[str, Any], stored: bool) -> None:
    reply = await kept.say(model, "Hello", **store)
    response = await kept.answered(reply)
    assert bool(kept.book.rows) is stored
    if stored or model != "native":  # what a provider of this format says of itself passes through
        assert response["store"] is stored
    found = await kept.get(f"/v1/responses/{response['id']}")
    assert (found.status, found.json == response) == ((200, True) if stored else (404, False))


@pytest.mark.parametrize("kept", [ShelfRules(unasked=True)], indirect=True)
async def test_an_operator_may_have_all_kept_that_do_not_forbid_it(kept: Kept) -> None:
    response = await kept.answered(await kept.say("open", "Hello"))
    assert response["store"] is True and len(kept.book.rows) == 1
    await kept.answered(await kept.say("open", "Hello", store=False))
    assert len(kept.book.rows) == 1


async def test_what_is_kept_is_sealed_and_bound(kept: Kept) -> None:
    response = await kept.answered(await kept.say("open", "the secret word is Rumpelstilzchen", store=True), "It is Rumpelstilzchen.")
    ((key, ident), (previous, size, sealed)) = next(iter(kept.book.rows.items()))
    assert b"Rumpelstilzchen" not in sealed and size > 100
    kept.book.rows["k1", ident] = (previous, size, sealed)  # moved to another key's name
    assert (await kept.get(f"/v1/responses/{ident}", key=OTHER)).status == 404
    kept.book.rows[key, "resp_else"] = (previous, size, sealed)  # and to another id
    assert (await kept.get("/v1/responses/resp_else")).status == 404
    other = ResponseShelf(kept.book, b"another installation's pepper")
    assert isinstance(await other.turns(key, ident, continued=False), Refusal)
    assert (await kept.get(f"/v1/responses/{ident}")).json == response


async def test_a_database_that_is_away_costs_no_answer(kept: Kept) -> None:
    kept.book.away = True
    reply = await kept.say("open", "Hello", store=True)
    response = await kept.answered(reply)
    assert reply.status == 200 and response["store"] is False
    assert reply.headers["x-bulkhead-stored"] == "false; the database is away"
    assert kept.record.outcome == "ok"
    continued = await kept.say("open", "And?", previous_response_id=response["id"])
    assert (continued.status, continued.json["error"]["code"]) == (503, "not_ready")
    assert (await kept.get(f"/v1/responses/{response['id']}")).status == 503
    assert (await kept.get(f"/v1/responses/{response['id']}", "DELETE")).status == 503


@pytest.mark.parametrize("kept", [ShelfRules(max_bytes=2_000)], indirect=True)
async def test_what_is_too_large_is_answered_and_not_kept(kept: Kept) -> None:
    reply = await kept.say("open", "x" * 3_000, store=True)
    response = await kept.answered(reply)
    assert response["store"] is False and not kept.book.rows
    assert reply.headers["x-bulkhead-stored"] == "false; it is larger than 2000 bytes"


async def test_a_refusal_and_a_failure_are_not_kept(kept: Kept) -> None:
    reply = await kept.say("open", "Hello", store=True)
    kept.calls[-1].answer(500, JSON, b'{"error":{"message":"no"}}')
    await until(lambda: bool(reply.ended))
    assert reply.status == 500 and not kept.book.rows
    broken = await kept.say("open", "Hello", store=True, stream=True)
    kept.calls[-1].answer(200, SSE, event("Hi"), end=False)
    kept.calls[-1].cut()
    await until(lambda: bool(broken.ended))
    assert broken.ended == "broken" and not kept.book.rows and b'"store":true' not in broken.body.split(b"response.failed", 1)[1]


# --- what is continued ---


@pytest.mark.parametrize("first", PORTS)
@pytest.mark.parametrize("second", PORTS)
async def test_a_conversation_goes_on_at_any_provider(kept: Kept, first: str, second: str) -> None:
    one = await kept.answered(await kept.say(first, "My name is Ada.", store=True, instructions="Be brief."), "Hello Ada.")
    reply = await kept.say(second, "What is my name?", previous_response_id=one["id"], instructions="Shout.")
    call = sent(kept.calls[-1])
    if second == "native":
        assert call["input"] == [
            {"role": "user", "content": "My name is Ada."},
            {"type": "message", "role": "assistant", "content": call["input"][1]["content"]},
            {"role": "user", "content": "What is my name?"},
        ]
        assert call["input"][1]["content"][0]["text"] == "Hello Ada." and call["instructions"] == "Shout."
        assert "previous_response_id" not in call
    else:
        texts = [message["content"] for message in call["messages"] if message["role"] != "system"]
        texts = [text if type(text) is str else text[0]["text"] for text in texts]
        assert texts == ["My name is Ada.", "Hello Ada.", "What is my name?"]
        assert "Be brief." not in str(call), "instructions are each request's own"
    two = await kept.answered(reply, "ADA.")
    assert two["previous_response_id"] == one["id"] and two["store"] is True, "who continues what is kept goes on being kept"
    three = await kept.say(first, "Once more?", previous_response_id=two["id"], store=False)
    assert sum(str(sent(kept.calls[-1])).count(word) for word in ("My name is Ada.", "Hello Ada.", "What is my name?", "ADA.")) == 4
    await kept.answered(three)
    assert len(kept.book.rows) == 2
    assert kept.engine.metrics.running == 0


async def test_tools_are_answered_by_the_call_s_id(kept: Kept) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
    reply = await kept.say("open", "Weather?", store=True, tools=tools)
    function = {"name": "weather", "arguments": '{"city":"Ulm"}'}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_7", "type": "function", "function": function}]}
    answer = {**COMPLETION, "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}
    kept.calls[-1].answer(200, JSON, encode(answer))
    await until(lambda: bool(reply.ended))
    output = {"type": "function_call_output", "call_id": "call_7", "output": "Rain."}
    await kept.answered(await kept.say("claude", [output], previous_response_id=reply.json["id"], tools=tools))
    turns = sent(kept.calls[-1])["messages"]
    assert turns[1]["content"][-1]["type"] == "tool_use" and turns[1]["content"][-1]["id"] == turns[2]["content"][0]["tool_use_id"]
    assert "Rain." in str(turns[2]["content"][0]["content"])


async def test_thinking_goes_back_to_who_can_read_it_only(kept: Kept) -> None:
    sealed = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
    bare = {"id": "rs_2", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    reply = await kept.say("native", "Think.", store=True)
    kept.calls[-1].answer(200, JSON, encode(native_response("resp_up", "Done.", sealed, bare)))
    await until(lambda: bool(reply.ended))
    again = await kept.say("native", "And?", previous_response_id="resp_up")
    thoughts = [item for item in sent(kept.calls[-1])["input"] if item.get("type") == "reasoning"]
    assert thoughts == [{"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}]
    await kept.answered(again)
    assert "encrypted_content" in again.headers["x-bulkhead-approximated"]


@pytest.mark.parametrize("model", PORTS)
async def test_a_streamed_answer_is_kept_before_it_ends(kept: Kept, model: str) -> None:
    reply = await kept.say(model, "Hello", store=True, stream=True)
    call = kept.calls[-1]
    if model == "open":
        call.answer(200, SSE, event("Hi "), event("there."), event(finish="stop"), USAGE, DONE)
    elif model == "claude":
        call.answer(200, SSE, *CLAUDE_STREAM)
    else:
        whole = native_response("resp_s", "Hi there.")
        begun = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
        delta = {"type": "response.output_text.delta", "delta": "Hi there.", "item_id": "msg_u", "output_index": 0, "content_index": 0}
        call.answer(200, SSE, *(sse(one) for one in (begun, delta, {"type": "response.completed", "response": whole})))
    await until(lambda: bool(reply.ended))
    events = [decode(part.split(b"data: ", 1)[1]) for part in reply.body.strip().split(b"\n\n")]
    last = events[-1]["response"]
    assert reply.ended == "whole" and events[-1]["type"] == "response.completed" and last["store"] is True
    assert {one["response"]["id"] for one in events if "response" in one} == {last["id"]}
    assert (await kept.get(f"/v1/responses/{last['id']}")).json == last
    await kept.say("open", "Go on", previous_response_id=last["id"])
    assert "Hi there." in str(sent(kept.calls[-1]))
    kept.calls[-1].answer(500, JSON, b"{}")


async def test_a_stream_that_cannot_be_kept_says_so_at_its_end(kept: Kept) -> None:
    kept.book.away = True
    reply = await kept.say("open", "Hello", store=True, stream=True)
    kept.calls[-1].answer(200, SSE, event("Hi"), event(finish="stop"), USAGE, DONE)
    await until(lambda: bool(reply.ended))
    last = decode(reply.body.strip().split(b"\n\n")[-1].split(b"data: ", 1)[1])
    assert reply.ended == "whole" and last["type"] == "response.completed" and last["response"]["store"] is False


async def test_a_provider_that_gives_an_id_twice_loses_no_turn(kept: Kept) -> None:
    first = await kept.say("native", "Hello", store=True)
    kept.calls[-1].answer(200, JSON, encode(native_response("resp_same", "One.")))
    await until(lambda: bool(first.ended))
    second = await kept.say("native", "And?", previous_response_id="resp_same")
    kept.calls[-1].answer(200, JSON, encode(native_response("resp_same", "Two.")))
    await until(lambda: bool(second.ended))
    assert second.json["store"] is False and (await kept.get("/v1/responses/resp_same")).json["output"] == first.json["output"]


async def test_all_that_is_told_is_counted_in_the_bound(kept: Kept) -> None:
    one = await kept.answered(await kept.say("native", "y" * 5_000, store=True))
    reply = await kept.say("native", "More", previous_response_id=one["id"])
    attempt = next(iter(kept.engine.in_flight))
    assert attempt.exchange.input_bound >= len(kept.calls[-1].body) - 200 > 5_000
    await kept.answered(reply)


# --- whose, and what is refused ---


async def test_another_keys_response_is_not_there(kept: Kept) -> None:
    one = await kept.answered(await kept.say("open", "Hello", store=True))
    path = f"/v1/responses/{one['id']}"
    for reply in (await kept.get(path, key=OTHER), await kept.get(path + "/input_items", key=OTHER), await kept.get(path, "DELETE", OTHER)):
        assert (reply.status, reply.json["error"]["code"]) == (404, "response_not_found")
    calls = len(kept.calls)
    reply = await kept.say("open", "And?", key=OTHER, previous_response_id=one["id"])
    error = reply.json["error"]
    assert (reply.status, error["code"], error["param"]) == (400, "previous_response_not_found", "previous_response_id")
    assert len(kept.calls) == calls
    assert (await kept.get(path, key="bk-nobody")).status == 401
    nobody = await kept.say("open", "And?", key="bk-nobody", previous_response_id=one["id"])
    assert nobody.status == 401


async def test_a_deleted_turn_takes_the_conversations_beginning_with_it(kept: Kept) -> None:
    one = await kept.answered(await kept.say("open", "Hello", store=True))
    two = await kept.answered(await kept.say("open", "And?", previous_response_id=one["id"]))
    gone = await kept.get(f"/v1/responses/{one['id']}", "DELETE")
    assert gone.json == {"id": one["id"], "object": "response", "deleted": True}
    assert (await kept.get(f"/v1/responses/{one['id']}", "DELETE")).status == 404
    reply = await kept.say("open", "Once more?", previous_response_id=two["id"])
    assert reply.json["error"]["code"] == "previous_response_not_found" and "lost its beginning" in reply.json["error"]["message"]


async def test_the_items_of_an_input_are_listed(kept: Kept) -> None:
    parts = [{"type": "input_text", "text": "Hello"}]
    one = await kept.answered(await kept.say("open", [{"role": "user", "content": parts}], store=True), "Hi.")
    two = await kept.answered(await kept.say("open", "And?", previous_response_id=one["id"]))
    path = f"/v1/responses/{two['id']}/input_items"
    page = (await kept.get(path)).json
    texts = [item["content"][0]["text"] for item in page["data"]]
    assert texts == ["And?", "Hi.", "Hello"] and page["has_more"] is False and page["first_id"] == page["data"][0]["id"]
    first = (await kept.get(path, query=b"limit=2&order=asc")).json
    rest = (await kept.get(path, query=b"limit=2&order=asc&after=" + first["last_id"].encode())).json
    assert [*first["data"], *rest["data"]] == page["data"][::-1] and (first["has_more"], rest["has_more"]) == (True, False)
    for wrong in (b"limit=0", b"limit=x", b"order=up", b"after=nothing"):
        assert (await kept.get(path, query=wrong)).json["error"]["code"] == "invalid_field"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("background", True, "background"),
        ("conversation", "conv_1", "conversation"),
        ("previous_response_id", 7, "previous_response_id"),
        ("previous_response_id", "resp_nothing", "previous_response_id"),
        ("previous_response_id", "", "previous_response_id"),
    ],
)
async def test_what_is_not_done_is_refused_by_name(kept: Kept, field: str, value: Any, param: str) -> None:
    reply = await kept.say("open", "Hello", **{field: value})
    assert reply.status == 400 and reply.json["error"]["param"] == param and not kept.calls


async def test_both_kinds_of_conversation_at_once_are_refused(kept: Kept) -> None:
    one = await kept.answered(await kept.say("native", "Hello", store=True))
    reply = await kept.say("native", "And?", previous_response_id=one["id"], conversation="conv_1")
    assert (reply.status, reply.json["error"]["param"]) == (400, "conversation")


@pytest.mark.parametrize(
    ("path", "method", "query", "status"),
    [
        ("/v1/responses", "GET", b"", 405),
        ("/v1/responses/resp_1", "POST", b"", 405),
        ("/v1/responses/resp_1/input_items", "DELETE", b"", 405),
        ("/v1/responses/resp_1/cancel", "POST", b"", 400),
        ("/v1/responses/resp_1/else", "GET", b"", 404),
        ("/v1/responses/", "GET", b"", 404),
        ("/v1/responses/resp_1", "GET", b"stream=true", 400),
        ("/v1/responses/" + "x" * 500, "GET", b"", 404),
        ("/v1/responses/resp_%00%ff", "GET", b"", 404),
    ],
)
async def test_wrong_addresses(kept: Kept, path: str, method: str, query: bytes, status: int) -> None:
    assert (await kept.get(path, method, query=query)).status == status


async def test_without_a_database_it_is_said_plainly(kept: Kept) -> None:
    kept.shelf._store = None
    reply = await kept.say("open", "Hello", store=True)
    response = await kept.answered(reply)
    assert response["store"] is False and reply.headers["x-bulkhead-stored"] == "false; this proxy has no database"
    continued = await kept.say("open", "And?", previous_response_id=response["id"])
    assert continued.status == 400 and "without a database" in continued.json["error"]["message"]


async def test_a_repeated_call_is_kept_once(kept: Kept) -> None:
    headers = {"idempotency_key": "once"}
    body = {"model": "open", "input": "Hello", "store": True}
    reply = kept.ask("/v1/responses", body, **headers)
    await until(lambda: bool(kept.calls))
    first = await kept.answered(reply)
    await kept.get(f"/v1/responses/{first['id']}", "DELETE")
    again = kept.ask("/v1/responses", body, **headers)
    await until(lambda: bool(again.ended))
    assert again.json["id"] == first["id"] and len(kept.calls) == 1
    assert not kept.book.rows, "an answer given again is not kept again: it was deleted"


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers(-(2**53), 2**53)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.text() | st.booleans()),
    st.text(max_size=9),
)
async def test_what_was_sealed_is_what_is_opened(items: list[Any], response: dict[str, Any], previous: str) -> None:
    shelf = ResponseShelf(book := FakeShelfStore(), PEPPER)
    assert not await shelf.keep("k", "o", Turn(items, {**response, "id": "resp_1"}, previous and "resp_0"))
    if previous:
        assert not await shelf.keep("k", "o", Turn([], {"id": "resp_0"}))
    found = await shelf.turns("k", "resp_1", continued=True)
    assert isinstance(found, list) and (found[-1].input, found[-1].response) == (items, {**response, "id": "resp_1"})
    assert len(found) == (2 if previous else 1) == len(book.rows)


def sse(payload: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), encode(payload))


CLAUDE_STREAM = [
    sse(one)
    for one in (
        {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi there."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
]
