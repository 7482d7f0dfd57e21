"""``deployments`` and ``workers`` of an organisation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from apps.fleet.api.serializers import DeploymentSerializer, ModeSerializer, ScaleSerializer, WorkerSerializer
from apps.fleet.joining import worker_mode_set
from apps.fleet.models import Deployment, Worker
from apps.fleet.neighbours import performance_known
from apps.fleet.performance import performance_named
from apps.fleet.selectors import deployments_of, worker_lines, workers_of
from apps.fleet.services import deployment_create, deployment_delete, deployment_ensure, deployment_scale
from apps.ownership.named import team_named
from apps.publishing.api.resources import CollectionView, CreatableView, ObjectView, ReadableView, Resource


class DeploymentResource(Resource):
    permission: ClassVar[str] = "deployment.view"
    serializer_class = DeploymentSerializer
    kind, object_name, argument = "deployment", "deployment", "deployment_id"
    volatile: ClassVar[tuple[str, ...]] = ("performance",)

    def rows(self) -> QuerySet[Deployment]:
        return deployments_of(self.organisation)

    def context_of(self, rows: list[Any]) -> dict[str, Any]:
        return {"performance": performance_known(self.organisation)}

    def facts(self, values: dict[str, Any]) -> dict[str, Any]:
        """As services take them."""
        owner, budget = values.pop("owner"), values.pop("performance_budget")
        values["performance_budget"] = performance_named(self.organisation, budget)
        return {**values, "owner": team_named(self.organisation, owner, field="owner") if owner else None, "reason": self.reason}


class DeploymentsView(DeploymentResource, CreatableView):
    """Deployments of an organisation."""

    def create(self, values: dict[str, Any]) -> Deployment:
        return deployment_create(actor=self.actor, organisation=self.organisation, **self.facts(values))


class DeploymentView(DeploymentResource, ObjectView):
    """One deployment."""

    def change(self, row: Deployment, values: dict[str, Any]) -> Deployment:
        return deployment_ensure(actor=self.actor, organisation=self.organisation, **self.facts(values))

    def remove(self, row: Deployment) -> None:
        deployment_delete(actor=self.actor, deployment=row, reason=self.reason)


class DeploymentScaleView(DeploymentResource):
    """``POST``: how many replicas are wanted, within its bounds. An on-call's act needs no ``If-Match``."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ScaleSerializer, responses=DeploymentSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["deployment_id"])
            asked = ScaleSerializer(data=self.given())
            asked.is_valid(raise_exception=True)
            given = asked.validated_data

            def change() -> Deployment:
                return deployment_scale(
                    actor=self.actor, deployment=row, wanted=given["wanted"], expected=given["expected"], reason=self.reason
                )

            return self.published(change, self.written)

        return self.once(act)


class WorkerResource(Resource):
    permission: ClassVar[str] = "worker.view"
    serializer_class = WorkerSerializer
    kind, object_name, argument = "worker", "worker", "worker_id"
    volatile: ClassVar[tuple[str, ...]] = ("last_seen_at", "gpus", "state", "replicas")

    def rows(self) -> QuerySet[Worker]:
        return workers_of(self.organisation)

    def context_of(self, rows: list[Any]) -> dict[str, Any]:
        return {"lines": {line.pk: line for line in worker_lines(self.organisation, now=timezone.now())}}


class WorkersView(WorkerResource, CollectionView):
    """Workers of an organisation. They join by an agent; here they are only shown."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "options"]


class WorkerView(WorkerResource, ReadableView):
    """One worker."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "options"]


class WorkerModeView(WorkerResource):
    """``POST``: cordon, drain, take into maintenance, return to service."""

    http_method_names: ClassVar[list[str]] = ["post", "options"]

    @extend_schema(request=ModeSerializer, responses=WorkerSerializer)
    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        def act() -> Response:
            row = self.find(self.kwargs["worker_id"])
            asked = ModeSerializer(data=self.given())
            asked.is_valid(raise_exception=True)

            def change() -> Worker:
                return worker_mode_set(actor=self.actor, worker=row, mode=asked.validated_data["mode"], reason=self.reason)

            return self.published(change, self.written)

        return self.once(act)
