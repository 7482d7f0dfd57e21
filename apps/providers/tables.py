"""Columns of the lists of providers, their models and credentials: what sorts, and what CSV holds."""

from __future__ import annotations

from apps.contracts.money import dollars_text
from apps.providers.listing import ModelRow, ProviderRow
from apps.providers.models import Credential
from apps.ui.format import NOTHING
from apps.ui.status import SEVERITY
from apps.ui.tables import Column


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value / 1e3:.3f}"


def _p95(row: ProviderRow) -> float | None:
    return row.latency.p95


PROVIDERS: tuple[Column[ProviderRow], ...] = (
    Column("Provider", "name", value=lambda row: row.name),
    Column(
        "State", "state", value=lambda row: f"{SEVERITY.index(row.status.tone)} {row.status.label}", help="From its checks and its traffic"
    ),
    Column("Kind", "kind", extra=True, value=lambda row: row.kind_label),
    Column("Regions", extra=True, value=lambda row: ", ".join(row.regions)),
    Column("Endpoints", extra=True, value=lambda row: ", ".join(endpoint.base_url for endpoint in row.endpoints)),
    Column("Credentials", extra=True, value=lambda row: ", ".join(credential.name for credential in row.credentials)),
    Column("Routes", "routes", numeric=True, extra=True, value=lambda row: row.routes),
    Column("Models", "models", numeric=True, extra=True, value=lambda row: row.models),
    Column("Requests", "requests", numeric=True, value=lambda row: row.totals.requests),
    Column("Failed attempts", "failed", numeric=True, value=lambda row: row.totals.attempt_errors),
    Column("p95", "p95", numeric=True, value=_p95, help="Whole answers of requests it answered"),
)

CSV_ONLY: tuple[Column[ProviderRow], ...] = (
    Column("Attempts", value=lambda row: row.totals.attempts),
    Column("Spend, nano-dollars", value=lambda row: row.totals.cost_nano),
    Column("p95 ms", value=lambda row: _ms(row.latency.p95)),
    Column("Simulated", value=lambda row: "yes" if row.simulated else "no"),
    Column("Private addresses allowed", value=lambda row: "yes" if row.allow_private else "no"),
    Column("Checked at (UTC)", value=lambda row: row.checked_at.isoformat() if row.checked_at else None),
)


def price_text(row: ModelRow, kind: str) -> str:
    """A price in dollars per million tokens; a dash where there is none."""
    amount = None if row.price is None else getattr(row.price, kind)
    return NOTHING if amount is None else dollars_text(amount)


MODELS: tuple[Column[ModelRow], ...] = (
    Column("Model", "name", value=lambda row: row.model.name),
    Column("Input $/M", numeric=True, value=lambda row: price_text(row, "input")),
    Column("Output $/M", numeric=True, value=lambda row: price_text(row, "output")),
    Column("Cached input $/M", numeric=True, extra=True, value=lambda row: price_text(row, "cache_read")),
    Column("Source", value=lambda row: row.source),
    Column("Price version", value=lambda row: row.price.version if row.price else None, extra=True),
    Column("Context", numeric=True, extra=True, value=lambda row: row.facts.context_window),
    Column("Can do", extra=True, value=lambda row: ", ".join(row.facts.capabilities)),
    Column("Routes", value=lambda row: ", ".join(row.routes)),
)

CREDENTIALS: tuple[Column[Credential], ...] = (
    Column("Credential", "name", value=lambda row: row.name),
    Column("Secret", value=lambda row: row.source or (f"…{row.last_four}" if row.last_four else "typed")),
    Column("Used by", value=lambda row: ", ".join(str(endpoint) for endpoint in row.endpoints.all())),
    Column("Changed", "changed", order=("changed_at",), value=lambda row: row.changed_at.isoformat()),
    Column("Actions"),
)
