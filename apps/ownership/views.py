"""Pages of who answers for what: the map, what nobody owns, teams and services."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef
from django.db.models.functions import JSONObject
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.rules import Role
from apps.accounts.teams import KnownTeam, members_of, team_membership_set
from apps.audit.errors import ServiceError
from apps.audit.selectors import audit_events
from apps.ownership import care_services, choices, map_services, services
from apps.ownership.forms import MemberForm, RegionsForm, TeamForm, contact_written
from apps.ownership.map_selectors import ownership_map
from apps.ownership.models import Contact, Layer, Region, Service, Sla, Team
from apps.ownership.owned import owner_assign, things_of
from apps.ownership.rotation_selectors import on_call_now
from apps.ownership.selectors import teams
from apps.ownership.tables import teams_list
from apps.ownership.team_deletion import team_attached, team_delete
from apps.publishing.editing import ActionView, EditView, ScopedView, refusal_text
from apps.publishing.trail import trail
from apps.ui.toasts import toast

MOST_SHOWN = 200
"""Things of one kind that a page lists."""


def place_tabs(current: str) -> list[tuple[str, str, bool, None]]:
    """The tabs of ownership, for ``ui/tabs.html``."""
    named = (("Map", "map"), ("Teams", "teams"), ("On call", "rotations"), ("Runbooks", "runbooks"), ("Unowned", "unowned"))
    return [(label, reverse(f"ownership:{name}"), name == current, None) for label, name in named]


class MapView(ScopedView):
    """``/ownership/``: regions and layers, and the team of each cell; the unowned ones in the open."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        may = self.choice.may("ownership.change")
        context = {
            "choice": self.choice,
            "map": ownership_map(self.choice.organisation),
            "teams": list(teams(organisation=self.choice.organisation)) if may else [],
            "may_change": may,
            "unowned": choices.UNOWNED,
            "tabs": place_tabs("map"),
        }
        return render(request, "ownership/map.html", context)


class RegionsView(EditView):
    """``/ownership/regions/``: the regions and layers of the map."""

    form_class = RegionsForm
    permission = "ownership.change"
    kind = "map"

    def subject(self) -> Any:
        return self.choice.organisation

    def title(self) -> str:
        return "Regions and layers"

    def initial(self) -> dict[str, Any]:
        written = {
            field: [f"{row.name} | {row.title}" if row.title else row.name for row in model.objects.filter(organisation=self.object)]
            for field, model in (("regions", Region), ("layers", Layer))
        }
        if not written["layers"] and not Region.objects.filter(organisation=self.object).exists():
            written["layers"] = [f"{name} | {title}" for name, title, _ in choices.LAYERS]
        return {field: "\n".join(lines) for field, lines in written.items()}

    def change(self, form: Any) -> Any:
        given: dict[str, Any] = {"actor": self.actor, "reason": self.reason}
        organisation, helps = self.choice.organisation, {name: text for name, _, text in choices.LAYERS}
        for at, (name, title) in enumerate(form.pairs("layers")):
            known = Layer.objects.filter(organisation=organisation, name=name).exists()
            text = None if known else helps.get(name, "")
            map_services.layer_set(organisation=organisation, name=name, title=title or name, help=text, position=at, **given)
        for name, title in form.pairs("regions"):
            map_services.region_set(organisation=organisation, name=name, title=title, **given)
        for layer in Layer.objects.filter(organisation=organisation).exclude(name__in=[name for name, _ in form.pairs("layers")]):
            map_services.layer_delete(layer=layer, **given)
        for region in Region.objects.filter(organisation=organisation).exclude(name__in=[name for name, _ in form.pairs("regions")]):
            map_services.region_delete(region=region, **given)
        return self.choice.organisation

    def done_url(self, result: Any) -> str:
        return reverse("ownership:map")

    def done_message(self, result: Any) -> str:
        return "The map is saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Ownership", reverse("ownership:map"))]

    def cancel_url(self) -> str:
        return reverse("ownership:map")

    def field_of(self, name: str | None, form: Any) -> str | None:
        return "regions" if name in ("name", "title") else super().field_of(name, form)


