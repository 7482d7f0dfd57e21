"""What a provider's usage or invoice export says, read whole: sums by day (UTC) and model, or every row that cannot be read. Pure.

A file is taken whole or not at all. What it is compared for are totals, and a total that leaves out the rows that could not be read looks
like a difference that nobody made. So each such row is named, by line or by its place in the document, and nothing is kept.

Shapes are told apart by what a file holds, not by its name. Counts of tokens are ours (``apps.contracts.usage.Tokens``): input includes
what was read from and written to a cache. Money is nano-dollars. None: the shape does not say.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from apps.contracts.money import NANO

MOST_BYTES = 10 * 2**20
MOST_ROWS = 200_000
MOST_LINES = 20_000
"""Days times models: what one comparison may have."""
MOST_NAMED = 20
"""Rows that are named where some cannot be read; of the others, how many there are."""
MOST_COUNT = 2**53
MOST_NANO = 10**18
"""A billion dollars in one row is no invoice."""
EARLIEST = date(2020, 1, 1)


class RowError(ValueError):
    """One row or result cannot be read; the message says what it has and what it should have."""


class ReadingError(ValueError):
    """The file is refused. ``rows``: what is wrong with each row that could not be read, ``MOST_NAMED`` at most."""

    def __init__(self, message: str, rows: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


@dataclass(slots=True)
class Figures:
    """Sums of one day and model. None: the export does not say."""

    requests: int | None = None
    tokens_input: int | None = None
    tokens_output: int | None = None
    cost_nano: int | None = None

    def add(self, other: Figures) -> None:
        for name in ("requests", "tokens_input", "tokens_output", "cost_nano"):
            more = getattr(other, name)
            if more is not None:
                setattr(self, name, (getattr(self, name) or 0) + more)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: what ``figures`` are of. figures None: the row only says that nothing was used on that day."""

    day: date
    model: str
    figures: Figures | None


@dataclass(slots=True)
class Export:
    """A whole file. ``first``, ``last``: the days that it covers, also those on which nothing was used. ``part``: it says that there is
    more than it holds."""

    shape: str
    first: date
    last: date
    rows: int
    sums: dict[tuple[date, str], Figures] = field(default_factory=dict)
    part: bool = False


Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TableShape:
    """A CSV export. ``columns``: those that tell it from others, all of which it has. ``read``: a row to an entry; raises RowError."""

    name: str
    label: str
    columns: frozenset[str]
    read: Callable[[Row], Entry]


@dataclass(frozen=True, slots=True)
class PageShape:
    """An API's answer: pages of buckets of results. ``day``: of a bucket. ``owns``: whether a result is of this shape; ``read``: a
    bucket's day and a result to an entry. Both raise RowError."""

    name: str
    label: str
    day: Callable[[Row], date]
    owns: Callable[[Row], bool]
    read: Callable[[date, Row], Entry]


def export_read(content: bytes, tables: Sequence[TableShape], pages: Sequence[PageShape]) -> Export:
    """The export in one of these shapes. Raises ReadingError that says what to do."""
    if len(content) > MOST_BYTES:
        raise ReadingError(f"The file is larger than {MOST_BYTES // 2**20} MB: export a shorter time, or by day instead of by minute.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadingError(f"The file is not UTF-8 text (byte {error.start}): export it as CSV or JSON, not as a spreadsheet.") from None
    if not text.strip():
        raise ReadingError("The file is empty.")
    if "\x00" in text:
        raise ReadingError("The file is not text: export it as CSV or JSON.")
    return _pages(text, pages) if text.lstrip()[0] in "{[" else _table(text, tables)


def _table(text: str, shapes: Sequence[TableShape]) -> Export:
    first_line = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in first_line else ",", strict=True)
    try:
        heads = {(name or "").strip() for name in reader.fieldnames or ()}
    except csv.Error as error:
        raise ReadingError(f"Line 1 is no CSV: {error}.") from None
    shape = next((each for each in shapes if each.columns <= heads), None)
    if shape is None:
        raise ReadingError(
            f"The columns {', '.join(sorted(heads))[:300]!r} are of no export that is known: "
            + "; ".join(f"{each.label} has {', '.join(sorted(each.columns))}" for each in shapes)
            + "."
        )
    reader.fieldnames = [(name or "").strip() for name in reader.fieldnames or ()]
    return _gather(shape.name, _table_rows(reader, shape))


