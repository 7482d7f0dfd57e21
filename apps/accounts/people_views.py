"""People of the installation: the list, a person's page, asking in, roles, disabling, removing."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts import invitations, people
from apps.accounts.forms import InviteForm, RolesForm, TeamRoleForm
from apps.accounts.models import Invitation, Membership, Organisation, User
from apps.accounts.pages import ScopedView, refusal_text
from apps.accounts.people_list import PeopleList, person_status
from apps.accounts.sessions import sessions_of
from apps.accounts.teams import KnownTeam, known_teams, team_membership_set
from apps.audit.selectors import audit_events
from apps.ui.timeline import Entry
from apps.ui.toasts import toast

REASON_LENGTH = 2000


class PeopleView(ScopedView):
    """``/settings/people/``: everybody, and who was asked in and has not come yet."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]
    permission, installation = "user.view", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        found = PeopleList(request.GET, may_change=self.choice.may_installation("user.change"))
        if request.GET.get("format") == "csv":
            return found.listing.csv("bulkhead-people.csv")
        context = {"choice": self.choice, "people": found, "listing": found.listing, "tab": "people"}
        context["invitations"] = list(Invitation.objects.filter(user=None)) if found.may_change else []
        return render(request, "settings/people.html", context)


class InviteView(ScopedView):
    """``/settings/people/invite/``: whom, with which roles; then the link, once."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission, installation = "user.change", True

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page(InviteForm(organisations=_organisations(), initial={"role-main": "viewer"}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = InviteForm(request.POST, organisations=_organisations())
        if not form.is_valid():
            return self._page(form, status=400)
        roles = {slug: role for slug, role in form.roles().items() if role is not None}
        try:
            invitation, token = invitations.invitation_create(actor=self.actor, email=form.cleaned_data["email"], roles=roles)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        return link_page(request, invitation, token)

    def _page(self, form: InviteForm, status: int = 200) -> HttpResponse:
        context = {"form": form, "choice": self.choice, "title": "Invite a colleague", "roles": _role_fields(form)}
        return render(self.request, "settings/invite.html", context, status=status)


class InvitationView(ScopedView):
    """``/settings/people/invitations/<id>/renew|revoke/``: a new link, or none any more."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission, installation = "user.change", True
    act: str = ""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        invitation = Invitation.objects.filter(pk=pk).first()
        if invitation is None:
            toast(request, "This invitation was used or taken back already.", tone="info")
            return redirect("settings:people")
        try:
            if self.act == "renew":
                return link_page(request, *invitations.invitation_renew(actor=self.actor, invitation=invitation))
            invitations.invitation_revoke(actor=self.actor, invitation=invitation)
            toast(request, f"Invitation of {invitation.email} taken back")
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
        return redirect("settings:people")


