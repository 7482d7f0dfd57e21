"""``routes`` of an organisation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from apps.audit.errors import ServiceError
from apps.contracts.snapshot import Deadlines
from apps.ownership.named import team_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource
from apps.routes.api.serializers import BreakerSerializer, RouteSerializer, SwitchSerializer, spec_of
from apps.routes.breakers import breaker_force, breaker_release
from apps.routes.models import Route
from apps.routes.selectors import routes_of
from apps.routes.services import route_create, route_delete, route_ensure, route_switch, route_switch_back


class RouteResource(Resource):
    permission: ClassVar[str] = "route.view"
    serializer_class = RouteSerializer
    kind, object_name, argument = "route", "route", "route_id"

    def rows(self) -> QuerySet[Route]:
        return routes_of(self.organisation)

    def facts(self, values: dict[str, Any]) -> dict[str, Any]:
        """As services take them."""
        owner = values["owner"]
        return {
            **values,
            "targets": [spec_of(target) for target in values["targets"]],
            "fallback": [spec_of(target) for target in values["fallback"]],
            "deadlines": Deadlines(**values["deadlines"]),
            "resilience": values["resilience"],
            "owner": team_named(self.organisation, owner, field="owner") if owner else None,
            "reason": self.reason,
        }


class RoutesView(RouteResource, CreatableView):
    """Routes of an organisation."""

    def create(self, values: dict[str, Any]) -> Route:
        return route_create(actor=self.actor, organisation=self.organisation, **self.facts(values))


class RouteView(RouteResource, ObjectView):
    """One route. A name with a slash in it is asked for by its id."""

    def change(self, row: Route, values: dict[str, Any]) -> Route:
        return route_ensure(actor=self.actor, organisation=self.organisation, **self.facts(values))

    def remove(self, row: Route) -> None:
        route_delete(actor=self.actor, route=row, reason=self.reason)


class RouteSwitchView(RouteResource):
    """``POST``: all traffic to one target; ``DELETE``: its chains decide again. An on-call's act needs no ``If-Match``."""

    http_method_names: ClassVar[list[str]] = ["post", "delete", "options"]

    @extend_schema(request=SwitchSerializer, responses=RouteSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["route_id"])
            asked = SwitchSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            given = asked.validated_data

            def change() -> Route:
                route_switch(
                    actor=self.actor, route=row, target=spec_of(given["target"]), reason=self.reason, until=given["until"],
                    failover=given["failover"],
                )  # fmt: skip
                return row  # type: ignore[no-any-return]

            return self.published(change, self.written)

        return self.once(act)

    @extend_schema(responses=RouteSerializer)
    def delete(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["route_id"])
            return self.published(lambda: route_switch_back(actor=self.actor, route=row, reason=self.reason), self.written)

        return self.once(act)


class RouteBreakerView(RouteResource):
    """``POST``: hold a target's breaker open or closed, or let it decide by itself again."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=BreakerSerializer, responses=RouteSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["route_id"])
            asked = BreakerSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            given, target = asked.validated_data, spec_of(asked.validated_data["target"])
            if given["state"] == "auto" and given["until"] is not None:
                raise ServiceError("A breaker that is let go is let go now: leave until out.", "until")

            def change() -> Route:
                if given["state"] == "auto":
                    breaker_release(actor=self.actor, route=row, target=target, reason=self.reason)
                else:
                    breaker_force(
                        actor=self.actor, route=row, target=target, state=given["state"], reason=self.reason, until=given["until"]
                    )
                return row  # type: ignore[no-any-return]

            return self.published(change, self.written)

        return self.once(act)
