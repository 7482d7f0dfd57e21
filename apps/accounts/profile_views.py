"""One's own settings: name, password, sessions; the organisation's name; accepting an invitation."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from apps.accounts import people, sessions
from apps.accounts.forms import AcceptForm, OrganisationForm, PasswordForm, ProfileForm
from apps.accounts.invitations import InvitationGone, invitation_accept, invitation_find
from apps.accounts.models import User
from apps.accounts.pages import ScopedView, refusal_text
from apps.audit.actors import Actor, client_address, client_agent
from apps.audit.services import audit_record
from apps.ui.toasts import toast


@method_decorator(sensitive_post_parameters("old", "new", "again"), name="dispatch")
class ProfileView(ScopedView):
    """``/settings/profile/``: POST with ``act`` = ``name``, ``password``, ``end`` (one session) or ``end-others``."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]

    @property
    def person(self) -> User:
        return cast(User, self.request.user)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self._page()

    def post(self, request: HttpRequest) -> HttpResponseBase:
        act = {"name": self._name, "password": self._password, "end": self._end, "end-others": self._end_others}.get(
            request.POST.get("act", "")
        )
        return act() if act else self._page(status=400)

    def _name(self) -> HttpResponse:
        form = ProfileForm(self.request.POST)
        if form.is_valid():
            try:
                people.user_rename(actor=self.actor, user=self.person, name=form.cleaned_data["name"])
            except Exception as error:
                form.add_error("name", refusal_text(error)[0])
            else:
                toast(self.request, "Name saved")
                return redirect("settings:profile")
        return self._page(profile=form, status=400)

    def _password(self) -> HttpResponse:
        form = PasswordForm(self.request.POST)
        if form.is_valid():
            try:
                with transaction.atomic():
                    user = people.password_change(
                        actor=self.actor, user=self.person, old=form.cleaned_data["old"], new=form.cleaned_data["new"]
                    )
                    sessions.session_kept_after_password(request=self.request, user=user)
            except Exception as error:
                message, field = refusal_text(error)
                form.add_error(field if field in form.fields else None, message)
            else:
                toast(self.request, "Password changed; every other session has ended")
                return redirect("settings:profile")
        return self._page(password=form, status=400)

    def _end(self) -> HttpResponse:
        wanted = self.request.POST.get("session", "")
        row = next((row for row in sessions.sessions_of(self.person) if str(row.pk) == wanted), None)
        if row is None:
            toast(self.request, "That session has ended already.", tone="info")
        else:
            sessions.session_end(actor=self.actor, user=self.person, session_id=row.pk)
            toast(self.request, "That session was signed out")
        return redirect("settings:profile")

    def _end_others(self) -> HttpResponse:
        sessions.sessions_end_others(actor=self.actor, request=self.request, user=self.person)
        toast(self.request, "Signed out everywhere else")
        return redirect("settings:profile")

    def _page(self, profile: ProfileForm | None = None, password: PasswordForm | None = None, status: int = 200) -> HttpResponse:
        context = {
            "choice": self.choice,
            "tab": "profile",
            "profile": profile or ProfileForm(initial={"name": self.person.name}),
            "password": password or PasswordForm(),
            "sessions": list(sessions.sessions_of(self.person)[:50]),
            "session_key": self.request.session.session_key,
        }
        return render(self.request, "settings/profile.html", context, status=status)


class OrganisationView(ScopedView):
    """``/settings/organisation/``: the chosen organisation's name, and the environment's, which the operator sets."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "overview.view"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        name = self.choice.organisation.name
        return self._page(OrganisationForm(initial={"name": name, "was": name}))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        form = OrganisationForm(request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        facts = form.cleaned_data
        try:
            renamed = people.organisation_rename(
                actor=self.actor, organisation=self.choice.organisation, name=facts["name"], was=facts["was"] or None
            )
        except Exception as error:
            message, field = refusal_text(error)
            data = request.POST.copy()
            self.choice.organisation.refresh_from_db()
            data["was"] = self.choice.organisation.name  # what is overwritten now is what the message says
            form = OrganisationForm(data)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, status=400)
        toast(request, f"Organisation is now called {renamed.name}")
        return redirect("settings:organisation")

    def _page(self, form: OrganisationForm, status: int = 200) -> HttpResponse:
        context = {"choice": self.choice, "tab": "organisation", "form": form, "may_change": self.choice.may("organisation.change")}
        return render(self.request, "settings/organisation.html", context, status=status)


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class AcceptView(View):
    """``/invitation/<token>/``: choose a name and a password, and be signed in. Whoever is signed in already is signed out first."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponseBase:
        try:
            invitation = invitation_find(token)
        except InvitationGone as gone:
            return render(request, "accounts/invitation_gone.html", {"why": gone.message}, status=410)
        return self._page(AcceptForm(), invitation)

    def post(self, request: HttpRequest, token: str) -> HttpResponseBase:
        try:
            invitation = invitation_find(token)
        except InvitationGone as gone:
            return render(request, "accounts/invitation_gone.html", {"why": gone.message}, status=410)
        form = AcceptForm(request.POST)
        if not form.is_valid():
            return self._page(form, invitation, status=400)
        facts: dict[str, Any] = form.cleaned_data
        try:
            with transaction.atomic():
                user = invitation_accept(
                    token=token, name=facts["name"], password=facts["password"], address=client_address(request),
                    agent=client_agent(request),
                )  # fmt: skip
                request.session.flush()
                login(request, user, backend="django.contrib.auth.backends.ModelBackend")
                sessions.session_opened(request=request, user=user)
                audit_record(
                    actor=Actor.of_user(user, request),
                    action="session.open",
                    subject_kind="user",
                    subject_id=user.pk,
                    subject_name=user.email,
                )
        except InvitationGone as gone:
            return render(request, "accounts/invitation_gone.html", {"why": gone.message}, status=410)
        except Exception as error:
            message, field = refusal_text(error)
            form.add_error(field if field in form.fields else None, message)
            return self._page(form, invitation, status=400)
        toast(request, f"Welcome, {user.get_short_name()}")
        return redirect("dashboard:overview")

    def _page(self, form: AcceptForm, invitation: Any, status: int = 200) -> HttpResponse:
        return render(self.request, "accounts/accept.html", {"form": form, "invitation": invitation}, status=status)
