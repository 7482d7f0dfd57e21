"""Settings' first page and the installation's status; the rest of Settings is ``apps.accounts``."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render

from apps.accounts.pages import ScopedView
from apps.dashboard.installation import installation as facts


class IndexView(ScopedView):
    """``/settings/``: one's own profile, which everybody has."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return redirect("settings:profile")


class InstallationView(ScopedView):
    """``/settings/installation/``: what runs, where it is kept and for how long, and what to do."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "installation.view", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        context = {"choice": self.choice, "found": facts(request)}
        return render(request, "settings/installation.html", context)
