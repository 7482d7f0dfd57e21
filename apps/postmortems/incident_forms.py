"""What people write about incidents. The services judge it, in one wording for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms

from apps.audit.errors import ServiceError
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_checks import NO_TITLE
from apps.postmortems.incident_choices import Meaning
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_rules import MOVES, Times

LISTS = ("routes", "providers", "regions", "services")
MOMENT = "%Y-%m-%d %H:%M"
_FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", MOMENT, "%H:%M")
AREA = {"rows": 3, "spellcheck": "true"}


def moment_read(written: str, field: str, *, today: datetime) -> datetime | None:
    """A moment in UTC as people write it: ``2026-11-22 03:12``, with seconds, or ``03:12`` of today. Raises ServiceError."""
    text = written.strip().removesuffix("UTC").strip().removesuffix("Z")
    if not text:
        return None
    for form in _FORMATS:
        try:
            found = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if form == "%H:%M":
            return today.astimezone(UTC).replace(hour=found.hour, minute=found.minute, second=0, microsecond=0)
        return found
    raise ServiceError(f"{written.strip()[:40]!r} is no time: write it in UTC, such as {today:%Y-%m-%d} 03:12, or 03:12 for today.", field)


def moment_written(at: datetime | None) -> str:
    """As ``moment_read`` takes it; to the second where it has one."""
    if at is None:
        return ""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at.second or at.microsecond else f"{at:%Y-%m-%d %H:%M}"


def names_read(text: str) -> list[str]:
    """Names, one a line or with commas between."""
    return [name.strip() for line in text.splitlines() for name in line.split(",") if name.strip()]


def _names(label: str, what: str) -> forms.CharField:
    widget = forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    return forms.CharField(required=False, max_length=10_000, label=label, widget=widget, help_text=what)


class DeclareForm(forms.Form):
    """One field is enough."""

    title = forms.CharField(
        max_length=10_000,
        label="What is wrong?",
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"}),
        error_messages={"required": NO_TITLE},
    )
    severity = forms.ChoiceField(choices=[], widget=forms.RadioSelect, initial=choices.SEV3)
    routes = _names("Routes that are hit", "With commas between; without any, all of them.")
    started_at = forms.CharField(required=False, max_length=40, label="Began at", help_text="In UTC; without it, now.")

    def __init__(self, *args: Any, meanings: Mapping[str, Meaning], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["severity"].choices = [(one.level, f"{one.label} {one.title}: {one.meaning}") for one in meanings.values()]  # type: ignore[attr-defined]


class EditForm(forms.Form):
    """What an incident says of itself."""

    title = forms.CharField(max_length=10_000, error_messages={"required": NO_TITLE})
    severity = forms.ChoiceField(choices=[], widget=forms.RadioSelect)
    routes = _names("Routes", "With commas between; without any, all of them.")
    providers = _names("Providers", "With commas between.")
    regions = _names("Regions", "With commas between.")
    services = _names("Services", "Short names, with commas between.")
    summary = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "true"}), help_text="For everybody inside; Markdown."
    )
    public_summary = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "true"}), label="For the status page",
        help_text="What people outside may read. Markdown.",
    )  # fmt: skip

    def __init__(self, *args: Any, meanings: Mapping[str, Meaning], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["severity"].choices = [(one.level, f"{one.label} {one.title}: {one.meaning}") for one in meanings.values()]  # type: ignore[attr-defined]

    def facts(self) -> dict[str, Any]:
        """The arguments of ``incident_update``."""
        return {name: names_read(value) if name in LISTS else value for name, value in self.cleaned_data.items()}


class MergeForm(forms.Form):
    """Which incident this one is part of. others: (id, what it is called), as ``mergeable`` has them."""

    into = forms.ChoiceField(
        label="Part of",
        error_messages={
            "required": "choose the incident that this one is part of",
            "invalid_choice": "that incident is not open any more: choose one of the list",
        },
    )

    def __init__(self, *args: Any, others: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.others = others
        self.fields["into"].choices = [("", "Choose an incident"), *others]  # type: ignore[attr-defined]


def edit_initial(incident: Incident) -> dict[str, Any]:
    """The form's values of an incident."""
    plain = {name: getattr(incident, name) for name in ("title", "severity", "summary", "public_summary")}
    return {**plain, **{name: ", ".join(getattr(incident, name)) for name in LISTS}}


class TimesForm(forms.Form):
    """When things happened, and from when to when people felt it; all in UTC."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, label in choices.TIMES.items():
            self.fields[name] = forms.CharField(required=name in ("started_at", "detected_at"), max_length=40, label=f"{label} (UTC)")
        self.fields["impact_from"] = forms.CharField(
            required=False, max_length=40, label="People felt it from (UTC)", help_text="Empty: it follows the data."
        )
        self.fields["impact_until"] = forms.CharField(
            required=False, max_length=40, label="Until (UTC)", help_text="Empty while it goes on."
        )

    def moments(self, *, today: datetime) -> dict[str, datetime | None]:
        """Field -> moment. Raises ServiceError."""
        return {name: moment_read(value, name, today=today) for name, value in self.cleaned_data.items()}

    def times(self, moments: Mapping[str, datetime | None], kept: Times) -> Times:
        """As ``incident_times_set`` takes them; seconds that the form did not show are kept."""
        found = {name: _kept(moments[name], getattr(kept, name)) for name in choices.TIMES}
        return Times(**{name: at for name, at in found.items() if at is not None})  # type: ignore[arg-type]


def times_initial(incident: Incident) -> dict[str, str]:
    """The form's values of an incident. A window that follows the data is left empty, so that saving does not take it over."""
    found = {name: moment_written(getattr(incident, name)) for name in choices.TIMES}
    own = bool(incident.impact_set_by)
    return {
        **found,
        "impact_from": moment_written(incident.impact_from) if own else "",
        "impact_until": moment_written(incident.impact_until) if own else "",
    }


def _kept(written: datetime | None, before: datetime | None) -> datetime | None:
    """What was there, where the form shows the same second."""
    if written is not None and before is not None and before.replace(microsecond=0) == written.replace(microsecond=0):
        return before
    return written


def states_for(incident: Incident) -> list[tuple[str, str]]:
    """The states that an incident can be moved to, for a choice; merging has its own form."""
    return [(state, choices.STATES[state].label) for state in MOVES[incident.state] if state != choices.MERGED]
