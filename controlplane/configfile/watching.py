"""Alert rules and SLOs in the document: entries <-> services and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

from apps.accounts.models import Organisation
from apps.alerts.models import AlertRule, Slo
from apps.alerts.rule_services import rule_create, rule_delete, rule_update, slo_create, slo_delete, slo_update
from apps.alerts.seeds import default_ensure
from apps.alerts.series import SERIES, threshold_written
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys.selectors import key_named
from controlplane.configfile.document import AlertRuleEntry, SloEntry
from controlplane.configfile.ownership import runbook_id, team_named

_LASTING = {"window_s": "window", "for_s": "fires_after", "hold_s": "resolves_after"}
_SLO = {"threshold_ms": "threshold"}
"""The services' names of fields that the document calls otherwise."""


class Named(Protocol):
    """``controlplane.configfile.writing.Names``."""

    def of(self, kind: str, object_id: object) -> str:
        """The name of what has that id; the id itself where it is gone."""


def rule_apply(organisation: Organisation, entry: AlertRuleEntry, *, actor: Actor, reason: str) -> None:
    """Make a rule what the entry says. One of the rules that every organisation has is made as that where it is missing still."""
    row = _rule(organisation, entry.name) or default_ensure(organisation, entry.name)
    if row is not None and row.slo is not None:
        raise ServiceError(f"this rule belongs to the SLO {row.slo.name!r}: list that under slos, which says what its rule does", "name")
    facts: dict[str, Any] = {
        "title": entry.title,
        "series": entry.series,
        "by": entry.by,
        "values": [_id_of(organisation, entry.by, value, "values") for value in entry.values],
        "comparison": entry.comparison,
        "warn": entry.warn,
        "critical": entry.critical,
        "window_s": _seconds(entry.window, "window"),
        **_lasting(entry),
        "min_samples": entry.min_samples,
        "owner": team_named(organisation, entry.owner, "owner"),
        "runbook": _runbook(organisation, entry.runbook, row.runbook if row is not None else ""),
        "enabled": entry.enabled,
    }
    with _fields(_LASTING):
        if row is None:
            rule_create(actor=actor, organisation=organisation, name=entry.name, reason=reason, **facts)
        else:
            rule_update(actor=actor, rule=row, reason=reason, **facts)


def rule_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    row = _rule(organisation, name)
    if row is not None:
        rule_delete(actor=actor, rule=row, reason=reason)


def rules_of(organisation: Organisation, names: Named, only: str) -> list[AlertRuleEntry]:
    """Every rule but those that SLOs have."""
    rows = AlertRule.objects.filter(organisation=organisation, deleted_at=None, slo=None).select_related("owner").order_by("name")
    return [
        AlertRuleEntry(
            name=row.name,
            title=row.title,
            series=row.series,
            by=row.by,
            values=[_name_of(names, row.by, value) for value in row.values],
            comparison=cast(Any, row.comparison),
            warn=threshold_written(SERIES[row.series], row.comparison, row.warn),
            critical=threshold_written(SERIES[row.series], row.comparison, row.critical),
            window=row.window_s * 1_000,
            fires_after=row.for_s * 1_000,
            resolves_after=row.hold_s * 1_000,
            min_samples=row.min_samples,
            on_missing=cast(Any, row.on_missing),
            labels=dict(row.labels),
            opens_incident=cast(Any, row.opens_incident),
            owner=row.owner.slug if row.owner else "",
            runbook=names.of("runbook", row.runbook),
            enabled=row.enabled,
        )
        for row in (rows.filter(name=only) if only else rows)
    ]


