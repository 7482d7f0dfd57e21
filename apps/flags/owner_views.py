"""Giving a flag to another team: done at once, or asked for where a rule about two persons holds by the team that owns it."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts.pages import refusal_text
from apps.flags import change_choices as choices
from apps.flags.change_forms import OwnerForm
from apps.flags.changes import owner_submit
from apps.flags.models import ChangeRequest, Flag
from apps.flags.views import FlagView
from apps.ownership.selectors import teams
from apps.publishing.preview import change_publish
from apps.ui.toasts import toast


class OwnerView(FlagView):
    """``/flags/<name>/owner/``: which team answers for it from now on, and why."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "ownership.change"

    def get(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        row = self.subject()
        return self._page(row, OwnerForm(initial={"team": row.owner_id or ""}, teams=self._teams()))

    def post(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        row, form = self.subject(), OwnerForm(request.POST, teams=self._teams())
        if "restored" in request.POST or not form.is_valid():
            return self._page(row, form, status=200 if "restored" in request.POST else 400)
        wanted, reason = form.cleaned_data["team"], form.cleaned_data["reason"]
        team = teams(organisation=self.choice.organisation).get(pk=wanted) if wanted else None
        try:
            result, _ = change_publish(
                actor=self.actor, reason=reason, change=lambda: owner_submit(actor=self.actor, flag=row, team=team, reason=reason)
            )
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(row, form, status=400)
        if isinstance(result, ChangeRequest):
            toast(request, f"{result.title}: {choices.STATES[result.state].label.lower()}", tone="info")
            return redirect("changes:detail", result.pk)
        toast(request, f"{row.name} belongs to {team.name if team else 'nobody'} now")
        return redirect("flags:detail", row.name)

    def _teams(self) -> list[tuple[str, str]]:
        return [(str(team.pk), team.name) for team in teams(organisation=self.choice.organisation)]

    def _page(self, flag: Flag, form: forms.Form, status: int = 200) -> HttpResponse:
        url = reverse("flags:detail", args=[flag.name])
        crumbs = [("Flags", reverse("flags:list")), (flag.name, url)]
        context: dict[str, Any] = {"choice": self.choice, "flag": flag, "form": form, "crumbs": crumbs, "cancel_url": url}
        return render(self.request, "flags/owner.html", context, status=status)
