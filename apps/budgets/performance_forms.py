"""What a person decides about a performance budget. Fields are named as the service's arguments, and judged by it alone."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.budgets import performance_choices as choices
from apps.budgets.subject_field import SubjectField

_ABOVE = "Above it the budget is breached. Written as "
_EXAMPLES = ", ".join(f"{metric.example} ({metric.label.removesuffix(', p95')})" for metric in choices.METRICS.values())


class PerformanceForm(forms.Form):
    """``subject``: what it is for, as people type it (``apps.budgets.subjects``)."""

    name = forms.CharField(max_length=80, help_text="Unique in the organisation.")
    subject = SubjectField("performance", examples="route chat” or “model gpt-4o-mini")
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
        self.fields["subject"].bind(organisation)  # type: ignore[attr-defined]
        if fixed:
            for name in ("name", "subject", "metric"):
                self.fields[name].disabled = True
            metric = choices.METRICS.get(str(self.initial.get("metric", "")))
            self.fields["bound"].help_text = f"{_ABOVE}{metric.example}." if metric else _ABOVE

    def facts(self) -> dict[str, Any]:
        """The arguments of ``performance_budget_set``."""
        values = dict(self.cleaned_data)
        scope, scope_id = values.pop("subject")
        return {"scope": scope, "scope_id": scope_id, **values}
