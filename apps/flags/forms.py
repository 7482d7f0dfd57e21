"""Forms of flags: what one is, and flipping it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.audit.errors import ServiceError
from apps.contracts.snapshot import KeyFragment, ProviderFragment, RouteFragment
from apps.flags import choices
from apps.flags.words import rules_read
from apps.ownership.models import Team

REASONS = ("Provider outage", "Errors too high", "Too slow", "Cost too high", "Drill", "Back to normal")
"""The usual reasons, one tap each."""
LENGTHS: tuple[tuple[str, str], ...] = (
    ("15", "15 minutes"),
    ("60", "1 hour"),
    ("240", "4 hours"),
    ("1440", "24 hours"),
    ("", "until somebody turns it off"),
)
"""Minutes that a flag may stay on by itself, and how a page says it."""
USUAL_LENGTH = "60"
PARTS: tuple[tuple[str, str], ...] = (
    ("all", "all of its requests"),
    ("50", "50% of them"),
    ("10", "10% of them"),
    ("1", "1% of them"),
    ("simulated", "the simulator's only"),
)
"""For which requests a flag goes on: a drill starts small."""
MOST_LISTED = 200
_TYPED = (
    ("model", "A model, named below"),
    ("feature", "A feature, named below"),
    ("region", "A region, named below"),
    ("key", "A key, named below"),
)


class FlagForm(forms.Form):
    """What a flag is. Its state is not set here: flipping is. config: the published objects by section, for what it can be about."""

    name = forms.CharField(max_length=80, help_text="Lower case, as it is called in links and commands: support-fallback.")
    kind = forms.ChoiceField(
        choices=choices.KINDS,
        help_text="A fallback uses the other chain of a route, a kill stops, a degradation makes do with less, apps ask for a release.",
    )
    subject = forms.ChoiceField(label="What it is about")
    named = forms.CharField(label="Name of the model, feature, region or key", max_length=256, required=False)
    level = forms.ChoiceField(choices=choices.LEVELS, initial="full", help_text="How far a degradation goes; full for every other kind.")
    rules = forms.CharField(
        label="For whom",
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "mono"}),
        help_text="YAML in the form of Unleash's features: strategies with constraints, dependencies, variants. Empty: for everybody.",
    )
    callers = forms.CharField(
        label="Try it for",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "class": "mono"}),
        help_text="One caller a line, such as userId=42 region=eu. Nothing of it is saved.",
    )
    default = forms.CharField(
        max_length=80,
        initial="off",
        help_text="What holds where its rules cannot be decided: off, on, or of a release one of its variants. Choose what is safe.",
    )
    owner = forms.ModelChoiceField(Team.objects.none(), required=False, empty_label="nobody")
    purpose = forms.CharField(max_length=300, required=False, help_text="When to flip it, for whoever is woken up by it.")
    runbook = forms.CharField(max_length=300, required=False, help_text="An address, or the id of a runbook.")
    expires_on = forms.DateField(
        label="Expires on",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The UTC day on which it should be gone.",
    )
    stale_after_days = forms.IntegerField(
        label="Stale after days", min_value=0, max_value=3650, initial=60, help_text="Without being exercised; 0: never."
    )

    def __init__(
        self, *args: Any, organisation: Organisation, config: Mapping[str, Mapping[str, Any]], fixed_name: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.organisation, self._config = organisation, config
        teams = Team.objects.filter(organisation=organisation).order_by("name")
        self._teams = list(teams[:MOST_LISTED])
        owner = self.fields["owner"]
        assert isinstance(owner, forms.ModelChoiceField)
        owner.queryset = teams
        subject = self.fields["subject"]
        assert isinstance(subject, forms.ChoiceField)
        subject.choices = self._subjects()
        self.fields["name"].disabled = fixed_name

    def _subjects(self) -> list[Any]:
        own = str(self.organisation.pk)

        def rows(section: str, kind: type[ProviderFragment] | type[RouteFragment]) -> list[tuple[str, str]]:
            word = section.removesuffix("s")
            found = [one for one in self._config[section].values() if isinstance(one, kind) and one.organisation == own]
            return [(f"{word}:{one.id}", one.name) for one in sorted(found, key=lambda one: one.name)[:MOST_LISTED]]

        groups: list[Any] = [("Routes", rows("routes", RouteFragment)), ("Providers", rows("providers", ProviderFragment))]
        groups.append(("Teams", [(f"team:{team.slug}", team.name) for team in self._teams]))
        groups.append(("By name", [(f"{kind}:", label) for kind, label in _TYPED]))
        groups.append(("Everything", [(f"organisation:{own}", f"The organisation {self.organisation.name}")]))
        chosen = str(self.initial.get("subject") or "")
        known = {value for _, group in groups for value, _ in group}
        if chosen and chosen not in known:
            groups.insert(0, ("As it is", [(chosen, chosen.partition(":")[2])]))
        return [group for group in groups if group[1]]

    def clean_rules(self) -> dict[str, Any]:
        try:
            return rules_read(self.cleaned_data["rules"])
        except ServiceError as error:
            raise forms.ValidationError(error.message) from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind, _, value = str(data.get("subject") or "").partition(":")
        named = str(data.get("named") or "").strip()
        if kind and not value:
            if not named:
                self.add_error("named", f"Name the {kind}.")
            elif kind == "key":
                keys = [
                    one
                    for one in self._config["keys"].values()
                    if isinstance(one, KeyFragment) and one.organisation == str(self.organisation.pk)
                ]
                found = [one for one in keys if named in (one.id, one.public_id, one.name) and one.state == "active"]
                if len(found) != 1:
                    self.add_error("named", f"{len(found) or 'No'} active keys are called so: give the key's public id.")
                else:
                    value = found[0].id
            else:
                value = named
        data["subject_kind"], data["subject_id"] = kind, value
        return data

    def facts(self) -> dict[str, Any]:
        """The arguments of ``flag_set``, but for who, where, and how it stands."""
        data = self.cleaned_data
        day = data["expires_on"]
        return {
            "name": data["name"],
            "kind": data["kind"],
            "subject_kind": data["subject_kind"],
            "subject_id": data["subject_id"],
            "level": data["level"],
            "rules": data["rules"],
            "default": data["default"],
            "owner": data["owner"],
            "purpose": data["purpose"],
            "runbook": data["runbook"],
            "expires_at": datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None,
            "stale_after_days": data["stale_after_days"],
        }


class FlipForm(forms.Form):
    """Why, how long and for which requests. A chip is a reason, text says more or something else."""

    chip = forms.ChoiceField(choices=[(reason, reason) for reason in REASONS], required=False)
    reason = forms.CharField(max_length=300, required=False)
    minutes = forms.ChoiceField(choices=LENGTHS, required=False)
    part = forms.ChoiceField(choices=PARTS, required=False)
    acknowledge = forms.BooleanField(required=False)
    glass = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        text = " ".join(str(data.get("reason") or "").split())
        said = ": ".join(part for part in (data.get("chip"), text) if part)
        if not said:
            self.add_error("reason", "Say why: choose a reason or write one. Everybody sees it while the flag is on.")
        elif len(said) > 300:
            self.add_error("reason", "Say it in 300 characters, the chosen reason included.")
        data["said"] = said
        return data

    def facts(self, *, on: bool, now: datetime) -> dict[str, Any]:
        """The arguments of ``flip_submit``, but for who and which."""
        data = self.cleaned_data
        facts: dict[str, Any] = {"on": on, "reason": data["said"], "break_glass": data["glass"]}
        if on:
            minutes, part = data["minutes"], data["part"] or "all"
            facts["until"] = now + timedelta(minutes=int(minutes)) if minutes else None
            facts["share"] = int(part) if part.isdigit() else 100
            facts["simulated_only"] = part == "simulated"
            facts["acknowledge"] = data["acknowledge"]
        return facts
