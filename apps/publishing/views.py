"""The config's history: versions, what they changed, rolling back, who runs what."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View

from apps.audit.actors import Actor
from apps.publishing.editing import refusal_text
from apps.publishing.rollback import version_undo
from apps.ui.toasts import toast


class UndoView(LoginRequiredMixin, View):
    """``/config/<number>/undo/``: the toast's *Undo*. Whoever may change the objects may undo the change."""

    http_method_names: ClassVar[list[str]] = ["post"]

    def post(self, request: HttpRequest, number: int, **kwargs: Any) -> HttpResponseBase:
        try:
            version = version_undo(actor=Actor.of_user(request.user, request), number=number)
        except PermissionDenied:
            raise
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
        else:
            toast(request, f"v{number} undone" + (f" with v{version.number}" if version else ": it already was"))
        return redirect(_back(request))


def _back(request: HttpRequest) -> str:
    """The page the person came from, when it is one of ours."""
    referer = request.headers.get("referer", "")
    safe = url_has_allowed_host_and_scheme(referer, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return referer if safe else "/"
