"""Pages of deployments: the list, one with its replicas and why they are where they are, the form with its diff, scaling, logs."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.fleet import choices, lists, selectors, services
from apps.fleet.forms import DeploymentForm, initial_of
from apps.fleet.history import entries_of
from apps.fleet.models import Deployment, Replica
from apps.fleet.performance import performance_of
from apps.fleet.placement import place
from apps.fleet.placing import candidates_of, need_of, pulse_now
from apps.fleet.scaling_document import policy_read
from apps.fleet.tables import deployments_list, id_of, replicas_list
from apps.fleet.tried import Tried, day_of, policy_try
from apps.fleet.views import TabView
from apps.publishing.editing import ActionView, EditView, ScopedView
from apps.ui.fragments import tagged
from apps.ui.status import SEVERITY
from apps.ui.toasts import toast

DEPLOYMENT_TABS = (("Deployments", "deployments"), ("Replicas", "replicas"))
SHOWN = 20
"""Replicas on a deployment's page, those that need somebody first; the list of replicas has them all."""


class ListView(TabView):
    """``/deployments/``: every deployment of the organisation; CSV of the same rows."""

    permission = "deployment.view"
    tabs, tab, page, rows = DEPLOYMENT_TABS, "deployments", "fleet/deployments.html", "fleet/deployment_rows.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        lines = selectors.deployment_lines(self.choice.organisation)
        listing = deployments_list(self.choice, request.GET, lines)
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-deployments.csv")
        states, may_change = choices.DEPLOYMENT_STATES.values(), self.choice.may("deployment.change")
        return self.shown(listing=listing, counts=lists.deployment_counts(lines), states=states, may_change=may_change)


class ReplicasView(TabView):
    """``/deployments/replicas/``: every replica that has not ended, of all deployments or of one, on all workers or on one; CSV too."""

    permission = "deployment.view"
    tabs, tab, page, rows = DEPLOYMENT_TABS, "replicas", "fleet/replicas_list.html", "fleet/replica_rows.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        lines = lists.replica_rows(
            self.choice.organisation, deployment=id_of(request.GET, "deployment"), worker=id_of(request.GET, "worker")
        )
        listing = replicas_list(self.choice, request.GET, lines)
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-replicas.csv")
        return self.shown(listing=listing, states=choices.REPLICA_STATES.values())


class DeploymentView(ScopedView):
    """A view of one deployment of the chosen organisation."""

    def subject(self) -> Deployment:
        """Raises Http404."""
        found = selectors.deployment_get(self.choice.organisation, self.kwargs["deployment_id"])
        if found is None:
            raise Http404
        return found

    @property
    def url(self) -> str:
        return reverse("fleet:deployment", args=[self.kwargs["deployment_id"]])


class DetailView(DeploymentView):
    """``/deployments/<id>/``: replicas, placement, rollout, story. htmx gets the live part."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "deployment.view"

    def get(self, request: HttpRequest, deployment_id: UUID) -> HttpResponseBase:
        found = selectors.deployment_lines(self.choice.organisation, pk=deployment_id)
        if not found:
            raise Http404
        line = found[0]
        row = line.deployment
        live = selectors.replica_lines(selectors.replicas_live(deployment=row))
        live.sort(key=lambda one: SEVERITY.index(one.status.tone), reverse=True)
        context: dict[str, Any] = {
            "choice": self.choice,
            "line": line,
            "deployment": row,
            "url": self.url,
            "replicas": live[:SHOWN],
            "all": len(live),
            "states": Counter(one.status for one in live).most_common(),
            "all_url": f"{reverse('fleet:replicas')}?deployment={row.pk}",
            "ended": selectors.replica_lines(selectors.replicas_ended(deployment=row), ended=True),
            "routes": line.routes,
            "may_route": self.choice.may("route.change"),
            "entries": entries_of(selectors.story_of("deployment", row.pk)),
            "decisions": selectors.decisions_of(row),
            "performance": performance_of(row),
            "may_change": self.choice.may("deployment.change", team=row.owner_id),
            "may_scale": self.choice.may("deployment.scale", team=row.owner_id),
        }
        if request.htmx:  # type: ignore[attr-defined]
            return tagged(request, render(request, "fleet/deployment_live.html", {**context, "alone": True}))
        return render(request, "fleet/deployment.html", context)


class PlacementView(DeploymentView):
    """``/deployments/<id>/placement/``: where one more replica would go now, and why not elsewhere; a panel of the deployment's page, asked
    for beside it because it looks at every worker."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "deployment.view"

    def get(self, request: HttpRequest, deployment_id: UUID) -> HttpResponseBase:
        row = self.subject()
        judged = place(need_of(row), candidates_of(row, now=timezone.now(), pulse=pulse_now())).judged
        context = {
            "choice": self.choice,
            "deployment": row,
            "verdicts": lists.verdicts_of(judged),
            "may_join": self.choice.may("worker.join"),
            "crumbs": (("Deployments", reverse("fleet:deployments")), (row.name, self.url)),
        }
        if request.htmx:  # type: ignore[attr-defined]
            return tagged(request, render(request, "fleet/placement.html", context))
        return render(request, "fleet/placement_page.html", context)


