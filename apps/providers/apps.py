from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    name = "apps.providers"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.providers.choices import CHECK_EVENT
        from apps.providers.palette import providers_for_palette
        from apps.ui.palette import register_source

        register_kind(CHECK_EVENT, "Provider check", tone="warning", description="An endpoint's reachability changed.")
        register_source("Providers", providers_for_palette)
