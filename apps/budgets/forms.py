"""What a person decides about a budget. Fields are named as the service's arguments; what they may say is the services' to judge."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.budgets import choices
from apps.budgets.services import DEFAULT_SHARES
from apps.budgets.subject_field import SubjectField
from apps.contracts.money import MoneyError, dollars_read


class AmountField(forms.CharField):
    """US dollars in plain digits, read as documents are; nano-dollars."""

    def __init__(self, **more: Any) -> None:
        super().__init__(max_length=40, widget=forms.TextInput(attrs={"inputmode": "decimal"}), **more)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return dollars_read(text) if text else None
        except MoneyError as error:
            raise forms.ValidationError(str(error)) from None


class BudgetForm(forms.Form):
    """``subject``: what it is for, as people type it (``apps.budgets.subjects``)."""

    name = forms.CharField(max_length=80, help_text="Unique in the organisation; refusals and alerts name it.")
    subject = SubjectField("budget", examples="team search” or “feature chat")
    kind = forms.ChoiceField(
        choices=list(choices.KINDS.items()),
        help_text="Hard: what does not fit is refused. Soft: counted, and its owner told. Throttle: counted, and its thresholds act.",
    )
    limit_nano = AmountField(label="Limit in US dollars", help_text="Per window. Changing it keeps what is spent and acts at once.")
    window = forms.ChoiceField(choices=list(choices.WINDOWS.items()), initial="month", label="Per")
    timezone = forms.CharField(max_length=64, initial="UTC", label="Time zone", help_text="Whose calendar: UTC, Europe/Berlin ...")
    actions = forms.CharField(
        required=False,
        max_length=200,
        label="Thresholds that act",
        help_text="Percent of the limit and what it does, as in 80: cheaper, 95: limited. Also: cached, minimal.",
    )
    open_when_away = forms.BooleanField(
        required=False, initial=True, label="Requests pass while Postgres is away (never under a hard budget)"
    )
    owner_email = forms.CharField(required=False, max_length=254, label="Owner's e-mail address", help_text="Who is told.")
    alert_shares = forms.CharField(
        required=False,
        max_length=60,
        initial=DEFAULT_SHARES,
        label="Tell at, percent of the limit",
        help_text="Of what is spent and of the forecast. With these come a day's own warnings at 120 and 150 percent. Empty: never.",
    )
    webhook = forms.CharField(
        required=False, max_length=1000, label="Webhook", help_text="Gets JSON. Empty keeps what is there; none removes it."
    )
    slack_webhook = forms.CharField(
        required=False, max_length=1000, label="Slack-compatible webhook", help_text="Empty keeps what is there; none removes it."
    )

    def __init__(self, *args: Any, organisation: Organisation, fixed: bool = False, **kwargs: Any) -> None:
        """fixed: the budget is there already; another scope, window or time zone would be another budget."""
        super().__init__(*args, **kwargs)
        self.fields["subject"].bind(organisation)  # type: ignore[attr-defined]
        if fixed:
            for name in ("name", "subject", "window", "timezone"):
                self.fields[name].disabled = True

    def facts(self) -> dict[str, Any]:
        """The service's arguments."""
        values = self.cleaned_data
        scope, scope_id = values["subject"]
        kept = ("name", "kind", "limit_nano", "window", "timezone", "actions", "open_when_away", "owner_email", "alert_shares")
        return {"scope": scope, "scope_id": scope_id, **{field: values[field] for field in kept}}

    def webhooks(self) -> dict[str, str]:
        """Those that were typed; empty text removes."""
        values = {field: self.cleaned_data[field].strip() for field in ("webhook", "slack_webhook")}
        return {field: "" if value.lower() == "none" else value for field, value in values.items() if value}


class OverrideForm(forms.Form):
    """More money for a while."""

    amount_nano = AmountField()
    hours = forms.IntegerField(min_value=1, max_value=92 * 24)
    approver = forms.CharField(max_length=254)
