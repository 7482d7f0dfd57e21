"""What was spent as FOCUS 1.2 rows (FinOps Open Cost and Usage Specification), and as a plain showback table. Pure.

One row is one day (UTC) of one team, service, feature, key, model, provider and route. Costs are what requests were booked at, so billed,
effective, contracted and list cost are one figure: a row mixes kinds of token that have prices of their own, so there is no unit price in
it, and its SKU is the model. A request that was refused before any provider was called costs nothing and is no charge.

A period that was priced again has further rows of class ``Correction``, on the day of what they correct, with the difference as their cost
and no quantity: so the file adds up to the corrected spend, and without them to what was booked.

https://focus.finops.org/focus-specification/v1-2/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

VERSION = "1.2"
CURRENCY = "USD"
CATEGORY, SUBCATEGORY = "AI and Machine Learning", "Generative AI"
UNKNOWN = "Unknown"
"""A provider that is not known any more has a name all the same: FOCUS takes no charge without one."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One row, with names beside the ids that usage has. Tokens: input has cached ones in it. cost_nano: as booked.

    correction: which prices took the place of which, where the row is the difference that a re-pricing makes; such a row counts no
    request and no token again.
    """

    day: date
    account_id: str
    account: str
    team: str
    team_name: str
    service: str
    service_name: str
    feature: str
    environment: str
    key_id: str
    key: str
    provider: str
    model: str
    route: str
    requests: int
    attempts: int
    tokens_input: int
    tokens_output: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    cost_nano: int
    correction: str = ""

    @property
    def tokens(self) -> int:
        return self.tokens_input + self.tokens_output

    @property
    def cost(self) -> Decimal:
        """Dollars, exact."""
        return Decimal(self.cost_nano).scaleb(-9)


Value = str | int | Decimal | None


def moment(day: date) -> str:
    """The day's beginning as FOCUS writes a date and time."""
    return f"{day:%Y-%m-%d}T00:00:00Z"


