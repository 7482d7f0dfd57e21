"""The demo's pages: thin; every write is a POST that ends on Overview with a toast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from kombu.exceptions import OperationalError as BrokerError

from apps.accounts.scope import scope_choose
from apps.accounts.selectors import organisation_get
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.ui.toasts import toast
from controlplane.demo import services, tasks
from controlplane.demo.removal import STEPS
from controlplane.demo.seed import CHAT_ROUTE, ORGANISATION
from controlplane.demo.state import demo_state, removal_progress

HOME = f"/?org={ORGANISATION}"


def action(act: Callable[[Actor, HttpRequest], tuple[str, str | None]]) -> Callable[..., HttpResponse]:
    """A view of one act: ``act`` returns what to say and where it can be undone. What a service refuses is said instead."""

    @login_required
    @require_POST
    def view(request: HttpRequest) -> HttpResponse:
        try:
            message, undo = act(Actor.of_user(request.user, request), request)
            toast(request, message, undo_url=undo)
        except ServiceError as error:
            toast(request, str(error), tone="bad")
        return redirect(HOME)

    return view


def _break(actor: Actor, request: HttpRequest) -> tuple[str, str | None]:
    services.demo_break(actor=actor)
    return "sim-east fails every request now. Watch sim-west answer instead.", reverse("demo:undo")


def _switch(actor: Actor, request: HttpRequest) -> tuple[str, str | None]:
    version = services.demo_switch(actor=actor)
    if version is None:
        return f"All of {CHAT_ROUTE} goes to sim-west already.", None
    return f"All of {CHAT_ROUTE} goes to sim-west, from v{version.number} on.", reverse("demo:undo")


def _undo(actor: Actor, request: HttpRequest) -> tuple[str, str | None]:
    version = services.demo_undo(actor=actor)
    return "sim-east answers again" + (f" and {CHAT_ROUTE} chooses its targets, from v{version.number} on." if version else "."), None


def _traffic(actor: Actor, request: HttpRequest) -> tuple[str, str | None]:
    on = request.POST.get("on") == "1"
    services.demo_traffic_set(actor=actor, on=on)
    return "The demo sends its own requests." if on else "The demo's own requests are off. Yours still work.", None


demo_break, demo_switch, demo_undo, demo_traffic = action(_break), action(_switch), action(_undo), action(_traffic)


def _context(request: HttpRequest, **more: Any) -> dict[str, Any]:
    state = demo_state(settings.DATA_DIR)
    return {
        "organisation": organisation_get(slug=ORGANISATION),
        "removal": state.removal,
        "steps": STEPS,
        "may": scope_choose(request).may_installation("organisation.change"),
        **more,
    }


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest) -> HttpResponse:
    """What removing deletes and keeps; POST with the typed name begins it, and the page shows how far it is."""
    context = _context(request)
    if context["organisation"] is None and context["removal"] is None:
        raise Http404
    if request.method != "POST":
        return render(request, "demo/remove.html", context)
    actor = Actor.of_user(request.user, request)
    typed = request.POST.get("typed", "")
    try:
        begun = services.demo_removal_start(actor=actor, typed=typed, by=str(request.user))
        tasks.demo_remove.delay(asdict(actor), begun.organisation)
    except ServiceError as error:
        return render(request, "demo/remove.html", _context(request, error=str(error), typed=typed), status=422)
    except BrokerError:
        removal_progress(settings.DATA_DIR, state="failed", error="the task queue does not answer")
        message = "The task queue does not answer, so nothing was deleted yet. `manage.py status` shows what runs; then try again."
        return render(request, "demo/remove.html", _context(request, error=message, typed=typed), status=503)
    return redirect("demo:remove")


@login_required
@never_cache
@require_safe
def progress(request: HttpRequest) -> HttpResponse:
    """How far the removal is, for the page that waits for it."""
    return render(request, "demo/progress.html", _context(request))