def link_page(request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
    """The link, shown this once; only its hash is kept."""
    link = request.build_absolute_uri(reverse("accounts:accept", args=[token]))
    unsent = invitations.invitation_mail(invitation=invitation, link=link)
    return render(request, "settings/invited.html", {"invitation": invitation, "link": link, "unsent": unsent})


class PersonView(ScopedView):
    """``/settings/people/<id>/``: one person, with roles, sessions and what they did. POST sets the roles."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission, installation = "user.view", True

    def get(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        return self._page(person_or_404(pk))

    def post(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        person = person_or_404(pk)
        form = RolesForm(request.POST, organisations=_organisations())
        if not form.is_valid():
            return self._page(person, form, status=400)
        try:
            people.roles_set(actor=self.actor, user=person, roles=form.roles())
        except Exception as error:
            message, _ = refusal_text(error)
            form.add_error(None, message)
            return self._page(person, form, status=400)
        toast(request, f"Roles of {person.email} saved")
        return redirect("settings:person", pk=person.pk)

    def _page(self, person: User, form: RolesForm | None = None, status: int = 200, team_form: TeamRoleForm | None = None) -> HttpResponse:
        may_change = self.choice.may_installation("user.change")
        memberships = list(person.memberships.all())
        if form is None and may_change:
            initial = {f"role-{row.organisation.slug}": row.role for row in memberships}
            form = RolesForm(organisations=_organisations(), initial=initial)
        events = audit_events(actor_id=str(person.pk))[:12] if self.choice.may_installation("audit.view") else []
        context = {
            "choice": self.choice,
            "person": person,
            "status": person_status(person),
            "memberships": memberships,
            "form": form,
            "team_form": team_form or TeamRoleForm(teams=teams_of(person)) if may_change else None,
            "may_change": may_change and person.pk != self.request.user.pk,
            "may_set_roles": may_change,
            "sessions": sessions_of(person).count(),
            "entries": [
                Entry(
                    at=event.at,
                    title=event.action,
                    text=f"{event.subject_name}, from {event.actor_address}" if event.actor_address else event.subject_name,
                    url=reverse("audit:event", args=[event.seq]),
                )
                for event in events
                if event.seq
            ],
            "disable_question": f"Disable {person.email}?",
            "remove_question": f"Remove {person.email}?",
            "crumbs": [("Settings", reverse("settings:index")), ("People", reverse("settings:people"))],
        }
        return render(self.request, "settings/person.html", context, status=status)


class PersonTeamView(PersonView):
    """``/settings/people/<id>/team/``: a role in one team; ``remove`` takes it away."""

    http_method_names: ClassVar[list[str]] = ["post"]

    def post(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        person = person_or_404(pk)
        form = TeamRoleForm(request.POST, teams=teams_of(person))
        if not form.is_valid():
            return self._page(person, status=400, team_form=form)
        team, role = form.chosen
        taken = "remove" in request.POST
        try:
            team_membership_set(actor=self.actor, user=person, team=team, role=None if taken else role)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(person, status=400, team_form=form)
        toast(
            request, f"{person.email} has no role in team {team.name}" if taken else f"{person.email} is {role.value} of team {team.name}"
        )
        return redirect("settings:person", pk=person.pk)


def teams_of(person: User) -> list[KnownTeam]:
    """The teams of the organisations that a person belongs to."""
    belongs = {row.organisation_id for row in person.memberships.all()}
    return [team for team in known_teams() if team.organisation.pk in belongs]


class PersonActionView(ScopedView):
    """``/settings/people/<id>/disable|enable|remove/``, from a dialog with a reason; removing takes the email, typed.
    ``password-link``: a link by which the person chooses a new password, shown once."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission, installation = "user.change", True
    act: str = ""

    def post(self, request: HttpRequest, pk: Any) -> HttpResponseBase:
        person = person_or_404(pk)
        reason = request.POST.get("reason", "").strip()[:REASON_LENGTH]
        back = redirect("settings:person", pk=pk)
        if self.act == "password-link":
            try:
                return link_page(request, *invitations.password_link_create(actor=self.actor, user=person))
            except Exception as error:
                toast(request, refusal_text(error)[0], tone="bad")
                return back
        if self.act != "enable" and not reason:
            toast(request, "Nothing was done: say why in the reason field.", tone="bad")
            return back
        try:
            if self.act == "disable":
                people.user_disable(actor=self.actor, user=person, reason=reason)
                toast(request, f"{person.email} is disabled and signed out", undo_url=reverse("settings:person-enable", args=[pk]))
            elif self.act == "enable":
                people.user_enable(actor=self.actor, user=person, reason=reason)
                toast(request, f"{person.email} may sign in again")
            else:
                email = person.email
                people.user_remove(actor=self.actor, user=person, confirmation=request.POST.get("confirmation", ""), reason=reason)
                toast(request, f"{email} was removed")
                return redirect("settings:people")
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
        return back


def person_or_404(pk: Any) -> User:
    """The person, with memberships. Raises Http404."""
    memberships = Membership.objects.with_teams().select_related("organisation").order_by("organisation__name")
    found = User.objects.filter(pk=pk).prefetch_related(Prefetch("memberships", memberships)).first()
    if found is None:
        raise Http404("There is no such person.")
    return found


def _organisations() -> list[Organisation]:
    return list(Organisation.objects.order_by("simulated", "name"))


def _role_fields(form: RolesForm) -> list[Any]:
    return [field for field in form if field.name.startswith("role-")]
