"""Every fault as bytes on the wire, and the notation that orders it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.simulator.faults import Fault, FaultError, Script, parse_fault, parse_script
from apps.simulator.harness import SimulatorServer

QUIET_SECONDS = 0.2


def chat(model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}


def raw(sim: SimulatorServer, body: dict[str, Any], *, timeout: float = 30) -> socket.socket:
    """A connection on which the request has been sent."""
    connection = socket.create_connection(("127.0.0.1", sim.port), timeout=timeout)
    data = json.dumps(body).encode()
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
    return connection


def read_to_end(connection: socket.socket, *, enough: Callable[[bytes], bool] = lambda received: False) -> tuple[bytes, str]:
    """All bytes, and how it ended: ``fin``, ``reset``, or ``timeout``: after what is ``enough``, nothing came for a while."""
    received = b""
    with connection:
        while True:
            if enough(received):
                connection.settimeout(QUIET_SECONDS)
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                return received, "reset"
            except TimeoutError:
                return received, "timeout"
            if not data:
                return received, "fin"
            received += data


def chunks_of(received: bytes) -> tuple[list[bytes], bool]:
    """The whole chunks of a chunked answer, and whether the last one closed it."""
    body = received.partition(b"\r\n\r\n")[2]
    found: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return found, True
        if len(body) < length + 2:
            return found, False
        found.append(body[:length])
        body = body[length + 2 :]
    return found, False


@pytest.mark.parametrize(
    ("model", "statuses"),
    [
        ("sim-fault/503x2-then-ok", [503, 503, 200, 200]),
        ("sim-fault/500", [500, 500, 500]),
        ("sim-fault/429x1-then-500x1-then-ok", [429, 500, 200]),
        ("sim-fault/400x1", [400, 200]),
        ("sim-fault/401", [401]),
        ("sim-fault/okx1-then-404", [200, 404, 404]),
    ],
)
def test_a_model_name_is_a_script(sim: SimulatorServer, client: httpx.Client, model: str, statuses: list[int]) -> None:
    assert [client.post("/chat/completions", json=chat(model)).status_code for _ in statuses] == statuses
    sim.reset()
    assert [client.post("/chat/completions", json=chat(model)).status_code for _ in statuses] == statuses, "a reset begins it anew"


def test_scripts_with_a_label_count_apart(client: httpx.Client) -> None:
    for label in "ab":
        model = f"sim-fault/503x1-then-ok#{label}"
        assert [client.post("/chat/completions", json=chat(model)).status_code for _ in range(2)] == [503, 200]


def test_an_unreadable_script_is_refused_with_what_is_known(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=chat("sim-fault/explode"))
    assert answer.status_code == 404
    assert "'explode' is no fault" in answer.json()["error"]["message"]
    assert "missing_done" in answer.json()["error"]["message"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_errors_have_openais_shape(client: httpx.Client, status: int) -> None:
    answer = client.post("/chat/completions", json=chat(f"sim-fault/{status}"))
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["bulkhead_simulated"] is True
    assert "retry-after" not in answer.headers


def test_retry_after(client: httpx.Client) -> None:
    assert client.post("/chat/completions", json=chat("sim-fault/429:retry-after=2")).headers["retry-after"] == "2"
    assert client.post("/chat/completions", json=chat("sim-fault/503:retry_after=0.5")).headers["retry-after"] == "0.5"


def test_a_balancers_error_page(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=chat("sim-fault/502:body=html"))
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    empty = client.post("/chat/completions", json=chat("sim-fault/503:body=empty"))
    assert (empty.content, "content-type" in empty.headers) == (b"", False)


def test_faults_of_a_list_are_consumed_one_per_request(sim: SimulatorServer, client: httpx.Client) -> None:
    sim.control(models={"m": {"faults": ["503", {"kind": "status", "status": 429, "times": 2}, "ok", "500"]}})
    statuses = [client.post("/chat/completions", json=chat()).status_code for _ in range(6)]
    assert statuses == [503, 429, 429, 200, 500, 200]


def test_the_servers_list_is_shared_by_its_models(sim: SimulatorServer, client: httpx.Client) -> None:
    sim.control(server={"faults": ["503", "500"]}, models={"own": {"faults": ["401"]}})
    statuses = [client.post("/chat/completions", json=chat(model)).status_code for model in ("a", "b", "c", "own", "own")]
    assert statuses == [503, 500, 200, 401, 200]


def test_a_request_can_ask_for_its_own_fault(client: httpx.Client) -> None:
    assert client.post("/chat/completions", json=chat(bulkhead_sim={"fault": "503"})).status_code == 503
    assert client.post("/chat/completions", json=chat(metadata={"bulkhead_sim": "429"})).status_code == 200, "digits are a length"
    assert client.post("/chat/completions", json=chat(metadata={"bulkhead_sim": "429:retry-after=1"})).status_code == 429


def test_the_error_mix_has_its_shares_and_repeats_by_seed(sim: SimulatorServer, client: httpx.Client) -> None:
    mix = [{"share": 0.2, "fault": "500"}, {"share": 0.3, "fault": {"kind": "status", "status": 429, "retry_after": 1}}]
    sim.control(models={"m": {"errors": mix}})
    first = [client.post("/chat/completions", json=chat()).status_code for _ in range(300)]
    sim.reset()
    assert [client.post("/chat/completions", json=chat()).status_code for _ in range(300)] == first
    assert 30 <= first.count(500) <= 90
    assert 50 <= first.count(429) <= 130


@pytest.mark.parametrize("events", [0, 1, 3])
@pytest.mark.parametrize(("option", "ending", "closed"), [("", "fin", False), (",clean", "timeout", True), (",rst", "reset", False)])
def test_a_stream_is_cut_after_so_many_events(sim: SimulatorServer, events: int, option: str, ending: str, closed: bool) -> None:
    received, ended = read_to_end(
        raw(sim, chat(f"sim-fault/cut:events={events}{option}", stream=True)), enough=lambda received: chunks_of(received)[1]
    )
    written, whole = chunks_of(received)
    assert (len(written), whole, ended) == (events, closed, ending)
    assert b"[DONE]" not in received
    assert sim.wait_for(lambda bill: bill["running"] == 0)["cut"] == 1


def test_a_json_body_is_cut(sim: SimulatorServer) -> None:
    received, ended = read_to_end(raw(sim, chat("sim-fault/cut")))
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    assert (ended, 0 < len(body) < length) == ("fin", True)
    clean, _ = read_to_end(raw(sim, chat("sim-fault/cut:clean")), enough=lambda received: chunks_of(received)[1])
    written, whole = chunks_of(clean)
    assert whole
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(b"".join(written))


def test_truncated_json_is_a_whole_http_message(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=chat("sim-fault/truncated_json"))
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()
    assert client.post("/chat/completions", json=chat()).status_code == 200, "the connection is still good"


def test_reset_instead_of_an_answer(sim: SimulatorServer) -> None:
    assert read_to_end(raw(sim, chat("sim-fault/reset"))) == (b"", "reset")


def test_reset_on_connect(sim: SimulatorServer, client: httpx.Client) -> None:
    sim.control(reset_connections=1)
    try:
        connection = socket.create_connection(("127.0.0.1", sim.port), timeout=30)
    except ConnectionResetError:
        pass  # it was quicker than connect()
    else:
        assert read_to_end(connection) == (b"", "reset")
    assert client.post("/chat/completions", json=chat()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_stall_before_the_headers(sim: SimulatorServer, stream: bool) -> None:
    assert read_to_end(raw(sim, chat("sim-fault/stall", stream=stream)), enough=lambda _: True) == (b"", "timeout")
    sim.wait_for(lambda bill: (bill["cancelled"], bill["running"]) == (1, 0))


def test_stall_before_the_first_token(sim: SimulatorServer) -> None:
    received, ended = read_to_end(raw(sim, chat("sim-fault/stall:where=first_token", stream=True)), enough=lambda head: b"\r\n\r\n" in head)
    assert (chunks_of(received), ended) == (([], False), "timeout")
    assert received.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("stream", [False, True])
def test_stall_in_the_middle(sim: SimulatorServer, stream: bool) -> None:
    received, ended = read_to_end(
        raw(sim, chat("sim-fault/stall:where=mid,events=2", stream=stream)),
        enough=lambda received: len(chunks_of(received)[0]) == 2 if stream else b"\r\n\r\n" in received,
    )
    assert ended == "timeout"
    if stream:
        assert len(chunks_of(received)[0]) == 2


def test_a_stall_with_seconds_ends(client: httpx.Client) -> None:
    for where in ("headers", "first_token", "mid"):
        began = time.monotonic()
        answer = client.post("/chat/completions", json=chat(f"sim-fault/stall:where={where},seconds=0.05", stream=True))
        assert answer.text.endswith("data: [DONE]\n\n")
        assert time.monotonic() - began >= 0.05
    assert client.post("/chat/completions", json=chat("sim-fault/stall:where=mid,seconds=0.01")).json()["object"] == "chat.completion"


def test_malformed_events(client: httpx.Client) -> None:
    text = client.post("/chat/completions", json=chat("sim-fault/malformed_sse:events=2", stream=True)).text
    events = text.split("\n\n")
    assert events[2].startswith("data: {") and events[3] == "this line is no field of an event stream"
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(events[2].removeprefix("data: "))
    assert text.endswith("data: [DONE]\n\n")


def test_missing_usage(client: httpx.Client) -> None:
    assert "usage" not in client.post("/chat/completions", json=chat("sim-fault/missing_usage")).json()
    text = client.post("/chat/completions", json=chat("sim-fault/missing_usage", stream=True, stream_options={"include_usage": True})).text
    assert '"prompt_tokens"' not in text and text.endswith("data: [DONE]\n\n")


def test_missing_done(client: httpx.Client) -> None:
    text = client.post("/chat/completions", json=chat("sim-fault/missing_done", stream=True)).text
    assert '"finish_reason":"stop"' in text and "[DONE]" not in text


def test_an_error_as_event(client: httpx.Client) -> None:
    text = client.post("/chat/completions", json=chat("sim-fault/error_event:events=2", stream=True)).text
    events = text.strip().split("\n\n")
    assert len(events) == 3 and "error" in json.loads(events[2].removeprefix("data: "))


def test_overrun_bills_more_than_was_asked_for(sim: SimulatorServer, client: httpx.Client) -> None:
    usage = client.post("/chat/completions", json=chat("sim-fault/overrun:tokens=50", max_tokens=4)).json()["usage"]
    assert usage["completion_tokens"] == 54
    text = client.post(
        "/chat/completions", json=chat("sim-fault/overrun:tokens=50", max_tokens=4, stream=True, stream_options={"include_usage": True})
    ).text
    assert '"completion_tokens":54' in text
    assert sim.bill()["output_tokens"] == 108


# the notation


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("503", Fault(kind="status", status=503)),
        ("503x2", Fault(kind="status", status=503, times=2)),
        ("429:retry-after=1.5x3", Fault(kind="status", status=429, retry_after=1.5, times=3)),
        ("cut:events=3,clean", Fault(kind="cut", events=3, clean=True)),
        ("malformed-sse", Fault(kind="malformed_sse")),
        ("okx1", Fault(kind="ok", times=1)),
    ],
)
def test_notation(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text", ["", "x2", "200", "600", "503x0", "cut:events=-1", "cut:nonsense=1", "stall:where=moon", "cut:events=many", "503 x 2"]
)
def test_bad_notation_is_refused(text: str) -> None:
    with pytest.raises(FaultError):
        parse_fault(text)


def _steps() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(400, 599), st.integers(1, 5)), min_size=1, max_size=6)


@given(_steps())
def test_a_script_is_consumed_in_order(steps: list[tuple[int, int]]) -> None:
    script = Script(parse_script("-then-".join(f"{status}x{times}" for status, times in steps)))
    expected: Iterator[int] = (status for status, times in steps for _ in range(times))
    for status in expected:
        fault = script.take()
        assert fault is not None and fault.status == status
    assert script.take() is None


def test_a_provider_that_is_down_as_a_whole(sim: SimulatorServer, client: httpx.Client) -> None:
    sim.control(down=503)
    assert [client.post("/chat/completions", json=chat()).status_code, client.get("/models").status_code] == [503, 503]
    sim.control(down=0)
    assert [client.post("/chat/completions", json=chat()).status_code, client.get("/models").status_code] == [200, 200]
    with pytest.raises(ValueError, match="down must be 0"):
        sim.control(down=200)
