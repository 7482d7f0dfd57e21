"""Traces of real traffic, as a simulation reads them. Pure.

Known formats, told apart by the file's ending: Azure's LLM inference trace (CSV: ``TIMESTAMP,ContextTokens,GeneratedTokens``) and
Mooncake's (``.jsonl``: ``timestamp`` in ms, ``input_length``, ``output_length``).
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple


class TraceError(ValueError):
    """A file that is no trace; the message says what it must be and which line is wrong."""


class Arrival(NamedTuple):
    """at: seconds since the trace's beginning. read, write: tokens of the prompt and of the answer."""

    at: float
    read: int
    write: int


def trace_read(path: Path, *, rate: int = 1, valley: float = 1.0, seed: int = 0) -> list[Arrival]:
    """In order of arrival, beginning at 0. rate: each request arrives so many times, the copies up to a second apart by chance (``seed``).
    valley: requests are left out by chance along one wave, so that this share is left at both ends and all in the middle: a day in an hour.
    Raises TraceError, OSError."""
    if rate < 1 or not 0 <= valley <= 1:
        raise TraceError("the rate must be 1 or more, the valley a share from 0 to 1")
    with path.open(encoding="utf-8") as file:
        try:
            found = list(_mooncake(file) if path.suffix in (".jsonl", ".ndjson") else _azure(file))
        except UnicodeDecodeError as error:
            raise TraceError(f"{path} is not a text file: {error}") from error
    if not found:
        raise TraceError(f"{path} holds no request")
    chance = random.Random(seed)
    copies = [Arrival(one.at + chance.random(), one.read, one.write) for one in found for _ in range(rate - 1)]
    found = sorted([*found, *copies])
    start, length = found[0].at, max(found[-1].at - found[0].at, 1.0)
    if valley < 1:
        left = [one for one in found if chance.random() < _left((one.at - start) / length, valley)]
        found = left or found[:1]
        start = found[0].at
    return [Arrival(one.at - start, one.read, one.write) for one in found]


def _left(place: float, valley: float) -> float:
    """The share that is left at a place (0 to 1) of the trace."""
    return valley + (1 - valley) * (1 - math.cos(2 * math.pi * place)) / 2


def _azure(lines: Iterable[str]) -> Iterator[Arrival]:
    rows = csv.reader(lines)
    head = next(rows, [])
    try:
        at, read, write = (head.index(name) for name in ("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
    except ValueError:
        raise TraceError(f"line 1 is {','.join(head)[:80]!r}: it must name TIMESTAMP, ContextTokens and GeneratedTokens") from None
    for number, row in enumerate(rows, 2):
        try:
            # seven digits of a second are one too many for fromisoformat of Python 3.11
            moment = datetime.fromisoformat(row[at][:26]).timestamp()
            yield Arrival(moment, _tokens(row[read]), _tokens(row[write]))
        except (ValueError, IndexError) as error:
            raise TraceError(f"line {number} cannot be read: {error}") from None


def _mooncake(lines: Iterable[str]) -> Iterator[Arrival]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield Arrival(float(row["timestamp"]) / 1000, _tokens(row["input_length"]), _tokens(row["output_length"]))
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(f"line {number} cannot be read: it needs timestamp, input_length and output_length ({error})") from None


def _tokens(value: object) -> int:
    count = int(str(value))
    if count < 0:
        raise ValueError(f"{count} tokens")
    return count
