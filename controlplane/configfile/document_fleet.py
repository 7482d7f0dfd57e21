"""The document's types of what workers serve."""

from __future__ import annotations

from typing import Literal

import msgspec

from controlplane.configfile.values import AsWritten, Duration, Entry, Rules


class DeploymentEntry(Entry, kw_only=True):
    """A model that workers serve. memory: gigabytes; arguments: an empty text is a flag. None: as it stands."""

    model: str
    engine: Literal["simulated", "vllm", "built_in", "command", "onnx"]
    recipe: str = ""
    source: Literal["none", "path", "hub"] = "none"
    location: str = ""
    model_revision: str = ""
    digest: str = ""
    format: Literal["", "safetensors", "gguf", "onnx", "pickle"] = ""
    quantisation: str = ""
    allow_pickle: bool = False
    allow_remote_code: bool = False
    arguments: dict[str, str] = {}
    environment: list[str] = []
    tasks: list[str] = msgspec.field(default_factory=lambda: ["chat"])
    gpus: int = 0
    exclusive: bool = True
    memory: AsWritten = "0"
    context: int = 8192
    concurrency: int = 16
    least: int = 1
    most: int = 1
    pool: str = "default"
    region: str = ""
    labels: dict[str, str] = {}
    spot_allowed: bool = False
    priority: int = 0
    strategy: Literal["auto", "surge", "in_place"] = "auto"
    surge: int = 1
    drain: Duration = 60_000
    warm_up: Rules | None = None
    health: Rules | None = None
    max_waiting: int | None = None
    scaling_mode: Literal["off", "dry_run", "on"] = "off"
    scaling: Rules | None = None
    performance_budget: str = ""
    owner: str = ""
    enabled: bool = True
    absent: bool = False
