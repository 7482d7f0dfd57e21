from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    name = "apps.providers"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.providers.choices import CHECK_EVENT

        register_kind(CHECK_EVENT, "Provider check", tone="warning", description="An endpoint's reachability changed.")
