"""What happens to alerts, turned into telling: who joins a notification, who is told that somebody has it, who hears of the end.

``alert_changed`` runs in the transaction that changed the alert and only writes rows; workers tell (``escalation``, ``deliveries``).
Handed the same event twice it does nothing the second time.

Invariants: an alert that fires unmuted is in exactly one open notification of its policy; whoever may have been told that it fires is told
of its end, whatever silences came in between; nobody hears of an end who heard of no beginning.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Prefetch, Q
from django.utils import timezone as clock

from apps.alerts import channel_choices as choices
from apps.alerts.channel_models import Delivery, EscalationStep, Notification, NotificationAlert, NotificationPolicy
from apps.alerts.choices import FIRING, RESOLVED, TELLING
from apps.alerts.models import Alert, AlertEvent
from apps.alerts.receivers import To
from apps.alerts.routing import BUILT_IN, FRESH_WAIT, Facts, Level, Policy, Step, policy_for, raised, raised_by_time
from apps.alerts.sources.slos import BUDGET_USED
from apps.alerts.subjects import owner_of_alert
from apps.alerts.wording import message_of
from apps.ownership.models import Sla, Team

TIMES_PROMISED = {"ttft_p95": ("ttft_warn_ms", "ttft_page_ms"), "latency_p95": ("latency_warn_ms", "latency_page_ms")}
"""Series of which an SLA promises a time -> its boundaries."""


@transaction.atomic
def alert_changed(alert: Alert, event: AlertEvent, *, now: datetime | None = None) -> None:
    """Take in one event of an alert, after the alert itself was written. now: of the clock that telling goes by."""
    now = now or clock.now()
    if event.kind == "acknowledged":
        _acknowledged(alert, event, now)
    elif event.kind in ("resolved", "cleared") or alert.state == RESOLVED:
        _over(alert, now)
    elif event.kind in TELLING and not event.muted and alert.state == FIRING:
        _join(alert, now)


def policies_of(organisation_id: object) -> list[Policy]:
    """The organisation's policies in their order, without those that are off or reach nobody: two queries."""
    steps = Prefetch("steps", EscalationStep.objects.order_by("after_minutes", "position"))
    rows = NotificationPolicy.objects.filter(organisation_id=organisation_id, enabled=True).prefetch_related(steps)
    return [policy for policy in map(policy_of, rows.order_by("position", "name")) if policy.levels]


def policy_of(row: NotificationPolicy | None) -> Policy:
    """A row as ``routing`` knows it; the built-in one for None."""
    if row is None:
        return BUILT_IN
    levels: dict[int, list[Step]] = {}
    for step in row.steps.all():
        levels.setdefault(step.after_minutes, []).append(Step(step.target, str(step.channel_id or ""), str(step.rotation_id or "")))
    return Policy(
        id=str(row.pk),
        name=row.name,
        team=str(row.team_id or ""),
        severity=row.severity,
        labels=row.labels,
        zone=row.zone,
        days=row.days,
        from_minute=row.from_minute,
        to_minute=row.to_minute,
        group_wait_s=row.group_wait_s,
        repeat_minutes=row.repeat_minutes,
        levels=tuple(Level(minutes, tuple(steps)) for minutes, steps in sorted(levels.items())),
    )


def severity_told(alert: Alert, team: Team | None) -> str:
    """An alert's severity by its owner's SLA; empty where that says that nobody need know yet."""
    used, times = alert.evidence.get(BUDGET_USED), TIMES_PROMISED.get(alert.rule.series)
    if team is None or (times is None and not isinstance(used, int | float)):
        return alert.severity
    sla = _sla_of(alert, team)
    if sla is None:
        return alert.severity
    if times is not None:
        warn_ms, page_ms = (getattr(sla, name) for name in times)
        return raised_by_time(alert.severity, took_us=alert.value, warn_ms=warn_ms, page_ms=page_ms)
    used_up = float(used) if isinstance(used, int | float) else None
    return raised(alert.severity, budget_used=used_up, warn_percent=sla.warn_percent, page_percent=sla.page_percent)


def _sla_of(alert: Alert, team: Team) -> Sla | None:
    """What the owner promises: of an alert on a service its own SLA, where it has one, else the team's."""
    rows = Sla.objects.filter(team=team)
    own = rows.filter(service__slug=alert.subject).first() if alert.by == "service" else None
    return own if own is not None else rows.filter(service=None).first()


def _join(alert: Alert, now: datetime) -> None:
    team = owner_of_alert(alert)
    severity = severity_told(alert, team)
    if not severity:
        return
    labels = {str(name): str(value) for name, value in alert.rule.labels.items()}
    policy = policy_for(policies_of(alert.organisation_id), Facts(str(team.pk) if team else "", severity, labels))
    key = f"{policy.id or 'built-in'}:{team.pk if team else 'nobody'}:{alert.group_key or alert.fingerprint}"[:300]
    row = _opened(alert, key, policy, team, now)
    _, new = NotificationAlert.objects.get_or_create(notification=row, alert=alert)
    soon = now + timedelta(seconds=policy.group_wait_s) if row.told_at is None else now + FRESH_WAIT
    if row.next_at is None or (new and row.told_at is not None) or row.next_at > soon:
        row.next_at = soon if row.next_at is None else min(row.next_at, soon)
        row.save(update_fields=["next_at"])