def _table_rows(reader: csv.DictReader[str], shape: TableShape) -> Iterator[tuple[str, Callable[[], Entry]]]:
    last = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield f"line {last + 1}", _raiser(f"it is no CSV: {error}")
            return
        if row is None:
            return
        place, last = f"line {last + 1}", reader.line_num  # a quoted cell may span lines: a row is where it begins
        if None in row or any(value is None for value in row.values()):
            yield place, _raiser(f"it has not as many cells as there are columns ({len(reader.fieldnames or ())})")
        else:
            yield place, lambda row=row: shape.read(row)  # type: ignore[misc]


def _pages(text: str, shapes: Sequence[PageShape]) -> Export:
    try:
        document = json.loads(text, parse_float=Decimal, parse_constant=lambda word: Decimal(word))
    except (ValueError, RecursionError, InvalidOperation) as error:
        place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it"
        raise ReadingError(f"The file is no JSON: {place}: {str(error).splitlines()[0][:120]}") from None
    pages = document if isinstance(document, list) else [document]
    if not pages or not all(isinstance(page, dict) and isinstance(page.get("data"), list) for page in pages):
        raise ReadingError('This JSON is no answer of a usage or cost API: it takes {"data": [buckets...]}, or a list of such pages.')
    several = len(pages) > 1
    shape = _page_shape(pages, shapes)
    if shape is None:
        raise ReadingError("No result in it is of a known export: " + "; ".join(each.label for each in shapes) + ".")
    export = _gather(shape.name, _page_rows(pages, shape, several))
    export.part = bool(pages[-1].get("has_more"))
    return export


def _page_shape(pages: Sequence[Row], shapes: Sequence[PageShape]) -> PageShape | None:
    for page in pages:
        for bucket in page["data"]:
            for result in bucket.get("results") or () if isinstance(bucket, dict) else ():
                if isinstance(result, dict):
                    return next((each for each in shapes if each.owns(result)), None)
    return None


def _page_rows(pages: Sequence[Row], shape: PageShape, several: bool) -> Iterator[tuple[str, Callable[[], Entry]]]:
    for number, page in enumerate(pages):
        for at, bucket in enumerate(page["data"]):
            place = f"{f'[{number}].' if several else ''}data[{at}]"
            if not isinstance(bucket, dict) or not isinstance(bucket.get("results"), list):
                yield place, _raiser("a bucket has a list of results")
                continue
            yield place, lambda bucket=bucket: Entry(shape.day(bucket), "", None)  # type: ignore[misc]
            for index, result in enumerate(bucket["results"]):
                here = f"{place}.results[{index}]"
                if not isinstance(result, dict) or not shape.owns(result):
                    yield here, _raiser(f"it is no result of {shape.label}")
                else:
                    yield here, lambda bucket=bucket, result=result: shape.read(shape.day(bucket), result)  # type: ignore[misc]


def _gather(shape: str, rows: Iterator[tuple[str, Callable[[], Entry]]]) -> Export:
    sums: dict[tuple[date, str], Figures] = {}
    days: set[date] = set()
    count, broken = 0, []
    for place, read in rows:
        count += 1
        if count > MOST_ROWS:
            raise ReadingError(f"The file has more than {MOST_ROWS:,} rows: export a shorter time, or by day instead of by minute.")
        try:
            entry = read()
        except RowError as error:
            broken.append(f"{place}: {error}")
            continue
        days.add(entry.day)
        if entry.figures is not None:
            sums.setdefault((entry.day, entry.model), Figures()).add(entry.figures)
    if broken:
        more = f", and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        raise ReadingError(
            f"{len(broken)} of {count} rows cannot be read, so nothing was imported: {'; '.join(broken[:MOST_NAMED])}{more}. "
            "Export the file again, or correct these rows.",
            broken[:MOST_NAMED],
        )
    if not days:
        raise ReadingError("The file has no row: export a time in which something was used.")
    if len(sums) > MOST_LINES:
        raise ReadingError(f"The file has more than {MOST_LINES:,} days and models: export a shorter time.")
    if any(abs(sum_) > 2**62 for figures in sums.values() for sum_ in (figures.cost_nano or 0, figures.tokens_input or 0)):
        raise ReadingError("The file's amounts add up to more than can be counted.")
    return Export(shape, min(days), max(days), count, sums)


