"""The fault lab: one proxy process, two simulated providers, and a route for each case.

A case has models of its own, so that its breakers, queues and measured latencies are its own. What a model does at a
provider is said by the test (``Lab.script``); until then it does well.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from apps.contracts.snapshot import (
    CredentialFragment,
    Deadlines,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

ORG = "organisation-1"
KEY = "bk-laboratory-secret-of-the-lab"
HIGH, LOW, NARROW = "bk-highhighhi-secret", "bk-lowlowlowl-secret", "bk-narrownarr-secret"
PRICE = PriceVersion(version="lab-1", input=150_000_000, output=600_000_000)


def at(provider: str, model: str, **options: Any) -> Target:
    return Target(provider=provider, model=model, **options)


def both(model: str, **options: Any) -> list[Target]:
    """The same model at both providers, east first."""
    return [at("east", model, **options), at("west", model, **options)]


def route(name: str, targets: list[Target], *, deadlines: Deadlines | None = None, attempts: int = 3, **resilience: Any) -> RouteFragment:
    return RouteFragment(
        id=f"r-{name}",
        name=name,
        organisation=ORG,
        targets=targets,
        deadlines=deadlines or Deadlines(),
        max_attempts=attempts,
        resilience=Resilience(**resilience),
    )


def providers(east: str, west: str, dead: str = "http://127.0.0.1:9/v1") -> list[Fragment]:
    found: list[Fragment] = [CredentialFragment(id="c-1", sealed=seal("sk-of-the-provider"))]
    for name, url in (("east", east), ("west", west), ("dead", dead)):
        endpoint = Endpoint(name="main", base_url=url, credential="c-1", region=name)
        found.append(
            ProviderFragment(
                id=f"p-{name}",
                name=name,
                kind="openai",
                organisation=ORG,
                simulated=name != "dead",
                allow_private_addresses=True,
                endpoints=[endpoint],
            )
        )
    return found


def prices(routes: list[RouteFragment]) -> list[Fragment]:
    models = {(target.provider, target.model) for one in routes for target in one.targets}
    return [
        PriceFragment(id=f"p-{provider}/{model}", provider=provider, model=model, versions=[PRICE]) for provider, model in sorted(models)
    ]


def keys() -> list[Fragment]:
    return [
        KeyFragment(id="k-1", name="lab", public_id="laboratory", organisation=ORG, digests=[digest_of(KEY)], explain=True),
        KeyFragment(id="k-2", name="high", public_id="highhighhi", organisation=ORG, digests=[digest_of(HIGH)], priority="high"),
        KeyFragment(id="k-3", name="low", public_id="lowlowlowl", organisation=ORG, digests=[digest_of(LOW)], priority="low"),
        KeyFragment(id="k-4", name="narrow", public_id="narrownarr", organisation=ORG, digests=[digest_of(NARROW)], routes=["plain"]),
    ]


@dataclass
class Got:
    """One answer as an app sees it. clean: the body ended as HTTP ends bodies. seconds: until its end."""

    status: int
    headers: httpx.Headers
    body: str
    clean: bool
    seconds: float

    @property
    def id(self) -> str:
        return str(self.headers["x-bulkhead-request-id"])

    @property
    def code(self) -> str | None:
        """The error's code: of the answer, or of the last event of a stream."""
        last = self.body.rstrip().rpartition("data: ")[2] if self.is_stream else self.body
        try:
            found = json.loads(last)
        except ValueError:
            return None
        return found["error"]["code"] if isinstance(found, dict) and "error" in found else None

    @property
    def is_stream(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.body.split("\n\n") if line.startswith("data: {")]

    @property
    def text(self) -> str:
        """The answer's words, as an SDK would add them up."""
        if not self.is_stream:
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        return "".join(choice["delta"].get("content") or "" for event in self.events for choice in event.get("choices", ()))

    @property
    def whole(self) -> bool:
        """A success that looks like one."""
        return self.status == 200 and self.clean and (not self.is_stream or self.body.endswith("data: [DONE]\n\n"))


@dataclass
class Lab:
    proxy: StandaloneProxy
    east: SimulatorServer
    west: SimulatorServer
    client: httpx.Client
    threads: list[threading.Thread] = field(default_factory=list)

    def script(self, provider: str, model: str, *faults: str, **behaviour: Any) -> None:
        """What a model does at a provider from now on: one fault per request in turn, ``x<times>`` for more; then it does well."""
        simulator: SimulatorServer = getattr(self, provider)
        simulator.control(models={model: {**behaviour, "faults": list(faults)}})

    def seen(self, provider: str, model: str) -> list[dict[str, Any]]:
        """The requests for a model that a provider has finished, by its own bill."""
        simulator: SimulatorServer = getattr(self, provider)
        return [line for line in simulator.bill()["seen"] if line["model"] == model]

    def body(self, model: str, *, stream: bool, **more: Any) -> bytes:
        sent = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "How far is the moon?"}], **more}
        return json.dumps(sent, separators=(",", ":")).encode()

    def ask(self, model: str, *, stream: bool = False, key: str = KEY, headers: dict[str, str] | None = None, **body: Any) -> Got:
        sent = self.body(model, stream=stream, **body)
        began = time.monotonic()
        head = {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
        with self.client.stream("POST", "/v1/chat/completions", content=sent, headers=head) as answer:
            text = ""
            clean = True
            try:
                for part in answer.iter_text():
                    text += part
            except httpx.RemoteProtocolError:
                clean = False
            return Got(answer.status_code, answer.headers, text, clean, time.monotonic() - began)

    def send(self, model: str, *, stream: bool = False, headers: dict[str, str] | None = None) -> socket.socket:
        """A request by hand, so that its connection can be closed in the middle."""
        body = self.body(model, stream=stream)
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        sock = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=30)
        sock.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
            f"{more}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return sock

    def hold(self, model: str, bulkhead: str) -> socket.socket:
        """Takes a slot at east until the connection is closed."""
        self.script("east", model, "stall:where=headersx1")
        sock = self.send(model)
        until(lambda: self.bulkhead(bulkhead)["running"] == 1, "one runs")
        return sock

    def later(self, *arguments: Any, **options: Any) -> list[Got]:
        """``ask`` in a thread; the list has the answer when it is there."""
        found: list[Got] = []
        thread = threading.Thread(target=lambda: found.append(self.ask(*arguments, **options)), daemon=True)
        self.threads.append(thread)
        thread.start()
        return found

    def join(self) -> None:
        threads, self.threads = self.threads, []
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "an answer did not come"

    def record(self, got: Got, key: str = KEY) -> dict[str, Any]:
        answer = self.client.get(f"/v1/requests/{got.id}", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def roles(self, got: Got, key: str = KEY) -> list[tuple[str, str, str]]:
        """(provider, role, outcome) of each attempt."""
        return [(a["provider"], a["role"], a["outcome"]) for a in self.record(got, key)["attempts"]]

    def states(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.proxy.admin_url}/states", timeout=60).json()
        return found

    def breaker(self, target: str) -> str:
        return str(next(row["breaker"] for row in self.states()["targets"] if row["target"] == f"{ORG}/{target}"))

    def bulkhead(self, name: str) -> dict[str, Any]:
        """Of a target (``east/main/<model>``) or a route (``route <id>``)."""
        name = name if name.startswith("route ") else f"{ORG}/{name}"
        return dict(next(row for row in self.states()["bulkheads"] if row["name"] == name))

    def leaks(self) -> list[Any]:
        """Slots that somebody holds or waits for."""
        return [row for row in self.states()["bulkheads"] if row["running"] or row["waiting"]]


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.03)
