"""``/dashboards/views/``: views that were kept, and the form that keeps one."""

from __future__ import annotations

from typing import Any, ClassVar, cast
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.pages import ScopedView, refusal_text
from apps.dashboard.board_kinds import EVERYTHING
from apps.dashboard.board_views import frame_of
from apps.dashboard.models import SavedView
from apps.dashboard.saved_services import DROPPED, saved_view_create, saved_view_delete, saved_view_find, saved_views_of
from apps.ownership.models import Team
from apps.publishing.editing import ActionView
from apps.ui.palette import Hit, matches
from apps.ui.timerange import from_query
from apps.ui.toasts import toast


class SavedViewForm(forms.Form):
    """path, query: of the page that is kept."""

    name = forms.CharField(max_length=80, label="Name", help_text="As you will look for it: in this list, and with Ctrl-K.")
    team = forms.ChoiceField(
        required=False, label="Share with", help_text="Everybody who looks at this organisation finds it under the team."
    )
    path = forms.CharField(max_length=300, widget=forms.HiddenInput)
    query = forms.CharField(max_length=2000, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(forms.ChoiceField, self.fields["team"]).choices = [("", "Nobody: only for me"), *((str(team.pk), team.name) for team in teams)]


class SavedViewsView(ScopedView):
    """GET lists them; with ``?path=`` it offers to keep that page. POST keeps it."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "overview.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        path = request.GET.get("path", "").replace("\x00", "")[:300]
        form = None
        if path:
            query = urlencode([(name, value) for name, value in parse_qsl(request.GET.get("query", "")) if name not in DROPPED])
            form = SavedViewForm(initial={"path": path, "query": query}, teams=self._teams())
        return self._page(form)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        teams = self._teams()
        form = SavedViewForm(request.POST, teams=teams)
        if not form.is_valid():
            return self._page(form, status=400)
        facts = form.cleaned_data
        team = next((row for row in teams if str(row.pk) == facts["team"]), None)
        try:
            view = saved_view_create(
                actor=self.actor,
                organisation=self.choice.organisation,
                owner=cast(User, request.user),
                name=facts["name"],
                path=facts["path"],
                query=facts["query"],
                team=team,
            )
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field == "name" else None, message)
            return self._page(form, status=400)
        toast(request, f"View {view.name} saved")
        return redirect("dashboard:saved_views")

    def _teams(self) -> list[Team]:
        """Those that the person may share with: one query."""
        rows = Team.objects.filter(organisation=self.choice.organisation).order_by("name")
        return [team for team in rows if self.choice.may("saved_view.share", team=team.pk)]

    def _page(self, form: SavedViewForm | None, status: int = 200) -> HttpResponse:
        user = cast(User, self.request.user)
        views = list(saved_views_of(self.choice.organisation, user))
        shown = [
            (view, view.owner_id == user.pk, view.owner_id == user.pk or self.choice.may("saved_view.remove", team=view.team_id))
            for view in views
        ]
        context = {
            **frame_of(self.choice, EVERYTHING, from_query({})),
            "range": None,
            "form": form,
            "mine": [each for each in shown if each[1]],
            "shared": [each for each in shown if not each[1]],
        }
        context["tabs"] = [(label, url, url == self.request.path, count) for label, url, _, count in context["tabs"]]
        return render(self.request, "dashboard/board/views.html", context, status=status)


class SavedViewDeleteView(ActionView):
    """``/dashboards/views/<id>/delete/``, by POST."""

    permission = "overview.view"
    reason_required = False
    reversible = False

    def subject(self) -> SavedView:
        view = saved_view_find(self.choice.organisation, cast(User, self.request.user), self.kwargs["view_id"])
        if view is None:
            raise Http404("There is no such view.")
        return view

    def change(self, reason: str) -> str:
        name = str(self.object.name)
        saved_view_delete(actor=self.actor, view=self.object, by=cast(User, self.request.user), reason=reason)
        return name

    def done_url(self) -> str:
        return reverse("dashboard:saved_views")

    def done_message(self, result: str) -> str:
        return f"View {result} deleted"


def views_for_palette(user: Any, query: str, limit: int) -> list[Hit]:
    """Views that a person keeps, and those shared in their organisations; each opens in its organisation. One query."""
    rows = SavedView.objects.filter(organisation__memberships__user=user).filter(Q(owner=user) | Q(team__isnull=False))
    rows = rows.select_related("organisation", "team").order_by("name", "id").distinct()[:200]
    return [
        Hit(view.name, f"Saved view{f' of {view.team.name}' if view.team else ''}, {view.organisation.name}", opened(view), "overview")
        for view in rows
        if matches(query, view.name, view.team.name if view.team else "")
    ][:limit]


def opened(view: Any) -> str:
    """A view's address in its organisation."""
    return f"{view.path}?{urlencode([*parse_qsl(view.query), ('org', view.organisation.slug)])}"
