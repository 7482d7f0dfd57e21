"""What a test call says: every way in which a typed address goes wrong gets words that say what to do, and none repeats the key."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from apps.providers import probe
from apps.providers.probe import Address, chat_try, models_list
from tests.serving import QuietHandler, serving

KEY = "sk-live-31415926535897932384"


class Upstream(ThreadingHTTPServer):
    status = 200
    body: bytes = json.dumps({"data": [{"id": "b-model"}, {"id": "A-model"}, {"id": "A-model"}]}).encode()
    kind = "application/json"
    headers: dict[str, str] = {}
    asked: list[tuple[str, str, Any]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(QuietHandler):
    server: Upstream

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        sent = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.path, self.headers.get("authorization", ""), sent))
        self.send_response(self.server.status)
        self.send_header("content-type", self.server.kind)
        self.send_header("content-length", str(len(self.server.body)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET


def serve(tls: ssl.SSLContext | None = None) -> AbstractContextManager[Upstream]:
    server = Upstream(("127.0.0.1", 0), Handler)
    server.asked = []
    return serving(server, tls)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serve() as server:
        yield server


def at(url: str, **more: Any) -> Address:
    return Address(**{"base_url": url, "secret": KEY, "allow_private": True, **more})


def test_models_come_sorted_and_once_with_the_latency(upstream: Upstream) -> None:
    found = models_list(at(upstream.url))
    assert found.models == ("A-model", "b-model") and found.latency_us and found.problem is None
    assert upstream.asked == [("/v1/models", f"Bearer {KEY}", None)]


def test_a_server_that_asks_for_no_key_is_sent_none(upstream: Upstream) -> None:
    assert models_list(at(upstream.url, secret="")).problem is None and upstream.asked[0][1] == ""


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "words"),
    [
        (401, b'{"error": {"message": "Incorrect API key: sk-live-31415926535897932384"}}', "application/json", "unauthorised", "active"),
        (403, b"{}", "application/json", "unauthorised", "project or region"),
        (404, b"{}", "application/json", "not_found", "list no models"),
        (429, b'{"error": {"message": "You exceeded your current quota"}}', "application/json", "no_quota", "billing"),
        (429, b'{"error": {"message": "slow down", "code": "insufficient_quota"}}', "application/json", "no_quota", "key works"),
        (402, b'{"error": {"message": "Insufficient balance"}}', "application/json", "no_quota", "credit"),
        (429, b'{"error": {"message": "Rate limit reached"}}', "application/json", "rate_limited", "Wait a minute"),
        (500, b"oops", "text/plain", "server_error", "status page"),
        (302, b"", "text/plain", "redirect", "write that address"),
        (418, b"{}", "application/json", "refused_request", "check the address"),
        (200, b"<html><body>Welcome</body></html>", "text/html", "not_json", "usually ends in /v1"),
        (200, b"hello", "text/plain", "not_json", "OpenAI-compatible API"),
        (200, b'{"models": []}', "application/json", "not_openai", "OpenAI-compatible base"),
        (200, b'{"data": [1, 2]}', "application/json", "not_openai", ""),
        (200, b'[{"id": 5}]', "application/json", "not_openai", ""),
        (200, b"[" * 100_000, "application/json", "not_json", ""),
    ],
)  # fmt: skip
def test_every_wrong_answer_says_what_to_do(upstream: Upstream, status: int, body: bytes, kind: str, code: str, words: str) -> None:
    upstream.status, upstream.body, upstream.kind = status, body, kind
    upstream.headers = {"location": f"https://elsewhere.example.com/?key={KEY}"} if status == 302 else {}
    problem = models_list(at(upstream.url)).problem
    assert problem is not None and problem.code == code and words in problem.advice and problem.advice
    assert KEY not in repr(problem)


def test_a_404_without_a_version_in_the_path_proposes_one(upstream: Upstream) -> None:
    upstream.status = 404
    problem = models_list(at(f"http://127.0.0.1:{upstream.server_port}")).problem
    assert problem is not None and f"Try http://127.0.0.1:{upstream.server_port}/v1" in problem.advice


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        problem = models_list(at(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")).problem
    assert problem is not None and problem.code == "refused" and "Check the port" in problem.advice


def test_a_name_that_does_not_resolve() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    problem = models_list(at("https://api.opnai.example/v1"), resolve=unknown).problem
    assert problem is not None and problem.code == "dns" and "spelling" in problem.advice


def test_the_guard_says_which_switch_would_open_it_and_which_address_none_does(upstream: Upstream) -> None:
    private = models_list(at(upstream.url, allow_private=False)).problem
    assert private is not None and private.code == "address_refused" and "Allow private addresses" in private.advice
    metadata = models_list(at("http://inside.example.com/v1"), resolve=lambda host, port: ["169.254.169.254"]).problem
    assert metadata is not None and "no switch allows it" in metadata.advice and "metadata" in metadata.said
    assert upstream.asked == []


def test_tls_problems_are_told_apart(upstream: Upstream) -> None:
    plain = models_list(at(upstream.url.replace("http://", "https://"))).problem
    assert plain is not None and plain.code == "tls" and "http:// instead" in plain.advice
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serve(context) as server:
        secure = server.url.replace("http://", "https://")
        untrusted = models_list(at(secure)).problem
        assert untrusted is not None and untrusted.code == "tls" and "not trusted" in untrusted.title
        assert models_list(at(secure, verify_tls=False)).problem is None
        missing = models_list(at(secure, ca_file="/nonexistent/ca.pem")).problem
        assert missing is not None and "CA file" in missing.title


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    monkeypatch.setattr(probe, "TIMEOUT", httpx.Timeout(0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        problem = models_list(at(f"http://127.0.0.1:{silent.getsockname()[1]}/v1")).problem
    assert problem is not None and problem.code == "timeout"


def test_an_answer_without_end_is_cut_off(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MOST_BYTES", 1000)
    upstream.body = b"x" * 5000
    problem = models_list(at(upstream.url)).problem
    assert problem is not None and problem.code == "too_large"


def test_a_completion_is_tried_with_few_tokens(upstream: Upstream) -> None:
    upstream.body = json.dumps(
        {"choices": [{"message": {"content": "ready"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    ).encode()
    tried = chat_try(at(upstream.url), "m")
    assert (tried.text, tried.tokens, tried.problem) == ("ready", (9, 1), None)
    path, _, sent = upstream.asked[0]
    assert path == "/v1/chat/completions" and sent["model"] == "m" and sent["max_tokens"] <= 16


def test_a_model_that_wants_the_newer_bound_gets_it(upstream: Upstream) -> None:
    upstream.status, upstream.body = 400, b'{"error": {"message": "Use max_completion_tokens instead"}}'
    problem = chat_try(at(upstream.url), "o-model").problem
    assert len(upstream.asked) == 2 and "max_completion_tokens" in upstream.asked[1][2]
    assert problem is not None and problem.code == "refused_request" and "o-model" in problem.advice


@pytest.mark.parametrize("body", [b"{}", b'{"choices": []}', b"[]", b'{"choices": [{"message": "text"}]}', b"null"])
def test_an_answer_that_is_no_completion_is_said_to_be_none(upstream: Upstream, body: bytes) -> None:
    upstream.body = body
    problem = chat_try(at(upstream.url), "m").problem
    assert problem is not None and problem.code == "not_openai"
