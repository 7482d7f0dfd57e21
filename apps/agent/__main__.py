"""One worker's agent: ``bulkhead-agent``, or ``python -m apps.agent``. All settings come from ``BULKHEAD_*`` (``apps.agent.settings``)."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from apps.agent.agent import Agent, InUse, Refused, signals_heeded
from apps.agent.gpus import gpus_found
from apps.agent.link import Credential, Link, client_made
from apps.agent.settings import AgentSettings, settings_read
from apps.contracts.env import SettingError
from apps.contracts.logs import logs_configure


async def _run(settings: AgentSettings) -> None:
    async with client_made() as client:
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        agent = Agent(settings, Link(settings.control, Credential(settings.state), client), gpus_found(settings.gpus), client)
        signals_heeded(agent)
        await agent.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop. 2: a setting cannot be used. 3: the control plane refuses this worker, or another agent is there."""
    argparse.ArgumentParser(
        prog="bulkhead-agent",
        description="Runs inference engines on this machine as the control plane orders.",
        epilog="Settings: BULKHEAD_CONTROL_URL and, for the first start, BULKHEAD_AGENT_TOKEN; docs/fleet.md has the others. "
        "SIGTERM ends engines and agent; SIGHUP leaves the engines to the next agent; SIGUSR1 says that this machine will be taken away.",
    ).parse_args(argv)
    try:
        settings = settings_read()
        logs_configure("agent")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every call, and there are several a second
    except SettingError as error:
        print(f"agent: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_run(settings))
    except (InUse, Refused) as error:
        print(f"agent: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"agent: {settings.state} cannot be used: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
