"""The forms of a key: what it is, and how its secret is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.keys import choices
from apps.keys.neighbours import KnownRoute
from apps.ownership.selectors import services, teams

MOST_BOXES = 100
"""Up to so many routes are boxes to tick; more are names to type."""

GRACE: tuple[tuple[str, str], ...] = (
    ("0", "at once: the old secret stops with the next publish"),
    ("1", "after 1 hour"),
    ("24", "after 24 hours"),
    ("168", "after 7 days"),
    ("720", "after 30 days"),
    ("at", "at the time below"),
)
"""Hours that the old secret stays valid, and how a page says it."""


class UtcInput(forms.DateTimeInput):
    """The browser's own date and time, taken as UTC."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M")


class OwnerField(forms.ChoiceField):
    """A team, or one of its services; what is kept is ``team:<id>`` or ``service:<id>``."""

    def fill(self, organisation: Organisation) -> None:
        """Reads the choices: two queries."""
        owned, owners = list(services(organisation=organisation)), list(teams(organisation=organisation))
        options: list[tuple[str, Any]] = [("", "Nobody")]
        for team in owners:
            own = [(f"service:{service.pk}", f"{team.name} / {service.name}") for service in owned if service.team_id == team.pk]
            options.append((team.name, [(f"team:{team.pk}", f"{team.name} (no service)"), *own]))
        self.choices = options
        self.found = {**{f"service:{service.pk}": service for service in owned}, **{f"team:{team.pk}": team for team in owners}}


class KeyForm(forms.Form):
    """What a person decides about a key. Fields are named as the service's arguments."""

    name = forms.CharField(
        max_length=80, help_text="Unique among the organisation's active keys: a-z, 0-9, '.', '_' and '-'. It never changes."
    )
    environment = forms.ChoiceField(choices=choices.ENVIRONMENTS, help_text="Where the app that holds it runs.")
    service = OwnerField(required=False, label="Owner", help_text="Whose spend and failures its requests are.")
    all_routes = forms.BooleanField(required=False, initial=True, label="May use every route", help_text="Also routes that come later.")
    routes = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple, label="Or only these routes")
    feature = forms.CharField(
        required=False, max_length=80, label="Default feature", help_text="What its spend is booked under where a call names no feature."
    )
    tags = forms.CharField(
        required=False, max_length=2_000, label="Default tags", help_text="For calls that bring none; separated by commas."
    )
    priority = forms.ChoiceField(
        required=False,
        choices=choices.PRIORITIES,
        initial="normal",
        help_text="Where requests wait for a place: high is served before normal before low, and low is refused first.",
    )
    explain = forms.BooleanField(
        required=False, label="May explain", help_text="May ask for a dry run, which names providers, targets and reasons."
    )
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires (UTC)",
        widget=UtcInput,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
        help_text="From then on it is refused with key_expired. Empty: never.",
    )
    addresses = forms.CharField(
        required=False,
        max_length=6_000,
        label="Only from these addresses",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="Ranges such as 192.0.2.0/24 or 2001:db8::/32, separated by commas. Empty: from everywhere.",
    )

    def __init__(
        self,
        *args: Any,
        organisation: Organisation,
        known: Sequence[KnownRoute],
        kept: Sequence[str] = (),
        fixed_name: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["service"].fill(organisation)  # type: ignore[attr-defined]
        if fixed_name:
            self.fields["name"].disabled = True
        # Names that the key has already and no route: left as they are, unless a person unticks them.
        names = [route.name for route in known] + [name for name in kept if name not in {route.name for route in known}]
        self.boxes = len(names) <= MOST_BOXES
        field = self.fields["routes"]
        if not names:
            field.help_text = "There is no route yet to choose."
        if self.boxes:
            field.choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        else:
            self.fields["routes"] = forms.CharField(
                required=False,
                label="Or only these routes",
                widget=forms.Textarea(attrs={"rows": 3}),
                help_text="Names of routes, separated by commas.",
            )
            if isinstance(self.initial.get("routes"), list):
                self.initial["routes"] = ", ".join(self.initial["routes"])

    def clean_tags(self) -> list[str]:
        return split(self.cleaned_data["tags"])

    def clean_addresses(self) -> list[str]:
        return split(self.cleaned_data["addresses"])

    def clean_routes(self) -> list[str]:
        given = self.cleaned_data["routes"]
        return split(given) if isinstance(given, str) else given

    def clean_expires_at(self) -> datetime | None:
        value: datetime | None = self.cleaned_data["expires_at"]
        if value is not None and value <= datetime.now(UTC) and "expires_at" in self.changed_data:
            raise forms.ValidationError("This moment has passed: choose a later one, or disable the key.")
        return value

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if not values.get("all_routes") and not values.get("routes") and "routes" not in self.errors:
            self.add_error("routes", "A key without a route opens nothing: tick some, or let it use every route.")
        return values

    def facts(self) -> dict[str, Any]:
        """The arguments of the services, less the name."""
        values = self.cleaned_data
        owner = self.fields["service"].found.get(values["service"])  # type: ignore[attr-defined]
        of_service = values["service"].startswith("service:")
        return {
            "environment": values["environment"],
            "feature": values["feature"].strip(),
            "tags": values["tags"],
            "routes": [choices.ALL_ROUTES] if values["all_routes"] else values["routes"],
            "service": owner if of_service else None,
            "team": None if of_service else owner,
            "expires_at": values["expires_at"],
            "priority": values["priority"] or "normal",
            "explain": values["explain"],
            "addresses": values["addresses"],
        }


class RotateForm(forms.Form):
    """How long the old secret stays valid beside the new one."""

    grace = forms.ChoiceField(
        choices=GRACE, initial="24", label="The old secret ends", help_text="Until then both open the key: time to give apps the new one."
    )
    old_until = forms.DateTimeField(
        required=False,
        label="At (UTC)",
        widget=UtcInput,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
        help_text="Only for “at the time below”; at most 90 days away.",
    )

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if values.get("grace") == "at" and not values.get("old_until") and "old_until" not in self.errors:
            self.add_error("old_until", "Say until when the old secret stays valid, or choose a length of time above.")
        return values

    def until(self, now: datetime) -> datetime | None:
        """When the old secret ends; None: at once."""
        grace = self.cleaned_data["grace"]
        if grace == "at":
            moment: datetime = self.cleaned_data["old_until"]
            return moment
        return now + timedelta(hours=int(grace)) if grace != "0" else None


def split(text: str) -> list[str]:
    return [part for part in (piece.strip() for piece in text.replace("\n", ",").split(",")) if part]
