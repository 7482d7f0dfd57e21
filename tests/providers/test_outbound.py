"""The guard of the control plane's own calls: real sockets, a resolver that changes its mind, redirects, TLS under the right name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer

import httpx
import pytest
import trustme

from apps.providers import outbound
from tests.serving import QuietHandler, serving


class Server(ThreadingHTTPServer):
    asked: list[str]
    location = ""


class Handler(QuietHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["host"])
        self.send_response(302 if self.server.location else 200)
        if self.server.location:
            self.send_header("location", self.server.location)
        self.send_header("content-length", "0")
        self.end_headers()


def serve(tls: ssl.SSLContext | None = None) -> AbstractContextManager[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    return serving(server, tls)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


class Names:
    """A resolver with one answer per question, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.questions = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.questions += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def refused(client: httpx.Client, url: str) -> str:
    with pytest.raises(httpx.ConnectError) as caught:
        client.get(url)
    cause = outbound.cause_of(caught.value, outbound.AddressRefused)
    assert cause is not None
    return str(cause)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"])
def test_this_host_is_refused_in_every_form(server: Server, host: str) -> None:
    with outbound.client(allow_private=False) as client:
        refused(client, f"http://{host}:{server.server_port}/")
    assert server.asked == []


def test_the_switch_opens_it(server: Server) -> None:
    with outbound.client(allow_private=True) as client:
        assert client.get(f"http://localhost:{server.server_port}/").status_code == 200


def test_a_name_that_leads_inside_is_refused_and_the_message_says_where(server: Server) -> None:
    with outbound.client(allow_private=False, asked=Names(["10.11.12.13"])) as client:
        assert refused(client, "http://innocent.example.com/") == "innocent.example.com: 10.11.12.13 is a private address"


def test_a_metadata_service_is_refused_with_the_switch_too() -> None:
    with outbound.client(allow_private=True, asked=Names(["169.254.169.254"])) as client:
        assert "metadata" in refused(client, "http://innocent.example.com/")


def test_rebinding_gains_nothing(server: Server) -> None:
    """The name answers with a permitted address once and with this host ever after; each call asks once and dials what it judged."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    with outbound.client(allow_private=True, asked=names) as client:
        assert client.get(f"http://changing.example.com:{server.server_port}/").status_code == 200
        assert names.questions == 1 and server.asked == [f"changing.example.com:{server.server_port}"]
    with outbound.client(allow_private=True, asked=names) as client:
        refused(client, f"http://changing.example.com:{server.server_port}/")
    assert len(server.asked) == 1


def test_of_a_mixed_answer_only_the_permitted_addresses_are_dialled(server: Server) -> None:
    with outbound.client(allow_private=True, asked=Names(["169.254.169.254", "127.0.0.1"])) as client:
        assert client.get(f"http://two-faced.example.com:{server.server_port}/").status_code == 200


def test_an_address_that_does_not_answer_is_followed_by_the_next(server: Server) -> None:
    with outbound.client(allow_private=True, asked=Names(["127.0.0.2", "127.0.0.1"])) as client:
        assert client.get(f"http://two.example.com:{server.server_port}/").status_code == 200


def test_redirects_are_not_followed_and_where_a_caller_follows_them_they_are_judged(server: Server) -> None:
    server.location = "http://169.254.169.254/latest/meta-data/"
    url = f"http://127.0.0.1:{server.server_port}/"
    with outbound.client(allow_private=True) as client:
        assert client.get(url).status_code == 302
        with pytest.raises(httpx.ConnectError) as caught:
            client.get(url, follow_redirects=True)
    assert outbound.cause_of(caught.value, outbound.AddressRefused)


def test_proxies_of_the_environment_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    with outbound.client(allow_private=False, asked=Names(["10.0.0.1"])) as client:
        refused(client, "http://innocent.example.com/")
    assert server.asked == []


def test_a_name_that_does_not_resolve_is_told_from_one_that_is_refused() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with outbound.client(allow_private=False, asked=unknown) as client, pytest.raises(httpx.ConnectError) as caught:
        client.get("http://nowhere.example.com/")
    assert outbound.cause_of(caught.value, outbound.NameUnknown) and not outbound.cause_of(caught.value, outbound.AddressRefused)


def test_tls_verifies_the_name_and_not_the_address_that_was_dialled() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example.com").configure_cert(context)
    trusting = outbound.tls_settings()
    authority.configure_trust(trusting)
    with serve(context) as server:
        names = Names(["127.0.0.1"])
        with outbound.client(allow_private=True, tls=trusting, asked=names) as client:
            assert client.get(f"https://api.example.com:{server.server_port}/").status_code == 200
            with pytest.raises(httpx.ConnectError, match=r"(?i)hostname|certificate"):
                client.get(f"https://other.example.com:{server.server_port}/")
