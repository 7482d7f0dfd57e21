"""Who builds which section of the config: section name -> dotted path of its ``Section`` (see
``apps.publishing.registry``). ``publishing`` knows no app; it reads this."""

SECTIONS: dict[str, str] = {
    "providers": "apps.providers.snapshot.providers",
    "credentials": "apps.providers.snapshot.credentials",
    "prices": "apps.providers.snapshot.prices",
    "discounts": "apps.providers.snapshot.discounts",
    "models": "apps.catalogue.snapshot.models",
    "routes": "apps.routes.snapshot.routes",
    "keys": "apps.keys.snapshot.keys",
    "budgets": "apps.budgets.snapshot.budgets",
    "flags": "apps.flags.snapshot.flags",
    "limits": "apps.budgets.limit_snapshot.limits",
    "captures": "apps.usage.capture_snapshot.captures",
    "unit_prices": "apps.prices.snapshot.unit_prices",
}

DOCUMENTS = "controlplane.configfile.managed.DOCUMENTS"
"""Who reads and writes config documents, for what pages say of things that one manages (see ``apps.publishing.managed``)."""
