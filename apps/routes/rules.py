"""Pure decisions about routes. No ORM; every refusal is a ServiceError that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from apps.audit.errors import ServiceError
from apps.contracts.snapshot import Deadlines
from apps.routes.resilience import TargetSpec, check_options

__all__ = ["TargetSpec"]

NAME = re.compile(r"(?=.{1,120}\Z)[A-Za-z0-9][A-Za-z0-9._:/@+-]*\*?")
MAX_ALIASES = 50
MAX_TARGETS = 20
MAX_ATTEMPTS = 8
"""As many as proxies keep room for in their journals."""
MAX_DEADLINE_MS = 24 * 3600 * 1000
MAX_OUTPUT_TOKENS = 10_000_000


def check_name(name: str, field: str = "name") -> str:
    """A route's name or alias: what apps send as ``model``. With ``*`` at its end it stands for every name that begins so."""
    if "*" in name[:-1] or name == "*":
        raise ServiceError(f"{name!r}: a wildcard is one * at the end, after at least one other character, such as gpt-4*", field)
    if not NAME.fullmatch(name):
        raise ServiceError(
            f"{name!r} cannot name a route: use 1 to 120 of A-Z a-z 0-9 . _ : / @ + -, starting with a letter or digit; * at the end "
            "stands for any ending",
            field,
        )
    return name


def check_aliases(name: str, aliases: Sequence[str]) -> list[str]:
    """Other names, none twice and none the route's own; sorted."""
    if len(aliases) > MAX_ALIASES:
        raise ServiceError(f"{len(aliases)} aliases: use at most {MAX_ALIASES}", "aliases")
    for at, alias in enumerate(aliases):
        check_name(alias, f"aliases[{at}]")
        if alias == name:
            raise ServiceError(f"{alias!r} is the route's own name", f"aliases[{at}]")
        if alias in aliases[:at]:
            raise ServiceError(f"the alias {alias!r} is listed twice", f"aliases[{at}]")
    return sorted(aliases)


def check_targets(targets: Sequence[TargetSpec], *, field: str = "targets", required: bool = True) -> list[TargetSpec]:
    """The chain in its order: not empty where required, no target twice, each with a model."""
    if required and not targets:
        raise ServiceError("a route needs at least one target", field)
    if len(targets) > MAX_TARGETS:
        raise ServiceError(f"{len(targets)} targets: use at most {MAX_TARGETS}", field)
    for at, target in enumerate(targets):
        if not re.fullmatch(r"[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]{0,198}[^\x00-\x20\x7f])?", target.model):
            raise ServiceError(
                f"{target.model!r} is not a model's name: use 1 to 200 characters without control characters", f"{field}[{at}].model"
            )
        if any((target.place, target.variant) == (other.place, other.variant) for other in targets[:at]):
            raise ServiceError(
                f"the target {target.provider}/{target.model} is listed twice: leave one out, or give each a variant of its own",
                f"{field}[{at}]",
            )
        check_options(target, f"{field}[{at}]")
    return list(targets)


def check_deadlines(deadlines: Deadlines) -> Deadlines:
    """Every deadline above zero and at most a day; none of the parts longer than the total."""
    for name in ("connect", "first_byte", "idle", "total"):
        value: int = getattr(deadlines, f"{name}_ms")
        if not 1 <= value <= MAX_DEADLINE_MS:
            raise ServiceError(f"{value} ms: a deadline is above zero and at most 24 hours", f"deadlines.{name}")
    for name in ("connect", "first_byte"):
        value = getattr(deadlines, f"{name}_ms")
        if value > deadlines.total_ms:
            raise ServiceError(
                f"{name} ({value} ms) is longer than the total ({deadlines.total_ms} ms): it would never act", f"deadlines.{name}"
            )
    return deadlines


def check_switch(*, reason: str, until: datetime | None, now: datetime) -> None:
    """A switch has a reason that everybody sees, and an end in the future or none."""
    _check_held(reason=reason, until=until, now=now, what="traffic is switched")


def check_force(*, state: str, reason: str, until: datetime | None, now: datetime) -> None:
    """A breaker is held open or closed, for a reason that everybody sees, until a moment in the future or until somebody lets it go."""
    if state not in ("open", "closed"):
        raise ServiceError(f"{state!r}: a breaker is forced 'open' or 'closed'", "state")
    _check_held(reason=reason, until=until, now=now, what="the breaker is forced")


def _check_held(*, reason: str, until: datetime | None, now: datetime, what: str) -> None:
    if not reason.strip():
        raise ServiceError(f"say why: everybody sees the reason while {what}", "reason")
    if len(reason) > 300 or any(ord(c) < 32 for c in reason):
        raise ServiceError("the reason is one line of up to 300 characters", "reason")
    if until is not None and until.tzinfo is None:
        raise ServiceError("the end needs a time zone, such as 2027-01-31T00:00:00Z", "until")
    if until is not None and until <= now:
        raise ServiceError("this moment has passed: choose a later one, or none", "until")


def state_of(*, enabled: bool, killed: bool, switched: bool, flagged: bool) -> str:
    """The key in ``choices.STATES``: what keeps requests away before what sends them elsewhere."""
    if killed:
        return "killed"
    if not enabled:
        return "disabled"
    return "switched" if switched else "flagged" if flagged else "active"


def check_caps(*, max_output_tokens: int, max_attempts: int, unpriced: str) -> None:
    if not 1 <= max_output_tokens <= MAX_OUTPUT_TOKENS:
        raise ServiceError(f"{max_output_tokens}: use 1 to {MAX_OUTPUT_TOKENS} tokens", "max_output_tokens")
    if not 1 <= max_attempts <= MAX_ATTEMPTS:
        raise ServiceError(f"{max_attempts}: use 1 to {MAX_ATTEMPTS} attempts", "max_attempts")
    if unpriced not in ("refuse", "zero"):
        raise ServiceError(f"{unpriced!r}: use 'refuse' or 'zero'", "unpriced")
