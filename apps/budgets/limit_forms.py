"""What a person decides about a limit."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.budgets import limit_choices
from apps.contracts.limits import AmountError, amount_read
from apps.keys.neighbours import routes_known
from apps.keys.selectors import keys_of
from apps.ownership.selectors import teams


class AmountField(forms.CharField):
    """A whole number, read as documents are."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return amount_read(text)
        except AmountError as error:
            raise forms.ValidationError(str(error)) from None


class LimitForm(forms.Form):
    """``subject``: what it is for, as ``<scope>:<id>``; a model is named in a field of its own."""

    name = forms.CharField(max_length=80, help_text="Unique in the organisation; refusals name it.")
    subject = forms.ChoiceField(label="For", help_text="All requests that this is true of share the limit, in all proxies together.")
    model = forms.CharField(required=False, max_length=200, help_text="Only for “a model”: its name at the provider, such as gpt-4o-mini.")
    kind = forms.ChoiceField(choices=list(limit_choices.KINDS.items()), help_text=limit_choices.KIND_HELP)
    amount = AmountField(
        max_length=40, widget=forms.TextInput(attrs={"inputmode": "numeric"}), help_text="How many. Changing it keeps what is used."
    )

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the limit is there already; another scope or kind would be another limit."""
        super().__init__(*args, **kwargs)
        keys = keys_of(organisation).values_list("pk", "name")
        field = self.fields["subject"]
        field.choices = [  # type: ignore[attr-defined]
            (f"organisation:{organisation.pk}", "The whole organisation"),
            ("model:", "A model, named below"),
            ("Teams", [(f"team:{team.pk}", team.name) for team in teams(organisation=organisation)]),
            ("Routes", [(f"route:{route.id}", route.name) for route in routes_known(organisation)]),
            ("Keys", [(f"key:{pk}", name) for pk, name in keys]),
        ]
        if fixed:
            for name in ("name", "subject", "model", "kind"):
                self.fields[name].disabled = True

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if values.get("subject") == "model:" and not values.get("model", "").strip():
            self.add_error("model", "Name the model as its provider names it, such as gpt-4o-mini.")
        return values

    def facts(self) -> dict[str, Any]:
        """The arguments of ``limit_set``."""
        values = self.cleaned_data
        scope, _, object_id = values["subject"].partition(":")
        return {
            "name": values["name"],
            "scope": scope,
            "scope_id": values["model"] if scope == "model" else object_id,
            "kind": values["kind"],
            "amount": values["amount"],
        }
