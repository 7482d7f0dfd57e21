"""Pure decisions about flags. No ORM; every refusal is a ServiceError that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.audit.errors import ServiceError
from apps.contracts.flag_documents import rules_problems
from apps.flags.choices import BY_ID, KINDS, LEVELS, SUBJECTS_OF, SWITCHES
from apps.ownership.checks import check_runbook

__all__ = ["check_runbook"]

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,78}[a-z0-9])?")
MAX_STALE_DAYS = 3650
MAX_RULES = 64_000
"""Bytes."""
MAX_SWITCH = 3_500
"""Bytes of what differs in length in a flag that proxies evaluate: a flip's payload stays below 4 KB."""


def check_name(name: str) -> str:
    """Names are lower case and safe in addresses, labels and YAML."""
    if not NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} is not a name: use 1 to 80 of a-z, 0-9, '.', '_', '-', starting and ending with a letter or digit", "name"
        )
    return name


def check_subject(kind: str, subject_kind: str) -> None:
    """Each kind acts on some kinds of subjects only (``choices.SUBJECTS_OF``)."""
    if kind not in SUBJECTS_OF:
        raise ServiceError(f"{kind!r} is not a kind of flag: use {_words([name for name, _ in KINDS])}", "kind")
    allowed = SUBJECTS_OF[kind]
    if subject_kind not in allowed:
        raise ServiceError(f"a flag of the kind {kind!r} is about {_words(allowed)}, not {subject_kind!r}", "subject_kind")


def check_subject_id(subject_kind: str, subject_id: object) -> str:
    """An object's id in its canonical spelling, or the name that requests bear."""
    text = str(subject_id)
    if subject_kind in BY_ID:
        try:
            return str(UUID(text))
        except ValueError:
            raise ServiceError(f"{text!r} is not the id of a {subject_kind}", "subject_id") from None
    if not text.strip() or len(text) > 256 or any(ord(c) < 32 for c in text):
        raise ServiceError(f"name the {subject_kind}: one line of 1 to 256 characters", "subject_id")
    return text.strip()


def check_level(kind: str, level: str) -> str:
    """A degradation goes somewhere; nothing else has a level."""
    if level not in dict(LEVELS):
        raise ServiceError(f"{level!r} is not a level: use {_words([name for name, _ in LEVELS])}", "level")
    if kind == "degrade" and level == "full":
        raise ServiceError("say how far it degrades: limited, cached or minimal", "level")
    if kind != "degrade" and level != "full":
        raise ServiceError("only a flag of the kind 'degrade' has a level", "level")
    return level


def check_rules(kind: str, rules: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a flag's rules, as it is kept. Its first problems are told with their place."""
    problems = rules_problems(rules)
    if not problems and kind in SWITCHES:
        problems = list(_switch_problems(rules))
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ServiceError(f"the rules: {'; '.join(problems[:3])}{more}", "rules")
    size = _size(rules)
    if size > MAX_RULES:
        raise ServiceError(f"the rules are {size} bytes long: at most {MAX_RULES}; shorten their lists, or use several flags", "rules")
    return dict(rules)


def check_payload(kind: str, name: str, subject_id: str, reason: str, rules: Mapping[str, Any]) -> None:
    """A flip ships the whole flag, and is there within a second because that is small."""
    size = _size([name, subject_id, reason, rules])
    if kind in SWITCHES and size > MAX_SWITCH:
        raise ServiceError(
            f"rules and reason are {size} bytes long together: a {kind} may have {MAX_SWITCH}, because each flip ships them to every "
            "proxy; shorten the lists of the rules",
            "rules",
        )


def _size(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _switch_problems(rules: Mapping[str, Any]) -> Iterator[str]:
    """What apps may ask of a release and proxies must not be asked for every request."""
    if rules.get("variants"):
        yield "variants: only a release has variants; a switch is on or off"
    for at, strategy in enumerate(rules.get("strategies", ())):
        if strategy.get("variants"):
            yield f"strategies[{at}].variants: only a release has variants"
    lists = [*rules.get("strategies", ()), *rules.get("segments", ())]
    if any(constraint.get("operator") == "REGEX" for listed in lists for constraint in listed.get("constraints") or ()):
        yield "REGEX: a switch is asked for every request, and a pattern has no bound on its time; use STR_STARTS_WITH or the like"


def check_dependencies(name: str, kind: str, rules: Mapping[str, Any], others: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
    """A flag may depend on flags that depend on none: no chains, so no loops. others: (kind, rules) of the organisation's other flags."""
    parents = [parent["feature"] for parent in rules.get("dependencies", ())]
    if not parents:
        return
    for parent in parents:
        if parent == name:
            raise ServiceError(f"{name!r} depends on itself", "rules")
        if parent not in others:
            raise ServiceError(f"it depends on {parent!r}, which does not exist: make that flag first", "rules")
        parent_kind, parent_rules = others[parent]
        if kind in SWITCHES and parent_kind not in SWITCHES:
            raise ServiceError(f"it depends on the release {parent!r}, which proxies do not evaluate: depend on a switch", "rules")
        above = [grand["feature"] for grand in parent_rules.get("dependencies", ())]
        if name in above:
            raise ServiceError(f"{parent!r} depends on {name!r}: they would wait for each other", "rules")
        if above:
            raise ServiceError(f"it depends on {parent!r}, which depends on {above[0]!r} itself: depend on that one", "rules")
    children = sorted(other for other, (_, theirs) in others.items() if name in [p["feature"] for p in theirs.get("dependencies", ())])
    if children:
        raise ServiceError(f"{children[0]!r} depends on it, so it cannot depend on another flag itself", "rules")


def check_default(kind: str, default: str, rules: Mapping[str, Any]) -> str:
    """``off`` or ``on``; a release may fall back to one of its variants."""
    if default in ("off", "on"):
        return default
    names = [variant.get("name") for variant in rules.get("variants", ()) if isinstance(variant, Mapping)]
    if kind == "release":
        if default in names:
            return default
        raise ServiceError(f"the default {default!r} is neither 'off', 'on' nor one of the variants", "default")
    raise ServiceError(f"the default of a {kind} is 'off' or 'on', not {default!r}", "default")


def check_share(share: int) -> int:
    if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 100:
        raise ServiceError("the share is a whole number of percent, 0 to 100", "share")
    return share


def check_stale(days: int) -> int:
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MAX_STALE_DAYS:
        raise ServiceError(f"the days without exercise are a whole number, 0 (never stale) to {MAX_STALE_DAYS}", "stale_after_days")
    return days


def check_text(text: str, field: str) -> str:
    if len(text) > 300 or any(ord(c) < 32 and c not in "\t" for c in text):
        raise ServiceError(f"the {field} is one line of up to 300 characters", field)
    return text


def check_moment(moment: datetime | None, field: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise ServiceError("the end needs a time zone, such as 2027-01-31T00:00:00Z", field)
    return moment


def check_until(until: datetime | None) -> datetime | None:
    return check_moment(until, "until")


def _words(names: object) -> str:
    listed = [repr(name) for name in names]  # type: ignore[attr-defined]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
