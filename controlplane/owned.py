"""What can have an owner: kind -> dotted path of its ``Owned`` (see ``apps.ownership.owned``). ``ownership`` knows no app above it;
it reads this, and where the regions in use and the uses of runbooks are known."""

OWNED: dict[str, str] = {
    "provider": "apps.providers.ownership.PROVIDERS",
    "route": "apps.routes.ownership.ROUTES",
    "key": "apps.keys.ownership.KEYS",
    "budget": "apps.budgets.ownership.BUDGETS",
    "flag": "apps.flags.ownership.FLAGS",
}

REGIONS = "apps.providers.ownership.regions_in_use"
"""(organisation) -> names of regions that endpoints run in."""

RUNBOOK_USES = "apps.flags.ownership.runbook_uses"
"""(runbook) -> what names it, as ``apps.ownership.owned.Thing``."""
