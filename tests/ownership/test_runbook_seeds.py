"""Runbooks that ship: each can be gone through, each is named by a default alert, and what people make of them stays."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.alerts.models import AlertRule
from apps.alerts.remedies import runbook_named
from apps.alerts.seeds import SEEDS, defaults_ensure
from apps.audit.actors import Actor
from apps.ownership.care_services import runbook_set
from apps.ownership.checks import check_text
from apps.ownership.models import Runbook
from apps.ownership.runbook_seeds import TITLES, shipped_text
from apps.postmortems.checklist_rules import steps_of


def test_each_has_steps_in_parts_and_a_default_alert_that_leads_to_it() -> None:
    for name in TITLES:
        steps = steps_of(check_text(shipped_text(name)))
        assert len(steps) >= 8 and {step.part for step in steps} >= {"Look", "Afterwards"}, name
    assert {seed.runbook for seed in SEEDS} == TITLES.keys() and len(TITLES) == 8
    with pytest.raises(KeyError):
        shipped_text("../postgres-down")


@pytest.mark.django_db
def test_the_default_alerts_bring_theirs_and_leave_what_people_wrote(organisation: Organisation) -> None:
    own = runbook_set(actor=Actor.command("test"), organisation=organisation, name="bad-deploy", title="Ours", text="1. Ask Ada")
    defaults_ensure(organisation)
    assert set(Runbook.objects.filter(organisation=organisation).values_list("name", flat=True)) == TITLES.keys()
    for rule in AlertRule.objects.filter(organisation=organisation):
        found = runbook_named(organisation, rule.runbook)
        assert found is not None and found.url, rule.name
    own.refresh_from_db()
    assert (own.title, own.text) == ("Ours", "1. Ask Ada")
    assert all(book.overdue() for book in Runbook.objects.all()), "nobody has said yet that they are true here"
