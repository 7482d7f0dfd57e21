from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "apps.flags"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.flags import change_choices
        from apps.flags.change_palette import changes_for_palette
        from apps.flags.choices import FLIP_EVENT, OVERRIDE_EVENT
        from apps.flags.neighbours import register_in_force, register_overrides
        from apps.flags.overrides import flag_told, flags_fact, host_told, hosts_fact, overrides_count, own_overrides
        from apps.flags.palette import flags_for_palette
        from apps.ui.bar import register_count
        from apps.ui.palette import register_source

        register_kind(FLIP_EVENT, "Flag flipped", tone="warning", description="A fallback or kill switch went on or off.")
        register_kind(OVERRIDE_EVENT, "Override on a host", tone="warning", description="A flag was switched on a proxy's host by hand.")
        register_kind(change_choices.GLASS_EVENT, "Glass broken", tone="bad", description="One person flipped alone what takes two.")
        register_kind(change_choices.LATE_EVENT, "Scheduled flip ran late", tone="warning", description="Nothing ran it at its time.")
        register_kind(change_choices.MISSED_EVENT, "Scheduled flip was missed", tone="bad", description="It was dropped: too late by then.")
        register_kind(change_choices.EXPIRED_EVENT, "Flag expired", tone="warning", description="It was on past its expiry, and went off.")
        register_kind(change_choices.STALE_EVENT, "Flag neglected", description="Nobody exercised it for as long as it says.")
        register_in_force("flags", flags_fact, flag_told)
        register_in_force("hosts", hosts_fact, host_told)
        register_overrides("flags", own_overrides)
        register_count("overrides", overrides_count)
        register_source("Flags", flags_for_palette)
        register_source("Changes", changes_for_palette)
