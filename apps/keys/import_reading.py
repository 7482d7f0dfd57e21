"""Files of keys: CSV or JSON text -> rows, and every problem with the row it is in. Pure; what the database knows is asked later.

A secret itself is never read: a column that could hold one is refused, so that no file of live secrets gets uploaded by habit.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apps.audit.errors import ServiceError
from apps.contracts.limits import MEASURES, AmountError, amount_read
from apps.contracts.money import MoneyError, dollars_read
from apps.keys import rules
from apps.keys.wishes import check_budget

MAX_BYTES = 8 * 1024 * 1024
MAX_ROWS = 20_000
LISTS = ("routes", "tags", "addresses")
COLUMNS = (
    "name", "environment", "team", "service", "routes", "feature", "tags", "priority", "explain", "expires_at", "addresses", "sha256",
    *MEASURES, "budget", "budget_window",
)  # fmt: skip
SECRETS = frozenset({"secret", "token", "key", "api_key", "value", "password"})
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0", ""}


@dataclass(slots=True)
class KeyRow:
    """One key of a file. line: its line in CSV, its place in a JSON list, from 1. team: slug; service: ``team/service``.

    sha256: of a token that exists already; empty: the key gets a new one. problems: (column, what is wrong).
    """

    line: int
    name: str = ""
    team: str = ""
    service: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    limits: dict[str, int] = field(default_factory=dict)
    budget_nano: int = 0
    budget_window: str = "month"
    problems: list[tuple[str, str]] = field(default_factory=list)


def read(content: bytes) -> list[KeyRow]:
    """The rows of a file, JSON where it begins so. Raises ServiceError (field ``file``) for what is neither."""
    if len(content) > MAX_BYTES:
        raise ServiceError(f"the file has {len(content)} bytes: at most {MAX_BYTES} are read; import it in parts", "file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ServiceError(f"byte {error.start} is not UTF-8: save the file as UTF-8", "file") from None
    records: list[tuple[int, Mapping[str, Any]]] = []
    if text.strip():
        records = _json(text) if text.lstrip()[:1] in ("[", "{") else _csv(text)
    if not records:
        raise ServiceError("the file holds no keys: a header line and a line for each key, or a JSON list of objects", "file")
    if len(records) > MAX_ROWS:
        raise ServiceError(f"the file holds {len(records)} keys: at most {MAX_ROWS} at a time", "file")
    rows = [_row(line, record) for line, record in records]
    _twice(rows, "name", lambda row: row.name)
    _twice(rows, "sha256", lambda row: row.sha256)
    return rows


def _csv(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, Mapping[str, Any]]] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _columns(header)
        if len(set(header)) != len(header):
            raise ServiceError("a column is there twice in the header", "file")
        for values in reader:
            if any(value.strip() for value in values):
                if len(values) > len(header):
                    raise ServiceError(f"line {reader.line_num} has {len(values)} values for {len(header)} columns", "file")
                records.append((reader.line_num, dict(zip(header, values, strict=False))))
    except csv.Error as error:
        raise ServiceError(f"line {reader.line_num} is not CSV: {error}", "file") from None
    return records


def _json(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ServiceError(f"this is not JSON: {error}", "file") from None
    except RecursionError:
        raise ServiceError("this JSON is nested too deeply", "file") from None
    if isinstance(found, dict) and isinstance(found.get("keys"), list):
        found = found["keys"]
    if not isinstance(found, list) or any(not isinstance(record, dict) for record in found):
        raise ServiceError("JSON holds a list of objects, one for each key", "file")
    for record in found:
        _columns(list(record))
    return list(enumerate(found, 1))


def _columns(names: list[str]) -> None:
    for name in names:
        if name in SECRETS:
            raise ServiceError(
                f"the column {name!r} looks like secrets: they are never read. Keep a key's secret by the column sha256, the SHA-256 of "
                "the whole secret, or leave it out to get new ones",
                "file",
            )
        if name not in COLUMNS:
            raise ServiceError(f"there is no column {name!r}: there are {', '.join(COLUMNS)}", "file")
    if "name" not in names:
        raise ServiceError(f"there is no column 'name'; the first line names the columns: {', '.join(COLUMNS)}", "file")


def _row(line: int, record: Mapping[str, Any]) -> KeyRow:
    row = KeyRow(line)
    for column, given in record.items():
        try:
            _take(row, column, given)
        except ServiceError as error:
            row.problems.append((column, error.message))
        except (MoneyError, AmountError) as error:
            row.problems.append((column, str(error)))
    if not row.name and not any(column == "name" for column, _ in row.problems):
        row.problems.append(("name", "a key needs a name"))
    if row.service and row.team and row.service.partition("/")[0] != row.team:
        row.problems.append(("service", f"the service {row.service!r} is not of the team {row.team!r}: leave the team out"))
    return row


def _take(row: KeyRow, column: str, given: Any) -> None:
    if column in LISTS:
        values = _list(column, given)
        if values:
            check = {"routes": rules.check_routes, "tags": rules.check_tags, "addresses": rules.check_addresses}[column]
            row.facts[column] = check(values)
        return
    if column in MEASURES and isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if column == "explain" and isinstance(given, bool):
        given = str(given).lower()
    if column == "budget" and isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if given is None:
        return
    if not isinstance(given, str):
        raise ServiceError(f'{column} is a text, a whole number or true and false: amounts of money are texts, such as "12.50"', column)
    text = given.strip()
    if column == "name":
        row.name = text[:80] if text.isprintable() else ""  # also a wrong one: the report names its row by it
        if text:
            rules.check_name(text)
    elif not text:
        return
    elif column in ("team", "service"):
        if column == "service" and "/" not in text:
            raise ServiceError(f"{text!r}: write a service as team/service", column)
        setattr(row, column, text)
    elif column == "sha256":
        row.sha256 = rules.check_hash(text)
    elif column in MEASURES:
        row.limits[column] = amount_read(text)
    elif column == "budget":
        row.budget_nano = check_budget(dollars_read(text), "month") or 0
    elif column == "budget_window":
        check_budget(None, text)
        row.budget_window = text
    else:
        row.facts[column] = _fact(column, text)


def _fact(column: str, text: str) -> Any:
    if column == "environment":
        return rules.check_environment(text)
    if column == "feature":
        return rules.check_feature(text)
    if column == "priority":
        return rules.check_priority(text)
    if column == "explain":
        if text.lower() not in _TRUE | _FALSE:
            raise ServiceError(f"{text[:40]!r}: write true or false", column)
        return text.lower() in _TRUE
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ServiceError(f"{text[:40]!r}: write a moment with its time zone, such as 2027-01-31T00:00:00Z", column) from None
    checked = rules.check_expiry(moment)
    assert checked is not None
    return checked.astimezone(UTC)


def _list(column: str, given: Any) -> list[str]:
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return [item.strip() for item in given if item.strip()]
    if given is None or isinstance(given, str):
        return [part.strip() for part in re.split(r"[;|\n]", given or "") if part.strip()]
    raise ServiceError(f"{column} is a list of texts, in CSV separated by ; or |", column)


def _twice(rows: list[KeyRow], column: str, value: Any) -> None:
    first: dict[str, int] = {}
    for row in rows:
        found = value(row)
        if found and found in first:
            row.problems.append((column, f"the same as in row {first[found]}"))
        elif found:
            first[found] = row.line
