"""What people decide about ownership. Their words are read by ``checks`` and judged by the services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from apps.accounts.forms import role_label
from apps.accounts.models import Organisation, User
from apps.accounts.rules import TEAM_ROLES
from apps.audit.errors import ServiceError
from apps.ownership import checks, choices
from apps.ownership.care_services import ContactSpec
from apps.ownership.models import Contact, Team
from apps.ownership.selectors import teams

NOBODY = "Nobody"


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _area(rows: int, **attributes: str) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false", **attributes})


class TeamField(forms.ChoiceField):
    """A team of the organisation, or nobody; cleans to the row or None."""

    def bind(self, organisation: Organisation, nobody: str = NOBODY) -> None:
        """Offer the organisation's teams: one query."""
        self.known = {str(team.pk): team for team in teams(organisation=organisation)}
        self.choices = [("", nobody), *((pk, team.name) for pk, team in self.known.items())]

    def clean(self, value: Any) -> Team | None:
        return self.known.get(super().clean(value))


class RegionsForm(forms.Form):
    """Regions and layers of the map, one a line."""

    regions = forms.CharField(
        required=False, widget=_area(8), help_text="One a line: its name as endpoints write it, then a title after “|” where you want one. "
        "Endpoints' own regions are on the map without being named here.",
    )  # fmt: skip
    layers = forms.CharField(
        required=False, widget=_area(8), help_text="One a line, from the app downwards: a short name, then a title after “|”. "
        "A line taken away takes its column off the map, with who answered for it.",
    )  # fmt: skip

    def pairs(self, field: str) -> list[tuple[str, str]]:
        """(name, title) of each line."""
        found = []
        for line in _lines(self.cleaned_data[field]):
            name, _, title = line.partition("|")
            found.append((name.strip(), title.strip()))
        return found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for field in ("regions", "layers"):
            names = [name for name, _ in self.pairs(field)] if field in cleaned else []
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                self.add_error(field, f"Named twice: {', '.join(sorted(twice))}.")
        return cleaned


def contact_written(contact: Contact | ContactSpec) -> str:
    """``phone +49 30 1234567 | night``."""
    return f"{contact.kind} {contact.value}{f' | {contact.label}' if contact.label else ''}"


def contact_read(line: str) -> ContactSpec:
    """The same, read; judged by the service."""
    kind, _, rest = line.partition(" ")
    value, _, label = rest.partition("|")
    return ContactSpec(kind.strip().lower(), value.strip(), label.strip())


