"""Forms about people. Passwords and permissions are judged by the services, not here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.accounts.rules import ROLE_HELP, TEAM_ROLES, Role
from apps.accounts.services import MIN_PASSWORD_LENGTH
from apps.accounts.teams import KnownTeam

NO_ROLE = "none"
PASSWORD_HELP = f"At least {MIN_PASSWORD_LENGTH} characters; a few words are easier to keep than a few signs."


def _password(label: str, autocomplete: str, help_text: str = "") -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=1024, strip=False, widget=widget, help_text=help_text)


class SignInForm(forms.Form):
    """Email and password. The email is plain text here: whatever is no address is simply wrong, like any other."""

    email = forms.CharField(
        label="Email",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True, "autocapitalize": "none", "spellcheck": "false"}),
    )
    password = _password("Password", "current-password")


class ProfileForm(forms.Form):
    """One's own name."""

    name = forms.CharField(
        label="Name", required=False, max_length=200, help_text="What colleagues see beside your email.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )  # fmt: skip


class PasswordForm(forms.Form):
    """A new password, with the old one."""

    old = _password("Password now", "current-password")
    new = _password("New password", "new-password", PASSWORD_HELP)
    again = _password("New password again", "new-password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("new") and cleaned.get("again") and cleaned["new"] != cleaned["again"]:
            self.add_error("again", "This is not the same as above: type it once more.")
        return cleaned


class AcceptForm(forms.Form):
    """What an invited person chooses."""

    name = forms.CharField(
        label="Your name", required=False, max_length=200, widget=forms.TextInput(attrs={"autocomplete": "name", "autofocus": True})
    )
    password = _password("Password", "new-password", PASSWORD_HELP)


class OrganisationForm(forms.Form):
    """An organisation's name; ``was`` is the name that the person saw."""

    name = forms.CharField(label="Name", max_length=200, help_text="Shown in the bar of every page. Its slug never changes.")
    was = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)


class RoleField(forms.ChoiceField):
    """A role or none; an organisation that came after the form was opened is left as none."""

    def clean(self, value: Any) -> str:
        return str(super().clean(value or NO_ROLE))


def role_label(role: Role) -> str:
    """``Auditor: looks at everything, the audit and its exports too``: a role where it is chosen."""
    return f"{role.value.capitalize()}: {ROLE_HELP[role]}"


class RolesForm(forms.Form):
    """A role, or none, in each organisation."""

    def __init__(self, *args: Any, organisations: Iterable[Organisation], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(NO_ROLE, "No role"), *((role.value, role_label(role)) for role in reversed(Role))]
        for organisation in organisations:
            said = not organisation.simulated or "simulated" in organisation.name.casefold()
            label = organisation.name if said else f"{organisation.name} (simulated)"
            self.fields[f"role-{organisation.slug}"] = RoleField(label=label, choices=choices, initial=NO_ROLE)

    def roles(self) -> dict[str, Role | None]:
        """Slug -> role, None for none; of the organisations that the sent form knew."""
        sent = {name: value for name, value in self.cleaned_data.items() if name.startswith("role-") and name in self.data}
        chosen = {name.removeprefix("role-"): value for name, value in sent.items()}
        return {slug: None if value == NO_ROLE else Role(value) for slug, value in chosen.items()}


class TeamRoleForm(forms.Form):
    """A role, or none, in one team of an organisation that the person belongs to."""

    team = forms.ChoiceField(label="Team")
    role = forms.ChoiceField(
        label="Role there", choices=[(role.value, role_label(role)) for role in reversed(TEAM_ROLES)], initial=Role.MEMBER.value,
        help_text="For what the team owns; what the role in the organisation allows, stays allowed.",
    )  # fmt: skip

    def __init__(self, *args: Any, teams: Iterable[KnownTeam], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known = {team.id: team for team in teams}
        self.fields["team"].choices = [(team.id, f"{team.name} ({team.organisation.name})") for team in self.known.values()]  # type: ignore[attr-defined]

    @property
    def chosen(self) -> tuple[KnownTeam, Role]:
        """The team and the role of a valid form."""
        return self.known[self.cleaned_data["team"]], Role(self.cleaned_data["role"])


class InviteForm(RolesForm):
    """Whom to ask in, with which roles."""

    email = forms.EmailField(
        label="Email", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off", "autofocus": True}),
        help_text="Whom the link is for. It opens once, within seven days.",
    )  # fmt: skip
