from django.apps import AppConfig


class ControlplaneConfig(AppConfig):
    name = "controlplane"

    def ready(self) -> None:
        # The application must exist before any task is sent, or Celery would invent one with another broker.
        from controlplane import celery, checks, incident_secrets  # noqa: F401

        incident_secrets.register()