def month(day: date) -> tuple[date, date]:
    """The first day of its month, and of the next."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def _tags(charge: Charge) -> str:
    named = {"Environment": charge.environment, "Feature": charge.feature, "Route": charge.route, "Service": charge.service_name}
    return json.dumps({name: value for name, value in named.items() if value}, ensure_ascii=False)


def _provider(charge: Charge) -> str:
    return charge.provider or UNKNOWN


def _tokens(charge: Charge) -> int | None:
    return None if charge.correction else charge.tokens


def _unit(charge: Charge) -> str | None:
    return None if charge.correction else "Tokens"


def _description(charge: Charge) -> str:
    return f"Correction of {_sku(charge)}: {charge.correction}" if charge.correction else f"{charge.attempts} calls of {_sku(charge)}"


def _sku(charge: Charge) -> str:
    return f"{_provider(charge)}/{charge.model or UNKNOWN}"


FOCUS: tuple[tuple[str, Callable[[Charge], Value]], ...] = (
    ("BilledCost", lambda row: row.cost),
    ("BillingAccountId", lambda row: row.account_id),
    ("BillingAccountName", lambda row: row.account),
    ("BillingCurrency", lambda row: CURRENCY),
    ("BillingPeriodEnd", lambda row: moment(month(row.day)[1])),
    ("BillingPeriodStart", lambda row: moment(month(row.day)[0])),
    ("ChargeCategory", lambda row: "Usage"),
    ("ChargeClass", lambda row: "Correction" if row.correction else None),
    ("ChargeDescription", _description),
    ("ChargeFrequency", lambda row: "Usage-Based"),
    ("ChargePeriodEnd", lambda row: moment(row.day + timedelta(days=1))),
    ("ChargePeriodStart", lambda row: moment(row.day)),
    ("ConsumedQuantity", _tokens),
    ("ConsumedUnit", _unit),
    ("ContractedCost", lambda row: row.cost),
    ("EffectiveCost", lambda row: row.cost),
    ("InvoiceIssuerName", _provider),
    ("ListCost", lambda row: row.cost),
    ("PricingCategory", lambda row: "Standard"),
    ("PricingQuantity", _tokens),
    ("PricingUnit", _unit),
    ("ProviderName", _provider),
    ("PublisherName", _provider),
    ("ResourceId", lambda row: row.key_id or None),
    ("ResourceName", lambda row: (row.key or None) if row.key_id else None),
    ("ResourceType", lambda row: "Virtual key" if row.key_id else None),
    ("ServiceCategory", lambda row: CATEGORY),
    ("ServiceName", lambda row: f"{_provider(row)} models"),
    ("ServiceSubcategory", lambda row: SUBCATEGORY),
    ("SkuId", _sku),
    ("SkuPriceId", _sku),
    ("SubAccountId", lambda row: row.team or None),
    ("SubAccountName", lambda row: (row.team_name or None) if row.team else None),
    ("Tags", _tags),
    ("x_Feature", lambda row: row.feature or None),
    ("x_Model", lambda row: row.model or None),
    ("x_Requests", lambda row: row.requests),
    ("x_Service", lambda row: row.service_name or None),
    ("x_TokensCacheRead", lambda row: row.tokens_cache_read),
    ("x_TokensCacheWrite", lambda row: row.tokens_cache_write),
    ("x_TokensInput", lambda row: row.tokens_input),
    ("x_TokensOutput", lambda row: row.tokens_output),
    ("x_TokensReasoning", lambda row: row.tokens_reasoning),
)
"""Columns in the order of their names, ours last, and what each holds."""

SHOWBACK: tuple[tuple[str, Callable[[Charge], Value]], ...] = (
    ("day", lambda row: str(row.day)),
    ("team", lambda row: row.team_name or "(no team)"),
    ("service", lambda row: row.service_name or "(no service)"),
    ("feature", lambda row: row.feature or "(untagged)"),
    ("environment", lambda row: row.environment),
    ("key", lambda row: row.key or "(no key)"),
    ("provider", lambda row: row.provider),
    ("model", lambda row: row.model),
    ("route", lambda row: row.route),
    ("requests", lambda row: row.requests),
    ("tokens_input", lambda row: row.tokens_input),
    ("tokens_output", lambda row: row.tokens_output),
    ("tokens_cache_read", lambda row: row.tokens_cache_read),
    ("cost_usd", lambda row: row.cost),
    ("correction", lambda row: row.correction),
)
"""For people who show teams what they used."""

FORMATS = {"focus": FOCUS, "showback": SHOWBACK}


def header_of(columns: Sequence[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in columns]


def rows_of_charges(columns: Sequence[tuple[str, Callable[[Charge], Value]]], charges: Iterable[Charge]) -> Iterator[list[Value]]:
    """One by one, so that a year needs no more memory than a day."""
    reads = [read for _, read in columns]
    for charge in charges:
        yield [read(charge) for read in reads]


class PeriodError(ValueError):
    """A period that cannot be exported; the message says what to write."""


LONGEST_DAYS = 400


def period_read(start: str, until: str, *, now: datetime) -> tuple[date, date]:
    """First and last day of ``2026-10-01`` to ``2026-10-31``, or of a month ``2026-10``; both empty: this month so far.

    Raises PeriodError."""
    today = now.astimezone(UTC).date()
    start, until = start.strip(), until.strip()
    first = _day(start, last=False) if start else today.replace(day=1)
    last = _day(until, last=True) if until else _day(start, last=True) if len(start) == 7 else today
    if first > last:
        raise PeriodError(f"The period begins on {first}, after its end on {last}.")
    if (last - first).days >= LONGEST_DAYS:
        raise PeriodError(f"The period is longer than {LONGEST_DAYS} days: export it in parts.")
    return first, last


def _day(text: str, *, last: bool) -> date:
    try:
        if len(text) == 7:
            first = date.fromisoformat(f"{text}-01")
            return month(first)[1] - timedelta(days=1) if last else first
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise PeriodError(f"{text[:20]!r} is no day such as 2026-10-01, and no month such as 2026-10.") from None
