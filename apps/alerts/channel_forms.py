"""What people decide about channels and policies. Their words are read by ``channel_checks`` and judged by the services."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.alerts import channel_checks as checks
from apps.alerts import channel_choices as choices
from apps.alerts.rule_forms import area, labels_read, lines
from apps.contracts.webhooks import secret_made
from apps.ownership.checks import clock_read, days_read
from apps.ownership.forms import TeamField

_SECRETS = "; ".join(f"{kind.label}: {kind.secret.lower()}" for kind in choices.KINDS.values() if kind.secret)
_EXAMPLES = " · ".join(f"{kind.label}: {kind.example}" for kind in choices.KINDS.values())


class ChannelForm(forms.Form):
    """A channel. Its address and secret are kept under the master key and not shown again: empty keeps what is there."""

    name = forms.CharField(max_length=60, label="Short name", help_text="For steps of escalation and the audit; it never changes.")
    kind = forms.ChoiceField(choices=[(value, kind.label) for value, kind in choices.KINDS.items()])
    whose = forms.ChoiceField(required=False, help_text="Your own is for when you are paged; the others are for steps of escalation.")
    address = forms.CharField(required=False, max_length=1000, help_text=_EXAMPLES)
    secret = forms.CharField(
        required=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=True),
        help_text=f"{_SECRETS}.",
    )
    allow_private = forms.BooleanField(
        required=False, label="It may lead into private networks", help_text="For receivers of your own; metadata services never."
    )
    enabled = forms.BooleanField(required=False, initial=True, label="It is used")

    def __init__(self, *args: Any, whose: list[tuple[str, str]], fixed: bool = False, **kwargs: Any) -> None:
        """whose: whom it may belong to, as (value, words). fixed: it is there already."""
        super().__init__(*args, **kwargs)
        self.fields["whose"].choices = whose  # type: ignore[attr-defined]
        if fixed:
            for name in ("name", "kind", "whose"):
                self.fields[name].disabled = True
            for name in ("address", "secret"):
                self.fields[name].help_text = "Empty keeps what is there."
        self.fixed = fixed

    def clean(self) -> dict[str, Any]:
        """A new webhook without a secret is offered one in the answer itself: a secret is kept in no session and no toast."""
        cleaned = super().clean() or {}
        if not self.fixed and cleaned.get("kind") == choices.WEBHOOK and not cleaned.get("secret"):
            self.add_error("secret", f"Give this signing secret to the receiver, and paste it here: {secret_made()}")
        return cleaned


class PolicyForm(forms.Form):
    """Whom to tell of which alerts."""

    name = forms.CharField(max_length=60, label="Short name", help_text="It never changes. a-z, 0-9 and -.")
    team = TeamField(required=False, label="Alerts of", help_text="Whose rule it is, or who owns what the alert is about.")
    severity = forms.ChoiceField(required=False, choices=[("", "Any"), *((level, level.capitalize()) for level in choices.LEVELS)])
    labels = forms.CharField(required=False, widget=area(2), help_text="That the rule must carry, one a line: layer = provider")
    steps = forms.CharField(
        widget=area(6),
        initial="0 on-call\n10 next\n20 leads",
        label="Escalation",
        help_text="One a line: minutes without anybody taking it, then whom to tell: on-call, next or rotation (and the short name of one, "
        "else the owner's), contacts, leads, or channel and its short name. For example: 0 channel ops-slack",
    )
    repeat_minutes = forms.IntegerField(initial=60, label="Begin again after, minutes", help_text="0: never. At most ten rounds.")
    group_wait_s = forms.IntegerField(initial=15, label="Wait for others of the group, seconds")
    days = forms.CharField(
        required=False, max_length=60, label="Warnings on", help_text="mon-fri; empty for every day. Critical ones are told always."
    )
    from_time = forms.CharField(max_length=5, initial="00:00", label="Warnings from")
    to_time = forms.CharField(max_length=5, initial="24:00", label="Warnings until")
    zone = forms.CharField(max_length=64, initial="UTC", label="Clock of", help_text="Such as Europe/Berlin.")
    position = forms.IntegerField(required=False, label="Place", help_text="The first that matches decides; empty for last.")
    enabled = forms.BooleanField(required=False, initial=True, label="It is used")

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"].bind(organisation, nobody="Anybody")  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed

    def facts(self) -> dict[str, Any]:
        """The arguments of ``policy_set``. Raises ServiceError."""
        found = dict(self.cleaned_data)
        found["labels"] = labels_read(found["labels"])
        found["steps"] = checks.steps_read(lines(found["steps"]))
        found["days"] = days_read(found["days"])
        found["from_minute"] = clock_read(found.pop("from_time"), "from_time")
        found["to_minute"] = clock_read(found.pop("to_time"), "to_time", end=True)
        return found
