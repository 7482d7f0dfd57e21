from django.apps import AppConfig


class BudgetsConfig(AppConfig):
    name = "apps.budgets"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.budgets.choices import ALERT_EVENT, OVERRUN_EVENT
        from apps.budgets.key_walls import key_walls_create
        from apps.budgets.limit_selectors import limits_applying
        from apps.budgets.palette import budgets_for_palette
        from apps.budgets.performance_choices import EVENTS
        from apps.budgets.selectors import budget_bars
        from apps.keys.neighbours import register_budgets, register_limits, register_walls
        from apps.ui.palette import register_source

        register_kind(ALERT_EVENT, "Budget alert", tone="warning", description="A threshold of a budget's window was reached.")
        register_kind(OVERRUN_EVENT, "Budget overrun", tone="bad", description="A provider billed more than was reserved for the request.")
        register_kind(EVENTS["ok"], "Performance within its budget", tone="good", description="A performance budget's verdict became ok.")
        register_kind(
            EVENTS["warning"], "Performance near its budget", tone="warning", description="A performance budget's verdict became a warning."
        )
        register_kind(EVENTS["breached"], "Performance budget breached", tone="bad", description="What was measured is above the bound.")
        register_kind(EVENTS["unknown"], "Performance unknown", description="Too little was measured to judge a performance budget.")
        register_budgets(budget_bars)
        register_limits(limits_applying)
        register_walls(key_walls_create)
        register_source("Budgets and limits", budgets_for_palette)
