"""``python -m apps.simulator --name sim-east --port 9001 [--host] [--seed N] [--scenario file.json | --engine '{"model": ...}']``"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import uvloop

from apps.simulator.behaviour import ScenarioError
from apps.simulator.engine import EngineSimulator, document_read
from apps.simulator.server import Simulator

STARTED = "SIMULATION {name}: a simulated provider, not a real one, at {url}"
"""Printed once it listens; ``harness.SimulatorServer`` reads the URL from its end."""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m apps.simulator", description="A simulated provider, in the wire formats of several.")
    parser.add_argument("--name", default="sim-east", help="how it calls itself in every answer (letters, digits, . _ -)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses one")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and requests give the same latencies and errors")
    parser.add_argument("--scenario", type=Path, help="JSON file with the behaviour, the same document as PUT /sim/control")
    parser.add_argument(
        "--engine", help="be one replica of a fleet, with vLLM's metrics: a JSON object (apps.simulator.engine.EngineDocument)"
    )
    arguments = parser.parse_args(argv)
    if arguments.engine is not None and arguments.scenario is not None:
        parser.error("--engine and --scenario: use one of them")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", arguments.name):
        parser.error(f"--name {arguments.name!r}: use 1 to 64 letters, digits, '.', '_' or '-'")
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port {arguments.port}: use 0 to 65535")
    return arguments


async def _run(simulator: Simulator, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await simulator.start(host, port)
    print(STARTED.format(name=simulator.name, url=f"http://{host}:{simulator.port}"), flush=True)
    await stop.wait()
    if isinstance(simulator, EngineSimulator):
        await simulator.drained()
    await simulator.stop()


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM. 2: the scenario or the port cannot be used."""
    arguments = _arguments(argv)
    try:
        scenario = arguments.scenario.read_bytes() if arguments.scenario else None
        simulator = (
            Simulator(arguments.name, seed=arguments.seed, scenario=scenario)
            if arguments.engine is None
            # The token by environment: a command line can be read by everybody on the machine.
            else EngineSimulator(
                arguments.name, document_read(arguments.engine), seed=arguments.seed, bearer=os.environ.get("BULKHEAD_ENGINE_BEARER", "")
            )
        )
        uvloop.run(_run(simulator, arguments.host, arguments.port))
    except ScenarioError as error:
        print(f"{arguments.scenario}: {error}" if arguments.scenario else error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cannot start on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
