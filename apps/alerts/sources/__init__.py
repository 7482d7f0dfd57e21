"""Where series come from: one module for each source, registered here by name (``Series.source``)."""

from __future__ import annotations

from collections.abc import Mapping

from apps.alerts.series import Source
from apps.alerts.sources import anomalies, budgets, gauges, providers, slos, traffic
from apps.alerts.sources.look import Read

SOURCES: Mapping[Source, Read] = {
    "traffic": traffic.read,
    "gauge": gauges.read,
    "budget": budgets.read,
    "anomaly": anomalies.read,
    "provider": providers.read,
    "slo": slos.read,
}
