"""Joining a worker: the page with its two steps, what became of a token, and taking one back."""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from apps.fleet import joining, lists, selectors
from apps.fleet.models import JoinToken
from apps.publishing.editing import ActionView, ScopedView, refusal_text
from apps.ui.fragments import tagged
from apps.ui.toasts import toast


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
        response = self._page(line=lists.TokenLine(token, timezone.now()), command=command_of(server, text), clear=clear_text(server))
        response.headers["Cache-Control"] = "no-store"
        return response

    def _page(self, **more: Any) -> HttpResponseBase:
        shown = more.get("line")  # what became of this one stands above the others
        tokens = lists.token_lines(self.choice.organisation, now=timezone.now())
        context = {
            "choice": self.choice,
            "crumbs": (("Workers", reverse("fleet:workers")),),
            "tokens": [one for one in tokens if shown is None or one.token.pk != shown.token.pk],
            "may_deploy": self.choice.may("deployment.change"),
            **more,
        }
        return render(self.request, "fleet/join.html", context)


class ArrivedView(ScopedView):
    """``/workers/join/<id>/arrived/``: whether the worker that this token was made for is there; part of the page that showed it."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "worker.join"

    def get(self, request: HttpRequest, join_token_id: UUID) -> HttpResponseBase:
        now = timezone.now()
        line = lists.token_get(self.choice.organisation, join_token_id, now=now)
        if line is None:
            raise Http404
        if not request.htmx:  # type: ignore[attr-defined]
            return redirect("fleet:join")
        joined = selectors.worker_lines(self.choice.organisation, now=now, pk=line.token.worker_id) if line.token.worker_id else []
        context = {"choice": self.choice, "line": line, "joined": joined, "may_deploy": self.choice.may("deployment.change")}
        return tagged(request, render(request, "fleet/arrived.html", context))


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


def clear_text(server: str) -> bool:
    """Whether a worker would send its credential over the network unencrypted; its agent does so only where it is told to."""
    parts = urlsplit(server)
    return parts.scheme == "http" and not (parts.hostname in ("localhost", "::1") or str(parts.hostname).startswith("127."))


def command_of(server: str, token: str) -> str:
    """What to paste on the machine. Both parts are safe in a shell: an origin and a token of url-safe characters."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", server):
        server = "https://CONTROL-PLANE"
    insecure = "BULKHEAD_AGENT_INSECURE=1 \\\n  " if clear_text(server) else ""
    return f"BULKHEAD_CONTROL_URL={server} \\\n  {insecure}BULKHEAD_AGENT_TOKEN={token} \\\n  bulkhead-agent"
