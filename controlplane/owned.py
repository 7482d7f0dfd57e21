"""What can have an owner: kind -> dotted path of its ``Owned`` (see ``apps.ownership.owned``). ``ownership`` knows no app above it;
it reads this, and where the regions in use and the uses of runbooks are known."""

OWNED: dict[str, str] = {
    "provider": "apps.providers.ownership.PROVIDERS",
    "route": "apps.routes.ownership.ROUTES",
    "key": "apps.keys.ownership.KEYS",
    "budget": "apps.budgets.ownership.BUDGETS",
    "limit": "apps.budgets.ownership.LIMITS",
    "flag": "apps.flags.ownership.FLAGS",
    "deployment": "apps.fleet.ownership.DEPLOYMENTS",
    "runbook": "apps.ownership.owned.RUNBOOKS",
}

ABOUT_TEAM = (
    "apps.budgets.ownership.about_team",
    "apps.flags.ownership.about_team",
    "apps.keys.ownership.about_team",
    "apps.alerts.ownership.about_team",
)
"""(team) -> what is about the team and would be left without it, as ``About`` each: it keeps the team from being deleted."""

LEAVE_TEAM = ("apps.keys.ownership.team_leave", "apps.dashboard.saved_services.team_leave")
"""(team) -> nothing: lets go of what names a team that is deleted, and matters no more. In the deletion's transaction."""

ABOUT_SERVICE = (
    "apps.keys.ownership.about_service",
    "apps.budgets.ownership.about_service",
    "apps.flags.ownership.about_service",
    "apps.ownership.owned.about_service",
    "apps.alerts.ownership.about_service",
)
"""(service) -> what hangs on the service, as ``About`` each: it keeps the service from being deleted."""

LEAVE_SERVICE = ("apps.keys.ownership.service_leave",)
"""(service) -> nothing: lets go of what names a service that is deleted, and matters no more. In the deletion's transaction."""

REGIONS = "apps.providers.ownership.regions_in_use"
"""(organisation) -> names of regions that endpoints run in."""

MONTHS_OF_REQUESTS = "apps.usage.promises.months_measured"
"""(scope, months, team=, service=) -> what SLAs are measured by, as ``apps.ownership.attainment.MonthMeasured``."""

RUNBOOK_USES = ("apps.flags.ownership.runbook_uses", "apps.routes.ownership.runbook_uses")
"""(runbook) -> what names it, as ``apps.ownership.owned.Thing``."""
