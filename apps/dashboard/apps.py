from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "apps.dashboard"

    def ready(self) -> None:
        from apps.dashboard.board_sources import sources_register
        from apps.dashboard.feedback_lines import feedback_register
        from apps.dashboard.flag_neighbours import budget_overrides, budgets_standing
        from apps.dashboard.fleet_neighbours import performance_of_organisation
        from apps.dashboard.palette import requests_for_palette
        from apps.dashboard.saved_pages import views_for_palette
        from apps.flags.neighbours import register_budgets, register_overrides
        from apps.fleet.neighbours import register_performance
        from apps.ui.palette import register_source

        register_source("Requests", requests_for_palette)
        register_source("Saved views", views_for_palette)
        sources_register()
        feedback_register()
        register_budgets(budgets_standing)
        register_performance(performance_of_organisation)
        register_overrides("budgets", budget_overrides)
