"""Nodes -> the typed document. Every problem is found in one pass; entries without one go on to be checked further."""

from __future__ import annotations

import re
import types
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from apps.contracts.limits import AmountError, amount_read
from apps.contracts.money import MoneyError, clock_read, dollars_read, percent_read
from controlplane.configfile.document import KEPT, NONE, Document, Unit
from controlplane.configfile.problems import Problem
from controlplane.configfile.text import Mapping, Node, Scalar, Sequence

MAX_TEXT = 2000
MAX_INTEGER = 2**31 - 1
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s?(ms|s|m|h)")
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_READERS = {Unit.DOLLARS: dollars_read, Unit.PERCENT: percent_read, Unit.CLOCK: clock_read, Unit.AMOUNT: amount_read}
"""Units that forms read by the same functions."""
_TRUE, _FALSE = {"true", "yes", "on"}, {"false", "no", "off"}


class Draft(msgspec.Struct):
    """A document as far as it could be read.

    lines: path -> line. paths: id() of each entry -> its path. failed: (list's name, entry's name) of entries left out.
    """

    document: Document
    lines: dict[str, int]
    paths: dict[int, str]
    problems: list[Problem]
    failed: set[tuple[str, str]]

    def line(self, path: str) -> int:
        """The line of a field, or of the closest thing around it that was written."""
        while path and path not in self.lines:
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return self.lines.get(path, 0)


def draft_of(document: Document) -> Draft:
    """The same of a document that was made here: it has no lines, and its entries' paths are their places in it."""
    paths = {
        id(entry): f"{field.name}[{at}]"
        for field in msgspec.structs.fields(Document)
        if isinstance(entries := getattr(document, field.name), list)
        for at, entry in enumerate(entries)
    }
    return Draft(document=document, lines={}, paths=paths, problems=[], failed=set())


def read_document(root: Mapping) -> Draft:
    """Everything that can be read, and every problem of type, name and unit."""
    draft = Draft(document=Document(), lines={}, paths={}, problems=[], failed=set())
    reader = _Reader(draft)
    known = {field.name: field for field in msgspec.structs.fields(Document)}
    hints = _hints(Document)
    for key, (line, node) in root.entries.items():
        draft.lines[key] = line
        if key not in known:
            reader.problem(line, key, f"unknown; there are: {', '.join(known)}")
        elif key == "organisation":
            draft.document.organisation = reader.read(node, str, key) or ""
        elif isinstance(node, Scalar) and node.kind == "null":
            continue
        elif not isinstance(node, Sequence):
            reader.problem(node.line, key, "takes a list: start each entry with '- '")
        else:
            (kind,) = get_args(hints[key])
            setattr(draft.document, key, reader.entries(node, kind, key))
    return draft


@cache
def _hints(struct: type) -> dict[str, Any]:
    return get_type_hints(struct, include_extras=True)


class _Failed(Exception):
    """A value could not be read; the problem is noted already."""


