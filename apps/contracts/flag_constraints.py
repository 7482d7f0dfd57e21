"""Constraints of flag rules: one operator over one field of the context, in Unleash's semantics.

A field is what the request or the app says under that name; all values are texts. A value in the rule that its operator cannot read
makes the constraint false, inverted or not; a value in the context that cannot be read, or is missing, fails the operator (and so holds
where the constraint is inverted). ``NOT_IN`` holds where the field is missing.
Source: https://docs.getunleash.io/reference/activation-strategies#constraint-operators
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import isfinite
from time import time
from typing import Any

from apps.contracts.flag_patterns import MAX_SUBJECT, PatternRefused, pattern_compile

Context = dict[str, str]

OPERATORS = (
    "IN",
    "NOT_IN",
    "STR_STARTS_WITH",
    "STR_ENDS_WITH",
    "STR_CONTAINS",
    "NUM_EQ",
    "NUM_GT",
    "NUM_GTE",
    "NUM_LT",
    "NUM_LTE",
    "DATE_AFTER",
    "DATE_BEFORE",
    "SEMVER_EQ",
    "SEMVER_GT",
    "SEMVER_GTE",
    "SEMVER_LT",
    "SEMVER_LTE",
    "REGEX",
    "IN_CIDR",
)
LIST_OPERATORS = frozenset({"IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "IN_CIDR"})
"""Those that take ``values``; the others take ``value``."""
NOW = "currentTime"

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII
)
Version = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]
Network = IPv4Network | IPv6Network


class Constraint:
    """One condition. This base holds never: it stands for what cannot be read."""

    __slots__ = ("field", "inverted")

    def __init__(self, field: str, inverted: bool) -> None:
        self.field = field
        self.inverted = inverted

    def holds(self, context: Context) -> bool:
        return False


class _In(Constraint):
    __slots__ = ("_values",)

    def __init__(self, field: str, inverted: bool, values: Sequence[str]) -> None:
        super().__init__(field, inverted)
        self._values = frozenset(values)

    def holds(self, context: Context) -> bool:
        return (context.get(self.field) in self._values) is not self.inverted


class _Text(Constraint):
    __slots__ = ("_fold", "_how", "_values")

    def __init__(self, field: str, inverted: bool, values: Sequence[str], how: str, fold: bool) -> None:
        super().__init__(field, inverted)
        self._fold = fold
        self._how = how
        self._values = tuple(value.lower() for value in values) if fold else tuple(values)

    def holds(self, context: Context) -> bool:
        text = context.get(self.field)
        found = False
        if text is not None:
            if self._fold:
                text = text.lower()
            if self._how == "STR_STARTS_WITH":
                found = text.startswith(self._values)
            elif self._how == "STR_ENDS_WITH":
                found = text.endswith(self._values)
            else:
                for value in self._values:
                    if value in text:
                        found = True
                        break
        return found is not self.inverted


class _Number(Constraint):
    __slots__ = ("_how", "_value")

    def __init__(self, field: str, inverted: bool, how: str, value: float) -> None:
        super().__init__(field, inverted)
        self._how = how
        self._value = value

    def holds(self, context: Context) -> bool:
        number = number_read(context.get(self.field))
        return (number is not None and _compare(self._how, (number > self._value) - (number < self._value))) is not self.inverted


class _Moment(Constraint):
    __slots__ = ("_after", "_value")

    def __init__(self, field: str, inverted: bool, after: bool, value: float) -> None:
        super().__init__(field, inverted)
        self._after = after
        self._value = value

    def holds(self, context: Context) -> bool:
        text = context.get(self.field)
        moment = time() if text is None and self.field == NOW else moment_read(text)
        found = moment is not None and (moment > self._value if self._after else moment < self._value)
        return found is not self.inverted


class _Release(Constraint):
    __slots__ = ("_how", "_value")

    def __init__(self, field: str, inverted: bool, how: str, value: Version) -> None:
        super().__init__(field, inverted)
        self._how = how
        self._value = value

    def holds(self, context: Context) -> bool:
        version = version_read(context.get(self.field))
        return (version is not None and _compare(self._how, (version > self._value) - (version < self._value))) is not self.inverted


class _Pattern(Constraint):
    __slots__ = ("_pattern",)

    def __init__(self, field: str, inverted: bool, pattern: re.Pattern[str]) -> None:
        super().__init__(field, inverted)
        self._pattern = pattern

    def holds(self, context: Context) -> bool:
        text = context.get(self.field)
        found = text is not None and len(text) <= MAX_SUBJECT and self._pattern.search(text) is not None
        return found is not self.inverted


class _Networks(Constraint):
    __slots__ = ("_networks",)

    def __init__(self, field: str, inverted: bool, networks: Sequence[Network]) -> None:
        super().__init__(field, inverted)
        self._networks = tuple(networks)

    def holds(self, context: Context) -> bool:
        return within(context.get(self.field), self._networks) is not self.inverted


def constraint_compile(document: Mapping[str, Any]) -> Constraint:
    """The constraint of one document; one that never holds where it cannot be read."""
    field = document.get("contextName")
    operator = document.get("operator", "IN")
    inverted = document.get("inverted") is True
    if not isinstance(field, str) or operator not in OPERATORS:
        return Constraint("", False)
    if operator in LIST_OPERATORS:
        given = document.get("values")
        values = [text_of(value) for value in given if value is not None] if isinstance(given, Sequence) else []
        if operator in ("IN", "NOT_IN"):
            return _In(field, inverted is not (operator == "NOT_IN"), values)
        if operator == "IN_CIDR":
            networks = networks_read(values)
            return _Networks(field, inverted, networks) if networks else Constraint(field, False)
        return _Text(field, inverted, values, operator, document.get("caseInsensitive") is True)
    value = document.get("value")
    text = None if value is None else text_of(value)
    if operator.startswith("NUM_"):
        number = number_read(text)
        return Constraint(field, False) if number is None else _Number(field, inverted, operator[4:], number)
    if operator.startswith("DATE_"):
        moment = moment_read(text)
        return Constraint(field, False) if moment is None else _Moment(field, inverted, operator == "DATE_AFTER", moment)
    if operator.startswith("SEMVER_"):
        version = version_read(text)
        return Constraint(field, False) if version is None else _Release(field, inverted, operator[7:], version)
    try:
        return _Pattern(field, inverted, pattern_compile(text or "", ignore_case=document.get("caseInsensitive") is True))
    except PatternRefused:
        return Constraint(field, False)


def constraint_problem(document: Any) -> str:
    """What a person should change about a constraint; empty where it can be read."""
    if not isinstance(document, Mapping):
        return "a constraint is an object with contextName, operator and values or value"
    operator = document.get("operator", "IN")
    if not isinstance(document.get("contextName"), str) or not document["contextName"]:
        return "contextName is missing: name the field"
    if operator not in OPERATORS:
        return f"the operator {operator!r} is unknown: one of {', '.join(OPERATORS)}"
    if operator in LIST_OPERATORS:
        values = document.get("values")
        if not isinstance(values, list) or not values or not all(isinstance(value, (str, int, float)) for value in values):
            return f"{operator} takes values, a list of texts"
        if operator == "IN_CIDR" and len(networks_read([text_of(value) for value in values])) < len(values):
            return "IN_CIDR takes addresses and networks such as 10.0.0.0/8 or 2001:db8::/32"
        return ""
    value = document.get("value")
    if not isinstance(value, (str, int, float)) or isinstance(value, bool) or value == "":
        return f"{operator} takes one value"
    text = text_of(value)
    if operator.startswith("NUM_") and number_read(text) is None:
        return f"{text!r} is not a number"
    if operator.startswith("DATE_") and moment_read(text) is None:
        return f"{text!r} is not a time such as 2027-01-31T00:00:00Z"
    if operator.startswith("SEMVER_") and version_read(text) is None:
        return f"{text!r} is not a version such as 1.4.2 or 2.0.0-beta.1"
    if operator == "REGEX":
        try:
            pattern_compile(text)
        except PatternRefused as refused:
            return f"the pattern {text!r}: {refused}"
    return ""


def text_of(value: Any) -> str:
    """A value of a document as contexts spell it: 12.0 stays 12.0, true is ``true``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def number_read(text: str | None) -> float | None:
    if not text or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def moment_read(text: str | None) -> float | None:
    """Seconds since the epoch of an ISO 8601 time; one without a zone is UTC."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def version_read(text: str | None) -> Version | None:
    """A semantic version as a tuple that compares by precedence (https://semver.org, item 11). A leading v is none."""
    found = _SEMVER.fullmatch(text) if text and len(text) <= 256 else None
    if found is None:
        return None
    before: list[tuple[int, int, str]] = []
    for part in (found.group(4) or "").split("."):
        if part.isdecimal():
            before.append((0, int(part), ""))
        elif part:
            before.append((1, 0, part))
    return int(found.group(1)), int(found.group(2)), int(found.group(3)), 0 if before else 1, tuple(before)


def networks_read(values: Sequence[str]) -> list[Network]:
    """The addresses and networks among ``values``; what is neither is left out."""
    found: list[Network] = []
    for value in values:
        try:
            found.append(ip_network(value.strip(), strict=False))
        except ValueError:
            continue
    return found


def within(text: str | None, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; what is no address lies in none."""
    if not text:
        return False
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _compare(how: str, order: int) -> bool:
    """order: -1, 0 or 1 for less, equal, greater."""
    if how == "EQ":
        return order == 0
    if how == "GT":
        return order > 0
    if how == "GTE":
        return order >= 0
    if how == "LT":
        return order < 0
    return order <= 0
