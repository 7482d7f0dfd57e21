from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "apps.flags"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.flags.choices import FLIP_EVENT

        register_kind(FLIP_EVENT, "Flag flipped", tone="warning", description="A fallback or kill switch went on or off.")
