from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    name = "apps.providers"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.providers.choices import CHECK_EVENT, CLOSED_EVENT, OPENED_EVENT, REFUSED_EVENT
        from apps.providers.palette import providers_for_palette
        from apps.ui.palette import register_source

        register_kind(CHECK_EVENT, "Provider check", tone="warning", description="An endpoint's reachability changed.")
        register_kind(OPENED_EVENT, "Breaker opened", tone="bad", description="A target failed so often that proxies leave it alone.")
        register_kind(CLOSED_EVENT, "Breaker closed", tone="good", description="A target answers again on every proxy.")
        register_kind(REFUSED_EVENT, "Credential refused", tone="bad", description="A provider refused its credential: 401, 402 or 403.")
        register_source("Providers", providers_for_palette)
