"""Runbooks that ship with Bulkhead and that the default alerts name. Each is an organisation's own from the moment that it is made: people
change it, give it an owner, and say that it is true for them, which nobody has done for them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.services import change_record
from apps.ownership.checks import check_text
from apps.ownership.models import Runbook

FOLDER = Path(__file__).with_name("shipped")
TITLES: dict[str, str] = {
    "provider-down": "A provider is down",
    "rate-limit-storm": "A storm of 429s",
    "slow-first-token": "The first token is slow",
    "runaway-key": "A key runs away",
    "budget-exhausted": "A budget is used up",
    "bad-deploy": "A change broke something",
    "region-down": "A region is down",
    "postgres-down": "Postgres is down",
}
"""Short name -> title; the text is ``shipped/<short name>.md``."""


@cache
def shipped_text(name: str) -> str:
    """The text of one, as Markdown. Raises KeyError for a name that none has."""
    if name not in TITLES:
        raise KeyError(name)
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8").strip()  # as ``checks.check_text`` keeps every text


def runbook_ensure(organisation: Organisation, name: str) -> Runbook:
    """The organisation's runbook with this name, made from the one that ships where it is missing. Safe to run side by side."""
    row, new = Runbook.objects.get_or_create(
        organisation=organisation, name=name, defaults={"title": TITLES[name], "text": check_text(shipped_text(name))}
    )
    if new:
        why = "one of the runbooks that the default alerts name"
        change_record(Actor.system("runbooks"), "runbook.create", row, {}, {"title": row.title}, why)
    return row