def _opened(alert: Alert, key: str, policy: Policy, team: Team | None, now: datetime) -> Notification:
    """The open notification with this key, locked; made where there is none."""
    for _ in range(3):
        row = Notification.objects.select_for_update().filter(organisation_id=alert.organisation_id, key=key, closed_at=None).first()
        if row is not None:
            return row
        try:
            with transaction.atomic():
                return Notification.objects.create(
                    organisation_id=alert.organisation_id,
                    policy_id=policy.id or None,
                    team=team,
                    key=key,
                    opened_at=now,
                    next_at=now + timedelta(seconds=policy.group_wait_s),
                )
        except IntegrityError:  # somebody was faster; or closed theirs meanwhile, and then the next round makes one
            continue
    raise RuntimeError(f"the notification {key} was opened and closed by others again and again")


def _acknowledged(alert: Alert, event: AlertEvent, now: datetime) -> None:
    for row in _locked(alert):
        firing = Alert.objects.filter(notification_members__notification=row, state=FIRING).exclude(pk=alert.pk).exists()
        if firing or row.acked_at is not None:
            continue
        receivers = told(row)
        _drop(row, now, "somebody has taken it")
        row.acked_at, row.next_at = now, None
        row.save(update_fields=["acked_at", "next_at"])
        others = [one for one in receivers if one.person is None or one.person.email != event.actor]
        deliveries_make(row, others, members_of(row), what=choices.ACKNOWLEDGED, about=f"{row.pk}:ack:{event.pk}", now=now, by=event.actor)


def _over(alert: Alert, now: datetime) -> None:
    for row in _locked(alert):
        if Alert.objects.filter(notification_members__notification=row).exclude(pk=alert.pk).exclude(state=RESOLVED).exists():
            continue
        notification_close(row, now)


def notification_close(row: Notification, now: datetime) -> None:
    """Nothing of it is open any more: whoever may know of it hears of the end. The row is locked by whoever calls."""
    receivers = told(row)
    _drop(row, now, "it was over before it was told")
    row.closed_at, row.next_at = now, None
    row.save(update_fields=["closed_at", "next_at"])
    deliveries_make(row, receivers, members_of(row), what=choices.RESOLVED, about=f"{row.pk}:over", now=now)


def _locked(alert: Alert) -> list[Notification]:
    """The open notifications that an alert is in, in one order, so that two who hold several do not wait for each other."""
    rows = Notification.objects.select_for_update().filter(closed_at=None, pk__in=alert.notification_members.values("notification_id"))
    return list(rows.order_by("pk"))


def told(row: Notification) -> list[To]:
    """Everybody who has, or may have, a page about it, each once."""
    may_have = Q(state__in=(choices.SENT, choices.SENDING, choices.UNKNOWN)) | Q(state=choices.WAITING, tries__gt=0)
    rows = row.deliveries.filter(may_have, what__in=choices.PAGES).select_related("channel", "person").order_by("created_at", "pk")
    found = {}
    for one in rows:
        address = one.name if one.receiver.startswith("address:") else ""
        found[one.receiver] = To(one.receiver, one.name, one.kind, one.channel, one.person, address)
    return list(found.values())


def members_of(row: Notification) -> list[Alert]:
    """Its alerts, the worst and oldest first."""
    rows = Alert.objects.filter(notification_members__notification=row).select_related("rule", "organisation")
    return sorted(rows, key=lambda alert: (alert.state == RESOLVED, alert.severity != "critical", alert.started_at))


def deliveries_make(
    row: Notification, receivers: list[To], alerts: list[Alert], *, what: str, about: str, now: datetime, by: str = ""
) -> list[Delivery]:
    """The rows of one telling; those that are there already stay as they are. Returns the rows that there are then."""
    if not receivers or not alerts:
        return []
    message = message_of(alerts, key=str(row.pk), what=what, at=now, by=by).document()
    rows = [
        Delivery(
            organisation_id=row.organisation_id,
            notification=row,
            alert=alerts[0],
            channel=to.channel,
            person=to.person,
            about=about,
            receiver=to.id,
            name=to.name[:254],
            kind=to.kind,
            what=what,
            message=message,
            state=choices.WAITING if to.kind else choices.FAILED,
            due_at=now,
            ended_at=None if to.kind else now,
            told=to.why[:300],
            created_at=now,
        )
        for to in receivers
    ]
    Delivery.objects.bulk_create(rows, ignore_conflicts=True)
    return list(row.deliveries.filter(about=about))


def _drop(row: Notification, now: datetime, why: str) -> None:
    waiting = row.deliveries.filter(state=choices.WAITING, what__in=choices.PAGES)
    waiting.update(state=choices.DROPPED, ended_at=now, told=why)