class UnownedView(ScopedView):
    """``/ownership/unowned/``: what nobody answers for, by kind, to be given to a team."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "ownership.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        may = self.choice.may("ownership.change")
        context = {
            "choice": self.choice,
            "held": things_of(self.choice.organisation, team=None, most=MOST_SHOWN),
            "teams": list(teams(organisation=self.choice.organisation)) if may else [],
            "may_change": may,
            "tabs": place_tabs("unowned"),
            "most": MOST_SHOWN,
        }
        context["nothing"] = not any(held.things for held in context["held"])
        return render(request, "ownership/unowned.html", context)


class AssignView(ActionView):
    """POST ``/ownership/assign/``: ``things`` (``route:<id>``, ``cell:<layer>:<region>``) go to ``team`` (an id; empty: nobody)."""

    permission = "ownership.change"
    reason_required = False
    reversible = False

    def subject(self) -> Team | None:
        pk = self.request.POST.get("team", "")
        if not pk:
            return None
        return next((team for team in teams(organisation=self.choice.organisation) if str(team.pk) == pk), None) or _gone()

    def change(self, reason: str) -> int:
        sent = [tuple(text.partition(":")[::2]) for text in self.request.POST.getlist("things")[:1001]]
        cells = [rest for kind, rest in sent if kind == "cell"]
        others = [(kind, rest) for kind, rest in sent if kind != "cell"]
        organisation = self.choice.organisation
        for cell in cells:
            layer, _, region = cell.partition(":")
            map_services.cell_set(actor=self.actor, organisation=organisation, region=region, layer=layer, team=self.object, reason=reason)
        count = len(cells)
        if others or not cells:
            count += owner_assign(actor=self.actor, organisation=organisation, things=others, team=self.object, reason=reason)
        return count

    def done_url(self) -> str:
        place = self.request.POST.get("from", "")
        if place.startswith("team:"):  # back to the team that gave it away
            team = next((team for team in teams(organisation=self.choice.organisation) if f"team:{team.pk}" == place), None)
            return f"{reverse('ownership:team', args=[team.pk])}?tab=owns" if team is not None else reverse("ownership:teams")
        return reverse("ownership:unowned" if place == "unowned" else "ownership:map")

    def done_message(self, result: int) -> str:
        what = "1 thing" if result == 1 else f"{result} things"
        return f"{what} given to {self.object.name}." if self.object else f"{what} belong to nobody now."


def _gone() -> Any:
    raise Http404("There is no such team.")


class TeamsView(ScopedView):
    """``/ownership/teams/``: every team, with what it runs and who is on call."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "team.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        csv = request.GET.get("format") == "csv"
        listing = teams_list(self.choice, request.GET, csv=csv)
        if csv:
            return listing.csv("bulkhead-teams.csv")
        context = {"choice": self.choice, "listing": listing, "tabs": place_tabs("teams"), "may_change": self.choice.may("team.change")}
        return render(request, "ownership/teams.html", context)


class OneTeam(ScopedView):
    """A view of one team of the chosen organisation."""

    def subject(self) -> Any:
        """The team, with its contacts as ``reached``. Raises Http404."""
        contacts = Contact.objects.filter(team=OuterRef("pk")).order_by("position")
        written = contacts.values(made=JSONObject(kind="kind", value="value", label="label")).values("made")
        rows = teams(organisation=self.choice.organisation).annotate(reached=ArraySubquery(written))
        return rows.filter(pk=self.kwargs["team_id"]).first() or _gone()

    @property
    def url(self) -> str:
        return reverse("ownership:team", args=[self.kwargs["team_id"]])


TEAM_TABS = (("overview", "Overview"), ("people", "People"), ("owns", "Owns"), ("history", "History"))


class TeamView(OneTeam):
    """``/ownership/teams/<id>/``: how it is reached, who is on call, what it promises; ``?tab=`` its people, what it owns, its history."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission = "team.view"

    def get(self, request: HttpRequest, team_id: Any) -> HttpResponseBase:
        return team_page(self, request, self.subject())


def team_page(view: OneTeam, request: HttpRequest, team: Any, form: MemberForm | None = None, status: int = 200) -> HttpResponse:
    """A team's page; ``form``: what was sent and refused on the tab of its people."""
    choice = view.choice
    shown = [(value, label) for value, label in TEAM_TABS if value != "history" or choice.may("audit.view")]
    tab = "people" if form is not None else request.GET.get("tab", "")
    tab = tab if tab in dict(shown) else "overview"
    context: dict[str, Any] = {
        "choice": choice,
        "team": team,
        "tab": tab,
        "tabs": [(label, view.url if value == "overview" else f"{view.url}?tab={value}", value == tab, None) for value, label in shown],
        "may_change": choice.may("team.change", team=team.pk),
        "may_promise": choice.may("sla.change", team=team.pk),
        "may_people": choice.may("team_member.change", team=team.pk),
        "may_delete": choice.may("team.delete"),
    }
    if tab == "overview":
        slas = {row.service_id: row for row in Sla.objects.filter(team=team).select_related("team", "service")}
        context["on_call"] = on_call_now(organisation=choice.organisation, team=team)
        if choice.may("rotation.change", team=team.pk):
            context["create_url"] = f"{reverse('ownership:rotation_create')}?team={team.pk}"
        context["contacts"] = [(choices.CONTACT_KINDS[row["kind"]], row) for row in team.reached]
        context["sla"] = slas.get(None)
        context["services"] = [(row, slas.get(row.pk)) for row in Service.objects.filter(team=team)]
    elif tab == "people":
        context["members"] = members_of(team.pk)
        context["form"] = form or MemberForm()
    elif tab == "owns":
        context["attached"] = team_attached(team)
        context["may_give"] = choice.may("ownership.change", team=team.pk)
        context["teams"] = list(teams(organisation=choice.organisation).exclude(pk=team.pk)) if context["may_give"] else []
    else:
        context["entries"] = trail(list(audit_events(subject_kind="team", subject_id=team.pk)[:50]))
    return render(request, "ownership/team.html", context, status=status)


