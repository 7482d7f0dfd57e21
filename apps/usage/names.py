"""Names of what usage knows by id or short name only: keys, teams, services.

Keys stand above usage, so the app that knows their names registers who does (``AppConfig.ready``); without one an id is its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from apps.ownership.models import Service, Team

KeyNames = Callable[[str], dict[str, str]]

_key_names: KeyNames | None = None


def register_key_names(read: KeyNames) -> None:
    """Names who knows the names of an organisation's keys by id, in one query."""
    global _key_names
    _key_names = read


@dataclass(frozen=True, slots=True)
class Names:
    """Of one organisation. What is not known any more is called as usage has it."""

    keys: dict[str, str] = field(default_factory=dict)
    teams: dict[str, str] = field(default_factory=dict)
    services: dict[tuple[str, str], str] = field(default_factory=dict)

    def key(self, key_id: str) -> str:
        return self.keys.get(key_id, key_id)

    def team(self, slug: str) -> str:
        return self.teams.get(slug, slug)

    def service(self, team: str, slug: str) -> str:
        return self.services.get((team, slug), slug)


def names_of(organisation_id: str) -> Names:
    """Three queries."""
    teams = dict(Team.objects.filter(organisation_id=organisation_id).values_list("slug", "name"))
    services = Service.objects.filter(team__organisation_id=organisation_id).values_list("team__slug", "slug", "name")
    found = {(team, slug): name for team, slug, name in services}
    return Names(_key_names(organisation_id) if _key_names else {}, teams, found)
