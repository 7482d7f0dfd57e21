from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "apps.alerts"

    def ready(self) -> None:
        from apps.alerts import bar, checks, reachability  # noqa: F401  # checks register themselves
        from apps.alerts.budget_days import days_told
        from apps.alerts.choices import FIRED_EVENT, RESOLVED_EVENT
        from apps.alerts.health import FACT, evaluated_last, watched
        from apps.alerts.palette import alerts_for_palette, rules_for_palette
        from apps.audit.registry import register_kind
        from apps.budgets.neighbours import register_day_rules
        from apps.publishing.selectors import register_page_fact
        from apps.settlement.watchdogs import register_watchdog
        from apps.ui.bar import register_count
        from apps.ui.palette import register_source

        register_kind(FIRED_EVENT, "Alert fired", tone="bad", description="A rule held for as long as it says.")
        register_kind(RESOLVED_EVENT, "Alert resolved", tone="good", description="What it was about is over.")
        register_page_fact(FACT, evaluated_last)
        register_watchdog("alerts", watched)
        register_day_rules(days_told)
        register_kind(reachability.EVENT, "Nobody can be reached", tone="bad", description="Nobody on a rotation has a way to be told.")
        register_page_fact(bar.FACT, bar.open_alerts_fact)
        register_page_fact(reachability.FACT, reachability.unreachable_fact)
        register_count("alerts", bar.alerts_count)
        register_source("Open alerts", alerts_for_palette)
        register_source("Alert rules and SLOs", rules_for_palette)
