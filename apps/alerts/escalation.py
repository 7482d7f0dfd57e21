"""Carrying notifications on: telling what is due, level after level, until somebody has taken it or it is over.

Safe to run twice and at once: a notification is locked while it is carried on, and what was decided is rows whose uniqueness holds.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from apps.alerts import channel_choices as choices
from apps.alerts.budget_days import is_way_of_budget, ways_beside
from apps.alerts.channel_models import Notification, NotificationAlert
from apps.alerts.choices import ACKNOWLEDGED, FIRING, RANK, RESOLVED
from apps.alerts.models import Alert
from apps.alerts.notifying import deliveries_make, members_of, notification_close, policy_of, severity_told
from apps.alerts.receivers import receivers_of
from apps.alerts.routing import Policy, Standing, opens_at, turn
from controlplane.away import database_away

log = logging.getLogger("bulkhead.alerts")

AT_ONCE = 200
LOOK_AGAIN = timedelta(minutes=1)
"""While everything of a notification is silenced or explained by a worse alert, so often is looked whether that has ended."""


def notifications_due(now: datetime) -> list[UUID]:
    """Open notifications with something to decide."""
    rows = Notification.objects.filter(closed_at=None, next_at__lte=now).order_by("next_at")
    return list(rows.values_list("pk", flat=True)[:AT_ONCE])


def notifications_run(now: datetime) -> int:
    """Carry on whatever is due; how many. One that somebody else holds is left to them, and one that fails holds up no other."""
    done = 0
    for pk in notifications_due(now):
        try:
            done += notification_advance(pk, now=now)
        except Exception as error:
            if database_away(error):
                raise  # so it is for the others
            log.exception("alerts: notification %s could not be carried on; it is tried again", pk)
    return done


@transaction.atomic
def notification_advance(notification_id: UUID, *, now: datetime) -> bool:
    """Carry one on. False: it is not due any more, or somebody else has it."""
    rows = Notification.objects.select_for_update(skip_locked=True, of=("self",)).select_related("organisation", "policy", "team")
    row = rows.filter(pk=notification_id, closed_at=None, next_at__lte=now).first()
    if row is None:
        return False
    alerts = members_of(row)
    if all(alert.state == RESOLVED for alert in alerts):
        notification_close(row, now)
        return True
    firing = [alert for alert in alerts if alert.state == FIRING and not alert.silenced(now) and alert.inhibited_by_id is None]
    if not firing:
        _wait(row, alerts, now)
        return True
    policy = policy_of(row.policy)
    if not policy.levels:
        policy = policy_of(None)
    severity = max((severity_told(alert, row.team) or alert.severity for alert in firing), key=RANK.__getitem__)
    opens = opens_at(policy, severity, now)
    if opens > now:
        _next(row, opens)
        return True
    _carry_on(row, policy, firing, now)
    return True


def _wait(row: Notification, alerts: list[Alert], now: datetime) -> None:
    """Nothing to tell at this moment: everything is taken, silenced, or explained by a worse alert."""
    held = [alert for alert in alerts if alert.state == FIRING]
    if not held:
        taken = any(alert.state == ACKNOWLEDGED for alert in alerts)
        row.acked_at = row.acked_at or (now if taken else None)
        row.next_at = None
        row.save(update_fields=["acked_at", "next_at"])
        return
    ends = [alert.silenced_until for alert in held if alert.silenced_until and alert.silenced_until > now and alert.inhibited_by_id is None]
    _next(row, min(ends) if len(ends) == len(held) else now + LOOK_AGAIN)


def _carry_on(row: Notification, policy: Policy, firing: list[Alert], now: datetime) -> None:
    """Tell what is due; while a level reaches nobody at all, the next one at once."""
    for _ in range(len(policy.levels) + 1):
        seen = dict(NotificationAlert.objects.filter(notification=row).values_list("alert_id", "told_severity"))
        fresh = any(RANK[alert.severity] > RANK[seen.get(alert.pk, "")] for alert in firing)
        standing = Standing(row.told_at, row.step, row.round, row.acked_at is not None)
        found = turn(policy, standing, fresh=fresh, unreached=_unreached(row), now=now)
        row.told_at, row.step, row.round, row.next_at = found.told_at, found.step, found.round, found.next_at
        if found.what:
            row.tellings += 1
            row.acked_at = None
            steps = [step for level in found.levels for step in policy.levels[level].steps]
            receivers = receivers_of(steps, organisation=row.organisation, team=row.team, at=now)
            if found.what == choices.FIRING:
                receivers += ways_beside(firing, receivers)
            deliveries_make(row, receivers, firing, what=found.what, about=f"{row.pk}:{row.tellings}", now=now)
            for severity in ("warning", "critical"):
                told = [alert.pk for alert in firing if alert.severity == severity]
                NotificationAlert.objects.filter(notification=row, alert__in=told).update(told_severity=severity)
        row.save(update_fields=["told_at", "step", "round", "next_at", "tellings", "acked_at"])
        if not found.what or not _unreached(row):
            return


def _unreached(row: Notification) -> bool:
    """Whether the last telling is over and reached nobody who was to come; a budget's own ways are for knowing."""
    if not row.tellings:
        return False
    reached = (choices.WAITING, choices.SENDING, choices.SENT)
    told = row.deliveries.filter(about=f"{row.pk}:{row.tellings}", state__in=reached)
    return not any(not is_way_of_budget(receiver) for receiver in told.values_list("receiver", flat=True))


def _next(row: Notification, at: datetime) -> None:
    row.next_at = at
    row.save(update_fields=["next_at"])
