from django.apps import AppConfig


class RoutesConfig(AppConfig):
    name = "apps.routes"

    def ready(self) -> None:
        from apps.audit.registry import register_kind
        from apps.flags.neighbours import register_in_force, register_overrides
        from apps.keys.neighbours import register_route_name, register_routes
        from apps.routes.choices import BREAKER_EVENT, SWITCH_EVENT
        from apps.routes.overrides import breakers_fact, breakers_told, route_overrides, switch_told, switches_fact
        from apps.routes.palette import routes_for_palette
        from apps.routes.selectors import known_routes, route_name_of
        from apps.ui.palette import register_source

        register_kind(
            SWITCH_EVENT, "Traffic switched", tone="warning", description="All of a route's traffic was sent to one target, or back."
        )
        register_kind(
            BREAKER_EVENT, "Breaker forced", tone="warning", description="A person holds a target's breaker open or closed, or let it go."
        )
        register_routes(known_routes)
        register_route_name(route_name_of)
        register_source("Routes", routes_for_palette)
        register_in_force("switches", switches_fact, switch_told)
        register_in_force("breakers", breakers_fact, breakers_told)
        register_overrides("routes", route_overrides)
