from django.apps import AppConfig


class FleetConfig(AppConfig):
    name = "apps.fleet"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.fleet.choices import DEPLOYMENT_EVENT, REPLICA_EVENT, WORKER_EVENT
        from apps.fleet.palette import fleet_for_palette
        from apps.ui.palette import register_source

        register_kind(WORKER_EVENT, "Worker changed", description="A worker joined, went silent, was lost, drained or came back.")
        register_kind(REPLICA_EVENT, "Replica changed", description="A replica was placed, got ready, failed, drained or ended.")
        register_kind(DEPLOYMENT_EVENT, "Deployment changed", description="A deployment was scaled, rolled out or found no place.")
        register_source("Fleet", fleet_for_palette)
