"""What an estimate is asked by: a form that is sent by GET, so that its address is the estimate."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from apps.budgets import estimating
from apps.prices.models import GpuPrice


class CountField(forms.CharField):
    """A whole number as people write it, ``1,000,000`` or ``1000000``; None where it may be left out."""

    def __init__(self, *, least: int = 0, most: int, **more: Any) -> None:
        super().__init__(max_length=40, widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}), **more)
        self.least, self.most = least, most

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        digits = text.replace(",", "") if re.fullmatch(r"[0-9]{1,3}(?:,[0-9]{3})+", text) else text
        if not re.fullmatch(r"[0-9]{1,20}", digits) or not self.least <= int(digits) <= self.most:
            raise forms.ValidationError(f"{text!r}: write a whole number from {self.least:,} to {self.most:,}, in plain digits")
        return int(digits)


class EstimateForm(forms.Form):
    """Every field may be left out; what is missing is said by whoever needs it."""

    route = forms.CharField(
        required=False,
        max_length=200,
        label="Route, as measured",
        help_text="Its answers of the last 30 days say tokens, requests and model. Left out: what you type.",
    )
    model = forms.CharField(
        required=False,
        max_length=300,
        label="Model",
        help_text="Of the price book, as provider/model. With a route: what it is compared with.",
    )
    requests = CountField(least=1, most=estimating.MOST_REQUESTS, required=False, label="Requests a month")
    input = CountField(most=estimating.MOST_TOKENS, required=False, label="Input tokens of each", help_text="Its mean.")
    output = CountField(
        most=estimating.MOST_TOKENS, required=False, label="Output tokens of each", help_text="Its mean, reasoning included."
    )
    cached = CountField(
        most=100,
        required=False,
        label="Percent of input cached",
        help_text="Read from the provider's cache. Left out: none; a measured route knows.",
    )
    gpu = forms.ChoiceField(required=False, label="GPU", help_text="Of the price book's GPU hours.")
    gpus = CountField(least=1, most=estimating.MOST_GPUS, required=False, label="GPUs of one replica", help_text="Left out: 1.")
    speed = CountField(
        least=1,
        most=estimating.MOST_TOKENS_A_SECOND,
        required=False,
        label="Tokens a second of it",
        help_text="Input and output together at full load, as benchmarks of inference engines report their total throughput.",
    )
    busy = CountField(
        least=1, most=100, required=False, label="Percent busy", help_text="Over the month, nights and weekends too. Left out: 50."
    )

    def __init__(self, *args: Any, gpus: list[GpuPrice], **kwargs: Any) -> None:
        """gpus: prices in force."""
        super().__init__(*args, **kwargs)
        self._gpus = {row.name: row for row in gpus}
        self.fields["model"].widget.attrs |= {"list": "models", "autocomplete": "off", "spellcheck": "false"}
        self.fields["route"].widget.attrs |= {"list": "routes", "autocomplete": "off", "spellcheck": "false"}
        self.fields["gpu"].choices = [("", "None: only the API"), *((row.name, self._words(row)) for row in gpus)]  # type: ignore[attr-defined]
        self.fields["gpu"].error_messages["invalid_choice"] = (
            "%(value)s has no GPU price now: choose one of the list, or add it to the prices."
        )

    @staticmethod
    def _words(row: GpuPrice) -> str:
        return f"{row.gpu}{f', {row.region}' if row.region else ''} ({row.name})"

    def facts(self) -> dict[str, Any]:
        """The arguments of ``estimates.estimate_make``."""
        values = self.cleaned_data
        return {
            "requests": values["requests"],
            "model": values["model"].strip(),
            "route": values["route"].strip(),
            "tokens_in": values["input"],
            "tokens_out": values["output"],
            "cached_percent": values["cached"] or 0,
            "gpu": self._gpus.get(values["gpu"]),
            "gpus": values["gpus"] or 1,
            "tokens_a_second": values["speed"],
            "busy_percent": values["busy"] or 50,
        }
