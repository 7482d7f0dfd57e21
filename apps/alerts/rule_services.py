"""Writing rules and SLOs: checked, audited. An SLO is watched by a rule of its own, made, changed and deleted with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.alerts import choices, rule_checks
from apps.alerts.models import Alert, AlertRule, Slo
from apps.alerts.series import SERIES, series_of, threshold_written
from apps.audit.errors import ServiceError
from apps.audit.services import change_record

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor
    from apps.ownership.models import Team

MOST_RULES = 500
"""Rules of one organisation; together they are looked at once a minute."""
KEPT: Any = object()
"""An argument of an update that is not to be changed."""
_FIELDS = (
    "title", "series", "scope", "comparison", "warn", "critical", "window_s", "for_s", "hold_s", "min_samples", "on_missing", "labels",
    "owner", "runbook", "opens_incident", "enabled",
)  # fmt: skip
_FIXED_BY_SLO = ("series", "scope", "comparison", "warn", "critical", "window_s", "title", "min_samples")
_SLO_FIELDS = ("title", "indicator", "objective", "threshold_ms", "window_days", "by", "subject", "min_requests", "owner", "runbook")


@transaction.atomic
def rule_create(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    title: str,
    series: str,
    by: str = "",
    values: Iterable[str] = (),
    comparison: str = choices.ABOVE,
    warn: object = None,
    critical: object = None,
    window_s: int | str = 300,
    for_s: int | str = 60,
    hold_s: int | str = 300,
    min_samples: int | str = 0,
    on_missing: str = "hold",
    labels: Mapping[str, str] | None = None,
    owner: Team | None = None,
    runbook: str = "",
    opens_incident: str = "",
    enabled: bool = True,
    reason: str = "",
) -> AlertRule:
    """Make a rule. warn, critical: as people write them (``series.threshold_read``), one of them at least. Raises ServiceError."""
    permission_require(actor=actor, action="alert_rule.change", organisation=organisation, team=owner.pk if owner else None)
    _owner_checked(organisation, owner)
    row = AlertRule(organisation=organisation, name=rule_checks.check_name(name, "a rule"), owner=owner)
    _room(organisation, row.name)
    found = series_of(series)
    if found.installation and organisation.slug != "main":
        raise ServiceError(f"{found.label!r} is of the whole installation: rules on it belong to the organisation main", "series")
    _fill(
        row, title=title, series=found.name, by=by, values=values, comparison=comparison, warn=warn, critical=critical, window_s=window_s,
        for_s=for_s, hold_s=hold_s, min_samples=min_samples, on_missing=on_missing, labels=labels or {}, runbook=runbook,
        opens_incident=opens_incident, enabled=enabled,
    )  # fmt: skip
    row.save(force_insert=True)
    change_record(actor, "alert_rule.create", row, {}, rule_facts(row), reason)
    return row


@transaction.atomic
def rule_update(
    *,
    actor: Actor,
    rule: AlertRule,
    title: str = KEPT,
    series: str = KEPT,
    by: str = KEPT,
    values: Iterable[str] = KEPT,
    comparison: str = KEPT,
    warn: object = KEPT,
    critical: object = KEPT,
    window_s: int | str = KEPT,
    for_s: int | str = KEPT,
    hold_s: int | str = KEPT,
    min_samples: int | str = KEPT,
    on_missing: str = KEPT,
    labels: Mapping[str, str] = KEPT,
    owner: Team | None = KEPT,
    runbook: str = KEPT,
    opens_incident: str = KEPT,
    enabled: bool = KEPT,
    reason: str = "",
) -> AlertRule:
    """Change what is given of a rule, the rest stays; the same again changes nothing. Raises ServiceError.

    What an SLO says follows the SLO. A rule that is switched off, or looks elsewhere, ends its open alerts with the next minute.
    """
    permission_require(actor=actor, action="alert_rule.change", organisation=rule.organisation, team=rule.owner_id)
    row = _rule_locked(rule)
    before = rule_facts(row)
    if owner is not KEPT:
        permission_require(actor=actor, action="alert_rule.change", organisation=rule.organisation, team=owner.pk if owner else None)
        _owner_checked(row.organisation, owner)
        row.owner = owner
    of_series = SERIES.get(row.series)
    as_now = {
        "title": row.title,
        "series": row.series,
        "by": row.by,
        "values": row.values,
        "comparison": row.comparison,
        "warn": threshold_written(of_series, row.comparison, row.warn) if of_series else "",
        "critical": threshold_written(of_series, row.comparison, row.critical) if of_series else "",
        "window_s": row.window_s,
        "for_s": row.for_s,
        "hold_s": row.hold_s,
        "min_samples": row.min_samples,
        "on_missing": row.on_missing,
        "labels": row.labels,
        "runbook": row.runbook,
        "opens_incident": row.opens_incident,
        "enabled": row.enabled,
    }
    given = {
        "title": title, "series": series, "by": by, "values": values, "comparison": comparison, "warn": warn, "critical": critical,
        "window_s": window_s, "for_s": for_s, "hold_s": hold_s, "min_samples": min_samples, "on_missing": on_missing, "labels": labels,
        "runbook": runbook, "opens_incident": opens_incident, "enabled": enabled,
    }  # fmt: skip
    asked = {name: value for name, value in given.items() if value is not KEPT}
    if row.slo_id is not None:
        fixed = sorted(name for name in asked if name in (*_FIXED_BY_SLO, "by", "values"))
        if fixed:
            raise ServiceError(f"this rule belongs to an SLO, which says its {', '.join(fixed)}: change the SLO", fixed[0])
        _fill_lasting(row, {**as_now, **asked})
    else:
        wanted = series_of(asked.get("series", row.series))
        if wanted.installation and row.organisation.slug != "main":
            raise ServiceError(f"{wanted.label!r} is of the whole installation: rules on it belong to the organisation main", "series")
        _fill(row, **{**as_now, **asked})
    after = rule_facts(row)
    changed = [field for field in after if before[field] != after[field]]
    if not changed:
        return row
    row.save()
    change_record(actor, "alert_rule.update", row, {f: before[f] for f in changed}, {f: after[f] for f in changed}, reason)
    return row


@transaction.atomic
def rule_delete(*, actor: Actor, rule: AlertRule, reason: str = "", now: datetime | None = None) -> None:
    """Delete a rule; its alerts stay readable, the open ones end with the next minute. Raises ServiceError for those that are not to be
    deleted. A second time changes nothing."""
    permission_require(actor=actor, action="alert_rule.change", organisation=rule.organisation, team=rule.owner_id)
    row = AlertRule.objects.select_for_update(of=("self",)).select_related("organisation", "owner").get(pk=rule.pk)
    if row.deleted_at is not None:
        return
    if row.is_default:
        raise ServiceError("this rule is there for everybody: switch it off instead, and it stays off", "rule")
    if row.slo_id is not None:
        raise ServiceError("this rule belongs to an SLO: delete the SLO, or switch the rule off", "rule")
    row.deleted_at = now or clock.now()
    row.save(update_fields=["deleted_at", "changed_at"])
    change_record(actor, "alert_rule.delete", row, rule_facts(row), {}, reason)


def rule_facts(rule: AlertRule) -> dict[str, Any]:
    """What the audit keeps of a rule."""
    facts: dict[str, Any] = {field: getattr(rule, field) for field in _FIELDS if field != "owner"}
    return {**facts, "scope": dict(rule.scope), "labels": dict(rule.labels), "owner": rule.owner.slug if rule.owner else ""}


def _fill(row: AlertRule, **said: Any) -> None:
    series = series_of(said["series"])
    row.title, row.series = rule_checks.check_title(said["title"], "a rule"), series.name
    values = said["values"]
    row.scope = rule_checks.check_scope(series, said["by"], values.split("\n") if isinstance(values, str) else values)
    row.comparison, row.warn, row.critical = rule_checks.check_thresholds(series, said["comparison"], said["warn"], said["critical"])
    if row.comparison == choices.TIMES_BASELINE and row.by not in ("", "route", "provider", "key"):
        raise ServiceError("what is usual is known of everything, routes, providers and keys: choose one of them, or a fixed bound", "by")
    row.window_s = rule_checks.check_window(said["window_s"])
    row.min_samples = rule_checks.check_samples(said["min_samples"])
    _fill_lasting(row, said)


def _fill_lasting(row: AlertRule, said: Mapping[str, Any]) -> None:
    """What also a rule of an SLO may have of its own."""
    row.for_s = rule_checks.check_lasting(said["for_s"], "for_s")
    row.hold_s = rule_checks.check_lasting(said["hold_s"], "hold_s")
    row.on_missing = rule_checks.check_on_missing(said["on_missing"])
    row.labels = rule_checks.check_labels(said["labels"])
    row.runbook = rule_checks.check_runbook(said["runbook"])
    row.opens_incident = rule_checks.check_opens_incident(said["opens_incident"])
    row.enabled = bool(said["enabled"])


def _rule_locked(rule: AlertRule) -> AlertRule:
    row = AlertRule.objects.select_for_update(of=("self",)).select_related("organisation", "owner").get(pk=rule.pk)
    if row.deleted_at is not None:
        raise ServiceError("this rule was deleted meanwhile: look at the list again", "rule")
    return row


def _owner_checked(organisation: Organisation, owner: Team | None) -> None:
    if owner is not None and owner.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", field="owner")


def _room(organisation: Organisation, name: str) -> None:
    """Raises ServiceError where the name is taken, or there are too many."""
    living = AlertRule.objects.filter(organisation=organisation, deleted_at=None)
    if living.filter(name=name).exists():
        raise ServiceError(f"there is a rule {name!r} already: change that one, or choose another name", "name")
    if living.count() >= MOST_RULES:
        raise ServiceError(f"an organisation has at most {MOST_RULES} rules: delete one, or let one rule look at many", "name")


# --- SLOs -----------------------------------------------------------------------------------------------------------


@transaction.atomic
def slo_create(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    title: str,
    indicator: str,
    objective: object,
    threshold_ms: int | str | None = None,
    window_days: int | str = 30,
    by: str = "",
    subject: str = "",
    min_requests: int | str = 100,
    owner: Team | None = None,
    runbook: str = "",
    reason: str = "",
) -> Slo:
    """Promise a share of requests; its burn-rate rule is made with it. objective: a percentage such as ``99.9``. Raises ServiceError."""
    permission_require(actor=actor, action="slo.change", organisation=organisation, team=owner.pk if owner else None)
    _owner_checked(organisation, owner)
    row = Slo(organisation=organisation, name=rule_checks.check_name(name, "an SLO"), owner=owner)
    if Slo.objects.filter(organisation=organisation, name=row.name, deleted_at=None).exists():
        raise ServiceError(f"there is an SLO {row.name!r} already: change that one, or choose another name", "name")
    _slo_fill(
        row, title=title, indicator=indicator, objective=objective, threshold_ms=threshold_ms, window_days=window_days, by=by,
        subject=subject, min_requests=min_requests, runbook=runbook,
    )  # fmt: skip
    row.save(force_insert=True)
    rule = AlertRule(organisation=organisation, name=f"slo-{row.name}"[:60].rstrip("-"), slo=row, for_s=0, hold_s=300, on_missing="alert")
    _room(organisation, rule.name)
    _rule_follows(rule, row)
    rule.save(force_insert=True)
    change_record(actor, "slo.create", row, {}, slo_facts(row), reason)
    return row


@transaction.atomic
def slo_update(
    *,
    actor: Actor,
    slo: Slo,
    title: str = KEPT,
    indicator: str = KEPT,
    objective: object = KEPT,
    threshold_ms: int | str | None = KEPT,
    window_days: int | str = KEPT,
    by: str = KEPT,
    subject: str = KEPT,
    min_requests: int | str = KEPT,
    owner: Team | None = KEPT,
    runbook: str = KEPT,
    reason: str = "",
) -> Slo:
    """Change what is given of an SLO, the rest stays; its rule follows. Raises ServiceError."""
    permission_require(actor=actor, action="slo.change", organisation=slo.organisation, team=slo.owner_id)
    row = Slo.objects.select_for_update(of=("self",)).select_related("organisation", "owner").get(pk=slo.pk)
    if row.deleted_at is not None:
        raise ServiceError("this SLO was deleted meanwhile: look at the list again", "slo")
    before = slo_facts(row)
    if owner is not KEPT:
        permission_require(actor=actor, action="slo.change", organisation=slo.organisation, team=owner.pk if owner else None)
        _owner_checked(row.organisation, owner)
        row.owner = owner
    given = {
        "title": title, "indicator": indicator, "objective": objective, "threshold_ms": threshold_ms, "window_days": window_days, "by": by,
        "subject": subject, "min_requests": min_requests, "runbook": runbook,
    }  # fmt: skip
    as_now = {name: getattr(row, name) for name in given} | {"objective": row.objective_text}
    asked = {name: value for name, value in given.items() if value is not KEPT}
    if asked.get("indicator") == choices.AVAILABILITY:
        asked.setdefault("threshold_ms", None)
    _slo_fill(row, **{**as_now, **asked})
    after = slo_facts(row)
    changed = [field for field in after if before[field] != after[field]]
    if not changed:
        return row
    row.save()
    rule = AlertRule.objects.select_for_update().get(slo=row)
    _rule_follows(rule, row)
    rule.save()
    change_record(actor, "slo.update", row, {f: before[f] for f in changed}, {f: after[f] for f in changed}, reason)
    return row


@transaction.atomic
def slo_delete(*, actor: Actor, slo: Slo, reason: str = "", now: datetime | None = None) -> None:
    """Delete an SLO and its rule; its alerts stay readable. A second time changes nothing."""
    permission_require(actor=actor, action="slo.change", organisation=slo.organisation, team=slo.owner_id)
    row = Slo.objects.select_for_update(of=("self",)).select_related("organisation", "owner").get(pk=slo.pk)
    if row.deleted_at is not None:
        return
    row.deleted_at = now or clock.now()
    row.save(update_fields=["deleted_at", "changed_at"])
    AlertRule.objects.filter(slo=row).update(deleted_at=row.deleted_at)
    change_record(actor, "slo.delete", row, slo_facts(row), {}, reason)


def slo_facts(slo: Slo) -> dict[str, Any]:
    """What the audit keeps of an SLO."""
    facts: dict[str, Any] = {field: getattr(slo, field) for field in _SLO_FIELDS if field != "owner"}
    return {**facts, "objective": f"{slo.objective_text} %", "owner": slo.owner.slug if slo.owner else ""}


def _slo_fill(row: Slo, **said: Any) -> None:
    row.title = rule_checks.check_title(said["title"], "an SLO")
    row.indicator, row.threshold_ms = rule_checks.check_indicator(said["indicator"], said["threshold_ms"])
    row.objective = rule_checks.objective_read(said["objective"])
    row.window_days = rule_checks.check_days(said["window_days"])
    row.by, row.subject = rule_checks.check_slo_scope(said["by"], said["subject"])
    row.min_requests = rule_checks.check_samples(said["min_requests"], "min_requests")
    row.runbook = rule_checks.check_runbook(said["runbook"])


def _rule_follows(rule: AlertRule, slo: Slo) -> None:
    """The rule says what the SLO says."""
    rule.title = f"{slo.title}: error budget burns"[:200]
    rule.series, rule.comparison = choices.SLO_SERIES, choices.ABOVE
    rule.scope = {"by": slo.by, "values": [slo.subject]} if slo.by else {"by": ""}
    factors = {severity: min(burn.factor for burn in choices.BURNS if burn.severity == severity) for severity in choices.SEVERITIES}
    rule.warn, rule.critical = factors[choices.WARNING], factors[choices.CRITICAL]
    rule.window_s, rule.min_samples = 3_600, slo.min_requests
    rule.owner, rule.runbook = slo.owner, slo.runbook


def open_alerts(rule: AlertRule) -> int:
    """How many alerts of a rule are open."""
    return Alert.objects.filter(rule=rule).exclude(state=choices.RESOLVED).count()
