"""What people decide about rules, SLOs, silences and what they know of providers. The services judge it, in one wording for all."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.alerts import choices
from apps.alerts.series import SERIES
from apps.audit.errors import ServiceError
from apps.ownership.forms import TeamField

_SERIES = [(name, series.label) for name, series in SERIES.items() if series.source != "slo"]
LENGTHS = (("30m", "30 minutes"), ("1h", "1 hour"), ("4h", "4 hours"), ("1d", "a day"), ("7d", "a week"))
"""For how long an alert is silenced by one tap."""


def area(rows: int) -> forms.Textarea:
    """A field of several lines."""
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})


def lines(text: str) -> list[str]:
    """Its lines, without empty ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def labels_read(text: str) -> dict[str, str]:
    """``layer = provider``, one a line. Raises ServiceError."""
    found = {}
    for line in lines(text):
        name, sign, value = line.partition("=")
        if not sign:
            raise ServiceError(f"{line[:60]!r} is no label: write a name, =, and a text, such as layer = provider", "labels")
        found[name.strip()] = value.strip()
    return found


def labels_written(labels: dict[str, str]) -> str:
    """As ``labels_read`` takes it."""
    return "\n".join(f"{name} = {value}" for name, value in labels.items())


class RuleForm(forms.Form):
    """A rule. Thresholds are written with their unit; which one, the series says."""

    name = forms.CharField(max_length=60, label="Short name", help_text="For the API and the audit; it never changes. a-z, 0-9 and -.")
    title = forms.CharField(max_length=200, help_text="What people read at three in the morning, such as: Chat fails.")
    series = forms.ChoiceField(choices=_SERIES, label="Looks at")
    by = forms.ChoiceField(choices=list(choices.SCOPES.items()), required=False, label="Of", help_text="What it looks at one by one.")
    values = forms.CharField(required=False, widget=area(3), label="Only these", help_text="Names, one a line; without any all there are.")
    comparison = forms.ChoiceField(
        choices=list(choices.COMPARISONS.items()), help_text="What is usual is known of everything, routes, providers and keys."
    )
    warn = forms.CharField(
        required=False, max_length=40, label="Warning", help_text="With its unit: 1%, 800ms, 30s, 120%, 1000, 2x, 12.50."
    )
    critical = forms.CharField(required=False, max_length=40, help_text="In the same unit. At least one of the two.")
    window_s = forms.ChoiceField(choices=[(str(seconds), words) for seconds, words in choices.WINDOWS.items()], label="Over", initial="300")
    for_s = forms.CharField(max_length=10, initial="1m", label="For", help_text="How long it must hold before it fires, such as 0m or 5m.")
    hold_s = forms.CharField(
        max_length=10, initial="5m", label="Over after", help_text="How long it must not hold before the alert is over."
    )
    min_samples = forms.CharField(max_length=10, initial="20", label="Measurements it takes", help_text="With fewer nothing is said.")
    on_missing = forms.ChoiceField(choices=list(choices.ON_MISSING.items()), label="Where nothing is measured")
    owner = TeamField(required=False, help_text="Who is told; without one whoever owns what it is about.")
    runbook = forms.CharField(required=False, max_length=300, help_text="The short name of one of yours, or an address.")
    labels = forms.CharField(required=False, widget=area(2), help_text="For routing and silences, one a line: layer = provider")
    opens_incident = forms.ChoiceField(
        choices=list(choices.INCIDENTS.items()),
        required=False,
        label="Opens an incident",
        help_text="When people are told of an alert; one that names the same thing is joined instead.",
    )
    enabled = forms.BooleanField(required=False, initial=True, label="It is looked at")

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, of_slo: bool = False, **kwargs: Any) -> None:
        """fixed: the rule is there already. of_slo: what it looks at follows its SLO."""
        super().__init__(*args, **kwargs)
        self.fields["owner"].bind(organisation)  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed
        if of_slo:
            for name in ("title", "series", "by", "values", "comparison", "warn", "critical", "window_s", "min_samples"):
                del self.fields[name]

    def facts(self) -> dict[str, Any]:
        """The arguments of the services. Raises ServiceError."""
        found = dict(self.cleaned_data)
        found["labels"] = labels_read(found["labels"])
        if "values" in found:
            found["values"] = lines(found["values"])
        return found


class SloForm(forms.Form):
    """An SLO."""

    name = forms.CharField(max_length=60, label="Short name", help_text="For the API and the audit; it never changes. a-z, 0-9 and -.")
    title = forms.CharField(max_length=200, help_text="What is promised, in a few words, such as: Chat answers.")
    indicator = forms.ChoiceField(choices=list(choices.INDICATORS.items()), label="Promises")
    objective = forms.CharField(max_length=10, label="Share that is good, in percent", help_text="Such as 99.9.")
    threshold_ms = forms.CharField(
        required=False, max_length=10, label="Bound in milliseconds", help_text="Of a time to first token or a whole answer."
    )
    window_days = forms.ChoiceField(choices=[(str(days), words) for days, words in choices.SLO_WINDOWS.items()], label="Over", initial="30")
    by = forms.ChoiceField(
        choices=[(by, choices.SCOPES[by].removeprefix("each ") or "everything") for by in choices.SLO_SCOPES], required=False, label="Of"
    )
    subject = forms.CharField(required=False, max_length=300, label="Its name", help_text="As requests name it; empty for everything.")
    min_requests = forms.CharField(
        max_length=10, initial="100", label="Requests it takes", help_text="With fewer in a window nothing is said."
    )
    owner = TeamField(required=False, help_text="Who is told when the error budget burns.")
    runbook = forms.CharField(required=False, max_length=300, help_text="The short name of one of yours, or an address.")

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].bind(organisation)  # type: ignore[attr-defined]
        self.fields["name"].disabled = fixed

    def facts(self) -> dict[str, Any]:
        """The arguments of the services."""
        found = dict(self.cleaned_data)
        found["threshold_ms"] = found["threshold_ms"].strip() or None
        return found


class SilenceForm(forms.Form):
    """Which alerts nobody is told of, and until when."""

    rule = forms.CharField(required=False, max_length=60, help_text="The short name of a rule.")
    subject = forms.CharField(required=False, max_length=300, help_text="Such as chat, or chat-* for all that begin so.")
    severity = forms.ChoiceField(
        required=False, choices=[("", "Any"), *((key, status.label) for key, status in choices.SEVERITIES.items())]
    )
    labels = forms.CharField(required=False, widget=area(2), help_text="One a line: layer = provider")
    length = forms.CharField(max_length=10, initial="1h", label="For", help_text="Such as 30m, 4h or 7d; at most 90 days.")
    reason = forms.CharField(max_length=500, help_text="Whoever comes after you will ask.")

    def matcher(self) -> dict[str, Any]:
        """``Silence.matcher``. Raises ServiceError."""
        found = {name: self.cleaned_data[name] for name in ("rule", "subject", "severity")}
        return {**found, "labels": labels_read(self.cleaned_data["labels"])}


class NoteForm(forms.Form):
    """What somebody knows of a provider."""

    provider = forms.ChoiceField()
    state = forms.ChoiceField(choices=list(choices.NOTE_WORDS.items()))
    text = forms.CharField(max_length=500, label="What is known", help_text="Such as: their status page says errors since 14:00 UTC.")
    length = forms.CharField(required=False, max_length=10, label="For", help_text="Such as 4h; empty: until somebody ends it.")

    def __init__(self, *args: Any, providers: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["provider"].choices = providers  # type: ignore[attr-defined]
