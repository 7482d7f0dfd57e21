from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "apps.usage"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.ui.palette import register_source
        from apps.usage.choices import ANOMALY_EVENT
        from apps.usage.palette import exports_for_palette

        register_kind(ANOMALY_EVENT, "Odd spend", tone="warning", description="A key ran away, or a price changed suddenly.")
        register_source("Exports that were compared", exports_for_palette)
