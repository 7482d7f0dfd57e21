"""Columns of the price book's lists: what sorts, and what CSV holds."""

from __future__ import annotations

from apps.contracts.money import dollars_text
from apps.contracts.pricing import percent_text
from apps.prices.listing import BookRow
from apps.prices.models import GpuPrice, Repricing, UnitPrice
from apps.providers.models import Discount
from apps.ui.format import NOTHING
from apps.ui.tables import Column


def price_text(row: BookRow, kind: str) -> str:
    """A price in dollars per million; a dash where there is none."""
    amount = None if row.price is None else getattr(row.price, kind)
    return NOTHING if amount is None else dollars_text(amount)


BOOK: tuple[Column[BookRow], ...] = (
    Column("Model", "name", order=("name", "provider__name"), value=lambda row: row.model.name),
    Column("Provider", "provider", order=("provider__name", "name"), value=lambda row: row.model.provider.name),
    Column("Input $/M", numeric=True, value=lambda row: price_text(row, "input")),
    Column("Output $/M", numeric=True, value=lambda row: price_text(row, "output")),
    Column("Cached input $/M", numeric=True, extra=True, value=lambda row: price_text(row, "cache_read")),
    Column("Source", value=lambda row: row.source),
    Column("Off", numeric=True, value=lambda row: row.taken_off, help="What comes off now: negotiated, off-peak"),
    Column("Price version", extra=True, value=lambda row: row.label),
)


def _day(moment: object) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""


DISCOUNTS: tuple[Column[Discount], ...] = (
    Column("Discount", "name", value=lambda row: row.name),
    Column("Provider", "provider", order=("provider__name", "name"), value=lambda row: row.provider.name),
    Column("Model", "model", value=lambda row: row.model),
    Column("Off", "discount", numeric=True, value=lambda row: percent_text(row.discount)),
    Column("From", "from", order=("valid_from",), value=lambda row: _day(row.valid_from)),
    Column("Until", "until", order=("valid_to",), value=lambda row: _day(row.valid_to)),
    Column("Note", extra=True, value=lambda row: row.note),
)

GPUS: tuple[Column[GpuPrice], ...] = (
    Column("Price", "name", value=lambda row: row.name),
    Column("GPU", "gpu", value=lambda row: row.gpu),
    Column("Region", "region", value=lambda row: row.region),
    Column("$ per hour", "per_hour", numeric=True, value=lambda row: dollars_text(row.per_hour)),
    Column("From", "from", order=("valid_from",), value=lambda row: _day(row.valid_from)),
    Column("Until", "until", order=("valid_to",), value=lambda row: _day(row.valid_to)),
)

UNITS: tuple[Column[UnitPrice], ...] = (
    Column("Price", "name", value=lambda row: row.name),
    Column("Provider", "provider", order=("provider__name", "model"), value=lambda row: row.provider.name),
    Column("Model", "model", value=lambda row: row.model),
    Column("What", "unit", order=("unit", "quality", "size"), value=lambda row: row.words),
    Column("$ per 1,000", "per_thousand", numeric=True, value=lambda row: dollars_text(row.per_thousand)),
    Column("From", "from", order=("valid_from",), value=lambda row: _day(row.valid_from)),
    Column("Until", "until", order=("valid_to",), value=lambda row: _day(row.valid_to)),
)

REPRICINGS: tuple[Column[Repricing], ...] = (
    Column("Period", "period", order=("starts_at",), value=lambda row: _day(row.starts_at)),
    Column("Until", value=lambda row: _day(row.ends_at)),
    Column("What", value=lambda row: "/".join(part for part in (row.provider, row.model) if part) or "everything"),
    Column("State", "state", value=lambda row: row.get_state_display()),
    Column("Attempts", "requests", numeric=True, extra=True, value=lambda row: row.requests),
    Column("Booked", numeric=True, extra=True, value=lambda row: dollars_text(row.original_nano)),
    Column("Correction", numeric=True, value=lambda row: dollars_text(row.difference_nano)),
    Column("Asked for", "asked", order=("created_at",), value=lambda row: _day(row.created_at)),
    Column("By", extra=True, value=lambda row: row.actor),
)

LINES: tuple[Column[object], ...] = tuple(
    Column(label, value=lambda line, name=name: getattr(line, name))  # type: ignore[misc]
    for label, name in (
        ("Day (UTC)", "day"),
        ("Provider", "provider"),
        ("Model", "model"),
        ("Route", "route"),
        ("Key", "key_id"),
        ("Team", "team"),
        ("Service", "service"),
        ("Feature", "feature"),
        ("Simulated", "simulated"),
        ("Price before", "price_before"),
        ("Price after", "price_after"),
        ("Attempts", "requests"),
        ("Booked, nano-dollars", "original_nano"),
        ("Priced again, nano-dollars", "corrected_nano"),
    )
)
