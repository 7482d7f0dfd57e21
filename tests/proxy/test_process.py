"""The life of a real proxy process: TLS, draining, settings that stop it, last-known-good, what the admin port says."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from uuid import UUID

import httpx
import msgspec
import pytest
import trustme
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from apps.contracts.feedback import FeedbackRecord
from apps.contracts.journal import FIRST_OFFSET, read_frames
from apps.contracts.snapshot import Endpoint, KeyFragment, ProviderFragment, RouteFragment, Target
from apps.proxy import lastgood
from apps.simulator.harness import SimulatorServer
from tests.proxy.conftest import KEY, ORG
from tests.proxy.standalone import ROOT, StandaloneProxy, config_of, digest_of
from tests.proxy.test_leaving import wait_for


def small_world(base_url: str, model: str = "sim-small", **endpoint: str) -> list[object]:
    return [
        ProviderFragment(
            id="p",
            name="east",
            kind="openai",
            organisation=ORG,
            allow_private_addresses=True,
            endpoints=[Endpoint(name="main", base_url=base_url, **endpoint)],  # type: ignore[arg-type]
        ),
        RouteFragment(id="r", name="chat", organisation=ORG, targets=[Target(provider="east", model=model)]),
        KeyFragment(id="k", name="k", public_id="k", organisation=ORG, digests=[digest_of(KEY)]),
    ]


BODY = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
HEADERS = {"authorization": f"Bearer {KEY}"}


def test_the_public_port_speaks_tls(east: SimulatorServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "cert.pem", append=True)
    environ = {"BULKHEAD_PROXY_TLS_CERTIFICATE": str(tmp_path / "cert.pem"), "BULKHEAD_PROXY_TLS_KEY": str(tmp_path / "key.pem")}
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with StandaloneProxy(small_world(east.base_url), tmp_path, environ=environ) as proxy, httpx.Client(verify=context) as client:  # type: ignore[arg-type]
        url = f"https://localhost:{proxy.port}"
        answer = client.post(f"{url}/v1/chat/completions", json=BODY, headers=HEADERS)
        assert answer.status_code == 200, answer.text
        with client.stream("POST", f"{url}/v1/chat/completions", json={**BODY, "stream": True}, headers=HEADERS) as stream:
            assert stream.read().endswith(b"data: [DONE]\n\n")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{proxy.port}/healthz")


def test_sigterm_finishes_a_running_stream_and_takes_no_new_work(tmp_path: Path) -> None:
    scenario = {"server": {"tokens_per_second": 20, "tokens_per_event": 1}}
    with SimulatorServer("sim-slow", scenario=scenario) as simulator, StandaloneProxy(small_world(simulator.base_url), tmp_path) as proxy:  # type: ignore[arg-type]
        got: list[bytes] = []
        began = threading.Event()

        def read() -> None:
            body = {**BODY, "stream": True, "max_tokens": 40, "bulkhead_sim": {"output_tokens": 40}}
            with httpx.stream("POST", f"{proxy.url}/v1/chat/completions", json=body, headers=HEADERS, timeout=60) as stream:
                for part in stream.iter_raw():
                    got.append(part)
                    began.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert began.wait(60)
        assert proxy.process is not None
        proxy.process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", proxy.port), timeout=1).close()
            except OSError:
                return True
            return False

        wait_for(refused, "no new connection is taken")
        assert proxy.process.poll() is None, "the process waits for its stream"
        assert httpx.get(f"{proxy.admin_url}/readyz").status_code == 503
        reader.join(60)
        assert b"".join(got).endswith(b"data: [DONE]\n\n")
        assert proxy.process.wait(60) == 0


def test_it_boots_from_last_known_good_only_when_that_is_whole(tmp_path: Path, east: SimulatorServer) -> None:
    proxy = StandaloneProxy(small_world(east.base_url), tmp_path)  # type: ignore[arg-type]
    data = bytearray(proxy.config_file.read_bytes())
    assert proxy.config_file.stat().st_mode & 0o777 == 0o600
    data[len(data) // 2] ^= 1
    proxy.config_file.write_bytes(bytes(data))
    with pytest.raises(AssertionError, match="damaged"):
        proxy.start()
    lastgood.save(proxy.config_file, config_of(small_world(east.base_url)))  # type: ignore[arg-type]
    with proxy:
        assert httpx.post(f"{proxy.url}/v1/chat/completions", json=BODY, headers=HEADERS).status_code == 200


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"BULKHEAD_KEY_PEPPER": ""}, "BULKHEAD_KEY_PEPPER is not set"),
        ({"BULKHEAD_PROXY_PORT": "eighty"}, "BULKHEAD_PROXY_PORT='eighty' is not a whole number"),
        ({"BULKHEAD_JOURNAL_MAX_BYTES": "5"}, "BULKHEAD_JOURNAL_MAX_BYTES=5 is below"),
        ({"BULKHEAD_SEAL_KEY": "short"}, "BULKHEAD_SEAL_KEY"),
        ({"BULKHEAD_CONFIG_FILE": "/nonexistent/config.lkg"}, "no config at /nonexistent/config.lkg"),
    ],
)
def test_a_wrong_setting_stops_it_with_a_sentence(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    base = {
        **{k: v for k, v in os.environ.items() if not k.startswith("BULKHEAD_")},
        "BULKHEAD_DATA_DIR": str(tmp_path),
        "BULKHEAD_KEY_PEPPER": "p",
        "BULKHEAD_SEAL_KEY": "J2f4b1G3dKmmU9WyR2JcHVMnUeqXOtPxEBkqVQmVDJY=",
        "BULKHEAD_PROXY_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "apps.proxy"], cwd=ROOT, env={**base, **environ}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (1, 2)
    assert said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_taken_port_is_named(tmp_path: Path, east: SimulatorServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        proxy = StandaloneProxy(small_world(east.base_url), tmp_path, port=taken.getsockname()[1])  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="cannot listen on"):
            proxy.start()


def test_an_admin_port_is_never_shared(tmp_path: Path, east: SimulatorServer) -> None:
    with socket.socket() as another:  # as another proxy's public port would be
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        another.bind(("127.0.0.1", 0))
        another.listen()
        environ = {"BULKHEAD_PROXY_ADMIN_PORT": str(another.getsockname()[1])}
        proxy = StandaloneProxy(small_world(east.base_url), tmp_path, environ=environ)  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="cannot listen on"):
            proxy.start()


def test_the_admin_port(proxy: StandaloneProxy) -> None:
    ready = httpx.get(f"{proxy.admin_url}/readyz").json()
    assert ready["ready"] and ready["config_version"] == 1 and ready["reasons"] == []
    text = httpx.get(f"{proxy.admin_url}/metrics").text
    for name in (
        "bulkhead_requests_total",
        "bulkhead_request_duration_seconds_bucket",
        "bulkhead_config_version 1",
        "bulkhead_journal_fill_ratio",
    ):
        assert name in text
    answer = httpx.get(f"{proxy.admin_url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}, timeout=60)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    told = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert told["bulkhead_requests"].type == "counter" and told["bulkhead_request_duration_seconds"].unit == "seconds"
    assert httpx.get(f"{proxy.url}/metrics").status_code == 404, "the admin's addresses are not on the public port"
    assert httpx.post(f"{proxy.admin_url}/readyz").status_code == 405
    assert httpx.get(f"{proxy.admin_url}/nowhere").status_code == 404


def test_an_upstream_over_tls_is_verified(tmp_path: Path) -> None:
    """A certificate that nobody vouches for makes a provider unreachable; its authority, once named, vouches for its own name only."""
    import asyncio

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    answer = b'{"id":"x","object":"chat.completion","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    loop = asyncio.new_event_loop()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
                % (len(answer), answer)
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(speak, "127.0.0.1", 0, ssl=context))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        cases = [
            ({}, f"https://localhost:{port}/v1", 502),
            ({"ca_file": str(tmp_path / "ca.pem")}, f"https://localhost:{port}/v1", 200),
            ({"ca_file": str(tmp_path / "ca.pem")}, f"https://127.0.0.1:{port}/v1", 502),
        ]
        for number, (endpoint, url, status) in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            with StandaloneProxy(small_world(url, **endpoint), folder) as proxy:  # type: ignore[arg-type]
                got = httpx.post(f"{proxy.url}/v1/chat/completions", json=BODY, headers=HEADERS)
                assert got.status_code == status, (url, endpoint, got.text)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def test_feedback_is_journalled_and_answered_at_once(proxy: StandaloneProxy) -> None:
    with httpx.Client(base_url=proxy.url, headers=HEADERS, timeout=60) as client:
        id = client.post("/v1/chat/completions", json={"model": "nothing-of-the-kind"}).headers["x-bulkhead-request-id"]
        told = {"request_id": id, "thumb": "down", "reason": "slow", "outcome": "escalated", "tags": ["mobile"]}
        answer = client.post("/v1/feedback", json=told, headers={"x-bulkhead-client-ms": "1500"})
        assert (answer.status_code, answer.json()) == (202, {"object": "bulkhead.feedback", "request_id": id, "status": "accepted"})
        refused = client.post("/v1/feedback", json={"request_id": id, "score": 7})
        assert refused.status_code == 400 and refused.headers["x-should-retry"] == "false"
        error = refused.json()
        assert (error["error"]["code"], error["error"]["param"], error["error"]["type"]) == (
            "invalid_field",
            "score",
            "invalid_request_error",
        )
        assert "-1 (bad) to 1 (good)" in error["error"]["message"] and error["bulkhead"]["step"] == "feedback"
        assert client.get("/v1/feedback").status_code == 405
        assert client.post("/v1/feedback", content=b"x", headers={"content-encoding": "gzip"}).status_code == 415
        assert client.post("/v1/feedback", json=told, headers={"authorization": "Bearer bk-nobody"}).status_code == 401
    found = [frame for path in sorted(proxy.journal_dir.glob("*/*.seg")) for frame, _ in read_frames(path.read_bytes(), FIRST_OFFSET)]
    said = [msgspec.msgpack.decode(frame, type=FeedbackRecord) for frame in found if b"feedback" in bytes(frame[:16])]
    [mine] = [one for one in said if one.request == UUID(id).bytes]
    assert (mine.score, mine.reason, mine.outcome, mine.tags, mine.client_ms) == (-1.0, "slow", "escalated", ["mobile"], 1500)
    assert mine.organisation == ORG and mine.key_id
    text = httpx.get(f"{proxy.admin_url}/metrics", timeout=60).text
    assert float(text.split("\nbulkhead_feedback_total ")[1].split()[0]) >= 1
