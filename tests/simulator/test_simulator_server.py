"""The server under it: HTTP, clients that leave, latency and speed, the bill, the control, the command line."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.simulator.behaviour import Lognormal
from apps.simulator.harness import SimulatorServer

ROOT = Path(__file__).resolve().parents[2]


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], **more}


def request_bytes(body: dict[str, Any], *, version: str = "1.1", headers: str = "") -> bytes:
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: sim\r\ncontent-length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


@pytest.fixture
def wire(sim: SimulatorServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", sim.port), timeout=60) as connection:
        yield connection


def read_until(wire: socket.socket, mark: bytes, count: int = 1) -> bytes:
    received = b""
    while received.count(mark) < count:
        data = wire.recv(65536)
        assert data, received
        received += data
    return received


# HTTP


def test_pipelined_requests_are_answered_in_order(wire: socket.socket) -> None:
    count = 100  # more than may wait at once
    wire.sendall(b"".join(request_bytes(chat(bulkhead_sim={"output_tokens": number + 1})) for number in range(count)))
    text = read_until(wire, b'"bulkhead_simulated":true}', count).decode()
    assert [int(part.partition(",")[0]) for part in text.split('"completion_tokens":')[1:]] == list(range(1, count + 1))


def test_a_chunked_request(wire: socket.socket) -> None:
    data = json.dumps(chat()).encode()
    wire.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\ntransfer-encoding: chunked\r\n\r\n")
    for byte in data:
        wire.sendall(b"1\r\n%b\r\n" % bytes([byte]))
    wire.sendall(b"0\r\n\r\n")
    assert read_until(wire, b"bulkhead_simulated").startswith(b"HTTP/1.1 200 OK")


def test_expect_100_continue(wire: socket.socket) -> None:
    whole = request_bytes(chat(), headers="expect: 100-continue\r\n")
    head, _, body = whole.partition(b"\r\n\r\n")
    wire.sendall(head + b"\r\n\r\n")
    assert read_until(wire, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(body)
    assert read_until(wire, b"bulkhead_simulated").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("stream", [False, True])
def test_http_10_ends_by_close(wire: socket.socket, stream: bool) -> None:
    wire.sendall(request_bytes(chat(stream=stream), version="1.0"))
    received = b""
    while data := wire.recv(65536):
        received += data
    assert b"chunked" not in received and b"connection: close" in received
    assert received.endswith(b"data: [DONE]\n\n" if stream else b"}")


def test_connection_close_is_honoured(wire: socket.socket) -> None:
    wire.sendall(request_bytes(chat(), headers="connection: close\r\n"))
    read_until(wire, b"bulkhead_simulated")
    assert wire.recv(10) in (b"", b":true}") and wire.recv(10) == b""


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"nonsense\r\n\r\n"])
def test_no_http_is_refused(wire: socket.socket, data: bytes) -> None:
    wire.sendall(data)
    assert read_until(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_unknown_paths_and_methods(sim: SimulatorServer) -> None:
    assert httpx.post(f"{sim.url}/v1/nothing").status_code == 404
    answer = httpx.delete(f"{sim.url}/v1/models")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert httpx.head(f"{sim.url}/").content == b""


def test_a_slow_reader_is_waited_for(sim: SimulatorServer) -> None:
    """Much more than the socket buffers hold: the simulator stops generating until the client reads."""
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(20)
        wire.connect(("127.0.0.1", sim.port))
        wire.sendall(request_bytes(chat(stream=True, bulkhead_sim={"output_tokens": 60_000})))
        assert read_until(wire, b"data: ").startswith(b"HTTP/1.1 200 OK")
        assert sim.bill()["running"] == 1, "it waits for us"
        received = size = 0
        while not received:
            data = wire.recv(1 << 20)
            size += len(data)
            received = data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert size > 60_000 * 100
    assert sim.wait_for(lambda bill: bill["running"] == 0)["output_tokens"] == 60_000


# clients that leave


@pytest.mark.parametrize("fault", ["stall", "stall:where=mid,events=5"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_is_noticed_and_billed_for_what_was_made(
    sim: SimulatorServer, wire: socket.socket, fault: str, stream: bool
) -> None:
    wire.sendall(request_bytes(chat(stream=stream, bulkhead_sim={"fault": fault, "output_tokens": 1000})))
    assert sim.wait_for(lambda bill: bill["running"] == 1)["cancelled"] == 0
    if "mid" in fault:
        read_until(wire, b"\r\n\r\n")
    wire.close()
    bill = sim.wait_for(lambda bill: bill["running"] == 0)
    assert bill["cancelled"] == 1
    [line] = bill["seen"]
    assert (line["outcome"], line["input_tokens"]) == ("cancelled", 2)
    assert line["output_tokens"] == (0 if fault == "stall" else 4 if stream else 1000)


def test_leaving_while_a_json_answer_is_generated(sim: SimulatorServer, wire: socket.socket) -> None:
    sim.control(server={"tokens_per_second": 100})
    wire.sendall(request_bytes(chat(bulkhead_sim={"output_tokens": 100_000})))
    sim.wait_for(lambda bill: bill["running"] == 1)
    wire.close()
    bill = sim.wait_for(lambda bill: bill["running"] == 0)
    assert bill["cancelled"] == 1 and bill["output_tokens"] < 100_000


# time


def test_first_byte_and_speed(sim: SimulatorServer, wire: socket.socket) -> None:
    """Lower bounds only: a busy machine may take longer, never less."""
    sim.control(server={"first_byte_ms": {"kind": "fixed", "value": 60}, "tokens_per_second": 200})
    began = time.monotonic()
    wire.sendall(request_bytes(chat(stream=True, bulkhead_sim={"output_tokens": 20})))
    read_until(wire, b"data: ")
    assert time.monotonic() - began >= 0.06
    read_until(wire, b"[DONE]")
    assert time.monotonic() - began >= 0.16
    began = time.monotonic()
    httpx.post(f"{sim.base_url}/chat/completions", json=chat(bulkhead_sim={"output_tokens": 20}))
    assert time.monotonic() - began >= 0.16


def test_a_lognormal_has_its_median_and_95th_percentile() -> None:
    rng = random.Random(1)
    draws = sorted(Lognormal(median=180, p95=600).draw(rng) for _ in range(20_000))
    assert draws[10_000] == pytest.approx(180, rel=0.05)
    assert draws[19_000] == pytest.approx(600, rel=0.08)


def test_lengths_are_drawn_and_repeat_by_seed(sim: SimulatorServer) -> None:
    sim.control(server={"output_tokens": {"kind": "lognormal", "median": 50, "p95": 200}})

    def lengths() -> list[int]:
        sim.reset()
        with httpx.Client(base_url=sim.base_url) as client:
            return [client.post("/chat/completions", json=chat()).json()["usage"]["completion_tokens"] for _ in range(20)]

    first = lengths()
    assert len(set(first)) > 5 and lengths() == first


# the bill


def test_the_bill(sim: SimulatorServer) -> None:
    sim.control(prices={"m": {"input": 1_000_000, "output": 3_000_001}, "*": {"input": 5}})
    with httpx.Client(base_url=sim.base_url) as client:
        client.post("/chat/completions", json=chat(max_tokens=5), headers={"x-bulkhead-request-id": "ours", "x-request-id": "theirs"})
        client.post("/chat/completions", json=chat(max_tokens=5, stream=True), headers={"x-request-id": "theirs"})
        client.post("/embeddings", json={"model": "e", "input": "hello"})
        client.post("/chat/completions", json=chat(model="sim-fault/503"))
    bill = sim.wait_for(lambda bill: bill["running"] == 0)
    assert (bill["requests"], bill["ok"], bill["error"], bill["cancelled"], bill["cut"]) == (4, 3, 1, 0, 0)
    assert [line["request_id"] for line in bill["seen"]] == ["ours", "theirs", "", ""]
    assert bill["models"]["m"] == {"requests": 2, "input_tokens": 4, "output_tokens": 10, "cost_nano": 2 * (2 + 15 + 1)}, "each rounds up"
    assert bill["models"]["e"]["cost_nano"] == 1
    assert bill["models"]["sim-fault/503"]["cost_nano"] == 0
    assert bill["cost_nano"] == sum(line["cost_nano"] for line in bill["seen"]) == 37
    assert "seen" not in sim.bill(seen=False)
    sim.reset()
    assert sim.bill()["requests"] == 0


# the control


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"sever": {}}, "unknown field `sever`"),
        ({"server": {"first_byte_ms": 5}}, "first_byte_ms"),
        ({"server": {"first_byte_ms": {"kind": "lognormal", "median": 5, "p95": 1}}}, "median <= p95"),
        ({"server": {"tokens_per_second": -1}}, "tokens_per_second must be"),
        ({"models": {"m": {"faults": ["explode"]}}}, "models.m: 'explode' is no fault"),
        ({"models": {"m": {"faults": [{"kind": "status", "status": 200}]}}}, "200 is no error"),
        ({"server": {"errors": [{"share": 0.7, "fault": "500"}, {"share": 0.7, "fault": "503"}]}}, "at most 1"),
        ({"prices": {"m": {"input": -1}}}, "not be negative"),
        ({"reset_connections": -1}, "reset_connections"),
    ],
)
def test_bad_control_is_refused_and_changes_nothing(sim: SimulatorServer, document: dict[str, Any], reason: str) -> None:
    before = sim.control(models={"kept": {"tokens_per_second": 5}})
    with pytest.raises(ValueError, match=reason):
        sim.control(**document)
    assert httpx.get(f"{sim.url}/sim/control").json() == before


def test_models_override_the_server_and_are_forgotten_by_null(sim: SimulatorServer) -> None:
    sim.control(server={"output_tokens": {"kind": "fixed", "value": 4}}, models={"m": {"output_tokens": {"kind": "fixed", "value": 9}}})

    def length(model: str) -> int:
        answer = httpx.post(f"{sim.base_url}/chat/completions", json=chat(model=model))
        return int(answer.json()["usage"]["completion_tokens"])

    assert (length("m"), length("other")) == (9, 4)
    sim.control(models={"m": None})
    assert length("m") == 4


def test_no_json_is_refused(sim: SimulatorServer) -> None:
    for body in (b"", b"[1]", b"{"):
        assert httpx.put(f"{sim.url}/sim/control", content=body).status_code == 400


def test_every_page_says_that_it_is_a_simulation(sim: SimulatorServer) -> None:
    for path in ("/", "/healthz", "/sim/control", "/sim/bill", "/v1/models", "/nothing"):
        answer = httpx.get(sim.url + path)
        assert answer.headers["x-bulkhead-simulated"] == "sim-test"
        assert "simulat" in answer.text


def test_interleaved_models_do_not_disturb_each_others_chance(sim: SimulatorServer) -> None:
    sim.control(server={"errors": [{"share": 0.5, "fault": "500"}]})

    def statuses(models: str) -> dict[str, list[int]]:
        sim.reset()
        found: dict[str, list[int]] = {"a": [], "b": []}
        with httpx.Client(base_url=sim.base_url) as client:
            for model in models:
                found[model].append(client.post("/chat/completions", json=chat(model=model)).status_code)
        return found

    assert statuses("ab" * 20) == statuses("a" * 20 + "b" * 20)


# the command line


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "apps.simulator", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_a_process_of_its_own_with_a_scenario(tmp_path: Path) -> None:
    with SimulatorServer("sim-west", process=True, scenario={"server": {"faults": ["503"]}}) as west:
        assert httpx.post(f"{west.base_url}/chat/completions", json=chat()).status_code == 503
        west.kill()
        with pytest.raises(httpx.ConnectError):
            httpx.get(west.url)


def test_bad_arguments_are_refused(tmp_path: Path, sim: SimulatorServer) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text('{"server": {"faults": ["explode"]}}')
    assert "'explode' is no fault" in run("--scenario", str(scenario)).stderr
    assert "No such file" in run("--scenario", str(tmp_path / "missing.json")).stderr
    assert "--name" in run("--name", "a b").stderr
    taken = run("--port", str(sim.port))
    assert (taken.returncode, str(sim.port) in taken.stderr) == (2, True)
    with pytest.raises(RuntimeError, match=str(sim.port)):
        SimulatorServer(port=sim.port).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_to_even_with_a_stream_open(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-m", "apps.simulator"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("SIMULATION sim-east")
    port = int(line.rsplit(":", 1)[1])
    with process.stdout, socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(request_bytes(chat(bulkhead_sim={"fault": "stall"})))
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
