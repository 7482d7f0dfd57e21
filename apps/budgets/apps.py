from django.apps import AppConfig


class BudgetsConfig(AppConfig):
    name = "apps.budgets"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.budgets.choices import OVERRUN_EVENT

        register_kind(OVERRUN_EVENT, "Budget overrun", tone="bad", description="A provider billed more than was reserved for the request.")
