"""Teams, budgets and keys of LiteLLM's tables -> teams, their walls, and rows of keys that keep their secrets.

LiteLLM keeps the bare SHA-256 of a token; that is what such a key is found by here, so apps go on with the secrets they have.

Invariant: nothing that was bounded becomes less bounded. Where a budget or a window has no equal, the stricter one is taken and said.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from apps.audit.errors import ServiceError
from apps.contracts.money import from_dollars
from apps.keys import rules
from apps.keys.import_reading import KeyRow
from controlplane.configfile.document import BudgetEntry, LimitEntry, TeamEntry
from controlplane.litellm.notes import Notes
from controlplane.litellm.reading import document, number, slug, texts, whole

Tables = dict[str, list[Mapping[str, Any]]]
KINDS = {
    "rpm_limit": "requests_per_minute",
    "tpm_limit": "tokens_per_minute",
    "max_parallel_requests": "concurrent_requests",
}
DAYS = (("day", 1), ("week", 7), ("month", 31), ("quarter", 92))
"""Windows, and how many days each has at most."""
MOST_DOLLARS = Decimal(10**9)
"""The largest budget there is."""
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d|w|mo)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
_WORDS = {"daily": "1d", "weekly": "7d", "monthly": "1mo"}
_KNOWN = frozenset(
    {"token", "key_name", "key_alias", "spend", "expires", "models", "team_id", "metadata", "blocked", "max_budget", "budget_duration"}
    | {"budget_reset_at", "budget_id", "created_at", "updated_at", "created_by", "updated_by", "last_active", "user_id", *KINDS}
)
_ALL = frozenset({"all-proxy-models"})


@dataclass(slots=True)
class People:
    """What came of the tables."""

    teams: list[TeamEntry] = field(default_factory=list)
    budgets: list[BudgetEntry] = field(default_factory=list)
    limits: list[LimitEntry] = field(default_factory=list)
    rows: list[KeyRow] = field(default_factory=list)


class Wall(NamedTuple):
    """A budget of ours. nano: nano-dollars per window; 0: nothing is left of it."""

    nano: int
    window: str


def people(tables: Tables, notes: Notes, *, routes: frozenset[str]) -> People:
    """routes: names and aliases of routes that there are or will be."""
    found = People()
    budgets = {str(row.get("budget_id")): row for row in tables.get("LiteLLM_BudgetTable", [])}
    teams: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for row in tables.get("LiteLLM_TeamTable", []):
        name = _free(slug(str(row.get("team_alias") or row.get("team_id") or "")) or "team", {name for name, _ in teams.values()})
        teams[str(row.get("team_id"))] = (name, row)
        found.teams.append(TeamEntry(name=name, title=str(row.get("team_alias") or name)[:200]))
        _team_walls(found, name, row, notes)
    names: set[str] = set()
    for at, row in enumerate(tables.get("LiteLLM_VerificationToken", []), 1):
        key = _key(at, row, budgets, teams, notes, routes)
        if key is not None:
            key.name = _free(key.name, names)
            names.add(key.name)
            found.rows.append(key)
    for table in sorted(set(tables) - {"LiteLLM_BudgetTable", "LiteLLM_TeamTable", "LiteLLM_VerificationToken"}):
        if tables[table]:
            notes.leave(table, "only the tables of keys, teams and budgets are read")
    return found


def _team_walls(found: People, name: str, row: Mapping[str, Any], notes: Notes) -> None:
    wall = _wall(row, f"team {name}", notes)
    if wall is not None and wall.nano:
        found.budgets.append(BudgetEntry(name=f"team {name}", scope="team", team=name, window=wall.window, limit=wall.nano))
    elif wall is not None:
        notes.leave(f"budget of team {name}", "nothing of it is left: set one, or disable the team's keys")
    for theirs, ours in KINDS.items():
        if amount := whole(row.get(theirs)):
            found.limits.append(LimitEntry(name=f"team {name} {ours.replace('_', ' ')}", team=name, kind=ours, amount=amount))
    for column in ("model_max_budget", "budget_limits", "router_settings", "policies"):
        if row.get(column) not in (None, {}, [], "{}", ""):
            notes.leave(f"{column} of team {name}", "there is no such setting here")


def _key(
    at: int,
    row: Mapping[str, Any],
    budgets: Mapping[str, Mapping[str, Any]],
    teams: Mapping[str, tuple[str, Mapping[str, Any]]],
    notes: Notes,
    routes: frozenset[str],
) -> KeyRow | None:
    token = str(row.get("token") or "").strip()
    shown = str(row.get("key_alias") or row.get("key_name") or f"row {at}")[:60]
    try:
        digest = hashlib.sha256(token.encode()).hexdigest() if token.startswith("sk-") else rules.check_hash(token)
    except ServiceError:
        notes.leave(f"key {shown}", "its token is no SHA-256, so nothing says which secret opens it")
        return None
    key = KeyRow(at, name=slug(str(row.get("key_alias") or ""), most=70, dots=True) or f"litellm-{digest[:10]}", sha256=digest)
    if row.get("key_alias") and key.name != row["key_alias"]:
        notes.change(f"key {shown}", "its alias is written in lower case, with - for other characters")
    team_id = str(row.get("team_id") or "")
    team: Mapping[str, Any] = {}
    if team_id in teams:
        key.team, team = teams[team_id]
    elif team_id:
        notes.leave(f"team of key {shown}", "the export has no such team")
    allowed = _routes(row, team, notes, shown, routes)
    if allowed is None:
        return None
    key.facts["routes"] = allowed
    disabled = bool(row.get("blocked")) or bool(team.get("blocked"))
    bounds = {**budgets.get(str(row.get("budget_id") or ""), {}), **{name: value for name, value in row.items() if value is not None}}
    wall = _wall(bounds, f"key {shown}", notes)
    if wall is not None:
        key.budget_nano, key.budget_window = wall
        if not wall.nano:
            disabled = True
            notes.change(f"key {shown}", "its budget was used up for good, so it is disabled: enable it with another budget")
    key.limits = {ours: amount for theirs, ours in KINDS.items() if (amount := whole(bounds.get(theirs)))}
    if disabled:
        key.facts["enabled"] = False
    _labels(key, row, notes, shown)
    for column in sorted(set(row) - _KNOWN):
        if row[column] not in (None, {}, [], "{}", "", False):
            notes.leave(f"{column} of key {shown}", "there is no such setting of a key here")
    return key


def _routes(row: Mapping[str, Any], team: Mapping[str, Any], notes: Notes, shown: str, routes: frozenset[str]) -> list[str] | None:
    """What the key may use; None where it may use nothing."""
    models = texts(row.get("models"))
    if not models or "all-team-models" in models:
        models = texts(team.get("models")) or ["all-proxy-models"]
    if _ALL & set(models):
        return ["*"]
    names = [model for model in dict.fromkeys(models) if model in routes]
    for missing in [model for model in dict.fromkeys(models) if model not in routes]:
        notes.leave(f"model {missing} of key {shown}", "there is no such route here; give the key its routes by hand")
    if not names:
        notes.leave(f"key {shown}", "none of its models came over, and a key without a route opens nothing")
        return None
    return names


def _labels(key: KeyRow, row: Mapping[str, Any], notes: Notes, shown: str) -> None:
    """Expiry and tags."""
    if row.get("expires"):
        try:
            moment = datetime.fromisoformat(str(row["expires"]).replace(" ", "T", 1))
            key.facts["expires_at"] = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except ValueError:
            notes.change(f"key {shown}", "its expiry cannot be read, so the key is disabled: set one, and enable it")
            key.facts["enabled"] = False
    metadata = document(row.get("metadata"))
    tags = [tag.replace(",", " ")[:80].strip() for tag in texts(metadata.get("tags"))]
    if tags:
        key.facts["tags"] = list(dict.fromkeys(tag for tag in tags if tag and tag.isprintable()))[: rules.MAX_TAGS]
    for name in sorted(set(metadata) - {"tags"}):
        if metadata[name] not in (None, {}, [], ""):
            notes.leave(f"metadata.{name} of key {shown}", "keys have tags and a feature, and no other metadata")


def _wall(row: Mapping[str, Any], what: str, notes: Notes) -> Wall | None:
    """``max_budget`` per ``budget_duration`` as a budget that is never wider; None where there is none."""
    most = number(row.get("max_budget"))
    if most is None:
        return None
    most = min(most, MOST_DOLLARS)
    if row.get("soft_budget") is not None:
        notes.leave(f"soft_budget of {what}", "owners are told at 50, 80 and 100 percent of a budget")
    days = _days(row.get("budget_duration"))
    if days is None:
        left = most - (number(row.get("spend")) or Decimal(0))
        notes.change(what, "its budget never started anew: what is left of it is its budget for each quarter, so that no less is bounded")
        return Wall(max(0, from_dollars(left)) if left > 0 else 0, "quarter")
    window, length = next(((name, length) for name, length in DAYS if length >= days), DAYS[-1])
    if days > length:
        notes.change(what, "its budget's window is longer than a quarter: a quarter has its share")
        most = most * length / Decimal(days)
    elif not _same(window, days):
        notes.change(what, f"its budget's window becomes a {window}, the next longer one, with the same amount")
    return Wall(from_dollars(most), window)


def _days(duration: Any) -> Decimal | None:
    """How many days a window has; None for none, and for what is no duration."""
    text = str(duration or "").strip().lower()
    match = _DURATION.fullmatch(_WORDS.get(text, text))
    if match is None or not int(match[1]):
        return None
    return Decimal(int(match[1]) * _SECONDS[match[2]]) / 86_400


def _same(window: str, days: Decimal) -> bool:
    return days in {"day": {1}, "week": {7}, "month": {30, 31}, "quarter": {90, 91, 92}}[window]


def _free(name: str, taken: set[str]) -> str:
    names = (name, *(f"{name[:55]}-{number}" for number in range(2, 100_000)))
    return next(each for each in names if each not in taken)