def slo_apply(organisation: Organisation, entry: SloEntry, *, actor: Actor, reason: str) -> None:
    """Make an SLO what the entry says, and the rule that watches it."""
    row = Slo.objects.select_related("organisation", "owner").filter(organisation=organisation, name=entry.name, deleted_at=None).first()
    facts: dict[str, Any] = {
        "title": entry.title,
        "indicator": entry.indicator,
        "objective": entry.objective,
        "threshold_ms": entry.threshold or None,
        "window_days": entry.window_days,
        "by": entry.by,
        "subject": _id_of(organisation, entry.by, entry.subject, "subject"),
        "min_requests": entry.min_requests,
        "owner": team_named(organisation, entry.owner, "owner"),
        "runbook": _runbook(organisation, entry.runbook, row.runbook if row is not None else ""),
    }
    with _fields(_SLO):
        if row is None:
            row = slo_create(actor=actor, organisation=organisation, name=entry.name, reason=reason, **facts)
        else:
            slo_update(actor=actor, slo=row, reason=reason, **facts)
    rule = AlertRule.objects.select_related("organisation").get(slo=row)
    with _fields(_LASTING):
        rule_update(actor=actor, rule=rule, enabled=entry.alerting, reason=reason, **_lasting(entry))


def slo_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone; its rule goes with it."""
    for row in Slo.objects.select_related("organisation").filter(organisation=organisation, name=name, deleted_at=None):
        slo_delete(actor=actor, slo=row, reason=reason)


def slos_of(organisation: Organisation, names: Named, only: str) -> list[SloEntry]:
    """SLOs with what is set of their rules."""
    rows = Slo.objects.filter(organisation=organisation, deleted_at=None).select_related("owner", "rule").order_by("name")
    return [
        SloEntry(
            name=row.name,
            title=row.title,
            indicator=cast(Any, row.indicator),
            objective=row.objective_text,
            threshold=row.threshold_ms or 0,
            window_days=row.window_days,
            by=row.by,
            subject=_name_of(names, row.by, row.subject),
            min_requests=row.min_requests,
            owner=row.owner.slug if row.owner else "",
            runbook=names.of("runbook", row.runbook),
            alerting=row.rule.enabled,
            fires_after=row.rule.for_s * 1_000,
            resolves_after=row.rule.hold_s * 1_000,
            on_missing=cast(Any, row.rule.on_missing),
            labels=dict(row.rule.labels),
            opens_incident=cast(Any, row.rule.opens_incident),
        )
        for row in (rows.filter(name=only) if only else rows)
    ]


def slo_of_rule(organisation: Organisation, rule_id: object) -> str:
    """The id of the SLO whose rule that is; empty for any other."""
    pk = AlertRule.objects.filter(organisation=organisation, pk=rule_id).values_list("slo_id", flat=True).first()
    return str(pk or "")


def _rule(organisation: Organisation, name: str) -> AlertRule | None:
    rows = AlertRule.objects.select_related("organisation", "owner", "slo")
    return rows.filter(organisation=organisation, name=name, deleted_at=None).first()


def _lasting(entry: AlertRuleEntry | SloEntry) -> dict[str, Any]:
    return {
        "for_s": _seconds(entry.fires_after, "fires_after"),
        "hold_s": _seconds(entry.resolves_after, "resolves_after"),
        "on_missing": entry.on_missing,
        "labels": entry.labels,
        "opens_incident": entry.opens_incident,
    }


def _seconds(ms: int, field: str) -> int:
    """Whole seconds. Raises ServiceError."""
    if ms % 1_000:
        raise ServiceError("write whole seconds: rules are looked at once a minute", field)
    return ms // 1_000


def _id_of(organisation: Organisation, by: str, name: str, field: str) -> str:
    """What figures call a subject: keys by their id, everything else by its name."""
    if by != "key" or not name:
        return name
    try:
        return str(key_named(organisation, name).pk)
    except ServiceError as error:
        raise ServiceError(error.message, field) from None


def _name_of(names: Named, by: str, subject: str) -> str:
    return names.of("key", subject) if by == "key" and subject else subject


def _runbook(organisation: Organisation, written: str, kept: str) -> str:
    """What is stored of a runbook: as it is kept where that means the same, so that an entry which says the same changes nothing."""
    return kept if kept and runbook_id(organisation, written) == runbook_id(organisation, kept) else written


@contextmanager
def _fields(names: Mapping[str, str]) -> Iterator[None]:
    """A service's field names become the document's."""
    try:
        yield
    except ServiceError as error:
        raise ServiceError(error.message, names.get(error.field or "", error.field)) from None
