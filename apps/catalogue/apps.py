from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    name = "apps.catalogue"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.catalogue.choices import ENDING_EVENT, NEW_EVENT, REPRICED_EVENT, VANISHED_EVENT
        from apps.catalogue.palette import models_for_palette
        from apps.catalogue.services import model_follow
        from apps.providers.followers import register_follower
        from apps.ui.palette import register_source

        register_follower(model_follow)
        register_source("Models", models_for_palette)
        register_kind(NEW_EVENT, "New models", description="A provider's own list has models that it did not have.")
        register_kind(VANISHED_EVENT, "Models vanished", tone="bad", description="A provider's own list has lost models.")
        register_kind(REPRICED_EVENT, "Models repriced", tone="warning", description="A provider's own list names other prices.")
        register_kind(ENDING_EVENT, "Models end soon", tone="warning", description="A provider has said when models end.")
