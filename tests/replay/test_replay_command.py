"""The replay against a simulator that plays the proxy: tokens to the last one, failures by code, costs, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.simulator.harness import SimulatorServer
from controlplane.replay.client import Call, Client, read_json, read_stream_end
from controlplane.replay.progress import Progress
from controlplane.replay.run import Mode, Plan, Replay
from controlplane.replay.summary import Tally, quantile, render
from controlplane.replay.traces import Row, Trace, read_trace
from tests.replay.costing import CostingProxy

ROOT = Path(__file__).resolve().parents[2]
AZURE = ROOT.parent / "shared" / "material" / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-replay") as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh(sim: SimulatorServer) -> None:
    sim.control(server={})
    sim.reset()


def rows(count: int, *, gap: float = 0.001) -> Trace:
    return Trace("azure", [Row(number + 2, number * gap, 10 + number, number % 7) for number in range(count)], [])


def replay(trace: Trace, url: str, **plan: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"url": url, "key": "k", "model": "m", "speed": 1.0, **plan}
    return asyncio.run(Replay(trace, Plan(**fields)).run())


@pytest.mark.parametrize("mode", ["json", "stream", "mixed"])
def test_tokens_equal_the_traces_and_the_providers(sim: SimulatorServer, mode: Mode) -> None:
    trace = rows(120)
    found = replay(trace, sim.url, mode=mode)
    assert (found["sent"], found["ok"], found["failed"], found["unanswered"]) == (120, 120, 0, 0)
    assert found["input_tokens"] == sum(row.input_tokens for row in trace.rows)
    assert found["output_tokens"] == sum(row.output_tokens for row in trace.rows)
    bill = sim.bill()
    assert (bill["ok"], bill["input_tokens"], bill["output_tokens"]) == (120, found["input_tokens"], found["output_tokens"])
    assert found["simulated"] == 120
    assert (found["first_token_ms"]["p50"] is None) == (mode == "json")


def test_a_real_trace(sim: SimulatorServer) -> None:
    if not AZURE.is_file():
        pytest.skip(f"test material is absent: {AZURE}")
    trace = read_trace(AZURE, limit=300)
    found = replay(trace, sim.url, speed=200.0, mode="mixed")
    assert (found["ok"], found["input_tokens"]) == (300, sum(row.input_tokens for row in trace.rows))
    assert found["output_tokens"] == sum(row.output_tokens for row in trace.rows)


def test_arrival_times_are_honoured_at_speed(sim: SimulatorServer) -> None:
    """An open loop: the answers' slowness delays nothing."""
    sim.control(server={"first_byte_ms": {"kind": "fixed", "value": 300}})
    trace = rows(20, gap=0.1)
    found = replay(trace, sim.url, speed=10.0)
    assert found["ok"] == 20
    assert found["elapsed_s"] >= 0.19 + 0.3, "the last row leaves at 0.19 s"
    assert found["elapsed_s"] < 20 * 0.3, "not one after another"


def test_concurrency_is_a_bound_and_shows_as_lag(sim: SimulatorServer) -> None:
    sim.control(server={"first_byte_ms": {"kind": "fixed", "value": 20}})
    found = replay(rows(30), sim.url, concurrency=2, speed=1000.0)
    assert found["ok"] == 30
    assert found["lag_ms"]["max"] >= 20 * 10


def test_failures_are_counted_by_code_and_do_not_stop_the_rest(sim: SimulatorServer) -> None:
    faults = ["429", "503", "reset", "cut", "truncated_json", "missing_usage", {"kind": "status", "status": 502, "body": "html"}]
    sim.control(server={"faults": faults})
    found = replay(rows(20), sim.url, concurrency=1)
    assert found["failed_by_code"] == {
        "rate_limit_exceeded": 1,
        "server_error": 1,
        "connection_reset": 1,
        "answer_cut_off": 1,
        "answer_not_json": 1,
        "usage_missing": 1,
        "http_502": 1,
    }
    assert (found["sent"], found["ok"], found["failed"]) == (20, 13, 7)


def test_broken_streams_are_failures(sim: SimulatorServer) -> None:
    faults = ["cut:events=3", "cut:events=3,clean", "missing_done", "missing_usage", "error_event:events=2", "cut:events=2,rst"]
    sim.control(server={"faults": faults})
    trace = Trace("azure", [Row(line, 0.0, 10, 10) for line in range(10)], [])
    found = replay(trace, sim.url, mode="stream", concurrency=1)
    assert found["ok"] == 4
    assert found["failed_by_code"] == {"stream_truncated": 2, "answer_cut_off": 2, "usage_missing": 1, "server_error": 1}


def test_nobody_listens() -> None:
    found = replay(rows(5), "http://127.0.0.1:1")
    assert found["failed_by_code"] == {"connection_refused": 5}


def test_answers_that_never_come(sim: SimulatorServer) -> None:
    sim.control(server={"faults": ["stall"]})
    found = replay(rows(3), sim.url, timeout=2, concurrency=1)
    assert found["failed_by_code"] == {"timeout": 1}
    assert found["ok"] == 2, "the connection that hung is not used again"


