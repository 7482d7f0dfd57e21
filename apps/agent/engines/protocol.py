"""What an engine must know to be run: its command line, how it is asked whether it is well, what its metrics are called, how it leaves.

An engine is a server that speaks OpenAI's API on one port. The agent does the rest, alike for all: phases, probes, restarts, logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from apps.agent.artifacts import Unfit
from apps.contracts.fleet import ReplicaSpec
from apps.contracts.fleet_facts import EngineKind, EngineOffer


class Place(NamedTuple):
    """Where one replica will run. host: the address to listen on. model_path: what ``artifacts.checked`` allowed; "" for none.
    gpu_memory: bytes of each GPU, None where the driver does not say. drain_seconds: what SIGTERM may take."""

    host: str
    port: int
    model_path: str
    gpu_memory: Mapping[str, int | None]
    drain_seconds: float


class Launch(NamedTuple):
    """argv: no shell ever sees it. environment: beside what every engine gets. model: what requests must name there.
    vocabulary: a key of ``metrics.NAMES``; "" where it tells nothing. health: answers 200 once the model is loaded."""

    argv: tuple[str, ...]
    model: str
    environment: Mapping[str, str] = {}
    vocabulary: str = ""
    health: str = "/health"
    metrics: str = "/metrics"
    version: str = ""
    """Where it tells its version, as JSON with a field ``version``; "" where it does not."""
    finishes: bool = False
    """Whether SIGTERM lets running requests finish."""


class Recipe(NamedTuple):
    """A command of the worker's operator. argv: ``{model_path}``, ``{model}``, ``{host}``, ``{port}``, ``{bearer}`` are filled in;
    ``{arguments}``, alone, becomes the order's arguments. arguments: those that an order may give."""

    argv: tuple[str, ...]
    vocabulary: str = ""
    health: str = "/health"
    metrics: str = "/metrics"
    bearer_variable: str = ""
    arguments: frozenset[str] = frozenset()
    environment: Mapping[str, str] = {}


class EngineSettings(NamedTuple):
    """The operator's word on engines. vllm: its program. python: the interpreter of our own engines, "": as ``own.python_of`` has it.
    simulated: whether simulated engines may run here. recipes: by name.
    models: directories below which artifacts may lie. variables: names of the agent's environment that orders may pass on.
    hub: whether models may be fetched by id; hub_dir: where they are kept, None: in the agent's directory."""

    vllm: str = "vllm"
    python: str = ""
    simulated: bool = True
    recipes: Mapping[str, Recipe] = {}
    models: tuple[Path, ...] = ()
    variables: frozenset[str] = frozenset()
    hub: bool = True
    hub_dir: Path | None = None


class Engine(Protocol):
    """One kind of engine. Knows no other."""

    kind: EngineKind

    def offers(self, settings: EngineSettings) -> list[EngineOffer]:
        """What could run here, and what is missing."""

    def launch(self, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> Launch:
        """How to start it. Raises Unfit with what the order must change."""


_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,500}\Z")


def arguments_checked(arguments: Mapping[str, str | None], allowed: Iterable[str], engine: str) -> list[str]:
    """Command-line words, in a stable order: ``--name=value``, so that no value is taken for another argument. Raises Unfit."""
    known = frozenset(allowed)
    words = []
    for name in sorted(arguments):
        value = arguments[name]
        if name not in known:
            near = ", ".join(sorted(known)[:60]) or "none"
            raise Unfit("argument_refused", f"{engine} takes no argument {name!r} from an order. It takes: {near}.")
        if value is not None and not _VALUE.match(value):
            raise Unfit("argument_refused", f"The value of {name} holds control characters or is longer than 500.")
        words.append(name if value is None else f"{name}={value}")
    return words


def number_of(arguments: Mapping[str, str | None], name: str) -> float | None:
    """An argument as a number; None where it is not given. Raises Unfit."""
    value = arguments.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        raise Unfit("argument_refused", f"{name}={value} is not a number.") from None
