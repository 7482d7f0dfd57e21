"""What a person decides about captures. Routes and keys are typed by name: there may be thousands."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q

from apps.accounts.models import Organisation
from apps.audit.errors import ServiceError
from apps.keys.models import VirtualKey
from apps.routes.models import Route
from apps.usage import capture_rules as rules


def _days() -> forms.IntegerField:
    return forms.IntegerField(label="Keep for, days", initial=rules.DAYS, help_text=f"1 to {rules.MOST_DAYS}; then each sample is deleted.")


class RouteCaptureForm(forms.Form):
    """A share of a route's requests."""

    route = forms.CharField(max_length=120, help_text="Its name. A route that is captured already gets this share instead.")
    percent = forms.FloatField(label="Share, %", initial=1, help_text=f"Of its requests, {rules.LEAST_PERCENT} to 100, chosen at random.")
    days = _days()

    def __init__(self, *args: Any, organisation: Organisation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._organisation = organisation

    def clean_route(self) -> Route:
        name = self.cleaned_data["route"]
        route = Route.objects.filter(organisation=self._organisation, name=name).first()
        if route is None:
            raise ValidationError(f"There is no route “{name}” in this organisation: write its name as the list of routes has it.")
        return route


class KeyCaptureForm(forms.Form):
    """The next requests of a key."""

    key = forms.CharField(max_length=80, help_text="Its name or its public id.")
    requests = forms.IntegerField(label="Its next requests", initial=rules.REQUESTS, help_text=f"1 to {rules.MOST_REQUESTS}.")
    minutes = forms.IntegerField(label="For at most, minutes", initial=rules.MINUTES, help_text=f"1 to {rules.MOST_MINUTES}.")
    days = _days()

    def __init__(self, *args: Any, organisation: Organisation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._organisation = organisation

    def clean_key(self) -> VirtualKey:
        text = self.cleaned_data["key"]
        wanted = Q(name=text) | Q(public_id=text)
        try:
            wanted |= Q(pk=UUID(text))
        except ValueError:
            pass
        key = VirtualKey.objects.filter(wanted, organisation=self._organisation, state="active").first()
        if key is None:
            raise ValidationError(f"There is no key “{text}” in this organisation that is not revoked: write its name or its public id.")
        return key


class PatternsForm(forms.Form):
    """What else is taken out of samples."""

    patterns = forms.CharField(
        required=False,
        max_length=4_000,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "placeholder": "employee = EMP-######\ncase = case-*"}),
        help_text="One a line: a kind, =, a template. # is a digit, ? a letter or digit, * up to 64 letters, digits, dots and dashes.",
    )

    def clean_patterns(self) -> list[tuple[str, str]]:
        try:
            return rules.patterns_read(self.cleaned_data["patterns"])
        except ServiceError as error:
            raise ValidationError(f"{error.message[:1].upper()}{error.message[1:]}.") from None
