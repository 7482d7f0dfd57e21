"""The demo's simulated providers, through their own control: how they behave on a good day, and how *Break* makes one fail.

Only addresses that the launcher gave (``BULKHEAD_SIM_EAST_URL``, ``BULKHEAD_SIM_WEST_URL``), and only on this machine: nothing here
can reach a real provider.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from apps.audit.errors import ServiceError

NAMES = ("sim-east", "sim-west")
BROKEN_STATUS = 503
GOOD_DAY: dict[str, Any] = {
    "first_byte_ms": {"kind": "lognormal", "median": 140, "p95": 420},
    "tokens_per_second": 180,
    "tokens_per_event": 4,
    "output_tokens": {"kind": "lognormal", "median": 60, "p95": 240},
}
"""As a provider is: it takes its time."""
GOOD_DAYS: dict[str, dict[str, Any]] = {
    "sim-east": {**GOOD_DAY, "errors": [{"share": 0.02, "fault": "503"}, {"share": 0.005, "fault": "429:retry-after=1"}]},
    "sim-west": GOOD_DAY,
}
"""sim-east fails now and then, for which sim-west answers."""
BROKEN: dict[str, Any] = {**GOOD_DAY, "errors": [{"share": 1.0, "fault": str(BROKEN_STATUS)}]}
_SECONDS = 1.0


class SimulatorAway(ServiceError):
    """The simulator did not answer, or is no simulator of ours."""


def simulator_url(name: str, environ: Mapping[str, str] | None = None) -> str:
    """Where a simulator listens. Raises SimulatorAway where the launcher named none, or one that is not on this machine."""
    variable = f"BULKHEAD_{name.upper().replace('-', '_')}_URL"
    url = (os.environ if environ is None else environ).get(variable, "")
    if not url:
        raise SimulatorAway(f"No simulator {name} runs here ({variable} is not set): start Bulkhead with `manage.py up`.")
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise SimulatorAway(f"{variable} is {url}: a simulator is controlled on its own machine only.")
    return url.rstrip("/")


def simulator_scenario(name: str) -> dict[str, Any]:
    """The scenario in force. Raises SimulatorAway."""
    return _call(name, "GET")


def simulator_broken(scenario: Mapping[str, Any]) -> bool:
    """Whether a scenario fails every request."""
    errors = (scenario.get("server") or {}).get("errors") or []
    return sum(float(part.get("share", 0)) for part in errors) >= 0.999


def simulator_set(name: str, server: Mapping[str, Any]) -> None:
    """Put a behaviour in force for all of its models. Raises SimulatorAway."""
    _call(name, "PUT", {"server": dict(server)})


def _call(name: str, method: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    url = f"{simulator_url(name)}/sim/control"
    try:
        answer = httpx.request(method, url, json=body, timeout=_SECONDS, trust_env=False)
        found = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise SimulatorAway(f"The simulator {name} does not answer ({type(error).__name__}): `manage.py status` shows what runs.") from None
    if not isinstance(found, dict) or found.get("name") != name:
        raise SimulatorAway(f"What answers at {url} is not the simulator {name}: nothing was changed.")
    return found
