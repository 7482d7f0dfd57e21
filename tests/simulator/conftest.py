"""One simulator for the module's tests, reset to its defaults for each."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from apps.simulator.harness import SimulatorServer

DEFAULTS = {"server": {}, "prices": {}, "api_keys": None, "only_served": False, "reset_connections": 0, "down": 0, "region": ""}


@pytest.fixture(scope="session")
def _running() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-test", seed=7) as server:
        yield server


@pytest.fixture
def sim(_running: SimulatorServer) -> SimulatorServer:
    """A simulator without faults, with an empty bill."""
    models = dict.fromkeys(_running.control()["models"])
    _running.control(models=models, **DEFAULTS)
    _running.reset()
    return _running


@pytest.fixture
def client(sim: SimulatorServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sim.base_url, timeout=60) as client:
        yield client
