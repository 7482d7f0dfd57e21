"""What a provider's server does wrongly below its format, through a real proxy: each app gets one answer or error in its own format.

The formats' own nonsense is the matrix of ``tests/dialects/test_nonsense_matrix.py``; here it is HTTP's: pages, types, codings, lengths.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest

from apps.contracts.snapshot import (
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from tests.dialects.nonsense_lab import good
from tests.dialects.test_nonsense_matrix import answer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

pytestmark = pytest.mark.slow

KEY = "bk-nonsense-key-of-the-tests"
KINDS = {"openai": "/v1", "anthropic": "/v1", "bedrock": "", "ollama": ""}
TYPES = {"openai": b"text/event-stream", "anthropic": b"text/event-stream", "bedrock": b"application/vnd.amazon.eventstream"}
PAGE = b"<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>"


def _http(body: bytes, kind: bytes = b"application/json", *more: bytes, length: int | None = None) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (kind, len(body) if length is None else length)
    return head + b"".join(line + b"\r\n" for line in more) + b"connection: close\r\n\r\n" + body


def _stream(kind: str) -> bytes:
    return TYPES.get(kind, b"application/x-ndjson")


class Case(NamedTuple):
    """sent: by the provider, whole, of its kind. whole: whether the app gets the answer; else it gets an error."""

    sent: Any
    stream: bool = False
    whole: bool = False


def events(kind: str) -> bytes:
    return b"".join(good(kind))


CASES = {
    "good": Case(lambda kind: _http(answer(kind)), whole=True),
    "good-stream": Case(lambda kind: _http(events(kind), _stream(kind)), stream=True, whole=True),
    "page": Case(lambda kind: _http(PAGE, b"text/html")),
    "page-as-json": Case(lambda kind: _http(PAGE)),
    "page-as-stream": Case(lambda kind: _http(PAGE, _stream(kind)), stream=True),
    "page-for-a-stream": Case(lambda kind: _http(PAGE, b"text/html"), stream=True),
    "answer-for-a-stream": Case(lambda kind: _http(b'{"error":{"message":"no streams here"}}'), stream=True),
    "stream-for-an-answer": Case(lambda kind: _http(events(kind), _stream(kind))),
    "plain-text": Case(lambda kind: _http(answer(kind), b"text/plain"), whole=True),
    "compressed": Case(lambda kind: _http(gzip.compress(answer(kind)), b"application/json", b"content-encoding: gzip")),
    "compressed-in-name-only": Case(lambda kind: _http(answer(kind), b"application/json", b"content-encoding: gzip"), whole=True),
    "compressed-silently": Case(lambda kind: _http(gzip.compress(answer(kind)))),
    "compressed-stream": Case(lambda kind: _http(gzip.compress(events(kind)), _stream(kind), b"content-encoding: gzip"), stream=True),
    "too-short": Case(lambda kind: _http(answer(kind), length=len(answer(kind)) + 10)),
    "no-http": Case(lambda kind: b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "no-chunks": Case(lambda kind: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello"),
    "endless-head": Case(lambda kind: b"HTTP/1.1 200 OK\r\n" + b"x-more: %b\r\n" % (b"a" * 2000) * 100),
    "nothing": Case(lambda kind: b""),
}
APPS = ("openai", "anthropic", "gemini", "responses")


class Server:
    """Answers each request by its model's name, ``<case>--<kind>``, and hangs up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            data = b""
            while b"\r\n\r\n" not in data or not self._whole(data):
                try:
                    more = connection.recv(65536)
                except OSError:  # a connection that was opened in advance, and is not needed
                    return
                if not more:
                    return
                data += more
            text = data.decode("latin-1").replace("%2D", "-")
            found = next(((name, kind) for name in CASES for kind in KINDS if f"{name}--{kind}" in text), None)
            if found is not None:  # else it is a probe, which asks for no model
                connection.sendall(CASES[found[0]].sent(found[1]))

    @staticmethod
    def _whole(data: bytes) -> bool:
        head, _, body = data.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        return len(body) >= length


def fragments(url: str) -> list[Fragment]:
    found: list[Fragment] = [
        CredentialFragment(id="c", sealed=seal("secret")),
        KeyFragment(id="k", name="k", public_id="k", organisation="o", digests=[digest_of(KEY)]),
    ]
    price = PriceVersion(version="p1", input=150_000_000, output=600_000_000)
    for kind, base in KINDS.items():
        for name in CASES:
            model = provider = f"{name}--{kind}"  # a provider for each: none learns from another's failures
            endpoint = Endpoint(name="e", base_url=url + base, credential="c")
            found += [
                ProviderFragment(
                    id=provider, name=provider, kind=kind, organisation="o", allow_private_addresses=True, endpoints=[endpoint]
                ),
                PriceFragment(id=f"{provider}/{model}", provider=provider, model=model, versions=[price]),
                RouteFragment(id=model, name=model, organisation="o", targets=[Target(provider=provider, model=model)]),
            ]
    return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    server = Server()
    with (
        StandaloneProxy(fragments(server.url), tmp_path_factory.mktemp("nonsense")) as proxy,
        httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client,
    ):
        yield client
        said = proxy.log.read_text()
        assert "Traceback" not in said and "failed inside the proxy" not in said, said[-4000:]
    server.close()


def ask(client: httpx.Client, app: str, model: str, *, stream: bool) -> tuple[int, str]:
    messages = [{"role": "user", "content": "hi"}]
    path, body = {
        "openai": ("/v1/chat/completions", {"model": model, "messages": messages, "stream": stream}),
        "anthropic": ("/v1/messages", {"model": model, "messages": messages, "max_tokens": 50, "stream": stream}),
        "gemini": (
            f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        ),
        "responses": ("/v1/responses", {"model": model, "input": "hi", "stream": stream}),
    }[app]
    try:
        with client.stream("POST", path, json=body) as got:
            text = ""
            try:
                for piece in got.iter_text():
                    text += piece
            except httpx.RemoteProtocolError:
                text += "\n[cut]"
            return got.status_code, text
    except httpx.RemoteProtocolError as error:
        raise AssertionError(f"{app} was given no answer at all for {model}") from error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_a_servers_nonsense(client: httpx.Client, name: str, kind: str) -> None:
    case = CASES[name]
    with ThreadPoolExecutor(len(APPS)) as pool:  # where it is asked again, each waits as long as the others
        told_to = list(pool.map(lambda app: ask(client, app, f"{name}--{kind}", stream=case.stream), APPS))
    for app, (status, text) in zip(APPS, told_to, strict=True):
        assert "<html" not in text and "nginx" not in text and "\x1f" not in text, (app, text)
        if case.whole:
            assert status == 200 and "[cut]" not in text and ("quick" in text or "brown" in text), (app, status, text)
            continue
        assert status >= 500, (app, status, text)
        told = json.loads(text)
        assert told["error"]["message"], (app, text)
