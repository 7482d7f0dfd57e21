"""The data plane by itself: a simulator as provider, a real proxy process, no database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apps.contracts.model_facts import ModelFacts
from apps.contracts.snapshot import (
    CredentialFragment,
    Deadlines,
    Endpoint,
    FlagFragment,
    Fragment,
    KeyFragment,
    ModelFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy import lab as laboratory
from tests.proxy.lab_routes import ROUTES
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

KEY = "bk-abcdefghij-this-is-the-secret-of-the-tests"
OTHER_KEY = "bk-bcdefghijk-another-key-of-the-same-place"
REVOKED, EXPIRED, KILLED, NARROW = "bk-revokedkey-secret", "bk-expiredkey-secret", "bk-killedkeyx-secret", "bk-narrowkeyx-secret"
ORG = "organisation-1"

FAULTS = {
    "ok": "ok",
    "500": "500",
    "503-once": "503x1-then-ok",
    "429": "429:retry-after=2",
    "401": "401",
    "400": "400",
    "404": "404",
    "reset": "reset",
    "reset-once": "resetx1-then-ok",
    "cut-json": "cut",
    "cut-stream": "cut:events=3",
    "cut-clean": "cut:events=3,clean",
    "truncated": "truncated_json",
    "stall-headers": "stall:where=headers",
    "stall-first": "stall:where=first_token",
    "stall-mid": "stall:where=mid,events=3",
    "error-event": "error_event:events=0",
    "error-event-mid": "error_event:events=3",
    "no-usage": "missing_usage",
    "no-done": "missing_done",
    "bad-sse": "malformed_sse:events=2",
}
SHORT = Deadlines(connect_ms=2_000, first_byte_ms=1_000, idle_ms=1_000, total_ms=4_000)
"""For faults that last until a deadline. Everything else has the defaults: a busy machine must not look like a stalled provider."""


def fault_model(name: str, tag: str = "") -> str:
    return f"sim-fault/{FAULTS[name]}#{name}{tag}"


def fragments(east: str, west: str, dead: str) -> list[Fragment]:
    """Every fault as a route by itself (``<fault>/alone``) and with a healthy fallback (``<fault>/fallback``)."""
    price = PriceVersion(version="test-1", input=150_000_000, output=600_000_000)
    found: list[Fragment] = [
        CredentialFragment(id="c-1", sealed=seal("sk-of-the-provider")),
        ProviderFragment(
            id="p-east",
            name="east",
            kind="openai",
            organisation=ORG,
            simulated=True,
            allow_private_addresses=True,
            endpoints=[Endpoint(name="main", base_url=east, credential="c-1", region="eu")],
        ),
        ProviderFragment(
            id="p-west",
            name="west",
            kind="openai",
            organisation=ORG,
            simulated=True,
            allow_private_addresses=True,
            endpoints=[Endpoint(name="main", base_url=west, credential="c-1")],
        ),
        ProviderFragment(
            id="p-dead",
            name="dead",
            kind="openai",
            organisation=ORG,
            allow_private_addresses=True,
            endpoints=[Endpoint(name="main", base_url=dead)],
        ),
        PriceFragment(id="west/sim-small", provider="west", model="sim-small", versions=[price]),
        PriceFragment(id="east/sim-small", provider="east", model="sim-small", versions=[price]),
        KeyFragment(
            id="k-1", name="tests", public_id="abcdefghij", organisation=ORG, digests=[digest_of(KEY)], feature="suite", tags=["t1"]
        ),
        KeyFragment(id="k-2", name="other", public_id="bcdefghijk", organisation=ORG, digests=[digest_of(OTHER_KEY)]),
        KeyFragment(id="k-3", name="gone", public_id="revokedkey", organisation=ORG, digests=[digest_of(REVOKED)], state="revoked"),
        KeyFragment(id="k-4", name="old", public_id="expiredkey", organisation=ORG, digests=[digest_of(EXPIRED)], expires_at_ms=1_000),
        KeyFragment(id="k-5", name="stopped", public_id="killedkeyx", organisation=ORG, digests=[digest_of(KILLED)]),
        KeyFragment(id="k-6", name="narrow", public_id="narrowkeyx", organisation=ORG, digests=[digest_of(NARROW)], routes=["chat"]),
        FlagFragment(id="f-1", name="stop-k5", organisation=ORG, kind="kill", subject="key", subject_id="k-5", on=True),
        FlagFragment(id="f-2", name="stop-r", organisation=ORG, kind="kill", subject="route", subject_id="r-killed", on=True),
        FlagFragment(id="f-3", name="use-west", organisation=ORG, kind="fallback", subject="route", subject_id="r-flagged", on=True),
        RouteFragment(
            id="r-chat", name="chat", organisation=ORG, aliases=["chat-alias"], targets=[Target(provider="east", model="sim-small")]
        ),
        ModelFragment(id="p-east/sim-plain", provider="p-east", model="sim-plain", known=ModelFacts(cannot=("tools",), max_output=100)),
        RouteFragment(id="r-plain", name="plain", organisation=ORG, targets=[Target(provider="east", model="sim-plain")]),
        RouteFragment(
            id="r-plain-first",
            name="plain-first",
            organisation=ORG,
            targets=[Target(provider="east", model="sim-plain"), Target(provider="west", model="sim-small")],
        ),
        RouteFragment(id="r-embed", name="embed", organisation=ORG, targets=[Target(provider="east", model="sim-small")]),
        RouteFragment(id="r-killed", name="killed", organisation=ORG, targets=[Target(provider="east", model="sim-small")]),
        RouteFragment(
            id="r-flagged",
            name="flagged",
            organisation=ORG,
            targets=[Target(provider="east", model="sim-small")],
            fallback=[Target(provider="west", model="sim-small")],
        ),
        RouteFragment(id="r-off", name="disabled", organisation=ORG, targets=[Target(provider="east", model="sim-small")], enabled=False),
        RouteFragment(id="r-dead", name="unreachable/alone", organisation=ORG, targets=[Target(provider="dead", model="sim-small")]),
        RouteFragment(
            id="r-dead-2",
            name="unreachable/fallback",
            organisation=ORG,
            targets=[Target(provider="dead", model="sim-small"), Target(provider="west", model="sim-small")],
        ),
    ]
    for window, script in (("before-headers", "stall-headers"), ("mid-stream", "stall-mid"), ("json", "stall-headers")):
        target = Target(provider="east", model=fault_model(script, f"-leave-{window}"))
        found.append(RouteFragment(id=f"r-leave-{window}", name=f"leave/{window}", organisation=ORG, targets=[target]))
    for number, name in enumerate(FAULTS):
        for kind, more in (("alone", []), ("fallback", [Target(provider="west", model="sim-small")])):
            for shape in ("json", "stream"):
                found.append(
                    RouteFragment(
                        id=f"r-{number}-{kind}-{shape}",
                        name=f"{name}/{kind}/{shape}",
                        organisation=ORG,
                        targets=[Target(provider="east", model=fault_model(name, f"-{kind}-{shape}")), *more],
                        deadlines=SHORT if name.startswith("stall") else Deadlines(),
                        resilience=Resilience(rescue="off"),
                    )
                )
    return found


@pytest.fixture(scope="session")
def east() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-east", process=True) as server:
        yield server


@pytest.fixture(scope="session")
def west() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-west", process=True) as server:
        yield server


@pytest.fixture(scope="session")
def proxy(east: SimulatorServer, west: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    folder: Path = tmp_path_factory.mktemp("proxy")
    with StandaloneProxy(fragments(east.base_url, west.base_url, "http://127.0.0.1:9/v1"), folder) as running:
        yield running
        assert running.process is not None and running.process.poll() is None, running.log.read_text()[-4000:]
        assert "failed inside the proxy" not in running.log.read_text(), running.log.read_text()[-4000:]


@pytest.fixture(scope="session")
def client(proxy: StandaloneProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as session:
        yield session


@pytest.fixture(scope="session")
def the_lab(east: SimulatorServer, west: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[laboratory.Lab]:
    """A proxy by itself for the cases of ``lab_routes``."""
    config = [*laboratory.providers(east.base_url, west.base_url), *laboratory.keys(), *laboratory.prices(ROUTES), *ROUTES]
    with StandaloneProxy(config, tmp_path_factory.mktemp("lab")) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        yield laboratory.Lab(running, east, west, client)
        assert running.process is not None and running.process.poll() is None, running.log.read_text()[-4000:]
        said = running.log.read_text()
        assert "failed inside the proxy" not in said and "given back that nobody had" not in said, said[-4000:]


@pytest.fixture
def lab(the_lab: laboratory.Lab) -> Iterator[laboratory.Lab]:
    """After each test nothing runs any more, and no slot is held."""
    yield the_lab
    the_lab.join()
    laboratory.until(lambda: not the_lab.leaks(), "every slot is given back")
