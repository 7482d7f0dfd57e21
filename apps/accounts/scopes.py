"""What a personal token may be narrowed to: areas of the control plane, each to read or to write. Pure.

A grant is ``<area>:read`` or ``<area>:write``; writing includes reading. A token never gives more than its person may do: every
question about a permission is asked of the person first, then of the token. An action whose subject no area names belongs to
``administration``, so that whatever is added later is closed to the tokens there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from apps.accounts.rules import PermissionRefused
from apps.audit.errors import ServiceError

READ, WRITE = "read", "write"
ADMINISTRATION = "administration"
READING_VERBS = frozenset({"view", "export"})


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the control plane. subjects: what actions of ``apps.accounts.rules`` begin with."""

    name: str
    label: str
    subjects: tuple[str, ...]


AREAS: tuple[Area, ...] = (
    Area("usage", "Requests, usage and spend", ("overview", "request", "usage", "saved_view")),
    Area("providers", "Providers, credentials and prices", ("provider", "credential", "price", "reconciliation")),
    Area("routes", "Routes and breakers", ("route", "breaker")),
    Area("keys", "Virtual keys", ("key", "own_key", "key_template")),
    Area("budgets", "Budgets and limits", ("budget", "limit", "performance_budget", "anomaly", "weekly")),
    Area(
        "alerts",
        "Alerts, SLOs and silences",
        ("alert", "alert_rule", "slo", "silence", "provider_note", "alert_channel", "notification_policy"),
    ),
    Area(
        "incidents",
        "Incidents and postmortems",
        ("incident", "incident_severity", "checklist", "postmortem", "postmortem_template", "action_item", "status_page"),
    ),
    Area("flags", "Flags and changes that wait", ("flag", "change", "breakglass")),
    Area(
        "ownership", "Teams, services, on-call and runbooks", ("ownership", "team", "team_member", "service", "sla", "rotation", "runbook")
    ),
    Area("fleet", "Workers and deployments", ("worker", "deployment")),
    Area("captures", "Captures and samples of requests", ("capture", "sample")),
    Area("config", "Config versions", ("config",)),
    Area("audit", "Audit", ("audit",)),
    Area(ADMINISTRATION, "People, organisations and the installation", ("user", "organisation", "installation", "retention")),
)
"""In the order in which pages offer them."""

_AREA_OF = {subject: area.name for area in AREAS for subject in area.subjects}
GRANTS: frozenset[str] = frozenset(f"{area.name}:{mode}" for area in AREAS for mode in (READ, WRITE))


def grant_for(action: str) -> str:
    """The grant that an action takes, such as ``keys:write`` for ``key.create``."""
    subject, _, verb = action.partition(".")
    return f"{_AREA_OF.get(subject, ADMINISTRATION)}:{READ if verb in READING_VERBS else WRITE}"


def granted(action: str, grants: Collection[str] | None) -> bool:
    """Whether grants allow an action; None: nothing is narrowed."""
    if grants is None:
        return True
    wanted = grant_for(action)
    return wanted in grants or wanted.removesuffix(READ) + WRITE in grants


class ScopeRefused(PermissionRefused):
    """The person may, the token may not: it was made for less."""

    def __init__(self, action: str, *, organisation: str = "") -> None:
        super().__init__(action, organisation=organisation)
        self.grant = grant_for(action)
        self.message = f"This token was not made for this ({action}): it takes the scope {self.grant}. Make another one in your profile."


def grants_checked(grants: Iterable[str]) -> list[str]:
    """Known, each once, in the order of ``AREAS``; reading is left out where writing is given. Raises ServiceError."""
    given = set(grants)
    unknown = sorted(given - GRANTS)
    if unknown:
        names = ", ".join(area.name for area in AREAS)
        raise ServiceError(f"{unknown[0]!r} is no scope: write <area>:read or <area>:write, the areas being {names}.", "scopes")
    if not given:
        raise ServiceError("Choose at least one scope: a token without any may do nothing.", "scopes")
    ordered = [f"{area.name}:{mode}" for area in AREAS for mode in (READ, WRITE)]
    return [grant for grant in ordered if grant in given and not (grant.endswith(READ) and grant.removesuffix(READ) + WRITE in given)]
