"""Lists as every page shows them: columns that sort, filters as chips, pages, CSV of the same rows, and the kinds of nothing.

The URL holds everything: ``?sort=-created&page=2`` beside the page's own filters. A view builds a ``Listing`` from its
query and hands it to the part ``ui/table.html``; asked with ``format=csv`` it answers ``listing.csv(...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from django.http import StreamingHttpResponse

from apps.ui.csvfile import csv_response

Row = TypeVar("Row")

PAGE_SIZE = 50
MOST_CSV_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column. ``key``: its name in ``?sort=``; empty where it cannot be sorted by. ``order``: the fields it orders by, ``key`` if none.

    ``value``: what CSV holds and what rows in memory sort by; without it the column is not in the CSV. ``extra``: left out
    where the panel is narrow.
    """

    label: str
    key: str = ""
    numeric: bool = False
    extra: bool = False
    order: tuple[str, ...] = ()
    value: Callable[[Row], Any] | None = None
    help: str = ""


@dataclass(frozen=True, slots=True)
class Chip:
    """An applied filter; removing it is leaving out ``parameter`` (several are named with blanks between)."""

    label: str
    value: str
    parameter: str


@dataclass(frozen=True, slots=True)
class Empty:
    """What stands where rows would: why there are none and the one thing to do. ``action_url`` may be empty."""

    kind: Literal["nothing-yet", "no-match", "unreachable"]
    title: str
    text: str = ""
    action_url: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """A column's head as it is drawn. ``sort``: what ``?sort=`` becomes when it is clicked. ``direction``: for ``aria-sort``."""

    column: Column[Any]
    sort: str
    direction: Literal["ascending", "descending", ""]


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """One page of a list. ``label``: what the rows are, in the plural. ``empty``: set where there is no row at all."""

    label: str
    columns: tuple[Column[Row], ...]
    rows: list[Row]
    total: int
    page: int
    pages: int
    sort: str
    chips: tuple[Chip, ...] = ()
    empty: Empty | None = None
    everything: QuerySet[Any] | Sequence[Row] = field(default=(), repr=False)

    @property
    def heads(self) -> list[Head]:
        """The columns' heads, with where a click leads."""
        made = []
        for column in self.columns:
            chosen = bool(column.key) and self.sort.lstrip("-") == column.key
            falling = chosen and self.sort.startswith("-")
            first = f"-{column.key}" if column.numeric else column.key  # the largest number is what people look for
            turned = column.key if falling else f"-{column.key}"
            sort = "" if not column.key else turned if chosen else first
            made.append(Head(column, sort, ("descending" if falling else "ascending") if chosen else ""))
        return made

    @property
    def first(self) -> int:
        """The number of the page's first row, from 1."""
        return (self.page - 1) * PAGE_SIZE + 1

    @property
    def last(self) -> int:
        """The number of the page's last row."""
        return self.first + len(self.rows) - 1

    @property
    def previous(self) -> int:
        """The page before; 0 on the first."""
        return self.page - 1

    @property
    def next(self) -> int:
        """The page after; 0 on the last."""
        return self.page + 1 if self.page < self.pages else 0

    @property
    def chip_parameters(self) -> str:
        """All filters, to clear them at once."""
        return " ".join(chip.parameter for chip in self.chips)

    def csv(self, file_name: str) -> StreamingHttpResponse:
        """Every row that the filters leave, in the order shown, at most 10,000."""
        columns = [column for column in self.columns if column.value]

        def lines() -> Iterator[list[Any]]:
            for row in self.everything[:MOST_CSV_ROWS]:
                yield [column.value(row) for column in columns if column.value]

        return csv_response(file_name, [column.label for column in columns], lines())


def listing_build(
    query: Mapping[str, str],
    *,
    label: str,
    columns: Sequence[Column[Row]],
    rows: QuerySet[Any] | Sequence[Row],
    default_sort: str,
    nothing_yet: Empty,
    chips: Sequence[Chip] = (),
) -> Listing[Row]:
    """One page of ``rows`` (filtered already) as the URL asks; an unknown sort or a page past the end is put right, never an error.

    Two queries for a queryset (a count and the page), none for rows in memory. Rows that compare equal keep a fixed order.
    """
    by_key = {column.key: column for column in columns if column.key}
    sort = query.get("sort", "")
    if sort.removeprefix("-") not in by_key:
        sort = default_sort
    column = by_key.get(sort.removeprefix("-"))
    ordered = _ordered(rows, column, falling=sort.startswith("-")) if column else rows
    total = ordered.count() if isinstance(ordered, QuerySet) else len(ordered)
    pages = max(1, -(-total // PAGE_SIZE))
    asked = query.get("page", "1")
    page = min(max(int(asked), 1), pages) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1
    shown = list(ordered[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]) if total else []
    empty = None
    if not total:
        empty = Empty("no-match", f"No {label} match", "Nothing has all of these filters.") if chips else nothing_yet
    return Listing(label, tuple(columns), shown, total, page, pages, sort, tuple(chips), empty, ordered)


def _ordered(rows: QuerySet[Any] | Sequence[Row], column: Column[Row], *, falling: bool) -> QuerySet[Any] | Sequence[Row]:
    if isinstance(rows, QuerySet):
        fields = [
            OrderBy(F(name.lstrip("-")), descending=falling != name.startswith("-"), nulls_last=True)
            for name in column.order or (column.key,)
        ]
        return rows.order_by(*fields, "pk")
    value = column.value
    if value is None:
        return rows
    present = [row for row in rows if value(row) is not None]
    absent = [row for row in rows if value(row) is None]
    return [*sorted(present, key=lambda row: _comparable(value(row)), reverse=falling), *absent]


def _comparable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
