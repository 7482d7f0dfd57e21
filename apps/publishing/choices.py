"""States of proxies as pages show them, and why one is not ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.ui.status import UNKNOWN, Status

PROXY_STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("ready", "Ready", "good"),
        Status("starting", "Starting", "info", "progress"),
        Status("draining", "Draining", "neutral", "progress", hint="Finishes what it has, takes nothing new."),
        Status("unready", "Not ready", "bad"),
        Status("silent", "Silent", "unknown", hint="No heartbeat for a while; its lease stays held until its journal is settled."),
    )
}


def proxy_state(value: str) -> Status:
    """The status of a proxy's state."""
    return PROXY_STATES.get(value, UNKNOWN)


def proxy_reason(detail: Mapping[str, Any] | None) -> str:
    """Why a proxy is not ready, in the words of its heartbeat; "" where it said nothing."""
    reasons = (detail or {}).get("reasons")
    return "; ".join(str(reason) for reason in reasons) if isinstance(reasons, list) else ""