def _raiser(message: str) -> Callable[[], Entry]:
    def raise_it() -> Entry:
        raise RowError(message)

    return raise_it


# --- one cell or member -------------------------------------------------------------------------------------------------


def count_of(row: Row, name: str, *, required: bool = False) -> int:
    """A count, not negative; an absent one is 0 unless required."""
    value = row.get(name)
    if value is None or value == "":
        if required:
            raise RowError(f"{name} is missing")
        return 0
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or len(text) > 16 or int(text) > MOST_COUNT:
        raise RowError(f"{name} is {str(value)[:40]!r}, not a count")
    return int(text)


def money_of(value: Any, name: str, *, per_dollar: int = 1) -> int:
    """Nano-dollars of an amount; negative where it is a credit. per_dollar: units of it in a dollar, 100 for cents."""
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    except InvalidOperation:
        raise RowError(f"{name} is {str(value)[:40]!r}, not an amount") from None
    if isinstance(value, bool) or not amount.is_finite() or abs(amount) * NANO > MOST_NANO * per_dollar:
        raise RowError(f"{name} is {str(value)[:40]!r}, not an amount")
    return int((amount * NANO / per_dollar).to_integral_value(rounding=ROUND_HALF_EVEN))


def dollars_only(value: Any, name: str) -> None:
    """Raises RowError for any other currency."""
    if str(value or "").strip().lower() != "usd":
        raise RowError(f"{name} is {str(value)[:20]!r}: amounts are compared in US dollars only")


def model_of(value: Any) -> str:
    """A model's name as the provider writes it; empty where it says none."""
    text = str(value or "").strip()
    if len(text) > 200 or not text.isprintable():
        raise RowError(f"the model's name {text[:40]!r} is too long or has characters that no name has")
    return text


def day_of_epoch(value: Any, end: Any) -> date:
    """The day of a bucket that begins at ``value`` seconds since 1970 and lies within one day."""
    start = _epoch(value, "start_time")
    if end not in (None, "") and _epoch(end, "end_time") - start > timedelta(days=1):
        raise RowError("it spans more than a day: export by day (bucket_width 1d)")
    return _known(start.date())


def day_of_iso(value: Any, end: Any) -> date:
    """The day of a bucket that begins at an RFC 3339 moment and lies within one day."""
    start = _iso(value, "starting_at")
    if end not in (None, "") and _iso(end, "ending_at") - start > timedelta(days=1):
        raise RowError("it spans more than a day: export by day (bucket_width 1d)")
    return _known(start.date())


def day_of_text(value: Any, name: str) -> date:
    """``2026-08-05``."""
    try:
        return _known(date.fromisoformat(str(value).strip()))
    except ValueError as error:
        if isinstance(error, RowError):
            raise
        raise RowError(f"{name} is {str(value)[:40]!r}, not a day such as 2026-08-05") from None


def _epoch(value: Any, name: str) -> datetime:
    text = str(value).strip().removesuffix(".0")
    if isinstance(value, bool) or not text.isascii() or not text.isdecimal() or len(text) > 11:
        raise RowError(f"{name} is {str(value)[:40]!r}, not seconds since 1970")
    return datetime.fromtimestamp(int(text), UTC)


def _iso(value: Any, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise RowError(f"{name} is {str(value)[:40]!r}, not a moment such as 2026-08-05T00:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _known(day: date) -> date:
    if not EARLIEST <= day <= datetime.now(UTC).date() + timedelta(days=1):
        raise RowError(f"the day {day} lies before {EARLIEST} or in the future")
    return day