class DeploymentEditView(EditView):
    """What creating and changing have in common. Proxies learn of the provider that stands for it; the rest is not config."""

    form_class = DeploymentForm
    template: ClassVar[str] = "fleet/edit.html"
    permission = "deployment.change"
    kind = "deployment"
    reversible: ClassVar[bool] = False

    def form_kwargs(self) -> dict[str, Any]:
        scaling = self.object.scaling if self.object is not None else {}
        return {"organisation": self.choice.organisation, "fixed_name": self.object is not None, "scaling": scaling}

    def field_of(self, name: str | None, form: Any) -> str | None:
        return {"artifact": "location", "scaling": "scaling_mode"}.get(name or "") or super().field_of(name, form)

    def done_url(self, result: Deployment) -> str:
        return reverse("fleet:deployment", args=[result.pk])

    def crumbs(self) -> list[tuple[str, str]]:
        above = [("Deployments", reverse("fleet:deployments"))]
        return above if self.object is None else [*above, (self.object.name, reverse("fleet:deployment", args=[self.object.pk]))]


class CreateView(DeploymentEditView):
    """``/deployments/new/``."""

    def change(self, form: Any) -> Deployment:
        name = form.cleaned_data["name"]
        return services.deployment_create(
            actor=self.actor, organisation=self.choice.organisation, name=name, reason=self.reason, **form.facts()
        )

    def done_message(self, result: Deployment) -> str:
        return f"Deployment {result.name} created."

    def cancel_url(self) -> str:
        return reverse("fleet:deployments")


class UpdateView(DeploymentEditView):
    """``/deployments/<id>/edit/``; beside the review what its scaling policy would have done with the last day's load."""

    tried: Tried | None = None

    @property
    def reason_required(self) -> bool:  # type: ignore[override]
        """While a performance budget of it is breached; the service asks for it once something is rolled out."""
        return any(one.verdict == "breached" for one in performance_of(self.object))

    def subject(self) -> Deployment:
        found = selectors.deployment_get(self.choice.organisation, self.kwargs["deployment_id"])
        if found is None:
            raise Http404
        return found

    def initial(self) -> dict[str, Any]:
        return initial_of(self.object)

    def change(self, form: Any) -> Deployment:
        # a review asks for the reason below what it shows, so there it is not missing yet; nothing is published without one
        reason = self.reason or ("under review" if self.reason_required else "")
        row = services.deployment_update(actor=self.actor, deployment=self.object, reason=reason, **form.facts(self.object))
        if "publish" not in self.request.POST and row.scaling_mode != "off":
            policy = policy_read(row.scaling, least=row.least, most=row.most, gpus=row.gpus)
            self.tried = policy_try(policy, day_of(self.choice.scope, row.name, now=timezone.now()))
        return row

    def context(self) -> dict[str, Any]:
        return {"tried": self.tried}

    def done_message(self, result: Deployment) -> str:
        return f"Deployment {result.name} saved."

    def cancel_url(self) -> str:
        return reverse("fleet:deployment", args=[self.object.pk])


class DeploymentActionView(ActionView, DeploymentView):
    """One act on one deployment; nothing of it reaches proxies as config."""

    permission = "deployment.scale"
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def subject(self) -> Deployment:
        return DeploymentView.subject(self)

    def done_url(self) -> str:
        return self.url


