from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "controlplane.demo"
    label = "demo"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.dashboard.panels import panel_register
        from controlplane.demo import services
        from controlplane.demo.panel import PANEL

        register_kind(services.BROKEN_EVENT, "Simulated provider broken on purpose", tone="bad")
        register_kind(services.MENDED_EVENT, "Simulated provider mended", tone="good")
        panel_register(PANEL)
