"""Where engines run, by name. Another backend is a file beside ``local`` and a line here."""

from __future__ import annotations

from typing import Final

from apps.agent.drivers.local import LocalDriver
from apps.agent.drivers.protocol import Driver, Grounds, Running

__all__ = ["DRIVERS", "Driver", "Grounds", "LocalDriver", "Running"]

DRIVERS: Final[dict[str, type[Driver]]] = {LocalDriver.name: LocalDriver}
