from django.apps import AppConfig


class UiConfig(AppConfig):
    name = "apps.ui"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created

        from apps.ui import outage

        connection_created.connect(outage.answered, dispatch_uid="apps.ui.outage")