@pytest.mark.parametrize("mode", ["json", "stream", "mixed"])
def test_costs_come_from_the_header_and_for_streams_from_the_record(mode: Mode) -> None:
    with CostingProxy(nano=1_250_000_001, pending=2) as proxy:
        found = replay(rows(10), proxy.url, mode=mode)
    assert (found["ok"], found["unpriced"]) == (10, 0)
    assert (found["cost_nano"], found["cost_usd"]) == (12_500_000_010, "12.50000001")


def test_an_answer_without_a_cost_is_said_so(sim: SimulatorServer) -> None:
    found = replay(rows(4), sim.url)
    assert (found["unpriced"], found["cost_nano"]) == (4, 0)
    assert "4 answers came without a cost" in render(found)


# the command


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "replay", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "controlplane.settings.dev", **environment},
    )  # fmt: skip


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:15:{number:02d}.5000000,{number + 5},{number}\n" for number in range(10)]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(lines[:5]) + "broken\n" + "".join(lines[5:]))
    return path


def test_the_command_takes_the_running_instance_from_up_json(sim: SimulatorServer, trace_file: Path, tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text(json.dumps({"proxy_url": sim.url, "key": "bk-demo", "model": "demo-chat"}))
    done = command(str(trace_file), "--speed", "100", BULKHEAD_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "trace.csv, line 7: has 1 columns instead of 3; skipped" in done.stderr
    for expected in ("sent         10", "failed       0", "broken rows  1", "tokens       95 in  45 out", "(simulated)"):
        assert expected in done.stdout
    assert set(sim.bill()["models"]) == {"demo-chat"}


def test_json_for_machines_and_exit_code_1_for_failures(sim: SimulatorServer, trace_file: Path) -> None:
    sim.control(server={"faults": ["503"]})
    done = command(str(trace_file), "--speed", "100", "--limit", "4", "--url", sim.url, "--key", "k", "--model", "m", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["sent"], found["ok"], found["failed_by_code"]) == (4, 3, {"server_error": 1})
    assert "\x1b" not in done.stderr, "no cursor movements where there is no terminal"


def test_json_names_the_broken_rows(sim: SimulatorServer, trace_file: Path) -> None:
    out = StringIO()
    call_command(
        "replay", str(trace_file), "--speed", "100", "--url", sim.url, "--key", "k", "--model", "m", "--json", "--stream", stdout=out
    )
    assert json.loads(out.getvalue())["broken"] == [{"line": 7, "reason": "has 1 columns instead of 3"}]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--speed", "0"], "--speed 0.0: must be"),
        (["--speed", "nan"], "--speed nan: must be"),
        (["--limit", "0"], "--limit 0: must be"),
        (["--concurrency", "0"], "--concurrency 0: must be"),
        (["--data-dir", "/nonexistent"], "start it with 'manage.py up'"),
        (["--url", "ftp://x", "--key", "k", "--model", "m"], "'ftp://x' is no address"),
    ],
)
def test_bad_arguments_say_what_to_do(trace_file: Path, arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=re.escape(reason)):
        call_command("replay", str(trace_file), *arguments)


def test_a_file_that_is_missing_or_no_trace(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    for name, reason in (("nothing.csv", "cannot be read: No such file"), ("page.html", "expected CSV with the columns")):
        with pytest.raises(CommandError, match=reason):
            call_command("replay", str(tmp_path / name))


@pytest.mark.slow
def test_ctrl_c_prints_the_summary_so_far(sim: SimulatorServer, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:00,5,5\n2023-11-16 18:15:01,5,5\n2023-11-16 19:15:00,5,5\n")
    arguments = [
        sys.executable,
        "manage.py",
        "replay",
        str(path),
        "--url",
        sim.url,
        "--key",
        "k",
        "--model",
        "m",
        "--speed",
        "10",
        "--json",
    ]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    sim.wait_for(lambda bill: bill["ok"] == 2, seconds=90)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=90)
    found = json.loads(out)
    assert (process.returncode, found["interrupted"], found["ok"]) == (130, True, 2)


# its parts


def test_quantiles_by_nearest_rank() -> None:
    assert quantile([], 0.5) is None
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, q) for q in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_and_elsewhere() -> None:
    tally = Tally()
    tally.sent, tally.ok = 5, 5
    for stream, mark in ((_Terminal(), "\r\x1b[K[###############...............] 5/10"), (StringIO(), "5/10")):
        progress = Progress(stream, 10)
        for elapsed in (0.0, 6.0, 6.01):
            progress.show(tally, elapsed=elapsed, in_flight=1, lag=0.0)
        progress.close()
        assert stream.getvalue().count("5/10") == 1 and stream.getvalue().startswith(mark)


def test_the_url_may_end_in_v1() -> None:
    client = Client("http://127.0.0.1:1/v1", {"a": "b"}, connections=1, timeout=1, on_end=lambda call: None)
    assert client.request("GET", "/v1/models") == b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1:1\r\na: b\r\n\r\n"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b'{"usage": []}', b'{"usage": {"prompt_tokens": "5"}}'])
def test_answers_without_sense_are_failures(body: bytes) -> None:
    call = Call(b"", stream=False, scheduled=0.0)
    call.status = 200
    read_json(call, body)
    assert call.failure in ("answer_not_json", "usage_missing")
    read_stream_end(call, b"data: " + body + b"\n\ndata: [DONE]\n\n")
    assert call.failure == "usage_missing"
