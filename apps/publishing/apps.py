from django.apps import AppConfig


class PublishingConfig(AppConfig):
    name = "apps.publishing"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.publishing.managed import managing
        from apps.publishing.palette import versions_for_palette
        from apps.publishing.selectors import newest_lineage, register_page_fact
        from apps.ui.palette import register_source

        register_source("Config versions", versions_for_palette)
        register_page_fact("lineage", newest_lineage)
        register_page_fact("managed", managing)

        register_kind("config.published", "Config published", description="A version of the config was published.")
        register_kind(
            "config.rolled_back", "Config rolled back", tone="warning", description="An older version's content was published again."
        )
        register_kind("proxy.gone", "Proxy gone", tone="warning", description="A proxy process has ended; its journal's lock was released.")
