from django.apps import AppConfig


class SettlementConfig(AppConfig):
    name = "apps.settlement"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.settlement.presence import lag_samples
        from apps.usage.sampling import register_source

        register_source("settlement", lag_samples)
        register_kind(
            "journal.torn",
            "Usage records lost",
            tone="bad",
            description="A dead proxy's journal ends in bytes that cannot be read: a power loss tore it.",
        )
        register_kind(
            "journal.rejected", "Usage records set aside", tone="bad", description="Records that Postgres could not store, kept whole."
        )
        register_kind(
            "journal.unknown",
            "Requests with unknown outcome",
            tone="warning",
            description="A proxy died with requests in flight; they are settled at their reservations.",
        )
        register_kind(
            "journal.written_off",
            "Journal written off",
            tone="bad",
            description="An operator gave up a lost journal; its leases count as spent.",
        )
