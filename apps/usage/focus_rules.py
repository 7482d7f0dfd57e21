"""FOCUS 1.2's rules for cost and usage data, as far as they hold for one file: a rule set of our own, for tests and before delivery. Pure.

Columns: all mandatory ones are there, none twice, names of ours begin with ``x_``, every other is one of FOCUS. Values: type and format
(decimals, dates and times in UTC, currency by ISO 4217, tags as a flat JSON object), allowed values, and what must or must not be null,
also where it depends on other columns. The words of the specification are not repeated here: each rule names its column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

MANDATORY = frozenset({
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
    "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
})  # fmt: skip
OTHERS = frozenset({
    "AvailabilityZone", "BillingAccountType", "CapacityReservationId", "CapacityReservationStatus", "ChargeFrequency",
    "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit",
    "ContractedUnitPrice", "InvoiceId", "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType",
    "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
})  # fmt: skip
"""Conditional, recommended and optional columns."""

DECIMALS = frozenset({
    "BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost", "ListUnitPrice",
    "PricingQuantity", "CommitmentDiscountQuantity", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
})  # fmt: skip
MOMENTS = frozenset({"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"})
NEVER_NULL = frozenset({
    "BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName", "ServiceSubcategory",
})  # fmt: skip
USED = frozenset({"PricingQuantity", "PricingUnit", "PricingCategory", "SkuId", "SkuPriceId", "ListUnitPrice", "ContractedUnitPrice"})
"""Null for a tax, never null for usage and purchases that are no correction."""
ALLOWED: dict[str, frozenset[str]] = {
    "ChargeCategory": frozenset({"Usage", "Purchase", "Tax", "Credit", "Adjustment"}),
    "ChargeClass": frozenset({"Correction"}),
    "ChargeFrequency": frozenset({"One-Time", "Recurring", "Usage-Based"}),
    "PricingCategory": frozenset({"Standard", "Dynamic", "Committed", "Other"}),
    "ServiceCategory": frozenset({
        "AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools", "Multicloud",
        "Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration", "Mobile", "Networking",
        "Security", "Storage", "Web", "Other",
    }),
    "CommitmentDiscountCategory": frozenset({"Spend", "Usage"}),
    "CommitmentDiscountStatus": frozenset({"Used", "Unused"}),
    "CapacityReservationStatus": frozenset({"Used", "Unused"}),
}  # fmt: skip
AI_SUBCATEGORIES = frozenset({
    "AI Platforms", "Bots", "Generative AI", "Machine Learning", "Natural Language Processing", "Other (AI and Machine Learning)",
})  # fmt: skip

_DECIMAL = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_CURRENCY = re.compile(r"[A-Z]{3}")
_COLUMN = re.compile(r"x_[A-Z][A-Za-z0-9]*")

Row = Mapping[str, str]
"""By column; an empty text is null."""


def columns_wrong(columns: Sequence[str]) -> list[str]:
    """What is wrong with a file's columns, one line each; nothing where it conforms."""
    found = [f"{name}: mandatory, and missing" for name in sorted(MANDATORY - set(columns))]
    found += [f"{name}: twice" for name in sorted({name for name in columns if columns.count(name) > 1})]
    found += [
        f"{name}: neither a column of FOCUS nor one of ours (x_Name)"
        for name in columns
        if name not in MANDATORY | OTHERS and not _COLUMN.fullmatch(name)
    ]
    for quantity, unit in (("ConsumedQuantity", "ConsumedUnit"), ("SkuPriceId", "SkuId"), ("SubAccountName", "SubAccountId")):
        if quantity in columns and unit not in columns:
            found.append(f"{quantity}: without {unit}")
    return found


