"""How workers join and leave: one-time tokens, credentials, modes, notices. Atomic and audited; a secret is never stored or written down.

The agent makes its secret and sends a digest of it, so the secret itself crosses the wire only as the bearer of its calls.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.rules import clean_text
from apps.audit.services import audit_record, change_record
from apps.contracts.fleet import PROTOCOL, TOKEN_PREFIX, JoinRequest, PreemptionNotice, RefusalCode, secret_digest
from apps.contracts.fleet_facts import HostFacts
from apps.fleet import choices, lifecycle
from apps.fleet.inventory import gpus_take
from apps.fleet.models import JoinToken, Worker
from apps.fleet.orders import order_touch
from apps.fleet.placing import replicas_abandon

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

LONGEST = timedelta(days=7)
USUAL = timedelta(hours=1)
ROTATE_AFTER = timedelta(days=30)
"""A credential of this age is asked to be replaced."""


class AgentRefused(Exception):
    """A call of an agent was not done. code: of the contract; message: a sentence that says what to do."""

    def __init__(self, code: RefusalCode, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_seconds = retry_seconds


@transaction.atomic
def join_token_create(*, actor: Actor, organisation: Organisation, lasts: timedelta = USUAL) -> tuple[JoinToken, str]:
    """A token that joins one worker, and its text: the only time it can be shown. Raises ServiceError for a time out of range."""
    permission_require(actor=actor, action="worker.join", organisation=organisation)
    if not timedelta(minutes=1) <= lasts <= LONGEST:
        raise ServiceError("A join token lasts between a minute and 7 days.", "lasts")
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = JoinToken.objects.create(
        organisation=organisation,
        digest=secret_digest(text),
        hint=text[-4:],
        made_by=clean_text(actor.name, 254),
        expires_at=timezone.now() + lasts,
    )
    _token_record(actor, "worker.join_token", token, {"expires_at": token.expires_at})
    return token, text


@transaction.atomic
def join_token_revoke(*, actor: Actor, token: JoinToken, reason: str = "") -> JoinToken:
    """From now on it joins nobody; a second time, and of a used one, changes nothing."""
    permission_require(actor=actor, action="worker.join", organisation=token.organisation)
    token = JoinToken.objects.select_for_update().get(pk=token.pk)
    if token.revoked_at is None and token.used_at is None:
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        _token_record(actor, "worker.join_token_revoke", token, {}, reason)
    return token


@transaction.atomic
def worker_join(request: JoinRequest, *, address: str = "") -> Worker:
    """A token becomes a worker. The same worker's repeated join (same token, same digest) is answered again. Raises AgentRefused."""
    if request.protocol != PROTOCOL:
        raise AgentRefused("version_unsupported", f"This control plane speaks protocol {PROTOCOL}: install the agent of its version.")
    token = JoinToken.objects.select_for_update().filter(digest=secret_digest(request.token)).first()
    if token is None:
        raise AgentRefused("token_unknown", "This join token is none of ours: copy the command from the Workers page again.")
    if token.used_at is not None:
        if token.secret_digest == request.secret_digest and token.worker is not None and token.worker.revoked_at is None:
            return token.worker
        raise AgentRefused("token_used", "This join token was used: each joins one worker. Make another one on the Workers page.")
    now = timezone.now()
    if token.revoked_at is not None or token.expires_at <= now:
        raise AgentRefused("token_expired", "This join token has ended: make another one on the Workers page.")
    worker = Worker(organisation=token.organisation, name=request.name, digest=request.secret_digest, digest_at=now)
    worker.agent_version = clean_text(request.agent_version, 200)
    host_take(worker, request.host)
    worker.skew_ms = _ms(request.sent_at_ms, now)
    try:
        with transaction.atomic():
            worker.save(force_insert=True)
    except IntegrityError:
        raise AgentRefused(
            "name_taken", f"Another worker is named {request.name}: choose another name, or remove that worker first."
        ) from None
    gpus_take(worker, request.gpus)
    token.used_at, token.worker, token.secret_digest = now, worker, request.secret_digest
    token.save(update_fields=["used_at", "worker", "secret_digest"])
    by = Actor(kind="system", id="agent", name=f"agent of {request.name}", address=address)
    audit_record(
        actor=by, action="worker.join", subject_kind="worker", subject_id=worker.pk, subject_name=worker.name,
        after={"address": worker.address, "pool": worker.pool, "region": worker.region, "token": f"…{token.hint}, made by {token.made_by}"},
    )  # fmt: skip
    worker_event(worker, "joined", at=now)
    return worker


def host_take(worker: Worker, host: HostFacts) -> None:
    """What its agent says of the machine, onto an unsaved or locked row."""
    worker.address, worker.region = clean_text(host.address, 200), clean_text(host.region, 200)
    worker.pool, worker.spot = clean_text(host.pool, 200) or "default", host.spot
    worker.labels = {clean_text(name, 200): clean_text(value, 200) for name, value in host.labels.items()}
    worker.memory_total = host.memory_total
    worker.engines = sorted({offer.engine for offer in host.engines if not offer.problem}) if host.engines else None
    worker.host = host.plain()


