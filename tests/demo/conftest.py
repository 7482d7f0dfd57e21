"""A seeded demo beside two real simulators, with a data directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.accounts.services import user_create_first_admin
from apps.audit.actors import Actor
from apps.simulator.harness import SimulatorServer
from controlplane.demo.seed import Seeded, seed
from tests.people import client_of, member

ACTOR = Actor.system("test")


@pytest.fixture(scope="session")
def _simulators() -> Iterator[dict[str, str]]:
    with SimulatorServer("sim-east") as east, SimulatorServer("sim-west") as west:
        yield {"sim-east": east.url, "sim-west": west.url}


@pytest.fixture
def data_dir(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def demo(db: None, data_dir: Path, _simulators: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Seeded:
    """The demo as ``up`` leaves it; the simulators behave as if they had just started."""
    from controlplane.demo.simulators import simulator_set

    for name, url in _simulators.items():
        monkeypatch.setenv(f"BULKHEAD_{name.upper().replace('-', '_')}_URL", url)
        simulator_set(name, {})
    user_create_first_admin(actor=ACTOR, email="admin@example.test", password="a-long-password")
    return seed(actor=ACTOR, simulators=[{"name": name, "url": url} for name, url in _simulators.items()], data_dir=data_dir)


@pytest.fixture
def admin(demo: Seeded, client: Client) -> Client:
    client.force_login(User.objects.get(email="admin@example.test"))
    return client


@pytest.fixture
def viewer(demo: Seeded) -> Client:
    return client_of(member(Organisation.objects.get(slug="demo"), "viewer"))
