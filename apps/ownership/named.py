"""Teams and services by the names that people write."""

from __future__ import annotations

from apps.accounts.models import Organisation
from apps.audit.errors import ServiceError
from apps.ownership.models import Service, Team
from apps.ownership.selectors import service_get, team_get, teams


def team_named(organisation: Organisation, slug: str, *, field: str = "team") -> Team:
    """The team of that slug. Raises ServiceError that lists those there are."""
    found = team_get(organisation=organisation, slug=slug)
    if found is None:
        names = ", ".join(teams(organisation=organisation).values_list("slug", flat=True)[:20]) or "none yet"
        raise ServiceError(f"there is no team {slug!r}; there are: {names}", field)
    return found


def service_named(organisation: Organisation, text: str, *, field: str = "service") -> Service:
    """The service written as ``<team>/<service>``. Raises ServiceError."""
    team, slash, slug = text.partition("/")
    found = service_get(organisation=organisation, team_slug=team, slug=slug) if slash else None
    if found is None:
        raise ServiceError(f"there is no service {text!r}: write one that exists as <team>/<service>", field)
    return found
