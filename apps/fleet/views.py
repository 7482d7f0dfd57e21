"""Pages of workers: the list, their GPUs, what happened, one worker, and what the on-call does to them."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.fleet import choices, joining, lists, selectors
from apps.fleet.history import entries_of
from apps.fleet.models import Worker
from apps.fleet.tables import gpus_list, workers_list
from apps.publishing.editing import ActionView, ScopedView
from apps.ui.fragments import tagged

WORKER_TABS = (("Workers", "workers"), ("GPUs", "gpus"), ("Events", "events"))


class TabView(ScopedView):
    """A list that is one of several tabs; htmx gets ``rows`` alone, a browser ``page``."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    tabs: ClassVar[tuple[tuple[str, str], ...]] = ()
    tab: ClassVar[str] = ""
    page: ClassVar[str] = ""
    rows: ClassVar[str] = ""

    def shown(self, **context: Any) -> HttpResponseBase:
        request = self.request
        alone = bool(request.htmx)  # type: ignore[attr-defined]
        context |= {
            "choice": self.choice,
            "tabs": [(label, reverse(f"fleet:{name}"), name == self.tab, None) for label, name in self.tabs],
            "url": request.get_full_path(),
        }
        response = render(request, self.rows if alone else self.page, context)
        return tagged(request, response) if alone else response


class ListView(TabView):
    """``/workers/``: every worker, its GPUs and what it runs; CSV of the same rows."""

    permission = "worker.view"
    tabs, tab, page, rows = WORKER_TABS, "workers", "fleet/workers.html", "fleet/worker_rows.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        lines = selectors.worker_lines(self.choice.organisation, now=timezone.now())
        listing = workers_list(self.choice, request.GET, lines)
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-workers.csv")
        states, may_join = choices.WORKER_STATES.values(), self.choice.may("worker.join")
        return self.shown(listing=listing, counts=lists.counts_of(lines), states=states, may_join=may_join)


class GpusView(TabView):
    """``/workers/gpus/``: every GPU with its memory and use, and what holds it; CSV of the same rows."""

    permission = "worker.view"
    tabs, tab, page, rows = WORKER_TABS, "gpus", "fleet/gpus.html", "fleet/gpu_rows.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        listing = gpus_list(self.choice, request.GET, lists.gpu_rows(self.choice.organisation, now=timezone.now()))
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-gpus.csv")
        return self.shown(listing=listing, states=choices.GPU_STATES.values())


class EventsView(TabView):
    """``/workers/events/``: what happened to workers, replicas and deployments, the newest first."""

    permission = "worker.view"
    tabs, tab, page, rows = WORKER_TABS, "events", "fleet/events.html", "fleet/event_rows.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self.shown(entries=entries_of(lists.events_of(self.choice.organisation), named=True), most=lists.EVENTS_MOST)


class WorkerView(ScopedView):
    """A view of one worker of the chosen organisation."""

    def subject(self) -> Worker:
        """Raises Http404."""
        found = selectors.worker_get(self.choice.organisation, self.kwargs["worker_id"])
        if found is None:
            raise Http404
        return found

    @property
    def url(self) -> str:
        return reverse("fleet:worker", args=[self.kwargs["worker_id"]])


class DetailView(WorkerView):
    """``/workers/<id>/``: its GPUs, replicas, story and logs. htmx gets the live part."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "worker.view"

    def get(self, request: HttpRequest, worker_id: UUID) -> HttpResponseBase:
        now = timezone.now()
        live = selectors.replica_lines(selectors.replicas_live(worker=worker_id))
        found = selectors.worker_lines(self.choice.organisation, now=now, pk=worker_id, held=lists.held_by(live))
        if not found:
            raise Http404
        line = found[0]
        context: dict[str, Any] = {
            "choice": self.choice,
            "line": line,
            "worker": line.worker,
            "url": self.url,
            "replicas": live,
            "ended": selectors.replica_lines(selectors.replicas_ended(worker=line.worker), ended=True),
            "entries": entries_of(selectors.story_of("worker", line.pk)),
            "may_drain": self.choice.may("worker.drain") and line.state != "revoked",
            "may_join": self.choice.may("worker.join") and line.state != "revoked",
            "may_scale": self.choice.may("deployment.scale"),
        }
        if request.htmx:  # type: ignore[attr-defined]
            return tagged(request, render(request, "fleet/worker_live.html", {**context, "alone": True}))
        return render(request, "fleet/worker.html", context)


class WorkerActionView(ActionView, WorkerView):
    """One act on one worker. Nothing of it is published: workers are facts."""

    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def subject(self) -> Worker:
        return WorkerView.subject(self)

    def done_url(self) -> str:
        return self.url


class ModeView(WorkerActionView):
    """POST ``/workers/<id>/mode/``: ``mode`` is active, cordoned, draining or maintenance."""

    permission = "worker.drain"
    WORDS: ClassVar[dict[str, str]] = {
        "active": "{} takes replicas again.",
        "cordoned": "{} takes nothing new; what runs goes on.",
        "draining": "{} drains: its replicas move away.",
        "maintenance": "{} goes into maintenance once its replicas have moved away.",
    }

    @property
    def reason_required(self) -> bool:  # type: ignore[override]
        return self.request.POST.get("mode") != "active"

    def change(self, reason: str) -> Worker:
        mode = self.request.POST.get("mode", "")
        if mode not in self.WORDS:
            raise ServiceError("Choose what to do with the worker.", "mode")
        return joining.worker_mode_set(actor=self.actor, worker=self.object, mode=mode, reason=reason)

    def done_message(self, result: Worker) -> str:
        return self.WORDS[result.mode].format(result.name)


class RotateView(WorkerActionView):
    """POST ``/workers/<id>/rotate/``: a new credential with the next heartbeat."""

    permission = "worker.join"
    reason_required = False

    def change(self, reason: str) -> Worker:
        return joining.worker_rotate(actor=self.actor, worker=self.object, reason=reason)

    def done_message(self, result: Worker) -> str:
        return f"{result.name} gets a new credential with its next heartbeat."


class RemoveView(WorkerActionView):
    """POST ``/workers/<id>/remove/``: its credential opens nothing any more, its replicas are replaced elsewhere."""

    permission = "worker.join"

    def change(self, reason: str) -> Worker:
        if self.request.POST.get("confirmation") != self.object.name:
            raise ServiceError("Nothing was removed: type the worker's name to confirm.")
        return joining.worker_revoke(actor=self.actor, worker=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("fleet:workers")

    def done_message(self, result: Worker) -> str:
        return f"{result.name} was removed from the fleet."
