"""Forms of discounts, GPU hours and re-pricings. Field names are the services' argument names, so that an error finds its field."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.contracts.metering import UNITS
from apps.providers.price_form import PLAIN, DollarsField, MomentField, PercentField

NAME_HELP = "It never changes. Lower-case letters, digits, '.', '_', '-'."
FROM_HELP, TO_HELP = "Day or moment, UTC. Empty: always.", "Not included. Empty: until further notice."


def _text(label: str, *, required: bool = True, help_text: str = "") -> forms.CharField:
    return forms.CharField(label=label, required=required, max_length=300, help_text=help_text, widget=forms.TextInput(attrs=PLAIN))


class Named(forms.Form):
    """Something with a name that never changes. ``new``: whether it is asked for."""

    name = _text("Name", help_text=NAME_HELP)

    def __init__(self, *args: Any, new: bool, providers: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not new:
            del self.fields["name"]
        if providers is not None:
            self.fields["provider"].choices = [(name, name) for name in providers]  # type: ignore[attr-defined]


class DiscountForm(Named):
    """What was negotiated with a provider."""

    provider = forms.ChoiceField(label="Provider")
    model = _text("Model", required=False, help_text="As the provider names it. Empty: all that have no discount of their own.")
    discount = PercentField(label="Discount", help_text="Off every price, the price book's too: 12.5%.")
    valid_from = MomentField(label="From", required=False, help_text=FROM_HELP)
    valid_to = MomentField(label="Until", required=False, help_text=TO_HELP)
    note = _text("Note", required=False, help_text="Where it is written, such as the contract's number.")


class GpuPriceForm(Named):
    """What an hour of one GPU of our own costs."""

    gpu = _text("GPU", help_text="As workers report it, such as NVIDIA H200.")
    per_hour = DollarsField(label="$ per GPU hour", help_text="Hardware, power and room together; 0 where it is free.")
    region = _text("Region", required=False, help_text="Empty: everywhere that no price of the region holds.")
    valid_from = MomentField(label="From", required=False, help_text=FROM_HELP)
    valid_to = MomentField(label="Until", required=False, help_text=TO_HELP)


class UnitPriceForm(Named):
    """What a thousand units that are no tokens cost."""

    provider = forms.ChoiceField(label="Provider")
    model = _text("Model", help_text="As the provider names it.")
    unit = forms.ChoiceField(label="What is billed", choices=[(unit, words.capitalize()) for unit, words in UNITS.items()])
    per_thousand = DollarsField(label="$ per 1,000", help_text="An image for $0.04 is 40; a minute of sound for $0.006 is 0.1.")
    quality = _text("Quality", required=False, help_text="Of images, such as hd. Empty: every one that has no price of its own.")
    size = _text("Size", required=False, help_text="Of images, such as 1024x1024. Empty: every one that has no price of its own.")
    valid_from = MomentField(label="From", required=False, help_text=FROM_HELP)
    valid_to = MomentField(label="Until", required=False, help_text=TO_HELP)


class RepricingForm(forms.Form):
    """A past period to price again."""

    starts_at = MomentField(label="From", help_text="Day or moment, UTC.")
    ends_at = MomentField(label="Until", help_text="Not included; not in the future.")
    provider = forms.ChoiceField(label="Provider", required=False)
    model = _text("Model", required=False, help_text="As the provider names it. Empty: all.")

    def __init__(self, *args: Any, providers: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["provider"].choices = [("", "All"), *((name, name) for name in providers)]  # type: ignore[attr-defined]


class TakeForm(forms.Form):
    """Nothing to fill in: the review shows what another version of the base prices changes."""
