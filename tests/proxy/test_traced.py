"""A caller's trace through a real proxy to a provider that tells what it was sent; samples of what passed, and the logs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from apps.contracts.captures import SUFFIX, Sample, sample_open
from apps.contracts.snapshot import CaptureFragment, Endpoint, KeyFragment, PriceFragment, ProviderFragment, RouteFragment, Target
from apps.contracts.traceparent import attempt_span
from tests.proxy.lab import PRICE
from tests.proxy.standalone import SEAL_KEY, StandaloneProxy, digest_of

ORG = "organisation-1"
KEY, NEXT = "bk-tracedtrac-planted-secret-of-the-tests", "bk-nextnextne-another-secret"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WORDS = "planted-words-of-the-app"


class Provider(ThreadingHTTPServer):
    """Answers chat completions; ``seen``: the headers of each call. A model called ``broken`` is answered with 500."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        answer: dict[str, Any] = {"error": {"message": "planted-error", "code": "x"}}
        if asked["model"] != "broken":
            message = {"role": "assistant", "content": "mail me at a@example.test"}
            usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
            answer = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
            answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = json.dumps(answer).encode()
        if asked.get("stream") and asked["model"] != "broken":
            chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            delta = {**chunk, "choices": [{"index": 0, "delta": {"content": "streamed to a@example.test"}, "finish_reason": None}]}
            last = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            used = {**chunk, "choices": [], "usage": usage}
            body = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in (delta, last, used)) + b"data: [DONE]\n\n"
        self.send_response(500 if asked["model"] == "broken" else 200)
        self.send_header("content-type", "text/event-stream" if body.startswith(b"data:") else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def proxy(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    url = f"http://127.0.0.1:{provider.server_port}/v1"
    whole = time.time_ns() // 1_000_000 + 3_600_000
    config = [
        ProviderFragment(
            id="p", name="p", kind="openai", organisation=ORG, allow_private_addresses=True, endpoints=[Endpoint(name="main", base_url=url)]
        ),
        *(PriceFragment(id=f"p/{model}", provider="p", model=model, versions=[PRICE]) for model in ("works", "broken")),
        *(
            RouteFragment(id=f"r-{name}", name=name, organisation=ORG, targets=[Target(provider="p", model=model) for model in models])
            for name, models in {"plain": ["works"], "second": ["broken", "works"], "kept": ["works"], "fails": ["broken"]}.items()
        ),
        KeyFragment(id="k-1", name="traced", public_id="tracedtrac", organisation=ORG, digests=[digest_of(KEY)]),
        KeyFragment(id="k-2", name="next", public_id="nextnextne", organisation=ORG, digests=[digest_of(NEXT)]),
        CaptureFragment(id="c-1", organisation=ORG, route="r-kept", sampled=10_000, patterns=(("word", "planted-words*"),)),
        CaptureFragment(id="c-2", organisation=ORG, key="k-2", left=2, until_ms=whole),
        CaptureFragment(id="c-3", organisation=ORG, key="k-1", left=5, until_ms=1),
    ]
    with StandaloneProxy(config, tmp_path_factory.mktemp("traced")) as running:
        yield running


def ask(proxy: StandaloneProxy, model: str, *, key: str = KEY, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": f"{WORDS} and b@example.test"}], **more}
    sent = {"authorization": f"Bearer {key}", **(headers or {})}
    return httpx.post(f"{proxy.url}/v1/chat/completions", json=body, headers=sent, timeout=60)


def record(proxy: StandaloneProxy, answer: httpx.Response) -> dict[str, Any]:
    found = httpx.get(
        f"{proxy.url}/v1/requests/{answer.headers['x-bulkhead-request-id']}", headers={"authorization": f"Bearer {KEY}"}, timeout=60
    )
    return dict(found.json())


def samples(proxy: StandaloneProxy, count: int) -> list[Sample]:
    """Waits until the spool holds ``count`` samples, and takes them away."""
    folder, until = Path(proxy.folder) / "captures", time.monotonic() + 60
    while len(files := sorted(folder.glob(f"*{SUFFIX}"))) < count and time.monotonic() < until:
        time.sleep(0.02)
    assert len(files) == count
    found = [sample_open(file.read_bytes(), Fernet(SEAL_KEY)) for file in files]
    for file in files:
        assert b"example" not in file.read_bytes() and file.stat().st_mode & 0o077 == 0
        file.unlink()
    return found


def test_a_trace_is_continued_recorded_and_passed_on(proxy: StandaloneProxy, provider: Provider) -> None:
    provider.seen.clear()
    answer = ask(proxy, "second", headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "a=1,b=2"})
    assert answer.status_code == 200
    found = record(proxy, answer)
    assert (found["trace_id"], found["parent_span"], found["trace_sampled"]) == (TRACE, CALLER, True)
    request = bytes.fromhex(answer.headers["x-bulkhead-request-id"].replace("-", ""))
    spans = [attempt_span(request, attempt["number"]).hex() for attempt in found["attempts"]]
    assert [seen["traceparent"] for seen in provider.seen] == [f"00-{TRACE}-{span}-01" for span in spans]
    assert len(set(spans)) == len(spans) >= 2, "each attempt has its own"
    assert {seen["tracestate"] for seen in provider.seen} == {"a=1,b=2"}


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-zz-01", "tracestate": "a=1"}])
def test_without_a_valid_trace_nothing_is_told_or_kept(proxy: StandaloneProxy, provider: Provider, headers: dict[str, str]) -> None:
    provider.seen.clear()
    answer = ask(proxy, "plain", headers=headers)
    assert record(proxy, answer)["trace_id"] is None
    assert "traceparent" not in provider.seen[0] and "tracestate" not in provider.seen[0]


def test_a_kept_alive_connection_that_repeats_its_head_keeps_its_trace(proxy: StandaloneProxy, provider: Provider) -> None:
    """Heads that come again are recognised without being parsed: the trace must not be lost there."""
    provider.seen.clear()
    head = {"authorization": f"Bearer {KEY}", "traceparent": f"00-{TRACE}-{CALLER}-00"}
    with httpx.Client(base_url=proxy.url, headers=head, timeout=60) as client:
        for _ in range(4):
            assert client.post("/v1/chat/completions", json={"model": "plain", "messages": [{"role": "user", "content": "x"}]}).is_success
    assert len({seen["traceparent"] for seen in provider.seen}) == 4
    assert all(seen["traceparent"].startswith(f"00-{TRACE}-") and seen["traceparent"].endswith("-00") for seen in provider.seen)


def test_a_refusal_belongs_to_its_trace_too(proxy: StandaloneProxy) -> None:
    answer = ask(proxy, "nothing", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert answer.status_code == 404 and record(proxy, answer)["trace_id"] == TRACE


def test_samples_of_a_route_are_redacted_and_sealed(proxy: StandaloneProxy) -> None:
    answers = [ask(proxy, "kept"), ask(proxy, "kept", stream=True)]
    json_sample, stream_sample = samples(proxy, 2)
    assert [sample.id.hex() for sample in (json_sample, stream_sample)] == [
        answer.headers["x-bulkhead-request-id"].replace("-", "") for answer in answers
    ]
    assert json.loads(json_sample.request)["messages"][0]["content"] == "[word] and [email]"
    assert json.loads(json_sample.answer)["choices"][0]["message"]["content"] == "mail me at [email]"
    assert stream_sample.answer == "streamed to [email]" and stream_sample.stream and not stream_sample.cut
    assert (json_sample.rule, json_sample.route, json_sample.key_id, json_sample.status) == ("c-1", "kept", "k-1", 200)
    assert json_sample.found == {"email": 2, "word": 1}


def test_the_next_requests_of_a_key_and_no_more(proxy: StandaloneProxy) -> None:
    assert [ask(proxy, name, key=NEXT).status_code for name in ("plain", "fails", "plain", "nothing")] == [200, 500, 200, 404]
    first, second = samples(proxy, 2)
    assert (first.rule, first.status, second.route, second.status) == ("c-2", 200, "fails", 500) and "planted-error" in second.answer
    ask(proxy, "kept")
    assert samples(proxy, 1)[0].route == "kept", "nothing else came meanwhile"


def test_logs_are_json_and_hold_neither_content_nor_secrets(proxy: StandaloneProxy) -> None:
    ask(proxy, "second")
    said = proxy.log.read_text()
    lines = [json.loads(line) for line in said.splitlines()]
    assert lines and all({"timestamp", "level", "logger", "event", "process"} <= line.keys() for line in lines)
    assert not [word for word in (WORDS, "planted", "example.test", "secret-of-the-tests", SEAL_KEY.decode()) if word in said]
