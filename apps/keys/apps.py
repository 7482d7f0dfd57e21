from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "apps.keys"

    def ready(self) -> None:
        from apps.keys.palette import keys_for_palette
        from apps.ui.palette import register_source

        register_source("Keys", keys_for_palette)
