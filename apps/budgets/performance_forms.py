"""What a person decides about a performance budget. Fields are named as the service's arguments, and judged by it alone."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.budgets import performance_choices as choices
from apps.keys.neighbours import routes_known

_ABOVE = "Above it the budget is breached. Written as "
_EXAMPLES = ", ".join(f"{metric.example} ({metric.label.removesuffix(', p95')})" for metric in choices.METRICS.values())


class PerformanceForm(forms.Form):
    """``subject``: what it is for, as ``route:<id>``; a model is named in a field of its own."""

    name = forms.CharField(max_length=80, help_text="Unique in the organisation.")
    subject = forms.ChoiceField(label="For", help_text="One budget of a metric for each route and model.")
    model = forms.CharField(required=False, max_length=200, help_text="Only for “a model”: its name at the provider, such as gpt-4o-mini.")
    metric = forms.ChoiceField(choices=[(value, metric.label) for value, metric in choices.METRICS.items()])
    bound = forms.CharField(max_length=40, help_text=f"{_ABOVE}{_EXAMPLES}; costs in US dollars.")
    window = forms.ChoiceField(
        choices=[(value, window.label) for value, window in choices.WINDOWS.items()],
        initial=choices.DEFAULT_WINDOW,
        label="Measured over",
        help_text="A rolling window that ends now.",
    )
    warn_percent = forms.CharField(
        max_length=8,
        initial=str(choices.DEFAULT_WARN),
        label="Warn from, percent of the bound",
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
    )
    min_samples = forms.CharField(
        max_length=12,
        initial=str(choices.DEFAULT_SAMPLES),
        label="Measurements that a verdict takes",
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
        help_text="With fewer it is unknown: a few say nothing about a p95.",
    )
    owner_email = forms.CharField(max_length=254, label="Owner's e-mail address", help_text="Who answers for it.")

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the budget is there already; another metric, route or model would be another budget."""
        super().__init__(*args, **kwargs)
        routes = [(f"route:{route.id}", route.name) for route in routes_known(organisation)]
        self.fields["subject"].choices = [("Routes", routes), ("model:", "A model, named below")]  # type: ignore[attr-defined]
        if fixed:
            for name in ("name", "subject", "model", "metric"):
                self.fields[name].disabled = True
            metric = choices.METRICS.get(str(self.initial.get("metric", "")))
            self.fields["bound"].help_text = f"{_ABOVE}{metric.example}." if metric else _ABOVE
            gone = str(self.initial.get("subject", ""))
            if gone and gone not in {"model:", *(value for value, _ in routes)}:
                self.fields["subject"].choices += [(gone, "(a route that is gone)")]  # type: ignore[attr-defined]

    def facts(self) -> dict[str, Any]:
        """The arguments of ``performance_budget_set``."""
        values = dict(self.cleaned_data)
        scope, _, object_id = values.pop("subject").partition(":")
        model = values.pop("model")
        return {"scope": scope, "scope_id": model if scope == "model" else object_id, **values}
