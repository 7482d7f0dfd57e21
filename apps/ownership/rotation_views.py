"""Pages of who is on call: rotations, what comes in each, who stands in."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.ownership import checks, choices, rotation_services
from apps.ownership.forms import OverrideForm, RotationForm
from apps.ownership.models import Rotation, RotationOverride
from apps.ownership.rotation_selectors import rotation_get, shifts, standing
from apps.ownership.tables import rotations_list
from apps.ownership.views import place_tabs
from apps.publishing.editing import ActionView, EditView, ScopedView, refusal_text
from apps.publishing.trail import trail
from apps.ui.toasts import toast

AHEAD_DAYS = 35
SHOWN = 12
"""Stretches that a rotation's page lists; its gaps are looked for as far as ``AHEAD_DAYS``."""
_FIELDS = {"minute": "time", "from_minute": "from_time", "to_minute": "to_time", "members": "people"}
"""The service's names of fields that the form calls otherwise."""


class RotationsView(ScopedView):
    """``/ownership/rotations/``: who is on now and next in every rotation, gaps first to be seen."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = rotations_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-rotations.csv")
        context = {"choice": self.choice, "listing": listing, "tabs": place_tabs("rotations")}
        context |= {"may_change": self.choice.may("rotation.change"), "kinds": choices.ROTATION_KINDS}
        return render(request, "ownership/rotations.html", context)


class OneRotation(ScopedView):
    """A view of one rotation of the chosen organisation."""

    def subject(self) -> Any:
        """The rotation with its people. Raises Http404."""
        row = rotation_get(self.choice.organisation, self.kwargs["rotation_id"])
        if row is None:
            raise Http404("There is no such rotation.")
        return row

    @property
    def url(self) -> str:
        return reverse("ownership:rotation", args=[self.kwargs["rotation_id"]])


class RotationView(OneRotation):
    """``/ownership/rotations/<id>/``: who is on now, what comes, its gaps, who stands in."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest, rotation_id: Any) -> HttpResponseBase:
        return rotation_page(self, request, self.subject())


def rotation_page(
    view: OneRotation, request: HttpRequest, rotation: Rotation, form: OverrideForm | None = None, status: int = 200
) -> HttpResponse:
    """A rotation's page; ``form``: what was sent to stand in, and refused."""
    choice, now = view.choice, timezone.now()
    (found,) = standing([rotation], at=now)
    coming = shifts(rotation, at=now, days=AHEAD_DAYS)
    may_override = choice.may("rotation.override", team=rotation.team_id)
    context: dict[str, Any] = {
        "choice": choice,
        "rotation": rotation,
        "found": found,
        "coming": coming[:SHOWN],
        "more": max(len(coming) - SHOWN, 0),
        "gaps": [shift for shift in coming if shift.user is None],
        "ahead_days": AHEAD_DAYS,
        "members": list(rotation.member_rows.all()),
        "overrides": [row for row in rotation.overrides.all() if row.ends_at > now],
        "hand_over": f"{choices.WEEKDAYS[rotation.starts_on.weekday()]} {checks.clock_written(rotation.minute)}",
        "every": choices.EVERY.get(rotation.every_days, f"every {rotation.every_days} days"),
        "days": checks.days_written(rotation.days) or "every day",
        "hours": f"{checks.clock_written(rotation.from_minute)} to {checks.clock_written(rotation.to_minute)}",
        "may_change": choice.may("rotation.change", team=rotation.team_id),
        "may_override": may_override,
    }
    if may_override:
        context["form"] = form or OverrideForm(people=_people(choice.organisation))
    if choice.may("audit.view"):
        context["entries"] = trail(list(audit_events(subject_kind="rotation", subject_id=rotation.pk)[:20]))
    return render(request, "ownership/rotation.html", context, status=status)


def _people(organisation: Any) -> list[User]:
    """Everybody who may stand in: one query."""
    return list(User.objects.filter(memberships__organisation=organisation, is_active=True).order_by("email"))


