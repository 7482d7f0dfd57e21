"""The form of an action item. The service judges it."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import Organisation
from apps.postmortems.action_checks import CHECKS
from apps.postmortems.action_rules import PRIORITIES
from apps.postmortems.action_services import ActionSpec
from apps.postmortems.models import ActionItem
from apps.postmortems.postmortem_forms import PersonField


class ActionForm(forms.Form):
    """One thing to do."""

    title = forms.CharField(max_length=200)
    outcome = forms.CharField(
        label="Done when", max_length=1000, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="What somebody else can look at to see that it is done: “a failover drill of embeddings passes”, not “improve failover”.",
    )  # fmt: skip
    owner = PersonField(help_text="One person; they are told two weeks before it is due, and when it is.")
    due_on = forms.DateField(label="Due on", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    priority = forms.ChoiceField(choices=[(value, f"{status.label}: {status.hint}") for value, status in PRIORITIES.items()])
    check = forms.ChoiceField(
        label="Bound to a check", required=False, help_text="It is done once this holds, and open again once it does not."
    )
    tracker_url = forms.CharField(
        label="In the tracker", max_length=1000, required=False, widget=forms.URLInput(attrs={"autocomplete": "off"})
    )

    def __init__(self, *args: Any, organisation: Organisation, action: ActionItem | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"].bind(organisation, nobody="", held=action.owner if action else None)  # type: ignore[attr-defined]
        groups = [
            (f"{check.label} {check.what}", [(f"{kind}:{name}", title) for name, title in check.choices(organisation)])
            for kind, check in CHECKS.items()
        ]
        held = f"{action.check_kind}:{action.check_of}" if action is not None and action.check_kind else ""
        if held and not any(held == value for _, group in groups for value, _ in group):
            groups.append(("Gone", [(held, action.check_of)]))  # type: ignore[union-attr]
        self.fields["check"].choices = [("", "No check: people say when it is done"), *((label, group) for label, group in groups if group)]  # type: ignore[attr-defined]

    def spec(self) -> ActionSpec:
        """For the service."""
        given = self.cleaned_data
        kind, _, of = given["check"].partition(":")
        return ActionSpec(
            title=given["title"], outcome=given["outcome"], owner=given["owner"], due_on=given["due_on"], priority=given["priority"],
            check_kind=kind, check_of=of, tracker_url=given["tracker_url"],
        )  # fmt: skip
