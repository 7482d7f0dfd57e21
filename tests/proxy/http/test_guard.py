"""The guard in the dialler: it judges the addresses that are dialled, however names answer, and says why."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from apps.proxy.http.client import Origin, Pool
from apps.proxy.http.dial import dial
from apps.proxy.http.errors import AddressRefused, ConnectFailed, ConnectionRefused
from tests.proxy.http.conftest import PATIENCE, Upstream, fetch

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Start = Callable[..., Awaitable[Upstream]]


class Names:
    """A loop whose resolver answers from a list, one answer per question, the last one for ever; it counts questions and notes dials."""

    def __init__(self, *answers: list[str], port: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._answers = list(answers)
        self._port = port
        self.asked = 0
        self.dialled: list[str] = []

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, self._port or port))
            for address in answer
        ]

    async def sock_connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.dialled.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError  # no test leaves this host
        await self._loop.sock_connect(sock, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def connect(names: Names, *, allow_private: bool = False) -> None:
    where = Origin("http", "api.example.com", 443, allow_private=allow_private)
    await dial(names, where, None, asyncio.Protocol, PATIENCE)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "2130706433", "0x7f000001", "127.1"])
async def test_this_host_is_refused_in_every_form(upstream: Start, host: str) -> None:
    up = await upstream(OK)
    with pytest.raises(AddressRefused, match="allow_private_addresses"):
        await Pool(Origin("http", host, up.port)).connect(PATIENCE)
    assert up.transports == []


async def test_the_switch_opens_it_for_that_origin_only(upstream: Start) -> None:
    up = await upstream(OK)
    answer, _ = await fetch(Pool(Origin("http", "127.0.0.1", up.port, allow_private=True)))
    assert answer.body == b"ok"
    with pytest.raises(AddressRefused):
        await Pool(Origin("http", "127.0.0.1", up.port)).connect(PATIENCE)


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::ffff:192.168.0.1", "fd00:ec2::254", "100.64.1.1"])
async def test_a_name_that_leads_inside_is_never_dialled(address: str) -> None:
    names = Names([address])
    with pytest.raises(AddressRefused, match="is not called: "):
        await connect(names)
    assert names.dialled == []


async def test_a_name_that_answers_differently_the_second_time_gains_nothing(upstream: Start) -> None:
    """Rebinding: whoever checks first and resolves again is sent inside. Here is one question, and what it said is dialled."""
    up = await upstream(OK)
    names = Names(["127.0.0.1"], ["10.0.0.1"], port=up.port)
    await connect(names, allow_private=True)
    assert (names.asked, names.dialled) == (1, ["127.0.0.1"])
    names = Names(["8.8.8.8"], ["127.0.0.1"], port=up.port)
    with pytest.raises(ConnectionRefused):
        await connect(names)
    with pytest.raises(AddressRefused):
        await connect(names)
    assert names.dialled == ["8.8.8.8"] and len(up.transports) == 1


async def test_of_a_mixed_answer_only_the_permitted_addresses_are_dialled(upstream: Start) -> None:
    up = await upstream(OK)
    names = Names(["169.254.169.254", "fe80::1", "127.0.0.1"], port=up.port)
    await connect(names, allow_private=True)
    assert "169.254.169.254" not in names.dialled and len(up.transports) == 1


async def test_a_metadata_service_stays_refused_with_the_switch_and_the_message_names_no_switch() -> None:
    names = Names(["169.254.169.254"])
    with pytest.raises(AddressRefused, match="metadata service") as refused:
        await connect(names, allow_private=True)
    assert "allow_private" not in str(refused.value) and names.dialled == []


def test_it_is_a_failure_before_anything_was_sent() -> None:
    assert issubclass(AddressRefused, ConnectFailed) and AddressRefused("x").sent is False
