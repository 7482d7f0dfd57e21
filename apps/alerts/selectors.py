"""Reading alerts, rules, SLOs and how evaluation does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, Count, F, IntegerField, Max, Min, Q, QuerySet, Value, When
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.alerts import choices
from apps.alerts.models import Alert, AlertEvaluation, AlertEvent, AlertRule, ProviderNote, Silence, Slo
from apps.ui.status import Status


def alerts(organisation: Organisation) -> QuerySet[Alert]:
    """An organisation's alerts with their rules and owners: open ones first, the worst first, then the newest.

    Those that were over before they fired are in it; ``alerts(...).exclude(fired_at=None, state="resolved")`` leaves them out.
    """
    states = Case(
        *(When(state=state, then=Value(place)) for place, state in enumerate((choices.FIRING, choices.ACKNOWLEDGED, choices.PENDING))),
        default=Value(9),
        output_field=IntegerField(),
    )
    severe = Case(When(severity=choices.CRITICAL, then=Value(0)), default=Value(1), output_field=IntegerField())
    rows = Alert.objects.filter(organisation=organisation).select_related("rule__owner", "rule__slo", "inhibited_by__rule")
    return rows.annotate(state_rank=states, severity_rank=severe).order_by("state_rank", "severity_rank", "-started_at", "-id")


def open_alerts(organisation: Organisation) -> QuerySet[Alert]:
    """Those that fire or are acknowledged; not what is pending."""
    return alerts(organisation).filter(state__in=choices.FIRED)


def alert_events(alert: Alert) -> QuerySet[AlertEvent]:
    """What happened to an alert, the oldest first."""
    return AlertEvent.objects.filter(alert=alert).order_by("at", "id")


def rules(organisation: Organisation) -> QuerySet[AlertRule]:
    """An organisation's living rules with owners and SLOs, each with ``firing``: how many alerts of it are out."""
    firing = Count("alerts", filter=Q(alerts__state__in=choices.FIRED))
    rows = AlertRule.objects.filter(organisation=organisation, deleted_at=None).select_related("owner", "slo")
    return rows.annotate(firing=firing).order_by("title", "name")


def slos(organisation: Organisation) -> QuerySet[Slo]:
    """An organisation's living SLOs with owners and rules."""
    return Slo.objects.filter(organisation=organisation, deleted_at=None).select_related("owner", "rule", "organisation")


def silences(organisation: Organisation, *, now: datetime | None = None) -> QuerySet[Silence]:
    """An organisation's silences, those in force or yet to come first, then the newest; ``in_force`` says which."""
    now = now or clock.now()
    running = Case(When(ended_at=None, until__gt=now, then=Value(1)), default=Value(0), output_field=IntegerField())
    rows = Silence.objects.filter(organisation=organisation).select_related("alert__rule")
    return rows.annotate(in_force=running).order_by("-in_force", "-starts_at", "-id")


def provider_notes(organisation: Organisation, *, now: datetime | None = None) -> QuerySet[ProviderNote]:
    """What people say of providers now, with the provider."""
    now = now or clock.now()
    held = Q(until=None) | Q(until__gt=now)
    return ProviderNote.objects.filter(held, organisation=organisation, ended_at=None, at__lte=now).select_related("provider")


@dataclass(frozen=True, slots=True)
class EvaluationHealth:
    """Whether rules are looked at. judged_until: by the data's clock; finished_at: by the clock on the wall; None: never."""

    status: Status
    judged_until: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""

    @property
    def well(self) -> bool:
        """Alerts can fire."""
        return self.status.value in ("running", "never")


def evaluation_health(organisation: Organisation | None = None, *, now: datetime | None = None) -> EvaluationHealth:
    """The dead man's switch: how long ago rules were looked at, of one organisation or of the one furthest behind. One query."""
    now = now or clock.now()
    rows = AlertEvaluation.objects.all() if organisation is None else AlertEvaluation.objects.filter(organisation=organisation)
    found = rows.aggregate(at=Min("finished_at"), until=Min("judged_until"), error=Max("error"))
    return health_of(found["at"], found["until"], found["error"] or "", now=now)


def health_of(finished_at: datetime | None, judged_until: datetime | None, error: str, *, now: datetime) -> EvaluationHealth:
    """What it means that evaluation was last done then."""
    if finished_at is None:
        return EvaluationHealth(choices.EVALUATION["never"])
    age = now - finished_at
    state = "running" if age <= choices.LATE else "late" if age <= choices.STOPPED else "stopped"
    return EvaluationHealth(choices.EVALUATION[state], judged_until, finished_at, error)


def alerts_between(organisation: Organisation, start: datetime, end: datetime) -> QuerySet[Alert]:
    """Alerts that were out at some moment of a range: for timelines and evidence."""
    rows = Alert.objects.filter(organisation=organisation, fired_at__lt=end).filter(Q(resolved_at=None) | Q(resolved_at__gte=start))
    return rows.select_related("rule__owner").annotate(ended=F("resolved_at")).order_by("fired_at", "id")


def forget_before(*, now: datetime, fired: timedelta, others: timedelta) -> QuerySet[Alert]:
    """Episodes that are over for so long that nobody needs them: those that fired, and those that did not."""
    over = Q(fired_at=None, resolved_at__lt=now - others) | Q(fired_at__isnull=False, resolved_at__lt=now - fired)
    return Alert.objects.filter(over, state=choices.RESOLVED)
