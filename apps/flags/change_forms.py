"""Forms of requests and of rules about two persons. Field names are the services' argument names, so that an error finds its field."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms

from apps.audit.errors import ServiceError
from apps.flags import change_choices as choices
from apps.flags import change_rules as rules
from apps.flags.choices import KINDS, SUBJECTS

PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
LATES = (
    ("60", "Up to an hour late"),
    ("15", "Up to 15 minutes late"),
    ("0", "Not late at all"),
    ("480", "Up to 8 hours late"),
    ("1440", "Up to a day late"),
    ("", "However late"),
)


class WallClockField(forms.CharField):
    """A day and a time as a clock on the wall shows them; cleaned to a datetime without a zone, None where empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=40, widget=forms.DateTimeInput(attrs={"type": "datetime-local", **PLAIN}), **kwargs)

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value)).strip()
        if not text:
            return None
        try:
            return datetime.fromisoformat(text).replace(tzinfo=None, second=0, microsecond=0)
        except ValueError:
            raise forms.ValidationError("Write a day and a time, such as 2027-01-31T09:00.") from None


class FlipForm(forms.Form):
    """A flip to ask for: which, when, for how long."""

    name = forms.ChoiceField(label="Flag")
    on = forms.ChoiceField(label="Turn it", choices=[("on", "On"), ("off", "Off")], widget=forms.RadioSelect)
    at = WallClockField(label="At", required=False, help_text="Empty: at once, or as soon as somebody else approves it.")
    until = WallClockField(label="Until", required=False, help_text="When it turns itself off. Empty: when somebody does.")
    zone = forms.CharField(label="Time zone", max_length=60, help_text="Such as Europe/Berlin or UTC.", widget=forms.TextInput(attrs=PLAIN))
    late = forms.ChoiceField(
        label="If nothing runs at that time", choices=LATES, required=False, help_text="Later than that it is dropped, and you are told."
    )
    share = forms.IntegerField(label="Share of the traffic, percent", min_value=0, max_value=100, initial=100)
    simulated_only = forms.BooleanField(label="For simulated traffic only", required=False)
    reason = forms.CharField(label="Reason", max_length=300, help_text="Shown while the flag is on, and kept in the audit.")

    def __init__(self, *args: Any, flags: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].choices = [(name, name) for name in flags]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for field in ("at", "until"):
            local = given.get(field)
            if local is None or not given.get("zone"):
                continue
            try:
                given[field] = rules.moment_in(local, given["zone"])
            except ServiceError as error:
                self.add_error(field if error.field == "at" else error.field, error.message)
        return given

    def facts(self) -> dict[str, Any]:
        """The arguments of ``flip_submit``."""
        given = dict(self.cleaned_data)
        late = given.pop("late")
        on = given["on"] == "on"
        return {**given, "on": on, "until": given["until"] if on else None, "late": None if late == "" else timedelta(minutes=int(late))}


class RuleForm(forms.Form):
    """Which flips take two persons; an empty field fits all."""

    kind = forms.ChoiceField(label="Kind", required=False, choices=[("", "Any"), *KINDS])
    subject_kind = forms.ChoiceField(label="Of a", required=False, choices=[("", "Anything"), *SUBJECTS])
    environment = forms.ChoiceField(
        label="In", required=False, choices=[("", "Every environment"), *((name, name.capitalize()) for name in choices.ENVIRONMENTS)],
        help_text="A key has one; everything else acts in all of them.",
    )  # fmt: skip
    team = forms.ChoiceField(label="Owned by", required=False, help_text="The flag, or the route, provider or key that it is about.")
    turning = forms.ChoiceField(label="For", choices=[(value, label.capitalize()) for value, label in choices.TURNING.items()])
    reason = forms.CharField(label="Reason", required=False, max_length=300, widget=forms.TextInput(attrs=PLAIN))

    def __init__(self, *args: Any, teams: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"].choices = [("", "Anybody"), *teams]  # type: ignore[attr-defined]


class OwnerForm(forms.Form):
    """Another owner for a flag."""

    team = forms.ChoiceField(label="Team", required=False)
    reason = forms.CharField(label="Reason", max_length=300, help_text="Kept in the audit.")

    def __init__(self, *args: Any, teams: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"].choices = [("", "Nobody"), *teams]  # type: ignore[attr-defined]
