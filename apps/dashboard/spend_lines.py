"""The rows of spend by one dimension: named, corrected, with the way to the requests behind each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from apps.accounts.models import Organisation
from apps.contracts.money import dollars_text
from apps.dashboard.selectors import key_names, place
from apps.ownership.models import Service, Team
from apps.prices.selectors import CORRECTED_BY
from apps.ui.delta import Delta, delta
from apps.ui.tables import Column
from apps.usage.choices import SPEND_DIMENSIONS
from apps.usage.spend import Amounts, Period, Spend

SLUGS: dict[str, str] = {("key" if name == "key_id" else name): name for name in SPEND_DIMENSIONS}
"""What a dimension is called in URLs, as in the filters of requests -> its column."""
UNKNOWN_TO_CORRECTIONS = tuple(name for name in SPEND_DIMENSIONS if name not in CORRECTED_BY)


@dataclass(frozen=True, slots=True)
class Line:
    """One value of a dimension. correction: what re-pricings in force add, nano-dollars. url: the requests behind it; empty where no filter
    says the same. rest: all values that are not told apart."""

    value: str
    name: str
    amounts: Amounts
    before_nano: int
    correction: int
    url: str
    rest: bool

    @property
    def corrected(self) -> int:
        """Booked and corrected together."""
        return self.amounts.cost_nano + self.correction

    @property
    def change(self) -> Delta | None:
        """Against the period before."""
        return delta(self.amounts.cost_nano, self.before_nano)

    @property
    def change_nano(self) -> int:
        """What it costs more than in the period before."""
        return self.amounts.cost_nano - self.before_nano


def names_of(organisation: Organisation, dimension: str, values: Iterable[str]) -> Mapping[str, str]:
    """Names behind values: of keys, teams and services; one query or none."""
    if dimension == "key_id":
        return key_names(organisation, values)
    if dimension == "team":
        return dict(Team.objects.filter(organisation=organisation).values_list("slug", "name"))
    if dimension == "service":
        return dict(Service.objects.filter(team__organisation=organisation).values_list("slug", "name"))
    return {}


def requests_url(period: Period, dimension: str, value: str) -> str:
    """The list of the period's requests with that value; without one, of those that have none."""
    slug = next(slug for slug, name in SLUGS.items() if name == dimension)
    query = {slug: value} if value else {"without": slug}
    query |= {"from": f"{period.start:%Y-%m-%dT%H:%MZ}", "to": f"{period.end:%Y-%m-%dT%H:%MZ}", "sort": "costliest"}
    return f"{place('dashboard:requests')}?{urlencode(query)}"


def lines_made(period: Period, dimension: str, spend: Spend, names: Mapping[str, str], corrections: Mapping[str, int]) -> list[Line]:
    """The rows, the costliest first. A correction of what cost nothing then has a row of its own, so that all of them add up."""
    by_value = corrections if dimension in CORRECTED_BY else {}
    made = [
        Line(
            value=row.value,
            name="all others" if row.rest else names.get(row.value, row.value) or f"no {SPEND_DIMENSIONS[dimension].lower()}",
            amounts=row.amounts,
            before_nano=row.before_nano,
            correction=0 if row.rest else by_value.get(row.value, 0),
            url="" if row.rest else requests_url(period, dimension, row.value),
            rest=row.rest,
        )
        for row in spend.rows
    ]
    known = {line.value for line in made if not line.rest}
    for value, nano in by_value.items():
        if value not in known:
            name = names.get(value, value) or f"no {SPEND_DIMENSIONS[dimension].lower()}"
            made.append(Line(value, name, Amounts(), 0, nano, requests_url(period, dimension, value), False))
    return made


def columns(dimension: str, *, corrected: bool) -> tuple[Column[Line], ...]:
    """Of the table and its CSV. corrected: with what re-pricings add."""
    found: list[Column[Line]] = [
        Column(SPEND_DIMENSIONS[dimension], "name", value=lambda line: line.name),
        Column("Spend", "spend", numeric=True, value=lambda line: line.amounts.cost_nano),
    ]
    if corrected:
        found += [
            Column("Correction", "correction", numeric=True, value=lambda line: line.correction, help="What re-pricings in force add"),
            Column("Corrected", "corrected", numeric=True, extra=True, value=lambda line: line.corrected),
        ]
    return (
        *found,
        Column("Change", "change", numeric=True, value=lambda line: line.change_nano, help="Against as many days before"),
        Column("In vain", "waste", numeric=True, value=lambda line: line.amounts.waste_nano, help="Paid for, and reached nobody"),
        Column("Requests", "requests", numeric=True, value=lambda line: line.amounts.requests),
        Column("Tokens in", "in", numeric=True, extra=True, value=lambda line: line.amounts.tokens_input),
        Column("Tokens out", "out", numeric=True, extra=True, value=lambda line: line.amounts.tokens_output),
    )


CSV: tuple[Column[Line], ...] = (
    Column("Value", value=lambda line: line.value),
    Column("Name", value=lambda line: line.name),
    Column("Dollars", value=lambda line: dollars_text(line.amounts.cost_nano)),
    Column("Nano-dollars", value=lambda line: line.amounts.cost_nano),
    Column("Nano-dollars of corrections", value=lambda line: line.correction),
    Column("Nano-dollars corrected", value=lambda line: line.corrected),
    Column("Nano-dollars in as many days before", value=lambda line: line.before_nano),
    Column("Nano-dollars in vain", value=lambda line: line.amounts.waste_nano),
    Column("Requests", value=lambda line: line.amounts.requests),
    Column("Attempts", value=lambda line: line.amounts.attempts),
    Column("Tokens in", value=lambda line: line.amounts.tokens_input),
    Column("Tokens out", value=lambda line: line.amounts.tokens_output),
)