def row_wrong(row: Row) -> list[str]:
    """What is wrong with one row, one line each."""
    found = [f"{name}: null" for name in sorted(NEVER_NULL & row.keys()) if not row[name]]
    for name, check in _CHECKS.items():
        value = row.get(name, "")
        if value and (wrong := check(value)):
            found.append(f"{name}: {value[:60]!r} {wrong}")
    category, correction = row.get("ChargeCategory", ""), row.get("ChargeClass") == "Correction"
    for name in sorted(USED & row.keys()):
        if category == "Tax" and row[name]:
            found.append(f"{name}: not null for a tax")
        if category in ("Usage", "Purchase") and not correction and not row[name]:
            found.append(f"{name}: null for {category}")
    if category == "Usage" and not correction and "ConsumedQuantity" in row and not row["ConsumedQuantity"]:
        found.append("ConsumedQuantity: null for Usage")
    if category != "Usage" and row.get("ConsumedQuantity"):
        found.append(f"ConsumedQuantity: not null for {category}")
    for name, needs in (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit"), ("SkuPriceId", "SkuId")):
        if row.get(name) and needs in row and not row[needs]:
            found.append(f"{needs}: null beside {name}")
    for name, of in (("ResourceName", "ResourceId"), ("ResourceType", "ResourceId"), ("SubAccountName", "SubAccountId")):
        if row.get(name) and not row.get(of):
            found.append(f"{name}: not null without {of}")
    if row.get("ChargeFrequency") == "Usage-Based" and category == "Purchase":
        found.append("ChargeFrequency: Usage-Based for a purchase")
    for cost, price in (("ContractedCost", "ContractedUnitPrice"), ("ListCost", "ListUnitPrice")):
        exact = row.get(price) and row.get("PricingQuantity") and not correction and not found
        if exact and Decimal(row[price]) * Decimal(row["PricingQuantity"]) != Decimal(row[cost]):
            found.append(f"{cost}: not {price} times PricingQuantity")
    if row.get("ServiceCategory") == "AI and Machine Learning" and row.get("ServiceSubcategory", "Generative AI") not in AI_SUBCATEGORIES:
        found.append(f"ServiceSubcategory: {row['ServiceSubcategory']!r} is none of its category's")
    return found + _periods(row)


def file_wrong(columns: Sequence[str], rows: Iterable[Row], *, most: int = 50) -> list[str]:
    """What is wrong with a whole file, ``most`` findings; rows are numbered from 1. Each SKU price has one SKU."""
    found = columns_wrong(columns)
    skus: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        found += [f"row {number}: {wrong}" for wrong in row_wrong(row)]
        price = row.get("SkuPriceId")
        if price and skus.setdefault(price, row.get("SkuId", "")) != row.get("SkuId", ""):
            found.append(f"row {number}: SkuPriceId: {price!r} has another SkuId elsewhere")
        if len(found) >= most:
            break
    return found[:most]


def _periods(row: Row) -> list[str]:
    named = [row.get(name, "") for name in ("BillingPeriodStart", "ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodEnd")]
    if not all(_MOMENT.fullmatch(value) for value in named):
        return []  # said already
    billing_start, start, end, billing_end = named
    found = []
    if not start < end:
        found.append("ChargePeriodEnd: not after ChargePeriodStart")
    if not billing_start < billing_end:
        found.append("BillingPeriodEnd: not after BillingPeriodStart")
    if not (billing_start <= start and end <= billing_end) and row.get("ChargeClass") != "Correction":
        found.append("ChargePeriodStart: outside the billing period")
    return found


def _decimal(value: str) -> str:
    return "" if _DECIMAL.fullmatch(value) else "is no decimal"


def _moment(value: str) -> str:
    if not _MOMENT.fullmatch(value):
        return "is no date and time in UTC"
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return "is no date and time there is"
    return ""


def _tags(value: str) -> str:
    try:
        document = json.loads(value)
    except ValueError:
        return "is no JSON"
    if not isinstance(document, dict) or any(isinstance(each, dict | list) or each is None for each in document.values()):
        return "is no flat object of keys and values"
    return ""


def _among(allowed: frozenset[str]) -> Callable[[str], str]:
    return lambda value: "" if value in allowed else "is not allowed"


_CHECKS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(sorted(DECIMALS), _decimal),
    **dict.fromkeys(sorted(MOMENTS), _moment),
    **{name: _among(allowed) for name, allowed in ALLOWED.items()},
    "BillingCurrency": lambda value: "" if _CURRENCY.fullmatch(value) else "is no currency code of ISO 4217",
    "PricingCurrency": lambda value: "" if _CURRENCY.fullmatch(value) else "is no currency code of ISO 4217",
    "Tags": _tags,
}
