from django.apps import AppConfig


class OwnershipConfig(AppConfig):
    name = "apps.ownership"

    def ready(self) -> None:
        from apps.accounts.teams import register_teams
        from apps.ownership.selectors import teams_for_roles

        register_teams(teams_for_roles)