class _Reader:
    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def problem(self, line: int, path: str, message: str) -> None:
        self.draft.problems.append(Problem(line, path, message))

    def entries(self, node: Sequence, kind: type[msgspec.Struct], path: str) -> list[Any]:
        """A list of named entries: each name once; entries with problems are left out and remembered as failed."""
        found: list[Any] = []
        seen: dict[str, int] = {}
        for at, item in enumerate(node.items):
            here = f"{path}[{at}]"
            before = len(self.draft.problems)
            entry = self.struct(item, kind, here)
            name = entry.name if entry is not None and hasattr(kind, "IDENTITY") else _name_of(item)
            if name and name in seen:
                self.problem(item.line, f"{here}.name", f"{name!r} is listed twice; first in line {seen[name]}")
            elif name:
                seen[name] = item.line
            if entry is None or len(self.draft.problems) > before:
                self.draft.failed.add((path, name))
            else:
                self.draft.paths[id(entry)] = here
                found.append(entry)
        return found

    def struct(self, node: Node, kind: type[msgspec.Struct], path: str) -> Any:
        """An entry; None where something in it could not be read."""
        self.draft.lines.setdefault(path, node.line)
        if not isinstance(node, Mapping):
            self.problem(node.line, path, "takes fields: 'name: value' lines")
            return None
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        hints = _hints(kind)
        absent = "absent" in fields and _says_absent(node)
        values: dict[str, Any] = {}
        complete = True
        for key, (line, value) in node.entries.items():
            here = f"{path}.{key}"
            self.draft.lines[here] = line
            if key not in fields:
                self.problem(line, here, f"unknown; there are: {', '.join(fields)}")
                complete = False
                continue
            try:
                values[key] = self.read(value, hints[key], here)
            except _Failed:
                complete = False
        for name, field in fields.items():
            if field.required and name not in values and name not in node.entries:
                if absent and name not in getattr(kind, "IDENTITY", ("name", "model")):
                    values[name] = _nothing(hints[name])
                else:
                    self.problem(node.line, f"{path}.{name}", "is missing")
                    complete = False
        return kind(**values) if complete else None

    def read(self, node: Node, hint: Any, path: str) -> Any:
        """A value of a type; raises _Failed after noting why it is not one."""
        hint, unit, optional = _taken_apart(hint)
        if isinstance(node, Scalar) and node.kind == "null":
            if optional:
                return None
            return self.fail(node, path, "has no value")
        if get_origin(hint) is list:
            return self.list(node, get_args(hint)[0], path)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            value = self.struct(node, hint, path)
            if value is None:
                raise _Failed
            return value
        if unit is Unit.RULES:
            if not isinstance(node, Mapping):
                return self.fail(node, path, "takes fields, such as 'strategies:'")
            return self.plain(node, path)
        if get_origin(hint) is dict:
            return self.texts(node, path)
        if not isinstance(node, Scalar):
            return self.fail(node, path, "takes a single value")
        if unit is not None:
            return self.unit(node, unit, path)
        if get_origin(hint) is Literal:
            if node.text not in get_args(hint):
                return self.fail(node, path, f"{node.text!r}: use one of {', '.join(get_args(hint))}")
            return node.text
        if hint is bool:
            if node.kind != "bool" or node.text.lower() not in _TRUE | _FALSE:
                return self.fail(node, path, f"{node.text!r}: use true or false")
            return node.text.lower() in _TRUE
        if hint is int:
            if node.kind != "int" or not re.fullmatch(r"[0-9]{1,10}", node.text) or int(node.text) > MAX_INTEGER:
                return self.fail(node, path, f"{node.text[:40]!r}: use a whole number from 0 to {MAX_INTEGER}, digits only")
            return int(node.text)
        return self.text(node, path)

    def plain(self, node: Node, path: str) -> Any:
        """A part of rules as it is written. Fractions stay texts: nothing passes through a float, and rules read numbers from texts."""
        self.draft.lines.setdefault(path, node.line)
        if isinstance(node, Mapping):
            return {key: self.plain(value, f"{path}.{key}") for key, (_, value) in node.entries.items()}
        if isinstance(node, Sequence):
            return [self.plain(item, f"{path}[{at}]") for at, item in enumerate(node.items)]
        if node.kind == "null":
            return self.fail(node, path, "has no value")
        if node.kind == "bool":
            return self.read(node, bool, path)
        if node.kind == "int" and re.fullmatch(r"[0-9]{1,10}", node.text):
            return int(node.text)
        return self.text(Scalar(node.line, "str", node.text), path)

    def texts(self, node: Node, path: str) -> dict[str, str]:
        """Names with a text each."""
        if not isinstance(node, Mapping):
            return dict(self.fail(node, path, "takes names with a text each, such as {layer: provider}"))
        return {name: str(self.read(value, str, f"{path}.{name}")) for name, (_, value) in node.entries.items()}

    def text(self, node: Scalar, path: str) -> str:
        if node.kind != "str":
            return str(self.fail(node, path, f"{node.text[:40]!r} would be read as {node.kind}: put it in quotes"))
        if len(node.text) > MAX_TEXT:
            return str(self.fail(node, path, f"has {len(node.text)} characters: at most {MAX_TEXT}"))
        if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in node.text):
            return str(self.fail(node, path, "holds control characters or line breaks"))
        return node.text

    def unit(self, node: Scalar, unit: Unit, path: str) -> Any:
        if unit in _READERS:
            try:
                return _READERS[unit](node.text)
            except (MoneyError, AmountError) as error:
                return self.fail(node, path, str(error))
        if unit is Unit.AS_WRITTEN:
            return node.text
        if unit is Unit.DURATION:
            match = _DURATION.fullmatch(node.text) if node.kind == "str" else None
            if match is None:
                return self.fail(node, path, f"{node.text[:40]!r}: write a duration with its unit, such as 500ms, 2s, 1.5s, 5m or 1h")
            whole, _, part = match[1].partition(".")
            scale = _MS[match[2]]
            thousandths = int(whole) * 1000 + int(part.ljust(3, "0") or "0")
            if thousandths * scale % 1000:
                return self.fail(node, path, f"{node.text!r} is finer than a millisecond")
            return thousandths * scale // 1000
        if unit is Unit.MOMENT:
            return self.moment(node, path)
        if unit is Unit.HOOK and node.kind == "str" and node.text == NONE:
            return NONE
        return self.reference(node, path)

    def moment(self, node: Scalar, path: str) -> datetime:
        problem = f"{node.text[:40]!r}: write a moment with its time zone, such as 2027-01-31T00:00:00Z"
        if node.kind not in ("str", "timestamp") or not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", node.text):
            self.fail(node, path, problem)
        try:
            moment = datetime.fromisoformat(node.text)
            if moment.tzinfo is None:
                self.fail(node, path, problem)
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(node, path, problem)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def reference(self, node: Scalar, path: str) -> str:
        scheme, colon, rest = node.text.partition(":")
        if node.kind != "str" or not (node.text == KEPT or (colon and scheme in ("env", "file") and rest)):
            # Not echoed: somebody may have written the secret itself.
            self.fail(
                node, path, f"takes a reference, never the secret itself: env:NAME, file:path, or {KEPT!r} for the value stored already"
            )
        return self.text(node, path)

    def list(self, node: Node, item: Any, path: str) -> list[Any]:
        if not isinstance(node, Sequence):
            return [self.fail(node, path, "takes a list: [a, b] or lines that start with '- '")]
        values: list[Any] = []
        complete = True
        for at, child in enumerate(node.items):
            here = f"{path}[{at}]"
            self.draft.lines[here] = child.line
            try:
                values.append(self.read(child, item, here))
            except _Failed:
                complete = False
        names = [value.name for value in values if hasattr(value, "name")]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.problem(node.line, path, f"{name!r} is listed twice")
            complete = False
        if not complete:
            raise _Failed
        return values

    def fail(self, node: Node, path: str, message: str) -> Any:
        self.problem(node.line, path, message)
        raise _Failed


def _taken_apart(hint: Any) -> tuple[Any, Unit | None, bool]:
    """(the bare type, its unit, whether it may be left empty)."""
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        optional = len(parts) < len(get_args(hint))
        hint = parts[0]
    unit = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Unit)), None)
    return (get_args(hint)[0] if unit else hint), unit, optional


def _nothing(hint: Any) -> Any:
    bare, _, _ = _taken_apart(hint)
    if get_origin(bare) is list:
        return []
    if get_origin(bare) is Literal:
        return get_args(bare)[0]
    return 0 if bare is int else ""


def _says_absent(node: Mapping) -> bool:
    value = node.entries.get("absent")
    return value is not None and isinstance(value[1], Scalar) and value[1].text.lower() in _TRUE


def _name_of(node: Node) -> str:
    if isinstance(node, Mapping) and "name" in node.entries:
        value = node.entries["name"][1]
        if isinstance(value, Scalar):
            return value.text
    return ""
