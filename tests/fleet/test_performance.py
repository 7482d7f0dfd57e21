"""Performance budgets of deployments: shown with their verdicts, named by documents and the API, and asked about before a rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import PerformanceBudget
from apps.budgets.performance_services import performance_budget_set
from apps.fleet.forms import initial_of
from apps.fleet.models import Deployment
from apps.fleet.performance import performance_of
from apps.fleet.services import deployment_update
from tests.fleet.test_pages import FORM, hidden

Deploy = Callable[..., Deployment]


@pytest.fixture
def bound(demo: Organisation, actor: Actor) -> Callable[..., PerformanceBudget]:
    """``bound("fast", "breached")``: a performance budget of the model ``sim-chat`` whose last look found that."""

    def make(name: str, verdict: str, *, model: str = "sim-chat", metric: str = "ttft_p95", value: str = "1500ms") -> PerformanceBudget:
        facts = {"scope": "model", "scope_id": model, "metric": metric, "bound": value, "window": "hour", "owner_email": "a@example.test"}
        row = performance_budget_set(actor=actor, organisation=demo, name=name, **facts)
        evidence = {"why": f"why {name}", "measured": 2_000_000, "measured_text": "2 s"}
        PerformanceBudget.objects.filter(pk=row.pk).update(state=verdict, evaluated_at=timezone.now(), evidence=evidence)
        return PerformanceBudget.objects.get(pk=row.pk)

    return make


def test_a_deployment_has_the_budgets_of_its_model_and_the_one_it_names(
    deploy: Deploy, actor: Actor, bound: Callable[..., PerformanceBudget], signed_in: Callable[..., Any]
) -> None:
    deployment = deploy()
    assert performance_of(deployment) == []
    bound("fast", "ok")
    bound("sound", "breached", metric="error_rate", value="1%")
    other = bound("others", "ok", model="another")
    assert [(one.name, one.verdict) for one in performance_of(deployment)] == [("sound", "breached"), ("fast", "ok")], "the worst first"
    page = signed_in().get(f"/deployments/{deployment.pk}/").content.decode()
    assert "Performance budgets" in page and "why sound" in page and "why others" not in page
    with pytest.raises(ServiceError, match="is for the model 'another'") as refused:
        deployment_update(actor=actor, deployment=deployment, performance_budget=other.pk)
    assert refused.value.field == "performance_budget"
    with pytest.raises(ServiceError, match="no such performance budget"):
        deployment_update(actor=actor, deployment=deployment, performance_budget=deployment.pk)


def test_while_one_is_breached_a_rollout_takes_a_reason(deploy: Deploy, actor: Actor, bound: Callable[..., PerformanceBudget]) -> None:
    deployment = deploy()
    row = bound("fast", "breached")
    with pytest.raises(ServiceError, match=r"'fast' is breached .*say as the reason why it is rolled out all the same") as refused:
        deployment_update(actor=actor, deployment=deployment, arguments={"ttft_ms": "5"})
    assert refused.value.field == "reason"
    deployment_update(actor=actor, deployment=deployment, priority=3)
    rolled = deployment_update(actor=actor, deployment=deployment, arguments={"ttft_ms": "5"}, reason="the cure")
    assert rolled.revision == 2 and AuditEvent.objects.filter(action="deployment.update", reason="the cure").exists()
    deployment_update(actor=actor, deployment=deployment, enabled=False)
    with pytest.raises(ServiceError, match="why it is enabled"):
        deployment_update(actor=actor, deployment=deployment, enabled=True)
    PerformanceBudget.objects.filter(pk=row.pk).update(state="unknown")
    assert deployment_update(actor=actor, deployment=deployment, enabled=True).enabled, "what nobody measured yet holds nobody up"


def test_the_form_names_a_budget_and_asks_why_while_it_is_breached(
    deploy: Deploy, bound: Callable[..., PerformanceBudget], signed_in: Callable[..., Any]
) -> None:
    deployment, row, admin = deploy(), bound("fast", "breached"), signed_in()
    url = reverse("fleet:deployment_edit", args=[deployment.pk])
    page = admin.get(url).content.decode()
    assert "fast: " in page and str(row.pk) in page
    values = {name: value for name, value in initial_of(deployment).items() if value not in (None, "", False)}
    sent = {**FORM, **values, "performance_budget": str(row.pk), "arguments": "ttft_ms=5"}
    sent |= {name: hidden(page, name) for name in ("revision", "submission")}
    reviewed = admin.post(url, sent)
    assert reviewed.status_code == 200 and 'name="reason"' in reviewed.content.decode()  # the review says what, then asks why
    sent |= {name: hidden(reviewed.content.decode(), name) for name in ("revision", "submission", "reviewed")} | {"publish": "1"}
    refused = admin.post(url, sent)
    assert refused.status_code == 400 and "Say why" in refused.content.decode()
    assert admin.post(url, {**sent, "reason": "the cure"}).status_code == 302
    deployment.refresh_from_db()
    assert (deployment.performance_budget, deployment.revision) == (row.pk, 2)
    assert AuditEvent.objects.filter(action="deployment.update", reason="the cure").exists()
    assert not AuditEvent.objects.filter(reason="under review").exists()
