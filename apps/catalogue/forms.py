"""What a person says of a model. Field names are the services' argument names, so that an error finds its field."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.catalogue import choices
from apps.contracts.model_facts import CAPABILITIES, ModelFacts, facts_of

PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
THEIRS, YES, NO = "", "yes", "no"
ABILITY = [(THEIRS, "As known"), (YES, "Yes"), (NO, "No")]
_ABLE = "able_"


class OverrideForm(forms.Form):
    """``providers``: of a new entry, its choices; None: the model is there already. ``known``: what packages and lists say, as a help."""

    provider = forms.ChoiceField(label="Provider")
    model = forms.CharField(label="Model", max_length=200, help_text="As the provider names it.", widget=forms.TextInput(attrs=PLAIN))
    window = forms.IntegerField(label="Context window", required=False, min_value=0, help_text="Tokens. Empty: as known.")
    max_output = forms.IntegerField(label="Most output", required=False, min_value=0, help_text="Tokens. Empty: as known.")
    deprecated = forms.ChoiceField(label="Deprecated", required=False, choices=ABILITY)
    ends_on = forms.CharField(
        label="Served until", required=False, max_length=10, widget=forms.TextInput(attrs=PLAIN),
        help_text="The day from which on it is gone: 2027-01-31. Empty: as known.",
    )  # fmt: skip
    note = forms.CharField(
        label="Why", required=False, max_length=300, help_text="For those who read it later.", widget=forms.TextInput(attrs=PLAIN)
    )

    def __init__(self, *args: Any, providers: list[str] | None, known: ModelFacts, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if providers is None:
            del self.fields["provider"], self.fields["model"]
        else:
            self.fields["provider"].choices = [(name, name) for name in providers]  # type: ignore[attr-defined]
        for number in ("window", "max_output"):
            if value := getattr(known, number):
                self.fields[number].help_text = f"Tokens. Empty: {value:,}, as known."
        if known.ends_on:
            self.fields["ends_on"].help_text = f"The day from which on it is gone. Empty: {known.ends_on}, as known."
        self.fields["deprecated"].choices = _choices(known.deprecated)  # type: ignore[attr-defined]
        for name, label in choices.LABELS.items():
            self.fields[_ABLE + name] = forms.ChoiceField(label=label, required=False, choices=_choices(known.says(name)))
        order = [name for name in ("provider", "model", "window", "max_output") if name in self.fields]
        self.order_fields([*order, *(_ABLE + name for name in choices.LABELS)])

    def facts(self) -> ModelFacts:
        """What was filled in; only of a valid form."""
        given = self.cleaned_data
        return facts_of(
            {name: _answer(given.get(_ABLE + name)) for name in CAPABILITIES},
            window=given.get("window") or 0,
            max_output=given.get("max_output") or 0,
            deprecated=_answer(given.get("deprecated")),
            ends_on=(given.get("ends_on") or "").strip(),
        )


def override_initial(facts: ModelFacts, note: str) -> dict[str, Any]:
    """A form's values of what was said."""
    words = {True: YES, False: NO, None: THEIRS}
    return {
        "window": facts.window or None,
        "max_output": facts.max_output or None,
        "deprecated": words[facts.deprecated],
        "ends_on": facts.ends_on,
        "note": note,
        **{_ABLE + name: words[facts.says(name)] for name in choices.LABELS},
    }


def _choices(known: bool | None) -> list[tuple[str, str]]:
    said = {True: "yes", False: "no", None: "not known"}[known]
    return [(THEIRS, f"As known: {said}"), *ABILITY[1:]]


def _answer(value: str | None) -> bool | None:
    return True if value == YES else False if value == NO else None
