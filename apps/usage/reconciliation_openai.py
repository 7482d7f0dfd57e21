"""OpenAI's exports: answers of the Usage API and the Costs API, and the CSV files of its usage page. Pure.

Usage: ``/v1/organization/usage/{completions,embeddings,moderations}`` with ``group_by=model``; the CSV has the same names as columns.
``input_tokens`` includes what was cached. Costs: ``/v1/organization/costs`` with ``group_by=line_item``, whose text is the model, a comma
and the kind of token; amounts are dollars. https://platform.openai.com/docs/api-reference/usage
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
    day_of_epoch,
    dollars_only,
    model_of,
    money_of,
)

USAGE_OBJECTS = frozenset(f"organization.usage.{name}.result" for name in ("completions", "embeddings", "moderations"))
COSTS_OBJECT = "organization.costs.result"


def _usage(row: Row) -> Figures:
    return Figures(
        requests=count_of(row, "num_model_requests", required=True),
        tokens_input=count_of(row, "input_tokens", required=True),
        tokens_output=count_of(row, "output_tokens"),
    )


def _usage_result(day: date, row: Row) -> Entry:
    return Entry(day, model_of(row.get("model")), _usage(row))


def _usage_row(row: Row) -> Entry:
    day = day_of_epoch(row["start_time"], row["end_time"])
    if not row["num_model_requests"].strip() and not row["input_tokens"].strip():
        return Entry(day, "", None)  # a bucket in which nothing was used
    return Entry(day, model_of(row["model"]), _usage(row))


def line_item_model(text: str) -> str:
    """``gpt-4o-2024-08-06, cached input`` -> ``gpt-4o-2024-08-06``; a line item without a kind of token is its own name."""
    return text.rpartition(", ")[0] or text


def _cost_result(day: date, row: Row) -> Entry:
    amount = row.get("amount")
    if not isinstance(amount, dict) or amount.get("value") is None:
        raise RowError("amount has no value")
    dollars_only(amount.get("currency"), "amount.currency")
    return Entry(day, line_item_model(model_of(row.get("line_item"))), Figures(cost_nano=money_of(amount["value"], "amount.value")))


def _cost_row(row: Row) -> Entry:
    day = day_of_epoch(row["start_time"], row["end_time"])
    if not row["amount_value"].strip():
        return Entry(day, "", None)
    dollars_only(row["amount_currency"], "amount_currency")
    return Entry(day, line_item_model(model_of(row["line_item"])), Figures(cost_nano=money_of(row["amount_value"], "amount_value")))


def _day(bucket: Row) -> date:
    return day_of_epoch(bucket.get("start_time"), bucket.get("end_time"))


TABLES = (
    TableShape(
        "openai-usage-csv",
        "OpenAI usage CSV",
        frozenset({"start_time", "end_time", "num_model_requests", "input_tokens", "model"}),
        _usage_row,
    ),
    TableShape(
        "openai-costs-csv",
        "OpenAI costs CSV",
        frozenset({"start_time", "end_time", "amount_value", "amount_currency", "line_item"}),
        _cost_row,
    ),
)
PAGES = (
    PageShape("openai-usage-json", "OpenAI Usage API", _day, lambda row: row.get("object") in USAGE_OBJECTS, _usage_result),
    PageShape("openai-costs-json", "OpenAI Costs API", _day, lambda row: row.get("object") == COSTS_OBJECT, _cost_result),
)
