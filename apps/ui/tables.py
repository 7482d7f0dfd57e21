"""Lists as every page shows them: columns that sort, filters as chips, pages, CSV of the same rows, and the kinds of nothing.

The URL holds everything: ``?sort=-created&page=2`` beside the page's own filters. A view builds a ``Listing`` from its
query and hands it to the part ``ui/table.html``; asked with ``format=csv`` it answers ``listing.csv(...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from django.db.models import F, QuerySet
from django.db.models.expressions import OrderBy
from django.http import StreamingHttpResponse

from apps.ui.csvfile import csv_response

Row = TypeVar("Row")

PAGE_SIZE = 50
MOST_CSV_ROWS = 10_000
CSV_PART = 500
"""Rows that are completed at a time while CSV streams."""


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
    complete: Callable[[Sequence[Row]], None] | None = field(default=None, repr=False)
    """Adds to rows what only shown ones need; for CSV, part by part."""

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
    def counted(self) -> str:
        """The label as it stands beside the total: in the singular beside one."""
        if self.total != 1:
            return self.label
        return "person" if self.label == "people" else f"{self.label[:-3]}y" if self.label.endswith("ies") else self.label.removesuffix("s")

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
            for part in self._parts():
                for row in part:
                    yield [column.value(row) for column in columns if column.value]

        return csv_response(file_name, [column.label for column in columns], lines())

    def _parts(self) -> Iterator[Sequence[Row]]:
        if self.complete is None:
            yield list(self.everything[:MOST_CSV_ROWS])
            return
        for at in range(0, min(len(self.everything), MOST_CSV_ROWS), CSV_PART):
            part = list(self.everything[at : min(at + CSV_PART, MOST_CSV_ROWS)])
            self.complete(part)
            yield part


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
    sort, column = _sort(query, columns, default_sort)
    ordered = _ordered(rows, column, falling=sort.startswith("-")) if column else rows
    return _page(query, ordered, label=label, columns=columns, sort=sort, nothing_yet=nothing_yet, chips=chips)


def lines_build(
    query: Mapping[str, str],
    *,
    label: str,
    columns: Sequence[Column[Row]],
    lines: QuerySet[Any, Any],
    row: Callable[[Any], Row],
    fill: Callable[[list[Row]], None],
    complete: Callable[[Sequence[Row]], None],
    in_database: Collection[str],
    default_sort: str,
    nothing_yet: Empty,
    chips: Sequence[Chip] = (),
    keep: Callable[[Row], bool] | None = None,
    csv: Sequence[Column[Row]] = (),
) -> Listing[Row]:
    """One page of a list of up to ten thousand objects, which may be sorted by what lies beside their table, such as their traffic.

    lines: the objects as light tuples, filtered already; ``row`` makes one a row. fill: adds what sorting and ``keep`` look at.
    complete: adds what only shown rows need. in_database: the columns that the database sorts, and then pages too: only that page is
    read, filled and completed. Any other sort, ``keep`` or CSV reads and fills every line, and completes those that are shown.
    csv: the columns of a CSV, where one is asked for; its rows are completed part by part while it streams.
    """
    sort, column = _sort(query, columns, default_sort)
    falling, sorted_by = sort.startswith("-"), column.key if column and column.key in in_database else ""
    ordered: QuerySet[Any, Any] | Sequence[Row] = _ordered(lines, column, falling=falling) if column and sorted_by else lines
    paged = bool(sorted_by) and keep is None and not csv
    if not paged:
        rows = [row(line) for line in ordered]
        fill(rows)
        rows = [one for one in rows if keep(one)] if keep else rows
        ordered = _ordered(rows, column, falling=falling) if column and not sorted_by else rows
    listing: Listing[Row] = _page(query, ordered, label=label, columns=csv or columns, sort=sort, nothing_yet=nothing_yet, chips=chips)
    if csv:
        return replace(listing, complete=complete)
    if paged:
        listing = replace(listing, rows=[row(line) for line in listing.rows])
        fill(listing.rows)
    complete(listing.rows)
    return listing


def _sort(query: Mapping[str, str], columns: Sequence[Column[Row]], default_sort: str) -> tuple[str, Column[Row] | None]:
    """What ``?sort=`` asks for, or else the default, and its column."""
    by_key = {column.key: column for column in columns if column.key}
    sort = query.get("sort", "")
    if sort.removeprefix("-") not in by_key:
        sort = default_sort
    return sort, by_key.get(sort.removeprefix("-"))


def _page(
    query: Mapping[str, str], ordered: QuerySet[Any, Any] | Sequence[Row], *, label: str, columns: Sequence[Column[Row]], sort: str,
    nothing_yet: Empty, chips: Sequence[Chip],
) -> Listing[Row]:  # fmt: skip
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
    valued = [(value(row), row) for row in rows]
    present = sorted((pair for pair in valued if pair[0] is not None), key=lambda pair: _comparable(pair[0]), reverse=falling)
    return [row for _, row in present] + [row for known, row in valued if known is None]


def _comparable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
