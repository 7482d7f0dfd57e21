from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "apps.dashboard"

    def ready(self) -> None:
        from apps.dashboard.palette import requests_for_palette
        from apps.ui.palette import register_source

        register_source("Requests", requests_for_palette)
