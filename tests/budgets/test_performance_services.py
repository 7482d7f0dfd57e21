"""Setting, changing and deleting performance budgets: audited, one of a metric for each route and model, refused with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import PerformanceBudget
from apps.budgets.performance_selectors import performance_budgets_of
from apps.budgets.performance_services import performance_budget_delete, performance_budget_set
from apps.contracts.identifiers import uuid7
from apps.routes.models import Route
from tests.people import member

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme")


def make(organisation: Organisation, **changes: Any) -> PerformanceBudget:
    facts: dict[str, Any] = {"name": "fast", "scope": "model", "scope_id": "m", "metric": "ttft_p95", "bound": "1.5s"}
    facts |= {"owner_email": "ada@example.test", **changes}
    return performance_budget_set(actor=ACTOR, organisation=organisation, **facts)


def actions(row: PerformanceBudget) -> list[str]:
    return list(AuditEvent.objects.filter(subject_id=str(row.pk)).order_by("at", "id").values_list("action", flat=True))


def test_it_is_made_changed_and_deleted_with_a_trail(organisation: Organisation) -> None:
    row = make(organisation)
    assert (row.bound, row.warn_percent, row.min_samples, row.window, row.state) == (1_500_000, 80, 100, "day", "unknown")
    assert make(organisation).pk == row.pk and actions(row) == ["performance_budget.create"]
    PerformanceBudget.objects.filter(pk=row.pk).update(state="ok", evidence={"why": "then"}, evaluated_at=row.created_at)
    assert make(organisation, owner_email="bob@example.test").pk == row.pk
    row.refresh_from_db()
    assert row.state == "ok" and row.owner_email == "bob@example.test", "another owner changes no verdict"
    make(organisation, bound="2s", owner_email="bob@example.test", reason="the new model is slower")
    row.refresh_from_db()
    assert (row.bound, row.state, row.evaluated_at) == (2_000_000, "unknown", None), "what was found of another bound says nothing"
    event = AuditEvent.objects.filter(subject_id=str(row.pk)).order_by("-at", "-id")[0]
    assert (event.before, event.after, event.reason) == ({"bound": "1500ms"}, {"bound": "2s"}, "the new model is slower")
    performance_budget_delete(actor=ACTOR, budget=row)
    performance_budget_delete(actor=ACTOR, budget=row)
    assert actions(row) == ["performance_budget.create", *["performance_budget.update"] * 2, "performance_budget.delete"]
    assert not performance_budgets_of(organisation) and make(organisation).pk != row.pk


def test_another_metric_or_model_is_another_budget(organisation: Organisation) -> None:
    first = make(organisation)
    second = make(organisation, metric="error_rate", bound="1%")
    third = make(organisation, scope_id="other", metric="error_rate", bound="1%")
    assert len({first.pk, second.pk, third.pk}) == 3 and list(performance_budgets_of(organisation)) == [third]


def test_one_of_a_metric_for_each_route_and_model(organisation: Organisation) -> None:
    make(organisation)
    with pytest.raises(ServiceError, match="the performance budget 'fast' bounds 'Time to first token, p95' of the same model already"):
        make(organisation, name="again", bound="9s")
    route = Route.objects.create(organisation=organisation, name="chat")
    make(organisation, name="again", scope="route", scope_id=route.pk)
    make(organisation, name="third", metric="gpu_hours", bound="120")
    assert performance_budgets_of(organisation).count() == 3


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"name": " "}, "name", "a performance budget needs a name"),
        ({"name": "a\nb"}, "name", "no control characters"),
        ({"name": "x" * 81}, "name", "at most 80 characters"),
        ({"metric": "latency"}, "metric", "choose one of ttft_p95"),
        ({"scope": "team"}, "scope", "choose one of route, model"),
        ({"scope_id": ""}, "scope_id", "as its provider names it"),
        ({"scope": "route", "scope_id": str(uuid7())}, "scope_id", "has no route"),
        ({"scope": "route", "scope_id": "chat"}, "scope_id", "has no route chat"),
        ({"bound": "-1s"}, "bound", "a duration above zero"),
        ({"bound": "nan"}, "bound", "a duration above zero"),
        ({"bound": "1e300s"}, "bound", "a duration above zero"),
        ({"bound": 5}, "bound", "with its unit"),
        ({"window": "month"}, "window", "choose one of hour"),
        ({"warn_percent": 0}, "warn_percent", "from 1 to 100"),
        ({"min_samples": 3}, "min_samples", "from 20 to 1000000"),
        ({"owner_email": ""}, "owner_email", "name who answers for it"),
        ({"owner_email": "the team"}, "owner_email", "is not an e-mail address"),
    ],
)
def test_bad_input_is_refused(organisation: Organisation, wrong: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ServiceError) as refused:
        make(organisation, **wrong)
    assert refused.value.field == field and says in refused.value.message
    assert not PerformanceBudget.objects.exists()


def test_a_viewer_may_not(organisation: Organisation) -> None:
    viewer = Actor.of_user(member(organisation, "viewer"))
    row = make(organisation)
    with pytest.raises(PermissionRefused):
        performance_budget_delete(actor=viewer, budget=row)
    with pytest.raises(PermissionRefused):
        performance_budget_set(
            actor=viewer,
            organisation=organisation,
            name="x",
            scope="model",
            scope_id="y",
            metric="ttft_p95",
            bound="1s",
            owner_email="a@b.test",
        )
    assert list(performance_budgets_of(organisation)) == [row]
