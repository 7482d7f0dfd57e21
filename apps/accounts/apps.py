from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "apps.accounts"

    def ready(self) -> None:
        from apps.accounts.palette import people_for_palette
        from apps.accounts.scope import asker
        from apps.accounts.token_palette import tokens_for_palette
        from apps.audit.registry import register_kind
        from apps.ui.navigation import register_asker
        from apps.ui.palette import register_source

        register_source("People", people_for_palette)
        register_source("Your tokens", tokens_for_palette)
        register_asker(asker)
        register_kind("session.refused", "Sign-in refused", tone="warning", description="A wrong password or too many failures.")