class ScaleView(DeploymentActionView):
    """POST ``/deployments/<id>/scale/``: ``wanted`` replicas."""

    def change(self, reason: str) -> Deployment:
        text = self.request.POST.get("wanted", "").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 6):
            raise ServiceError("Say how many replicas are wanted, as a whole number.", "wanted")
        return services.deployment_scale(actor=self.actor, deployment=self.object, wanted=int(text), reason=reason)

    def done_message(self, result: Deployment) -> str:
        return f"{result.name}: {result.wanted} replica{'' if result.wanted == 1 else 's'} wanted."


class RestartView(DeploymentActionView):
    """POST ``/deployments/<id>/restart/``: every replica is replaced, as a rollout would."""

    def change(self, reason: str) -> Deployment:
        return services.deployment_restart(actor=self.actor, deployment=self.object, reason=reason)

    def done_message(self, result: Deployment) -> str:
        return f"{result.name} is replaced replica by replica."


class DeleteView(DeploymentActionView):
    """POST ``/deployments/<id>/delete/``."""

    permission = "deployment.change"
    publishes: ClassVar[bool] = True

    def change(self, reason: str) -> Deployment:
        if self.request.POST.get("confirmation") != self.object.name:
            raise ServiceError("Nothing was deleted: type the deployment's name to confirm.")
        row: Deployment = self.object
        services.deployment_delete(actor=self.actor, deployment=row, reason=reason)
        self.gone = True
        return row

    def done_url(self) -> str:
        return reverse("fleet:deployments") if getattr(self, "gone", False) else self.url

    def done_message(self, result: Deployment) -> str:
        return f"Deployment {result.name} deleted."


class ReplicaView(ScopedView):
    """A view of one replica of the chosen organisation."""

    def subject(self) -> Replica:
        """Raises Http404."""
        rows = Replica.objects.filter(deployment__organisation=self.choice.organisation, pk=self.kwargs["replica_id"])
        found = rows.select_related("deployment", "worker", "deployment__organisation").first()
        if found is None:
            raise Http404
        return found


class ReplaceView(ActionView, ReplicaView):
    """POST ``/replicas/<id>/replace/``: drain it; another one takes its place."""

    permission = "deployment.scale"
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def subject(self) -> Replica:
        return ReplicaView.subject(self)

    def change(self, reason: str) -> Replica:
        return services.replica_replace(actor=self.actor, replica=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("fleet:deployment", args=[self.object.deployment_id])

    def done_message(self, result: Replica) -> str:
        return f"Replica {result.ordinal} on {result.worker.name} drains; another one takes its place."


class LogView(ReplicaView):
    """``/replicas/<id>/log/``: what it is, why it is where it is, and the last lines of its engine. POST asks its worker for newer ones."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "deployment.view"

    def get(self, request: HttpRequest, replica_id: UUID) -> HttpResponseBase:
        row = self.subject()
        line = selectors.replica_lines(Replica.objects.filter(pk=row.pk))[0]
        kept = row.placement if isinstance(row.placement, dict) else {}
        context = {
            "choice": self.choice,
            "row": row,
            "line": line,
            "text": "\n".join(str(one) for one in row.lines),
            "url": request.path,
            "placed": kept.get("text", ""),
            "verdicts": lists.verdicts_of(kept.get("judged", [])),
            "asked": kept.get("workers", 0),
            "may_scale": self.choice.may("deployment.scale", team=row.deployment.owner_id) and row.ended_at is None and row.want == "serve",
            "crumbs": (
                ("Deployments", reverse("fleet:deployments")),
                (row.deployment.name, reverse("fleet:deployment", args=[row.deployment_id])),
            ),
        }
        if request.htmx:  # type: ignore[attr-defined]
            return tagged(request, render(request, "fleet/log_live.html", {**context, "alone": True}))
        return render(request, "fleet/log.html", context)

    def post(self, request: HttpRequest, replica_id: UUID) -> HttpResponseBase:
        services.logs_ask(self.subject())
        toast(request, "Asked for. Its worker sends its newest lines with its next heartbeat.")
        return redirect(request.path)
