from django.apps import AppConfig


class PricesConfig(AppConfig):
    name = "apps.prices"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.prices.choices import BOOK_EVENT, REPRICED_EVENT
        from apps.prices.palette import prices_for_palette
        from apps.prices.selectors import ExportedCorrections
        from apps.ui.palette import register_source
        from apps.usage.focus_selectors import register_corrections

        register_corrections(ExportedCorrections())
        register_source("Prices", prices_for_palette)
        register_kind(BOOK_EVENT, "Base prices", tone="info", description="Another version of genai-prices changed what models cost.")
        register_kind(REPRICED_EVENT, "Re-pricing", tone="warning", description="A past period was priced again; the old figures stay.")