class RotationEditView(EditView):
    """What creating and editing have in common."""

    form_class = RotationForm
    permission = "rotation.change"
    kind = "rotation"

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation}

    def change(self, form: Any) -> Rotation:
        facts = form.facts()
        if self.object is None and Rotation.objects.filter(organisation=self.choice.organisation, name=facts["name"]).exists():
            raise ServiceError(f"There is a rotation {facts['name']!r} already: choose another short name.", field="name")
        return rotation_services.rotation_set(actor=self.actor, organisation=self.choice.organisation, reason=self.reason, **facts)

    def done_url(self, result: Rotation) -> str:
        return reverse("ownership:rotation", args=[result.pk])

    def done_message(self, result: Rotation) -> str:
        return f"Rotation {result.name} saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Ownership", reverse("ownership:map")), ("On call", reverse("ownership:rotations"))]

    def cancel_url(self) -> str:
        return reverse("ownership:rotations")

    def field_of(self, name: str | None, form: Any) -> str | None:
        return super().field_of(_FIELDS.get(name or "", name), form)


class RotationCreateView(RotationEditView):
    """``/ownership/rotations/new/``; ``?team=<id>`` chooses whose, ``?kind=chaos-lead`` what for."""

    def initial(self) -> dict[str, Any]:
        return {"team": self.request.GET.get("team", ""), "kind": self.request.GET.get("kind", choices.ONCALL)}


class RotationUpdateView(OneRotation, RotationEditView):
    """``/ownership/rotations/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        row = self.object
        return {
            "name": row.name,
            "kind": row.kind,
            "team": str(row.team_id or ""),
            "people": "\n".join(member.user.email for member in row.member_rows.all()),
            "zone": row.zone,
            "weekday": row.starts_on.weekday(),
            "time": checks.clock_written(row.minute),
            "every_days": row.every_days,
            "days": checks.days_written(row.days),
            "from_time": checks.clock_written(row.from_minute),
            "to_time": checks.clock_written(row.to_minute),
        }

    def form_kwargs(self) -> dict[str, Any]:
        return {"organisation": self.choice.organisation, "fixed": True, "every": self.object.every_days}

    def cancel_url(self) -> str:
        return self.url


class RotationDeleteView(OneRotation, ActionView):
    """POST ``/ownership/rotations/<id>/delete/``."""

    permission = "rotation.change"
    reversible = False

    def change(self, reason: str) -> None:
        rotation_services.rotation_delete(actor=self.actor, rotation=self.object, reason=reason)

    def done_url(self) -> str:
        return reverse("ownership:rotations")

    def done_message(self, result: None) -> str:
        return f"Rotation {self.object.name} deleted."


class OverrideView(OneRotation):
    """POST ``/ownership/rotations/<id>/override/``: somebody stands in."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "rotation.override"

    def post(self, request: HttpRequest, rotation_id: Any) -> HttpResponseBase:
        rotation = self.subject()
        form = OverrideForm(request.POST, people=_people(self.choice.organisation))
        if not form.is_valid():
            return rotation_page(self, request, rotation, form, 400)
        values = form.cleaned_data
        person = form.known[values["person"]]
        try:
            rotation_services.rotation_override_add(
                actor=self.actor, rotation=rotation, user=person, starts_at=values["starts_at"], ends_at=values["ends_at"],
                reason=values["reason"],
            )  # fmt: skip
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return rotation_page(self, request, rotation, form, 400)
        toast(request, f"{person.email} stands in for {rotation.name}")
        return redirect(self.url)


class OverrideEndView(OneRotation, ActionView):
    """POST ``/ownership/rotations/<id>/override/<override id>/end/``."""

    permission = "rotation.override"
    reason_required = False
    reversible = False

    def change(self, reason: str) -> None:
        row = RotationOverride.objects.select_related("rotation__organisation").filter(
            rotation=self.object, pk=self.kwargs["override_id"]
        ).first()  # fmt: skip
        if row is not None:
            rotation_services.rotation_override_remove(actor=self.actor, override=row, reason=reason)

    def done_url(self) -> str:
        return self.url

    def done_message(self, result: None) -> str:
        return f"In {self.object.name} it is everybody's own turn again."