@transaction.atomic
def worker_mode_set(*, actor: Actor, worker: Worker, mode: str, reason: str = "") -> Worker:
    """Cordon, drain, take into maintenance, return to service; the same again changes nothing. Raises ServiceError for what cannot
    follow."""
    permission_require(actor=actor, action="worker.drain", organisation=worker.organisation)
    worker = _live(worker)
    if mode not in lifecycle.MODES:
        raise ServiceError(f"{mode!r} is no mode: use one of {', '.join(lifecycle.MODES)}", "mode")
    why_not = lifecycle.moved(worker.mode, mode)
    if why_not:
        raise ServiceError(why_not, "mode")
    back = mode == "active" and worker.preempted_at is not None
    if worker.mode == mode and not back:
        return worker
    before = worker.mode
    worker.mode, worker.mode_reason = mode, clean_text(reason.strip(), 500) if mode != "active" else ""
    if back:
        worker.preempted_at, worker.preempted_source = None, ""
    worker.save(update_fields=["mode", "mode_reason", "preempted_at", "preempted_source"])
    change_record(actor, "worker.drain", worker, {"mode": before}, {"mode": mode}, reason)
    worker_event(worker, mode, by=actor.name, reason=reason)
    order_touch([worker.pk])
    return worker


@transaction.atomic
def worker_revoke(*, actor: Actor, worker: Worker, reason: str = "") -> Worker:
    """Remove a worker from the fleet: its credential opens nothing, its replicas are given up and replaced; a second time changes
    nothing."""
    permission_require(actor=actor, action="worker.join", organisation=worker.organisation)
    worker = Worker.objects.select_for_update().get(pk=worker.pk)
    if worker.revoked_at is not None:
        return worker
    worker.revoked_at, worker.state = timezone.now(), "revoked"
    worker.save(update_fields=["revoked_at", "state"])
    change_record(actor, "worker.revoke", worker, {"mode": worker.mode}, {}, reason)
    worker_event(worker, "revoked", by=actor.name, reason=reason)
    replicas_abandon(worker, ending="revoked")
    return worker


@transaction.atomic
def worker_rotate(*, actor: Actor, worker: Worker, reason: str = "") -> Worker:
    """Ask a worker for a new credential; with its next heartbeat it makes one."""
    permission_require(actor=actor, action="worker.join", organisation=worker.organisation)
    worker = _live(worker)
    if not worker.rotate:
        worker.rotate = True
        worker.save(update_fields=["rotate"])
        change_record(actor, "worker.rotate", worker, {}, {}, reason)
    return worker


@transaction.atomic
def credential_next(worker: Worker, digest: str) -> None:
    """The worker's next credential; the present one dies with the next one's first use. The same again changes nothing."""
    worker = Worker.objects.select_for_update().get(pk=worker.pk)
    if digest in (worker.digest, worker.next_digest):
        return
    worker.next_digest = digest
    worker.save(update_fields=["next_digest"])


@transaction.atomic
def worker_preempted(worker: Worker, notice: PreemptionNotice) -> None:
    """The machine goes away: its replicas move, those that are ready elsewhere first. The same notice again changes nothing."""
    worker = Worker.objects.select_for_update().get(pk=worker.pk)
    at = datetime.fromtimestamp(notice.at_ms / 1000, tz=timezone.get_default_timezone())
    if worker.preempted_at == at:
        return
    worker.preempted_at, worker.preempted_source = at, clean_text(notice.source, 200)
    worker.save(update_fields=["preempted_at", "preempted_source"])
    worker_event(worker, "preempted", source=notice.source, until=at.isoformat())
    order_touch([worker.pk])


def worker_event(worker: Worker, what: str, *, at: datetime | None = None, **data: str) -> None:
    """One line of the worker's history."""
    event_record(
        kind=choices.WORKER_EVENT,
        subject_kind="worker",
        subject_id=worker.pk,
        subject_name=worker.name,
        at=at,
        data={"what": what, **{name: value for name, value in data.items() if value}},
    )


def _live(worker: Worker) -> Worker:
    worker = Worker.objects.select_for_update().get(pk=worker.pk)
    if worker.revoked_at is not None:
        raise ServiceError(f"{worker.name} was removed from the fleet: join it again with a new token.")
    return worker


def _ms(sent_at_ms: int, now: datetime) -> int:
    """How far the sender's clock is ahead of ours."""
    return max(-(2**53), min(2**53, sent_at_ms - int(now.timestamp() * 1000)))


def _token_record(actor: Actor, action: str, token: JoinToken, after: dict[str, object], reason: str = "") -> None:
    audit_record(
        actor=actor, action=action, subject_kind="worker", subject_id=token.pk, subject_name=f"join token …{token.hint}", after=after,
        reason=reason,
    )  # fmt: skip
