"""A page that edits routes through the real services: what tests of the editing flow drive."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpResponse, QueryDict
from django.urls import include, path

from apps.publishing.editing import ActionView, EditView
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.selectors import routes_of, target_specs
from apps.routes.services import route_ensure, route_update


class RouteForm(forms.Form):
    name = forms.CharField(max_length=400, help_text="What apps send as model.")
    targets = forms.CharField(widget=forms.Textarea, help_text="provider/model, one a line.")
    max_attempts = forms.IntegerField(initial=3)

    def specs(self) -> list[TargetSpec]:
        return [TargetSpec(*line.split("/", 1)) for line in self.cleaned_data["targets"].split()]


class RouteCreate(EditView):
    form_class, permission, kind = RouteForm, "route.change", "route"

    def change(self, form: Any) -> Route:
        facts = form.cleaned_data
        return route_ensure(
            actor=self.actor, organisation=self.choice.organisation, name=facts["name"], targets=form.specs(),
            max_attempts=facts["max_attempts"], reason=self.reason,
        )  # fmt: skip

    def reshape(self, data: QueryDict) -> QueryDict | None:
        if "add" not in data:
            return None
        data["targets"] = data["targets"] + "\nsim/more"
        return data

    def done_url(self, result: Any) -> str:
        return f"/done/{result.name}/"

    def done_message(self, result: Any) -> str:
        return f"Route {result.name} published"


class RouteEdit(RouteCreate):
    def subject(self) -> Route:
        found = routes_of(self.choice.organisation).filter(name=self.kwargs["name"]).first()
        if found is None:
            raise Http404
        return found

    def initial(self) -> dict[str, Any]:
        lines = [f"{spec.provider}/{spec.model}" for spec in target_specs(self.object)]
        return {"name": self.object.name, "targets": "\n".join(lines), "max_attempts": self.object.max_attempts}

    def change(self, form: Any) -> Route:
        return route_update(
            actor=self.actor, route=self.object, targets=form.specs(), max_attempts=form.cleaned_data["max_attempts"], reason=self.reason
        )


class ReasonedEdit(RouteEdit):
    reason_required = True


class RouteDisable(ActionView):
    permission = "route.change"
    subject = RouteEdit.subject

    def change(self, reason: str) -> Route:
        return route_update(actor=self.actor, route=self.object, enabled=False, reason=reason)

    def done_url(self) -> str:
        return f"/done/{self.object.name}/"

    def done_message(self, result: Any) -> str:
        return f"Route {result.name} disabled"


urlpatterns = [
    path("edit/new/", RouteCreate.as_view()),
    path("edit/<str:name>/edit/", RouteEdit.as_view()),
    path("edit/<str:name>/reasoned/", ReasonedEdit.as_view()),
    path("edit/<str:name>/disable/", RouteDisable.as_view()),
    path("done/<str:name>/", lambda request, name: HttpResponse(name)),
    path("", include("controlplane.urls")),
]
handler403 = "apps.ui.views.forbidden"
handler404 = "apps.ui.views.not_found"
handler500 = "apps.ui.views.server_error"
