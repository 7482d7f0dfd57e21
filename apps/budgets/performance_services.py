"""Writes of performance budgets: by people, audited; and of verdicts, by the look that finds them."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import change_record
from apps.budgets import limit_rules
from apps.budgets import performance_choices as choices
from apps.budgets import performance_rules as rules
from apps.budgets.models import PerformanceBudget, PerformanceVerdict
from apps.budgets.performance_measure import Evidence, budgets_measure
from apps.budgets.performance_telling import notice_of
from apps.budgets.rules import check_address
from apps.keys.neighbours import routes_known
from controlplane.away import database_away

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

_log = logging.getLogger(__name__)
TERMS = ("bound", "window", "warn_percent", "min_samples", "owner_email")
"""What may change while verdicts are kept."""


@transaction.atomic
def performance_budget_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    scope: str,
    scope_id: object,
    metric: str,
    bound: str,
    owner_email: str,
    window: str = choices.DEFAULT_WINDOW,
    warn_percent: int | str = choices.DEFAULT_WARN,
    min_samples: int | str = choices.DEFAULT_SAMPLES,
    reason: str = "",
) -> PerformanceBudget:
    """Make the organisation's performance budget of that name what is asked; the same again changes nothing. Raises ServiceError.

    bound: as people write it, ``1.5s``, ``1%``, dollars ``0.02``, hours ``120``, by the metric. scope_id: the route's id, or the model's
    name. Other terms keep the verdicts so far; another metric, route or model is another budget: the old one is deleted.
    """
    permission_require(actor=actor, action="performance_budget.change", organisation=organisation)
    name, metric = rules.check_name(name), rules.check_metric(metric)
    owner = check_address(owner_email, "owner_email")
    if not owner:
        raise ServiceError("name who answers for it: an e-mail address such as team@example.com", "owner_email")
    wanted = PerformanceBudget(
        organisation=organisation,
        name=name,
        scope=rules.check_scope(scope),
        scope_id=_scope_id(organisation, scope, scope_id),
        metric=metric,
        bound=rules.bound_read(metric, bound),
        window=rules.check_window(window),
        warn_percent=rules.warn_read(warn_percent),
        min_samples=rules.samples_read(min_samples),
        owner_email=owner,
    )
    live = PerformanceBudget.objects.select_for_update().filter(organisation=organisation, deleted_at=None)
    twin = live.filter(scope=wanted.scope, scope_id=wanted.scope_id, metric=metric).exclude(name=name).first()
    if twin is not None:
        label = choices.METRICS[metric].label
        raise ServiceError(
            f"the performance budget {twin.name!r} bounds {label!r} of the same {scope} already: change its bound", "scope_id"
        )
    now = live.filter(name=name).first()
    if now is not None and (now.scope, now.scope_id, now.metric) != (wanted.scope, wanted.scope_id, wanted.metric):
        performance_budget_delete(actor=actor, budget=now, reason=reason or "replaced by another metric, route or model")
        now = None
    if now is None:
        wanted.save(force_insert=True)
        change_record(actor, "performance_budget.create", wanted, {}, performance_budget_facts(wanted), reason)
        return wanted
    _terms_change(actor, now, wanted, reason)
    return now


def _terms_change(actor: Actor, row: PerformanceBudget, wanted: PerformanceBudget, reason: str) -> None:
    before = performance_budget_facts(row)
    changed = [field for field in TERMS if getattr(row, field) != getattr(wanted, field)]
    if not changed:
        return
    for field in changed:
        setattr(row, field, getattr(wanted, field))
    if changed != ["owner_email"]:
        # What was found of other terms says nothing about these: unknown until the next look.
        row.state, row.evidence, row.evaluated_at = "unknown", {}, None
    row.save(update_fields=[*changed, "state", "evidence", "evaluated_at", "changed_at"])
    after = performance_budget_facts(row)
    told = [field for field in before if before[field] != after[field]]
    change_record(actor, "performance_budget.update", row, {f: before[f] for f in told}, {f: after[f] for f in told}, reason)


@transaction.atomic
def performance_budget_delete(*, actor: Actor, budget: PerformanceBudget, reason: str = "") -> None:
    """Judge it no more; its verdicts stay readable. A second time changes nothing."""
    permission_require(actor=actor, action="performance_budget.change", organisation=budget.organisation)
    row = PerformanceBudget.objects.select_for_update().get(pk=budget.pk)
    if row.deleted_at is not None:
        return
    row.deleted_at = clock.now()
    row.save(update_fields=["deleted_at", "changed_at"])
    PerformanceVerdict.objects.filter(budget=row, until=None, at__lte=row.deleted_at).update(until=row.deleted_at)
    change_record(actor, "performance_budget.delete", row, performance_budget_facts(row), {}, reason)


def performance_budget_facts(budget: PerformanceBudget) -> dict[str, Any]:
    """What the audit keeps of a performance budget."""
    return {
        "scope": budget.scope,
        "scope_id": budget.scope_id,
        "metric": budget.metric,
        "bound": rules.bound_written(budget.metric, budget.bound),
        "window": budget.window,
        "warn_percent": budget.warn_percent,
        "min_samples": budget.min_samples,
        "owner_email": budget.owner_email,
    }


# --- verdicts --------------------------------------------------------------------------------------------------------


def performance_evaluate(*, now: datetime | None = None) -> int:
    """Look at every living budget that is due and write down verdicts that changed; how many were looked at.

    Safe to run twice and side by side. Where an organisation's traffic cannot be read, its budgets stay as they are and become unknown
    by their age, and the others are looked at.
    """
    now = now or clock.now()
    due: dict[UUID, list[PerformanceBudget]] = {}
    for row in PerformanceBudget.objects.filter(deleted_at=None).select_related("organisation").order_by("organisation", "pk"):
        # A second's grace: beat's rhythm is not exact to the millisecond.
        if row.evaluated_at is None or (now - row.evaluated_at).total_seconds() >= choices.WINDOWS[row.window].every.total_seconds() - 1:
            due.setdefault(row.organisation_id, []).append(row)
    looked = 0
    for rows in due.values():
        try:
            found = budgets_measure(rows[0].organisation, rows, now=now)
        except Exception as error:
            if database_away(error):
                raise
            _log.exception("performance budgets of organisation %s could not be measured", rows[0].organisation_id)
            continue
        for row in rows:
            looked += verdict_record(budget=row, evidence=found[row.pk], now=now)
    PerformanceVerdict.objects.filter(until__lt=now - choices.KEPT).delete()
    return looked


@transaction.atomic
def verdict_record(*, budget: PerformanceBudget, evidence: Evidence, now: datetime) -> bool:
    """Write down what a look found; a row of history and a fact only where the verdict is another one. False: a later look, other terms
    or a deletion came first, and nothing was written."""
    row = PerformanceBudget.objects.select_for_update().filter(pk=budget.pk, deleted_at=None).first()
    if row is None or row.changed_at != budget.changed_at or (row.evaluated_at is not None and row.evaluated_at >= now):
        return False
    holds = PerformanceVerdict.objects.filter(budget=row, until=None).first()
    if holds is None or holds.state != evidence.state:
        if holds is not None:
            holds.until = max(now, holds.at)
            holds.save(update_fields=["until"])
        verdict = PerformanceVerdict.objects.create(budget=row, state=evidence.state, at=now, evidence=evidence.document())
        notice_of(row, verdict)
        if holds is not None or evidence.state in ("warning", "breached"):
            event_record(
                kind=choices.EVENTS[evidence.state],
                subject_kind="performance_budget",
                subject_id=row.pk,
                subject_name=row.name,
                at=now,
                data={"organisation": str(row.organisation_id), "owner": row.owner_email, **evidence.document()},
            )
    row.state, row.evidence, row.evaluated_at = evidence.state, evidence.document(), now
    row.save(update_fields=["state", "evidence", "evaluated_at"])
    return True


def _scope_id(organisation: Organisation, scope: str, given: object) -> str:
    """The route's id, or the model's name. Raises ServiceError where there is no such route."""
    if scope == "model":
        return limit_rules.check_model(given)
    if any(str(given) == route.id for route in routes_known(organisation)):
        return str(given)
    message = f"the organisation {organisation.name} has no route {str(given)[:200]}: choose one that it has, or create it first"
    raise ServiceError(message, "scope_id")
