"""Pages of workers: the list, one worker, joining one, and what the on-call does to them."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from apps.audit.errors import ServiceError
from apps.fleet import choices, joining, selectors
from apps.fleet.history import entries_of
from apps.fleet.models import JoinToken, Worker
from apps.fleet.tables import workers_list
from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.ui.fragments import tagged
from apps.ui.toasts import toast


class ListView(ScopedView):
    """``/workers/``: every worker, its GPUs and what it runs; CSV of the same rows."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "worker.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        listing = workers_list(self.choice, request.GET, now=timezone.now())
        if request.GET.get("format") == "csv":
            return listing.csv("bulkhead-workers.csv")
        alone = bool(request.htmx)  # type: ignore[attr-defined]
        context = {
            "choice": self.choice,
            "listing": listing,
            "states": choices.WORKER_STATES.values(),
            "may_join": self.choice.may("worker.join"),
            "url": request.get_full_path(),
        }
        response = render(request, "fleet/worker_rows.html" if alone else "fleet/workers.html", context)
        return tagged(request, response) if alone else response


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
        found = selectors.worker_lines(self.choice.organisation, now=now, pk=worker_id)
        if not found:
            raise Http404
        line = found[0]
        context: dict[str, Any] = {
            "choice": self.choice,
            "line": line,
            "worker": line.worker,
            "url": self.url,
            "replicas": selectors.replica_lines(selectors.replicas_live(worker=line.worker)),
            "ended": selectors.replica_lines(selectors.replicas_ended(worker=line.worker)),
            "entries": entries_of(selectors.story_of("worker", line.pk)),
            "may_drain": self.choice.may("worker.drain") and line.state != "revoked",
            "may_join": self.choice.may("worker.join") and line.state != "revoked",
            "may_scale": self.choice.may("deployment.scale"),
        }
        if request.htmx:  # type: ignore[attr-defined]
            return tagged(request, render(request, "fleet/worker_live.html", context))
        return render(request, "fleet/worker.html", context)


class JoinView(ScopedView):
    """``/workers/join/``: GET explains, POST makes a token and shows the command that uses it: the only time it can be shown."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "worker.join"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page()

    def post(self, request: HttpRequest) -> HttpResponseBase:
        try:
            token, text = joining.join_token_create(actor=self.actor, organisation=self.choice.organisation)
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
            return redirect("fleet:join")
        server = f"{request.scheme}://{request.get_host()}"
        response = self._page(token=token, command=command_of(server, text))
        response.headers["Cache-Control"] = "no-store"
        return response

    def _page(self, **more: Any) -> HttpResponseBase:
        now = timezone.now()
        context = {
            "choice": self.choice,
            "crumbs": (("Workers", reverse("fleet:workers")),),
            "tokens": selectors.tokens_open(self.choice.organisation, now=now),
            **more,
        }
        return render(self.request, "fleet/join.html", context)


def command_of(server: str, token: str) -> str:
    """What to paste on the machine. Both parts are safe in a shell: an origin and a token of url-safe characters."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", server):
        server = "https://CONTROL-PLANE"
    return f"BULKHEAD_CONTROL_URL={server} \\\n  BULKHEAD_AGENT_TOKEN={token} \\\n  bulkhead-agent"


class TokenRevokeView(ActionView):
    """POST ``/workers/join/<id>/revoke/``."""

    permission = "worker.join"
    reason_required = False
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def subject(self) -> JoinToken:
        found = JoinToken.objects.filter(organisation=self.choice.organisation, pk=self.kwargs["join_token_id"]).first()
        if found is None:
            raise Http404
        return found

    def change(self, reason: str) -> JoinToken:
        return joining.join_token_revoke(actor=self.actor, token=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("fleet:join")

    def done_message(self, result: JoinToken) -> str:
        return f"The join token …{result.hint} joins nobody any more."


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
