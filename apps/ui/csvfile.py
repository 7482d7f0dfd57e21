"""CSV that a spreadsheet opens as data, never as formulas.

Names in it come from apps and people. A cell that a spreadsheet would read as a formula is prefixed with an apostrophe
(OWASP, "CSV injection"); numbers stay numbers. Rows are streamed, so that a long list needs no memory.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

LINES_AT_ONCE = 500
"""Lines that are sent together."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_cell(value: Any) -> str | int:
    """One cell: numbers as they are, None as nothing, text made harmless (also behind leading blanks and controls)."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"  # a number, below zero too; never with an exponent
    text = str(value).replace("\x00", "")
    bare = text.lstrip(" \u00a0\ufeff\u200b\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f")
    return "'" + text if text.startswith(_FORMULA_STARTS) or bare.startswith(_FORMULA_STARTS) else text


class _Echo:
    """A file that hands back what is written, so that csv.writer becomes a generator."""

    def write(self, value: str) -> str:
        return value


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]], *, mark: str = "\ufeff") -> Iterator[str]:
    """The file, line by line. mark: a byte-order mark, because Excel takes UTF-8 for Latin-1 without one; machines take none."""
    writer = csv.writer(_Echo())
    yield mark + writer.writerow([safe_cell(cell) for cell in header])
    for row in rows:
        yield writer.writerow([safe_cell(cell) for cell in row])


class CsvResponse(StreamingHttpResponse):
    """A download whose parts are made while it is sent, also under ASGI, where Django would gather a plain iterator whole."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = iter(cast("Iterator[bytes]", self.streaming_content))
        while part := await sync_to_async(_joined)(parts):
            yield part


def _joined(parts: Iterator[bytes]) -> bytes:
    return b"".join(islice(parts, LINES_AT_ONCE))


def csv_response(file_name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], *, mark: str = "\ufeff") -> StreamingHttpResponse:
    """The download. ``file_name``: our own ASCII words, never a person's. mark: as ``csv_lines`` takes it."""
    response = CsvResponse(csv_lines(header, rows, mark=mark), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{file_name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response
