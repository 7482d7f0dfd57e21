"""The form that takes a provider's export."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.usage.reconciliation_reading import MOST_BYTES
from apps.usage.reconciliation_shapes import LABELS


class ImportForm(forms.Form):
    """Field names are the service's argument names, so that an error finds its field. providers: names that requests went to."""

    provider = forms.CharField(label="Provider", max_length=80, help_text="Of whose requests: its name here.")
    file = forms.FileField(
        label="Export",
        max_length=200,
        allow_empty_file=True,
        help_text=f"At most {MOST_BYTES // 2**20} MB: {', '.join(LABELS.values())}. By day and model.",
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.tsv,.json,text/csv,application/json"}),
    )

    def __init__(self, *args: Any, providers: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if providers:
            self.fields["provider"] = forms.ChoiceField(
                label="Provider", choices=[(name, name) for name in providers], help_text=self.fields["provider"].help_text
            )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError(
                f"The file is larger than {MOST_BYTES // 2**20} MB: export a shorter time, or by day instead of by minute."
            )
        return file
