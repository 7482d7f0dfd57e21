"""Rules of flags as people read and try them: sentences of a document, YAML of it, and who of some made-up callers gets the flag. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from apps.audit.errors import ServiceError
from apps.contracts.flag_rules import compile_features

MOST_TRIED = 20
MOST_VALUES = 6
_OPERATORS = {
    "IN": "is one of",
    "NOT_IN": "is none of",
    "STR_STARTS_WITH": "begins with",
    "STR_ENDS_WITH": "ends with",
    "STR_CONTAINS": "contains",
    "NUM_EQ": "=",
    "NUM_GT": ">",
    "NUM_GTE": "≥",
    "NUM_LT": "<",
    "NUM_LTE": "≤",
    "DATE_AFTER": "is after",
    "DATE_BEFORE": "is before",
    "SEMVER_EQ": "is version",
    "SEMVER_GT": "is newer than",
    "SEMVER_LT": "is older than",
    "IN_CIDR": "is in",
    "REGEX": "matches",
}
_ORDER = (
    "name",
    "feature",
    "id",
    "contextName",
    "dependencies",
    "segments",
    "strategies",
    "variants",
    "operator",
    "parameters",
    "constraints",
)
_NAMES = {"userId": "user", "sessionId": "session", "remoteAddress": "address", "appName": "app"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One strategy in words: for whom, and each of its conditions."""

    who: str
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """What a made-up caller gets. context: as it was typed; said: ``on``, ``off`` or the name of a variant."""

    context: str
    said: str


def rules_yaml(rules: Mapping[str, Any]) -> str:
    """The document for a text field, in the order in which people write one; empty for no rules."""
    return str(yaml.safe_dump(_ordered(rules), sort_keys=False, allow_unicode=True, width=100)) if rules else ""


def _ordered(value: Any) -> Any:
    """Postgres keeps no order of keys."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))}
    return [_ordered(one) for one in value] if isinstance(value, list) else value


def rules_read(text: str) -> dict[str, Any]:
    """The document that was typed. Raises ServiceError with the line where it cannot be read."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ServiceError(f"this is not YAML{where}: {getattr(error, 'problem', None) or 'it cannot be read'}", "rules") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ServiceError("write the rules as a mapping: strategies, variants, dependencies, segments", "rules")
    return found


def rules_words(rules: Mapping[str, Any]) -> list[Rule]:
    """A document as sentences: what it depends on, then its strategies, of which one has to hold."""
    found = []
    for parent in _mappings(rules.get("dependencies")):
        wanted = "is off" if parent.get("enabled") is False else "is on"
        variants = parent.get("variants") or ()
        found.append(Rule(f"Only while the flag {parent.get('feature')} {f'says {_some(variants)}' if variants else wanted}"))
    segments = {one.get("id"): one for one in _mappings(rules.get("segments"))}
    for strategy in _mappings(rules.get("strategies")):
        conditions = [_condition(one) for one in _mappings(strategy.get("constraints"))]
        for segment in strategy.get("segments") or ():
            conditions += [_condition(one) for one in _mappings(segments.get(segment, {}).get("constraints"))]
        found.append(Rule(_who(strategy), tuple(conditions)))
    return found


def variants_words(rules: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, share in words) of a release's variants."""
    variants = list(_mappings(rules.get("variants")))
    total = sum(int(one.get("weight") or 0) for one in variants) or 1
    return [(str(one.get("name")), f"{100 * int(one.get('weight') or 0) / total:.1f}%".replace(".0%", "%")) for one in variants]


def contexts_read(text: str) -> list[tuple[str, dict[str, str]]]:
    """Callers as typed, one a line: ``userId=42 region=eu``. Raises ServiceError for a line that says something else."""
    found = []
    for number, line in enumerate((line.strip() for line in text.splitlines()), 1):
        if not line:
            continue
        context = {}
        for part in line.split():
            name, equals, value = part.partition("=")
            if not equals or not name:
                raise ServiceError(f"line {number}: write name=value, such as userId=42 region=eu", "callers")
            context[name] = value
        found.append((line[:300], context))
    if len(found) > MOST_TRIED:
        raise ServiceError(f"{len(found)} callers: try at most {MOST_TRIED} at once", "callers")
    return found


def tried(name: str, rules: Mapping[str, Any], callers: str, others: Mapping[str, tuple[bool, Mapping[str, Any]]]) -> list[Tried]:
    """What each caller gets while the flag is on. others: the organisation's other flags, (on, rules) by name, for what it depends on."""
    compiled = compile_features({**others, name: (True, rules)})[name]
    answers = []
    for line, context in contexts_read(callers):
        on = compiled.enabled(context)
        variant = compiled.variant(context) if on else None
        answers.append(Tried(line, variant.name if variant is not None and variant.enabled else "on" if on else "off"))
    return answers


def _who(strategy: Mapping[str, Any]) -> str:
    name = str(strategy.get("name"))
    parameters = strategy.get("parameters") if isinstance(strategy.get("parameters"), Mapping) else {}
    assert isinstance(parameters, Mapping)
    if name == "default":
        return "Everybody"
    if name == "userWithId":
        return f"Users {_some(_listed(parameters.get('userIds')))}"
    if name == "remoteAddress":
        return f"Addresses {_some(_listed(parameters.get('IPs')))}"
    if name == "applicationHostname":
        return f"Hosts {_some(_listed(parameters.get('hostNames')))}"
    if name == "flexibleRollout":
        sticky = str(parameters.get("stickiness") or "default")
        unit = {"default": "users, else sessions", "random": "requests"}.get(sticky, f"{_NAMES.get(sticky, sticky)}s")
        return f"{parameters.get('rollout', 0)}% of {unit}"
    if name.startswith("gradualRollout"):
        unit = {"UserId": "users", "SessionId": "sessions"}.get(name.removeprefix("gradualRollout"), "requests")
        return f"{parameters.get('percentage', 0)}% of {unit}"
    return f"Nobody: the strategy {name} is not known here"


def _condition(constraint: Mapping[str, Any]) -> str:
    field = str(constraint.get("contextName"))
    words = _OPERATORS.get(str(constraint.get("operator")), str(constraint.get("operator")))
    values = constraint.get("values") or ([constraint["value"]] if constraint.get("value") not in (None, "") else [])
    text = f"{_NAMES.get(field, field)} {words} {_some(values)}"
    if constraint.get("inverted"):
        text = f"not: {text}"
    return f"{text}, upper or lower case" if constraint.get("caseInsensitive") else text


def _some(values: Sequence[Any]) -> str:
    listed = [str(value) for value in values]
    more = f" and {len(listed) - MOST_VALUES} more" if len(listed) > MOST_VALUES else ""
    return (", ".join(listed[:MOST_VALUES]) or "nothing") + more


def _listed(value: Any) -> list[str]:
    return [part.strip() for part in str(value or "").split(",") if part.strip()]


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (one for one in value if isinstance(one, Mapping))
