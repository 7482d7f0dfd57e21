from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "apps.keys"

    def ready(self) -> None:
        from apps.keys.palette import keys_for_palette
        from apps.keys.request_palette import key_requests_for_palette
        from apps.keys.selectors import key_names
        from apps.ui.palette import register_source
        from apps.usage.names import register_key_names

        register_key_names(key_names)
        register_source("Keys", keys_for_palette)
        register_source("Asking for keys", key_requests_for_palette)
