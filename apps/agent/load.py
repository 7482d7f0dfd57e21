"""What of an engine's load a scale decision hangs on, and whether it moved since it was told. Pure.

A queue by two requests, a KV cache by a tenth, the time to the first token by 50 ms, each by a quarter of the greater figure at least: what
moves less waits for the next heartbeat. What the GPUs say is no signal and hurries nothing, but for a card that breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from apps.contracts.early import moved
from apps.contracts.fleet_facts import EngineMetrics, GpuFacts

LEAST = {"waiting": 2.0, "kv_used": 0.1, "ttft_p95": 0.05}
"""A field of ``EngineMetrics`` -> the least that is worth a report of its own."""


def load_moved(told: Mapping[str, EngineMetrics | None], now: Mapping[str, EngineMetrics | None]) -> bool:
    """Whether any replica's figures are others than those that were told. A replica that is new is told with its state."""
    for name, found in now.items():
        if found is None or name not in told:
            continue
        before = told[name]
        if any(moved(getattr(before, field, None), getattr(found, field), least) for field, least in LEAST.items()):
            return True
    return False


def broke(before: Iterable[GpuFacts], now: Iterable[GpuFacts]) -> bool:
    """Whether a GPU says of a new XID error, or of more memory errors that could not be corrected."""
    known = {gpu.uuid: gpu for gpu in before}
    for gpu in now:
        old = known.get(gpu.uuid)
        if old is not None and (gpu.xids != old.xids or (gpu.ecc_uncorrected or 0) > (old.ecc_uncorrected or 0)):
            return True
    return False
