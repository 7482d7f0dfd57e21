"""Handing messages over: each delivery is claimed by compare-and-set before its conversation, so that two workers never have the same one.

Invariant: between two conversations of one delivery stands an answer that nothing was taken, a receiver that drops what it knows (by the
delivery's id), or a person who asked for it again. What a killed worker leaves behind is told apart after ``CLAIM``: sent again where the
receiver drops doubles, else *unknown*, which counts as nobody reached, so that the next level is told at once.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

import httpx
import msgspec
from django.db import transaction
from django.db.models import F
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.alerts import channel_choices as choices
from apps.alerts.budget_days import delivery_note, is_way_of_budget, receiver_of_budget
from apps.alerts.channel_models import Delivery, Notification
from apps.alerts.channels import BUDGET_WEBHOOK, CHANNELS
from apps.alerts.channels.base import Again, Channel, Doubtful, Message, Open, Receiver, Refused
from apps.alerts.routing import BACK_OFF, tried_again_at
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.providers.outbound import client
from controlplane.away import database_away
from controlplane.masterkey import VaultError, decrypt

CLAIM = timedelta(minutes=3)
"""No conversation takes so long: what is claimed for longer was left behind."""
AT_ONCE = 500
KEPT = timedelta(days=90)
FORGET_AT_ONCE = 5_000

log = logging.getLogger("bulkhead.alerts")


def open_guarded(allow_private: bool) -> httpx.Client:
    """The control plane's one way out to addresses that people typed."""
    return client(allow_private=allow_private)


def deliveries_due(now: datetime) -> list[UUID]:
    """Deliveries whose next conversation may begin."""
    rows = Delivery.objects.filter(state=choices.WAITING, due_at__lte=now).order_by("due_at")
    return list(rows.values_list("pk", flat=True)[:AT_ONCE])


def deliveries_recover(now: datetime) -> int:
    """Take back what a killed worker left in the middle of a conversation; how many."""
    left = Delivery.objects.filter(state=choices.SENDING, claimed_at__lt=now - CLAIM)
    repeatable = [kind for kind, facts in choices.KINDS.items() if facts.repeatable]
    known = left.filter(kind__in=repeatable, tries__lte=len(BACK_OFF))
    again = known.update(state=choices.WAITING, due_at=now, told="its worker ended; sent again under its id")
    lost = 0
    for pk in left.values_list("pk", flat=True)[:AT_ONCE]:
        lost += _end(pk, choices.UNKNOWN, "its worker ended in the middle: nobody knows whether it arrived", now=now)
    return again + lost


def delivery_send(delivery_id: UUID, *, now: datetime | None = None, open_client: Open = open_guarded) -> str:
    """One conversation; the state afterwards, empty where the delivery was not there to be sent (somebody else has it, or it ended)."""
    now = now or clock.now()
    row = Delivery.objects.select_related("channel", "person").filter(pk=delivery_id, state=choices.WAITING).first()
    if row is None:
        return ""
    try:
        to, message = receiver_of(row), msgspec.convert(row.message, Message)
    except (Refused, VaultError) as error:
        return choices.FAILED if _end(row.pk, choices.FAILED, str(error), now=now) else ""
    mine = Delivery.objects.filter(pk=row.pk, state=choices.WAITING)
    if not mine.update(state=choices.SENDING, claimed_at=now, tries=F("tries") + 1):
        return ""
    try:
        said = channel_of(row).send(message, to, open_client=open_client)
    except Refused as error:
        state, told, due = choices.FAILED, str(error), None
    except Again as error:
        due = tried_again_at(row.tries + 1, now, asked=error.after)
        state, told = (choices.WAITING, str(error)) if due else (choices.FAILED, f"{error}; tried {row.tries + 1} times")
    except Exception as error:
        if not isinstance(error, Doubtful):
            log.exception("alerts: %s to %s broke off", row.what, row.name)
        due = tried_again_at(row.tries + 1, now) if choices.KINDS[row.kind].repeatable else None
        state, told = (choices.WAITING if due else choices.UNKNOWN), str(error) or type(error).__name__
    else:
        state, told, due = choices.SENT, said, None
    if state == choices.WAITING:
        Delivery.objects.filter(pk=row.pk, state=choices.SENDING).update(state=state, told=told[:300], due_at=due)
    else:
        _end(row.pk, state, told, now=now)
    if state != choices.SENT:
        log.warning("alerts: %s to %s: %s: %s", row.what, row.name, state, told)
    return state


