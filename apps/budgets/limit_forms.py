"""What a person decides about a limit."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.budgets import limit_choices
from apps.budgets.subject_field import SubjectField
from apps.contracts.limits import AmountError, amount_read


class AmountField(forms.CharField):
    """A whole number, read as documents are."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return amount_read(text)
        except AmountError as error:
            raise forms.ValidationError(str(error)) from None


class LimitForm(forms.Form):
    """``subject``: what it is for, as people type it (``apps.budgets.subjects``)."""

    name = forms.CharField(max_length=80, help_text="Unique in the organisation; refusals name it.")
    subject = SubjectField("limit", examples="key app” or “model gpt-4o-mini")
    kind = forms.ChoiceField(choices=list(limit_choices.KINDS.items()), help_text=limit_choices.KIND_HELP)
    amount = AmountField(
        max_length=40, widget=forms.TextInput(attrs={"inputmode": "numeric"}), help_text="How many. Changing it keeps what is used."
    )

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the limit is there already; another scope or kind would be another limit."""
        super().__init__(*args, **kwargs)
        self.fields["subject"].bind(organisation)  # type: ignore[attr-defined]
        if fixed:
            for name in ("name", "subject", "kind"):
                self.fields[name].disabled = True

    def facts(self) -> dict[str, Any]:
        """The arguments of ``limit_set``."""
        values = self.cleaned_data
        scope, scope_id = values["subject"]
        return {"name": values["name"], "scope": scope, "scope_id": scope_id, "kind": values["kind"], "amount": values["amount"]}
