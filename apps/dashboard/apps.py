from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "apps.dashboard"

    def ready(self) -> None:
        from apps.dashboard.flag_neighbours import budget_overrides, budgets_standing
        from apps.dashboard.palette import requests_for_palette
        from apps.flags.neighbours import register_budgets, register_overrides
        from apps.ui.palette import register_source

        register_source("Requests", requests_for_palette)
        register_budgets(budgets_standing)
        register_overrides("budgets", budget_overrides)
