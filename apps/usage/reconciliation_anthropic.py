"""Anthropic's exports: answers of the Usage Report and the Cost Report of its Admin API, and the CSV files of its Console. Pure.

Usage: ``/v1/organizations/usage_report/messages`` with ``group_by[]=model``; what was read from or written to a cache is apart from
``uncached_input_tokens`` there, and part of the input here. Costs: ``/v1/organizations/cost_report`` with ``group_by[]=description``;
``amount`` is a decimal text in cents. The Console's cost CSV names models for people (``Claude Haiku 4.5``) and amounts in dollars.
https://platform.claude.com/docs/en/api/admin-api/usage-cost/get-cost-report
"""

from __future__ import annotations

from datetime import date

from apps.usage.reconciliation_reading import (
    Entry,
    Figures,
    PageShape,
    Row,
    RowError,
    TableShape,
    count_of,
    day_of_iso,
    day_of_text,
    dollars_only,
    model_of,
    money_of,
)

CACHE_COLUMNS = ("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h", "usage_input_tokens_cache_read")


def _usage_result(day: date, row: Row) -> Entry:
    written = row.get("cache_creation")
    if written is not None and not isinstance(written, dict):
        raise RowError("cache_creation is no object")
    uncached, read = count_of(row, "uncached_input_tokens", required=True), count_of(row, "cache_read_input_tokens")
    writes = sum(count_of(written or {}, name) for name in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"))
    figures = Figures(tokens_input=uncached + read + writes, tokens_output=count_of(row, "output_tokens", required=True))
    return Entry(day, model_of(row.get("model")), figures)


def _usage_row(row: Row) -> Entry:
    count = count_of(row, "usage_input_tokens_no_cache", required=True) + sum(count_of(row, name) for name in CACHE_COLUMNS)
    figures = Figures(tokens_input=count, tokens_output=count_of(row, "usage_output_tokens", required=True))
    return Entry(day_of_text(row["usage_date_utc"], "usage_date_utc"), model_of(row["model_version"]), figures)


def _cost_result(day: date, row: Row) -> Entry:
    dollars_only(row.get("currency"), "currency")
    if row.get("amount") is None:
        raise RowError("amount is missing")
    return Entry(day, model_of(row.get("model")), Figures(cost_nano=money_of(row["amount"], "amount", per_dollar=100)))


def _cost_row(row: Row) -> Entry:
    figures = Figures(cost_nano=money_of(row["cost_usd"], "cost_usd"))
    return Entry(day_of_text(row["usage_date_utc"], "usage_date_utc"), model_of(row["model"]), figures)


def _day(bucket: Row) -> date:
    return day_of_iso(bucket.get("starting_at"), bucket.get("ending_at"))


TABLES = (
    TableShape(
        "anthropic-usage-csv",
        "Anthropic usage CSV",
        frozenset({"usage_date_utc", "model_version", "usage_input_tokens_no_cache", "usage_output_tokens"}),
        _usage_row,
    ),
    TableShape("anthropic-cost-csv", "Anthropic cost CSV", frozenset({"usage_date_utc", "model", "cost_usd"}), _cost_row),
)
PAGES = (
    PageShape("anthropic-usage-json", "Anthropic Usage Report", _day, lambda row: "uncached_input_tokens" in row, _usage_result),
    PageShape("anthropic-cost-json", "Anthropic Cost Report", _day, lambda row: "amount" in row and "currency" in row, _cost_result),
)
