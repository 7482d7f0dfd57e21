"""The agent's settings: ``BULKHEAD_*`` of its environment, read once. What does not parse stops it with the variable's name."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from apps.agent.drivers import DRIVERS, LocalDriver
from apps.agent.engines.command import recipes_read
from apps.agent.engines.protocol import EngineSettings
from apps.contracts.env import Reader, SettingError

_LABEL = re.compile(r"([A-Za-z0-9][\w./-]{0,62})=([\w./:-]{0,63})\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """control: the control plane's base URL. token: for the first join; "" where a credential is kept already. name: how the worker wants
    to be called. address: under which proxies reach its engines; listen: what engines bind. orphan_seconds: how long engines go on
    without an agent. stop_seconds: what they may take to finish when the agent is told to stop. gpus: ``auto``, ``none``, or ``fake:N``.
    driver: of ``drivers.DRIVERS``. ports: first and last of those that engines get; None: as the control plane says."""

    control: str
    token: str
    name: str
    state: Path
    address: str
    listen: str
    region: str
    pool: str
    spot: bool
    labels: dict[str, str]
    orphan_seconds: int
    stop_seconds: int
    gpus: str
    driver: str
    engines: EngineSettings
    ports: tuple[int, int] | None = None


def settings_read(read: Reader | None = None) -> AgentSettings:
    """Raises SettingError."""
    read = read or Reader()
    control = read.text("BULKHEAD_CONTROL_URL").rstrip("/")
    parts = urlsplit(control)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"BULKHEAD_CONTROL_URL={control!r} is no URL: use https://bulkhead.example.com")
    if parts.scheme == "http" and not _near(parts.hostname) and not read.flag("BULKHEAD_AGENT_INSECURE", False):
        raise SettingError(
            f"BULKHEAD_CONTROL_URL={control!r} would send the worker's credential in clear text: use https, "
            "or BULKHEAD_AGENT_INSECURE=1 where the network is your own"
        )
    gpus = read.text("BULKHEAD_AGENT_GPUS", "auto")
    if not re.fullmatch(r"auto|none|fake:\d{1,2}", gpus):
        raise SettingError(f"BULKHEAD_AGENT_GPUS={gpus!r} must be auto, none or fake:N")
    address = read.text("BULKHEAD_AGENT_ADDRESS", "127.0.0.1" if _near(parts.hostname) else _outward(parts.hostname))
    recipes = read.text("BULKHEAD_AGENT_RECIPES", "-")
    models = read.text("BULKHEAD_AGENT_MODELS", "/models")
    return AgentSettings(
        control=control,
        token=read.secret("BULKHEAD_AGENT_TOKEN", "-").decode().removeprefix("-"),
        name=_name(read.text("BULKHEAD_AGENT_NAME", socket.gethostname())),
        state=read.path("BULKHEAD_AGENT_DIR", f"{read.text('BULKHEAD_DATA_DIR', 'var')}/agent"),
        address=address,
        listen=read.text("BULKHEAD_AGENT_LISTEN", "127.0.0.1" if address in ("127.0.0.1", "localhost") else "0.0.0.0"),
        region=read.text("BULKHEAD_AGENT_REGION", "-").removeprefix("-"),
        pool=read.text("BULKHEAD_AGENT_POOL", "-").removeprefix("-"),
        spot=read.flag("BULKHEAD_AGENT_SPOT", False),
        labels=_labels(read.text("BULKHEAD_AGENT_LABELS", ",")),
        orphan_seconds=read.integer("BULKHEAD_AGENT_ORPHAN_SECONDS", 30),
        stop_seconds=read.integer("BULKHEAD_AGENT_STOP_SECONDS", 10),
        gpus=gpus,
        driver=_driver(read.text("BULKHEAD_AGENT_DRIVER", LocalDriver.name)),
        engines=EngineSettings(
            vllm=read.text("BULKHEAD_AGENT_VLLM", "vllm"),
            python=read.text("BULKHEAD_AGENT_ENGINE_PYTHON", "-").removeprefix("-"),
            simulated=read.flag("BULKHEAD_AGENT_SIMULATED", True),
            recipes=recipes_read(None if recipes == "-" else Path(recipes)),
            models=tuple(Path(part).absolute() for part in models.split(os.pathsep) if part),
            variables=_variables(read.text("BULKHEAD_AGENT_ENGINE_ENV", ",")),
            hub=read.flag("BULKHEAD_AGENT_HUB", True),
            hub_dir=_hub_dir(read.text("BULKHEAD_AGENT_HUB_DIR", "-").removeprefix("-")),
        ),
        ports=_ports(read.text("BULKHEAD_AGENT_PORTS", "-").removeprefix("-")),
    )


def _driver(name: str) -> str:
    if name not in DRIVERS:
        raise SettingError(f"BULKHEAD_AGENT_DRIVER={name!r} is not known here: use {' or '.join(DRIVERS)}")
    return name


def _ports(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and 1_024 <= int(first) <= int(last) <= 65_535):
        raise SettingError(f"BULKHEAD_AGENT_PORTS={text!r} must be two ports from 1024 on, as in 30000-30999")
    return int(first), int(last)


def _hub_dir(given: str) -> Path | None:
    """Where the hub's own programs keep models, where the environment says that they do."""
    home = os.environ.get("HF_HOME", "")
    return Path(given).absolute() if given else Path(home).absolute() / "hub" if home else None


def _near(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1") or host.startswith("127.")


def _outward(host: str) -> str:
    """This machine's address on the way to the control plane: no packet is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")[:63]
    if not name:
        raise SettingError(f"BULKHEAD_AGENT_NAME={text!r} has no letter or digit: use lower case letters, digits, '.' and '-'")
    return name


def _labels(text: str) -> dict[str, str]:
    labels = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _LABEL.match(part)
        if found is None:
            raise SettingError(f"BULKHEAD_AGENT_LABELS: {part!r} is not name=value")
        labels[found[1]] = found[2]
    return labels


def _variables(text: str) -> frozenset[str]:
    names = frozenset(filter(None, (part.strip() for part in text.split(","))))
    for name in names:
        if not _VARIABLE.match(name) or name.startswith("BULKHEAD_"):
            raise SettingError(f"BULKHEAD_AGENT_ENGINE_ENV: {name!r} cannot be passed to engines")
    return names
