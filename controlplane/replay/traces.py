"""Arrival traces as other people publish them: Azure's CSV and Mooncake's JSON lines. Pure: bytes in, rows out.

* Azure LLM inference: ``TIMESTAMP,ContextTokens,GeneratedTokens``; ISO 8601 time.
* Mooncake: one object a line, ``timestamp`` (ms), ``input_length``, ``output_length``, ``hash_ids`` (one id for each block
  of 512 input tokens; equal ids are equal blocks).

A row that cannot be used is named, with its line and the reason; the others are still good.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

BLOCK_TOKENS = 512
MAX_INPUT_TOKENS = 2_000_000
MAX_OUTPUT_TOKENS = 1_000_000
_COLUMNS = ("timestamp", "contexttokens", "generatedtokens")
_LOOKED_AT = 20
"""Lines looked at to tell the format."""


class TraceError(Exception):
    """A file that is no trace at all; the message says what was expected."""


class Row(NamedTuple):
    """One request. at: seconds, on the trace's own clock. blocks: Mooncake's ids of the input's 512-token blocks."""

    line: int
    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


class BadRow(NamedTuple):
    line: int
    reason: str


class Trace(NamedTuple):
    """rows: by arrival. bad: by line. format: ``azure`` or ``mooncake``."""

    format: str
    rows: list[Row]
    bad: list[BadRow]


class _Unusable(ValueError):
    pass


def read_trace(path: Path, *, limit: int | None = None) -> Trace:
    """The trace in a file, its first ``limit`` good rows. Raises TraceError, OSError."""
    with path.open("rb") as file:
        return parse_trace(file, limit=limit, name=path.name)


def parse_trace(lines: Iterable[bytes], *, limit: int | None = None, name: str = "the file") -> Trace:
    """``read_trace`` of lines. Raises TraceError."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first: list[tuple[int, bytes]] = []
    for pair in numbered:
        first.append(pair)
        if len(first) == _LOOKED_AT:
            break
    if not first:
        raise TraceError(f"{name} is empty")
    kind, start, parse = _format_of(first, name)
    rows: list[Row] = []
    bad: list[BadRow] = []
    for number, line in _chain(first[start:], numbered):
        if limit is not None and len(rows) >= limit:
            break
        try:
            rows.append(parse(number, line.decode("utf-8").strip()))
        except UnicodeDecodeError:
            bad.append(BadRow(number, "is not UTF-8"))
        except _Unusable as error:
            bad.append(BadRow(number, str(error)))
    rows.sort(key=lambda row: row.at)
    return Trace(kind, rows, bad)


def _chain(first: list[tuple[int, bytes]], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield from first
    yield from rest


def _format_of(first: list[tuple[int, bytes]], name: str) -> tuple[str, int, Callable[[int, str], Row]]:
    """(format, index of the first row, parser of a row). Broken rows may surround what gives the format away."""
    for index, (_, line) in enumerate(first):
        text = line.decode("utf-8-sig", "replace").strip()
        columns = [cell.strip().lower() for cell in text.split(",")]
        if set(_COLUMNS) <= set(columns):
            where = [columns.index(column) for column in _COLUMNS]
            return "azure", index + 1, partial(_azure_row, where=where, columns=len(columns))
    for _, line in first:
        try:
            document = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(document, dict) and {"timestamp", "input_length", "output_length"} & set(document):
            return "mooncake", 0, _mooncake_row
    raise TraceError(
        f"{name} is no trace that is known here: expected CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens, "
        "or JSON lines with timestamp, input_length, output_length and hash_ids"
    )


def _count(value: Any, field: str, low: int, high: int) -> int:
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
            raise _Unusable(f"{field} {value[:40]!r} is not a whole number")
        value = int(text)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unusable(f"{field} is missing" if value is None else f"{field} {str(value)[:40]!r} is not a whole number")
    if not low <= value <= high:
        raise _Unusable(f"{field} {value} is not from {low} to {high}")
    return value


def _azure_row(number: int, text: str, where: list[int], columns: int) -> Row:
    try:
        cells = next(csv.reader([text]))
    except (csv.Error, StopIteration):
        raise _Unusable("is not CSV") from None
    if len(cells) != columns:
        raise _Unusable(f"has {len(cells)} columns instead of {columns}")
    stamp = cells[where[0]].strip()
    try:
        moment = datetime.fromisoformat(stamp)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        at = moment.timestamp()
    except (ValueError, OverflowError):
        raise _Unusable(f"TIMESTAMP {stamp[:40]!r} is not a time such as 2023-11-16 18:15:46.680590") from None
    return Row(
        number,
        at,
        _count(cells[where[1]], "ContextTokens", 1, MAX_INPUT_TOKENS),
        _count(cells[where[2]], "GeneratedTokens", 0, MAX_OUTPUT_TOKENS),
    )


def _mooncake_row(number: int, text: str) -> Row:
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise _Unusable(f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _Unusable("is not a JSON object")
    stamp = document.get("timestamp")
    if not isinstance(stamp, (int, float)) or isinstance(stamp, bool) or not math.isfinite(stamp):
        raise _Unusable("timestamp is missing" if stamp is None else f"timestamp {str(stamp)[:40]!r} is not a number of milliseconds")
    tokens = _count(document.get("input_length"), "input_length", 1, MAX_INPUT_TOKENS)
    output = _count(document.get("output_length"), "output_length", 0, MAX_OUTPUT_TOKENS)
    blocks = document.get("hash_ids", [])
    if not isinstance(blocks, list) or not all(isinstance(block, int) and not isinstance(block, bool) for block in blocks):
        raise _Unusable("hash_ids is not a list of whole numbers")
    if blocks and len(blocks) != -(-tokens // BLOCK_TOKENS):
        raise _Unusable(f"hash_ids has {len(blocks)} blocks, but {tokens} input tokens are {-(-tokens // BLOCK_TOKENS)} of {BLOCK_TOKENS}")
    return Row(number, stamp / 1000, tokens, output, tuple(blocks))
