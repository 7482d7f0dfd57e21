"""Calls to addresses that people typed leave the control plane by one door, ``apps.providers.outbound``. Whoever opens another is named
here, with why its address is none that a person of an organisation typed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.providers.outbound import client
from tests.providers.test_outbound import Names, refused

ROOT = Path(__file__).resolve().parents[2]
DIALS = {
    "httpx.Client", "httpx.AsyncClient", "httpx.get", "httpx.post", "httpx.request", "httpx.stream", "httpx.HTTPTransport",
    "urllib.request.urlopen", "request.urlopen", "urlopen", "requests.get", "requests.post", "requests.Session",
    "http.client.HTTPConnection", "http.client.HTTPSConnection", "HTTPConnection", "HTTPSConnection",
    "socket.create_connection", "asyncio.open_connection", "aiohttp.ClientSession",
}  # fmt: skip
"""What opens a connection."""
OTHERS = {
    "apps/providers/outbound.py": "the door itself",
    "apps/dashboard/playground.py": "our own proxy, whose address is the operator's setting",
    "apps/fleet/machines.py": "the operator's own machine provisioner, whose address is a setting",
    "apps/postmortems/postmortem_drafts.py": "our own proxy, whose address is the operator's setting",
}
SPOKEN = ("apps/simulator/", "apps/agent/", "apps/proxy/", "controlplane/")
"""Not the web's and the workers': proxies dial by ``apps.proxy.http.dial``, which judges by the same rules (``tests/proxy``); agents call
the control plane and their own engines; the launcher, the demo and commands call what the operator names."""


def _calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        target = node.func if isinstance(node, ast.Call) else None
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        for found in [target, *bases]:
            if found is not None:
                yield ast.unparse(found)


def test_nobody_else_dials() -> None:
    found = {}
    for path in sorted((ROOT / "apps").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(SPOKEN) and (used := sorted(DIALS & set(_calls(ast.parse(path.read_text(encoding="utf-8")))))):
            found[name] = used
    assert found.keys() <= OTHERS.keys(), f"use apps.providers.outbound.client: {found}"
    assert "apps/providers/outbound.py" in found, "the test sees what it looks for"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "169.16689662",
        "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]", "100.100.100.200",
    ],
)  # fmt: skip
def test_metadata_services_are_refused_in_every_spelling_with_the_switch_too(host: str) -> None:
    with client(allow_private=True) as calling:
        assert "metadata" in refused(calling, f"http://{host}/latest/meta-data/")


@pytest.mark.parametrize(
    "host", ["10.1", "0300.0250.1", "192.168.257", "0xac100001", "[::ffff:10.0.0.1]", "[fc00::1]", "[fe80::1]", "0.0.0.0"]
)
def test_private_addresses_are_refused_in_every_spelling_without_the_switch(host: str) -> None:
    with client(allow_private=False) as calling:
        refused(calling, f"http://{host}/")


def test_a_name_that_turns_inside_between_two_calls_is_refused_at_the_second() -> None:
    names = Names(["10.0.0.1"], ["169.254.169.254"])
    for _ in range(2):
        with client(allow_private=False, asked=names) as calling:
            refused(calling, "http://changing.example.com/")
    assert names.questions == 2, "each connection asks and judges anew"
