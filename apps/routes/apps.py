from django.apps import AppConfig


class RoutesConfig(AppConfig):
    name = "apps.routes"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.routes.choices import SWITCH_EVENT

        register_kind(
            SWITCH_EVENT, "Traffic switched", tone="warning", description="All of a route's traffic was sent to one target, or back."
        )