class TeamForm(forms.Form):
    """A team and how it is reached."""

    slug = forms.CharField(
        max_length=60, label="Short name", help_text="For addresses, files and the audit; it never changes. a-z, 0-9 and -."
    )
    name = forms.CharField(max_length=200, help_text="What pages call it.")
    contact_email = forms.CharField(required=False, max_length=254, label="E-mail", help_text="Where messages to the whole team go.")
    contacts = forms.CharField(
        required=False, widget=_area(5), label="Escalation",
        help_text="One a line, in the order in which to try after whoever is on call: email, chat, phone or url, then the contact, "
        "then a label after “|”. For example: phone +49 30 1234567 | at night",
    )  # fmt: skip

    def __init__(self, *args: Any, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the team is there already."""
        super().__init__(*args, **kwargs)
        self.fields["slug"].disabled = fixed

    def specs(self) -> list[ContactSpec]:
        """The contacts in order."""
        return [contact_read(line) for line in _lines(self.cleaned_data["contacts"])]


class ServiceForm(forms.Form):
    """A service of a team."""

    slug = forms.CharField(
        max_length=60, label="Short name", help_text="For addresses, files and the audit; it never changes. a-z, 0-9 and -."
    )
    name = forms.CharField(max_length=200, help_text="What pages call it.")

    def __init__(self, *args: Any, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the service is there already."""
        super().__init__(*args, **kwargs)
        self.fields["slug"].disabled = fixed


class SlaForm(forms.Form):
    """What is promised, and from where on people are told."""

    availability = forms.CharField(
        max_length=12, initial="99.9", label="Availability (%)", help_text="Of requests, answered well. What may fail is the error budget.",
        widget=forms.TextInput(attrs={"inputmode": "decimal"}),
    )  # fmt: skip
    window_days = forms.IntegerField(min_value=1, max_value=366, initial=30, label="Error budget of so many days")
    warn_percent = forms.IntegerField(
        min_value=1, max_value=100, initial=50, label="Warn at", help_text="Percent of the error budget used up."
    )
    page_percent = forms.IntegerField(
        min_value=1, max_value=100, initial=90, label="Page at", help_text="Percent of the error budget used up."
    )
    ttft_ms = forms.IntegerField(
        required=False, min_value=1, max_value=600_000, label="p95 of time to first token (ms)", help_text="Empty: none is promised."
    )
    ttft_warn_ms = forms.IntegerField(required=False, min_value=1, max_value=600_000, label="Warn from (ms)")
    ttft_page_ms = forms.IntegerField(required=False, min_value=1, max_value=600_000, label="Page from (ms)")
    latency_ms = forms.IntegerField(
        required=False, min_value=1, max_value=600_000, label="p95 of the whole answer (ms)",
        help_text="From the request's arrival to its last byte. Empty: none is promised.",
    )  # fmt: skip
    latency_warn_ms = forms.IntegerField(required=False, min_value=1, max_value=600_000, label="Warn from (ms)")
    latency_page_ms = forms.IntegerField(required=False, min_value=1, max_value=600_000, label="Page from (ms)")

    def clean_availability(self) -> int:
        try:
            return checks.availability_read(self.cleaned_data["availability"])
        except ServiceError as error:
            raise forms.ValidationError(error.message) from None


class RotationForm(forms.Form):
    """Who takes turns, and when they hand over."""

    name = forms.CharField(max_length=60, label="Short name", help_text="Unique in the organisation; it never changes. a-z, 0-9 and -.")
    kind = forms.ChoiceField(choices=list(choices.ROTATION_KINDS.items()))
    team = TeamField(required=False)
    people = forms.CharField(
        required=False, widget=_area(5), label="People",
        help_text="One email a line, in the order of their turns. The first is on now where the rotation is new.",
    )  # fmt: skip
    zone = forms.CharField(
        max_length=64, initial="UTC", label="Time zone", help_text="Such as Europe/Berlin: hand-overs keep its clock, in summer too."
    )
    weekday = forms.TypedChoiceField(choices=list(enumerate(choices.WEEKDAYS)), coerce=int, initial=0, label="Hand over on")
    time = forms.CharField(max_length=5, initial="09:00", label="At", help_text="Local time, 24 hours.")
    every_days = forms.TypedChoiceField(choices=list(choices.EVERY.items()), coerce=int, initial=7, label="Again")
    days = forms.CharField(required=False, max_length=60, label="Covered days", help_text="Such as mon-fri. Empty: every day.")
    from_time = forms.CharField(max_length=5, initial="00:00", label="Covered from")
    to_time = forms.CharField(
        max_length=5, initial="24:00", label="Covered until", help_text="Not after “from”: until then on the next day."
    )

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, every: int = 0, **kwargs: Any) -> None:
        """fixed: the rotation is there already. every: days between hand-overs that a document chose, offered beside the usual ones."""
        super().__init__(*args, **kwargs)
        self.fields["team"].bind(organisation, "The whole organisation")  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed
        if every and every not in choices.EVERY:
            self.fields["every_days"].choices = [*choices.EVERY.items(), (every, f"every {every} days")]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.read: dict[str, Any] = {}
        readers: Mapping[str, tuple[str, Any]] = {
            "time": ("minute", lambda text: checks.clock_read(text, "time")),
            "from_time": ("from_minute", lambda text: checks.clock_read(text, "from_time")),
            "to_time": ("to_minute", lambda text: checks.clock_read(text, "to_time", end=True)),
            "days": ("days", checks.days_read),
            "people": ("members", people_named),
        }
        for field, (argument, read) in readers.items():
            if field in cleaned:
                try:
                    self.read[argument] = read(cleaned[field])
                except ServiceError as error:
                    self.add_error(field, error.message)
        return cleaned

    def facts(self) -> dict[str, Any]:
        """The arguments of ``rotation_set``."""
        values = self.cleaned_data
        return {name: values[name] for name in ("name", "kind", "team", "zone", "weekday", "every_days")} | self.read


def people_named(text: str) -> list[User]:
    """People by their emails, one a line, in order: one query. Raises ServiceError for an email that nobody has."""
    return people_by_email(_lines(text))


def people_by_email(emails: Iterable[str]) -> list[User]:
    """The same of a list."""
    wanted = [email.strip().lower() for email in emails]
    found = {user.email.lower(): user for user in User.objects.filter(email__in=wanted)}
    missing = [email for email in wanted if email not in found]
    if missing:
        raise ServiceError(f"Nobody here has the email {', '.join(missing)}: invite them first.", field="members")
    return [found[email] for email in wanted]


class OverrideForm(forms.Form):
    """Somebody stands in. Times are in the zone in which the person reads pages."""

    person = forms.ChoiceField(label="Who")
    starts_at = forms.DateTimeField(label="From", widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"))
    ends_at = forms.DateTimeField(label="Until", widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"))
    reason = forms.CharField(required=False, max_length=300)

    def __init__(self, *args: Any, people: Iterable[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known = {str(user.pk): user for user in people}
        self.fields["person"].choices = [(pk, user.email) for pk, user in self.known.items()]  # type: ignore[attr-defined]


class RunbookForm(forms.Form):
    """A runbook and its owner."""

    name = forms.CharField(max_length=60, label="Short name", help_text="For addresses and flags; it never changes. a-z, 0-9 and -.")
    title = forms.CharField(max_length=200)
    owner = TeamField(required=False)
    review_every_days = forms.IntegerField(min_value=0, max_value=3660, initial=90, label="Review every (days)", help_text="0: never.")
    text = forms.CharField(
        required=False, strip=False, max_length=checks.LONGEST_RUNBOOK, widget=_area(24, wrap="soft"),
        help_text="Markdown: headings, lists (also “- [ ] ask”), tables, code and links. Nothing in it can run.",
    )  # fmt: skip

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the runbook is there already."""
        super().__init__(*args, **kwargs)
        self.fields["owner"].bind(organisation)  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed


class MemberForm(forms.Form):
    """A person's role in the team."""

    email = forms.EmailField(max_length=254, help_text="Somebody with a role in the organisation.")
    role = forms.ChoiceField(choices=[(role.value, role_label(role)) for role in reversed(TEAM_ROLES)])
