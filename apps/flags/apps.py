from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "apps.flags"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.flags import change_choices
        from apps.flags.choices import FLIP_EVENT

        register_kind(FLIP_EVENT, "Flag flipped", tone="warning", description="A fallback or kill switch went on or off.")
        register_kind(change_choices.GLASS_EVENT, "Glass broken", tone="bad", description="One person flipped alone what takes two.")
        register_kind(change_choices.LATE_EVENT, "Scheduled flip ran late", tone="warning", description="Nothing ran it at its time.")
        register_kind(change_choices.MISSED_EVENT, "Scheduled flip was missed", tone="bad", description="It was dropped: too late by then.")
        register_kind(change_choices.EXPIRED_EVENT, "Flag expired", tone="warning", description="It was on past its expiry, and went off.")
        register_kind(change_choices.STALE_EVENT, "Flag neglected", description="Nobody exercised it for as long as it says.")
