from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "apps.alerts"

    def ready(self) -> None:
        from apps.alerts.choices import FIRED_EVENT, RESOLVED_EVENT
        from apps.audit.registry import register_kind

        register_kind(FIRED_EVENT, "Alert fired", tone="bad", description="A rule held for as long as it says.")
        register_kind(RESOLVED_EVENT, "Alert resolved", tone="good", description="What it was about is over.")