def channel_of(row: Delivery) -> Channel:
    """What turns the message into what its receiver understands."""
    if row.kind == choices.WEBHOOK and is_way_of_budget(row.receiver):
        return BUDGET_WEBHOOK
    return CHANNELS[row.kind]


def receiver_of(row: Delivery) -> Receiver:
    """Where it goes, opened. Raises Refused where that is gone or off, VaultError where the master key does not open it."""
    if row.channel is not None:
        if not row.channel.enabled and row.what != choices.TEST:
            raise Refused("the channel was switched off")
        secret = decrypt(row.channel.secret) if row.channel.secret else ""
        return Receiver(str(row.pk), decrypt(row.channel.address), secret, row.channel.allow_private)
    if is_way_of_budget(row.receiver):
        return receiver_of_budget(row)
    kind = row.receiver.partition(":")[0]
    if kind == "person" and row.person is not None and row.person.is_active:
        return Receiver(str(row.pk), row.person.email)
    if kind == "address":
        return Receiver(str(row.pk), row.name)
    raise Refused("the channel or the person is gone")


def _end(delivery_id: UUID, state: str, told: str, *, now: datetime) -> int:
    """The last word about a delivery. A page that reached nobody wakes its notification, which looks whether anybody was reached."""
    with transaction.atomic():
        open_states = (choices.WAITING, choices.SENDING)
        ended = Delivery.objects.filter(pk=delivery_id, state__in=open_states).update(state=state, told=told[:300], ended_at=now)
        if ended and state in (choices.FAILED, choices.UNKNOWN):
            waiting = Notification.objects.filter(deliveries=delivery_id, deliveries__what__in=choices.PAGES, closed_at=None, acked_at=None)
            waiting.filter(next_at__gt=now).update(next_at=now)
        if ended:
            _noted(delivery_id)
    return ended


def _noted(delivery_id: UUID) -> None:
    """Let the pages of budgets know; that it was sent stays true where that fails."""
    try:
        with transaction.atomic():
            delivery_note(Delivery.objects.get(pk=delivery_id))
    except Exception as error:
        if database_away(error):
            raise
        log.exception("alerts: what became of delivery %s is not on the page of its budget", delivery_id)


def deliveries_forget(*, now: datetime | None = None) -> int:
    """Delete messages, and what they were about, that are over for very long; how many notifications and tests."""
    before = (now or clock.now()) - KEPT
    tests, _ = Delivery.objects.filter(notification=None, created_at__lt=before).delete()
    old = Notification.objects.filter(closed_at__lt=before).values_list("pk", flat=True)[:FORGET_AT_ONCE]
    gone, _ = Notification.objects.filter(pk__in=list(old)).delete()
    return tests + gone


@transaction.atomic
def delivery_again(*, actor: Actor, delivery: Delivery, reason: str = "") -> None:
    """Have something sent again that failed, or of which nobody knows. Raises ServiceError for anything else."""
    team = delivery.channel.team_id if delivery.channel else delivery.notification.team_id if delivery.notification else None
    permission_require(actor=actor, action="alert.acknowledge", organisation=delivery.organisation, team=team)
    again = Delivery.objects.filter(pk=delivery.pk, state__in=(choices.FAILED, choices.UNKNOWN)).exclude(kind="")
    if not again.update(state=choices.WAITING, due_at=clock.now(), tries=0, ended_at=None, told="asked for again"):
        raise ServiceError("Only what failed, or of which nobody knows, is sent again; look whether it was sent meanwhile.")
    audit_record(
        actor=actor,
        action="alert_delivery.again",
        subject_kind="alert_delivery",
        subject_id=delivery.pk,
        subject_name=str(delivery),
        before={"state": delivery.state},
        after={"state": choices.WAITING},
        reason=reason,
    )
