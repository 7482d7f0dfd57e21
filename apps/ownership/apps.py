from django.apps import AppConfig


class OwnershipConfig(AppConfig):
    name = "apps.ownership"

    def ready(self) -> None:
        from apps.accounts.teams import register_teams
        from apps.ownership.palette import ownership_for_palette
        from apps.ownership.selectors import teams_for_roles
        from apps.ui.palette import register_source

        register_teams(teams_for_roles)
        register_source("Teams and on call", ownership_for_palette)