class TeamEditView(EditView):
    """What creating and editing a team have in common."""

    form_class = TeamForm
    permission = "team.change"
    kind = "team"

    def change(self, form: Any) -> Team:
        values, given = form.cleaned_data, {"actor": self.actor, "reason": self.reason}
        slug = self.object.slug if self.object is not None else values["slug"]
        if self.object is None and Team.objects.filter(organisation=self.choice.organisation, slug=slug).exists():
            raise ServiceError(f"There is a team {slug!r} already: choose another short name.", field="slug")
        team = services.team_ensure(actor=self.actor, organisation=self.choice.organisation, slug=slug, name=values["name"])
        team = services.team_update(actor=self.actor, team=team, contact_email=values["contact_email"])
        care_services.contacts_set(team=team, contacts=form.specs(), **given)
        return team

    def done_url(self, result: Team) -> str:
        return reverse("ownership:team", args=[result.pk])

    def done_message(self, result: Team) -> str:
        return f"Team {result.name} saved."

    def crumbs(self) -> list[tuple[str, str]]:
        return [("Ownership", reverse("ownership:map")), ("Teams", reverse("ownership:teams"))]

    def cancel_url(self) -> str:
        return reverse("ownership:teams")


class TeamCreateView(TeamEditView):
    """``/ownership/teams/new/``."""


class TeamUpdateView(OneTeam, TeamEditView):
    """``/ownership/teams/<id>/edit/``."""

    def initial(self) -> dict[str, Any]:
        team = self.object
        contacts = [contact_written(care_services.ContactSpec(**row)) for row in team.reached]
        return {"slug": team.slug, "name": team.name, "contact_email": team.contact_email, "contacts": "\n".join(contacts)}

    def form_kwargs(self) -> dict[str, Any]:
        return {"fixed": True}

    def cancel_url(self) -> str:
        return self.url


class TeamDeleteView(ActionView, OneTeam):
    """POST ``/ownership/teams/<id>/delete/``: for good, so the name is typed."""

    permission = "team.delete"
    reversible = False
    deleted = False

    def subject(self) -> Team:
        return OneTeam.subject(self)

    def change(self, reason: str) -> Team:
        if self.request.POST.get("confirmation", "") != self.object.name:
            raise ServiceError(f"Type the team's name, {self.object.name}, to delete it: this cannot be undone.", "confirmation")
        team_delete(actor=self.actor, team=self.object, reason=reason)
        self.deleted = True
        return self.object

    def done_url(self) -> str:
        return reverse("ownership:teams") if self.deleted else f"{self.url}?tab=owns"

    def done_message(self, result: Team) -> str:
        return f"Team {result.name} deleted."


class TeamPeopleView(OneTeam):
    """POST ``/ownership/teams/<id>/people/``: a role in the team by email; ``remove`` takes it away."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "team_member.change"

    def post(self, request: HttpRequest, team_id: Any) -> HttpResponseBase:
        team, form = self.subject(), MemberForm(request.POST)
        if not form.is_valid():
            return team_page(self, request, team, form, 400)
        known = KnownTeam(id=str(team.pk), slug=team.slug, name=team.name, organisation=self.choice.organisation)
        role, email = Role(form.cleaned_data["role"]), form.cleaned_data["email"]
        taken = "remove" in request.POST
        try:
            user = User.objects.filter(email__iexact=email, memberships__organisation=self.choice.organisation).first()
            if user is None:
                raise ServiceError(f"{email} has no role in {self.choice.organisation.name}: an admin gives one first.", field="email")
            team_membership_set(actor=self.actor, user=user, team=known, role=None if taken else role)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return team_page(self, request, team, form, 400)
        toast(request, f"{user.email} has no role in {team.name} any more" if taken else f"{user.email} is {role.value} of {team.name}")
        return redirect(f"{self.url}?tab=people")
