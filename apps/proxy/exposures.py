"""How often requests met each flag: ``on`` where it acted, ``off`` where it was asked and did not. Counted since this process started and
told with its heartbeats; the control plane takes what came on top of what it has (``apps.flags.exposures``), so a lost heartbeat loses
nothing. A flag that says the same to all requests of its subject is only counted where it acts: the others never meet it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.contracts.reports import MAX_EXPOSURES

if TYPE_CHECKING:
    from apps.proxy.holder import Holder
    from apps.proxy.metrics import Metrics


class Exposures:
    def __init__(self, holder: Holder, metrics: Metrics) -> None:
        self._holder = holder
        self._metrics = metrics

    def detail(self) -> dict[str, Any]:
        """JSON-able: ``exposures``: [flag's id, on, off] of each flag that was met; nothing where none was."""
        rows: list[tuple[str, int, int]] = []
        met, tallies = self._metrics.flags, self._holder.tallies
        for id, flag in self._holder.fragments["flags"].items():
            name, organisation = getattr(flag, "name", ""), getattr(flag, "organisation", "")
            on, off = met.get((organisation, name), 0), tallies[id].off if id in tallies else 0
            if on or off:
                rows.append((id, on, off))
        rows.sort(key=lambda row: -(row[1] + row[2]))
        return {"exposures": rows[:MAX_EXPOSURES]} if rows else {}
