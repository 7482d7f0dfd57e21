from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "apps.usage"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.usage.choices import ANOMALY_EVENT

        register_kind(ANOMALY_EVENT, "Odd spend", tone="warning", description="A key ran away, or a price changed suddenly.")
