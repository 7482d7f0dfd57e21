from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "apps.alerts"

    def ready(self) -> None:
        from apps.alerts.choices import FIRED_EVENT, RESOLVED_EVENT
        from apps.alerts.health import FACT, evaluated_last, watched
        from apps.audit.registry import register_kind
        from apps.publishing.selectors import register_page_fact
        from apps.settlement.watchdogs import register_watchdog

        register_kind(FIRED_EVENT, "Alert fired", tone="bad", description="A rule held for as long as it says.")
        register_kind(RESOLVED_EVENT, "Alert resolved", tone="good", description="What it was about is over.")
        register_page_fact(FACT, evaluated_last)
        register_watchdog("alerts", watched)
