"""Asking for keys: made at once where the asker may, kept for a manager of the team where not.

Invariants. A key that a member made alone was inside the team's bounds when it was made, counted under the team's lock, so that two
at once cannot both be the last one. A request is decided once. Nobody approves what they asked for themselves. What is made is what
was asked for; a secret goes to whoever asked and to nobody else.
"""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.contracts.tokens import new_token
from apps.keys import handovers, telling, wishes
from apps.keys.holders import holder_of
from apps.keys.models import KeyRequest, KeyTemplate, VirtualKey
from apps.keys.neighbours import KeyWalls, walls_set
from apps.keys.services import key_add, key_digest
from apps.keys.template_services import bounds_of
from apps.keys.wishes import Wish
from apps.ownership.models import Service, Team

MOST_OPEN = 20
"""Requests of one person that may wait at a time."""


class OutsideBounds(ServiceError):
    """The key needs somebody's consent; ``reasons`` say what of it, in words."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(f"this key needs a manager's consent: {'; '.join(reasons)}")
        self.reasons = reasons


@transaction.atomic
def key_make(*, actor: Actor, team: Team, wish: Wish, reason: str = "") -> tuple[VirtualKey, str]:
    """A key of the team with its limits and budget, and its token, which is stored nowhere.

    Who may change the team's keys makes any; a member makes what the team's template allows, with what it gives.
    Raises OutsideBounds for what has to be asked for, ServiceError for what no key could be, PermissionRefused.
    """
    permission_require(actor=actor, action="key.create", organisation=team.organisation, team=team.pk)
    wish = wishes.check(wish)
    if not permitted(actor=actor, action="key.change", organisation=team.organisation, team=team.pk):
        _lock(team)
        bounds = bounds_of(KeyTemplate.objects.filter(team=team).first())
        reasons = wishes.outside(bounds, wish, keys=keys_of_team(team), now=timezone.now())
        if reasons:
            raise OutsideBounds(reasons)
        wish = wishes.filled(bounds, wish, now=timezone.now())
    return _make(actor, team, wish, reason, holder=holder_of(actor))


@transaction.atomic
def key_request(*, actor: Actor, team: Team, wish: Wish, reason: str) -> KeyRequest:
    """Ask the team's managers for a key; they are told by mail. Raises ServiceError without a reason, or where too much waits already."""
    permission_require(actor=actor, action="key.request", organisation=team.organisation, team=team.pk)
    wish = wishes.check(wish)
    _service(team, wish)
    if not reason.strip():
        raise ServiceError("say what the key is for: whoever decides reads only this", "reason")
    mine = KeyRequest.objects.filter(organisation=team.organisation, requester_id=actor.id, state="open")
    if mine.count() >= MOST_OPEN:
        raise ServiceError(f"{MOST_OPEN} requests of yours wait already: withdraw one, or ask for them to be decided")
    if mine.filter(team=team, name=wish.name).exists():
        raise ServiceError(f"you asked for a key {wish.name!r} already: withdraw that request first", "name")
    _name_free(team, wish)
    bounds = bounds_of(KeyTemplate.objects.filter(team=team).first())
    row = KeyRequest.objects.create(
        organisation=team.organisation,
        team=team,
        name=wish.name,
        facts=wishes.as_json(wish),
        outside=wishes.outside(bounds, wish, keys=keys_of_team(team), now=timezone.now()),
        reason=reason.strip()[:2000],
        requester_id=actor.id,
        requester_email=actor.name,
    )
    change_record(actor, "key_request.create", row, {}, {"team": team.slug, **row.facts}, row.reason)
    transaction.on_commit(partial(telling.request_tell, str(row.pk)), robust=True)
    return row


@transaction.atomic
def key_request_approve(*, actor: Actor, request: KeyRequest, reason: str = "") -> KeyRequest:
    """Make the key as it was asked for. Its secret waits for whoever asked, encrypted, for a week. Raises ServiceError where it was
    decided meanwhile, cannot be made any more, or is one's own."""
    row = _open(actor, request)
    wish = wishes.of_json(row.name, row.facts)
    if wish.expires_at is not None and wish.expires_at <= timezone.now():
        raise ServiceError("the expiry that was asked for has passed: reject it, and say what to ask for instead", "reason")
    why = f"asked for by {row.requester_email}: {row.reason}"[:2000]
    key, token = _make(actor, row.team, wishes.check(wish), why, holder=row.requester_id)
    row.key = key
    _decide(actor, row, "approved", reason)
    handovers.handover_create(actor=actor, organisation=row.organisation, secrets=[(key, token)], person_id=row.requester_id, request=row)
    return row


@transaction.atomic
def key_request_reject(*, actor: Actor, request: KeyRequest, reason: str) -> KeyRequest:
    """Say no, and why. Raises ServiceError without a reason, or where it was decided meanwhile."""
    row = _open(actor, request)
    if not reason.strip():
        raise ServiceError("say why, and what to ask for instead: whoever asked reads only this", "reason")
    return _decide(actor, row, "rejected", reason)


@transaction.atomic
def key_request_withdraw(*, actor: Actor, request: KeyRequest, reason: str = "") -> KeyRequest:
    """Take one's own request back; a second time changes nothing. Raises ServiceError for somebody else's."""
    row = KeyRequest.objects.select_for_update().select_related("team", "organisation").get(pk=request.pk)
    if actor.kind == "user" and row.requester_id != actor.id:
        raise ServiceError("only whoever asked for a key takes the request back: reject it, and say why")
    if row.state == "withdrawn":
        return row
    _require_open(row)
    return _decide(actor, row, "withdrawn", reason)


def keys_of_team(team: Team) -> int:
    """How many active keys the team and its services have."""
    return VirtualKey.objects.filter(Q(team=team) | Q(service__team=team), state="active").count()


def _make(actor: Actor, team: Team, wish: Wish, reason: str, *, holder: str) -> tuple[VirtualKey, str]:
    """The key with its walls, in the caller's transaction. holder: whoever is shown its secret."""
    service = _service(team, wish)
    public_id, token = new_token()
    key = key_add(
        actor,
        team.organisation,
        wish.name,
        {
            "environment": wish.environment,
            "feature": wish.feature,
            "tags": wish.tags,
            "routes": wish.routes,
            "addresses": wish.addresses,
            "expires_at": wish.expires_at,
            "service": service,
            "team": None if service else team,
        },
        public_id,
        {key_digest(token): "hmac"},
        reason,
        holder=holder,
    )
    wall = KeyWalls(str(key.pk), key.name, public_id, wish.limits, wish.budget_nano, wish.budget_window, team.contact_email)
    walls_set(actor=actor, organisation=team.organisation, walls=[wall], reason=reason)
    return key, token


def _service(team: Team, wish: Wish) -> Service | None:
    if not wish.service:
        return None
    found = Service.objects.select_related("team").filter(team=team, slug=wish.service).first()
    if found is None:
        raise ServiceError(f"the team {team.name} has no service {wish.service!r}: choose one of its services, or none", "service")
    return found


def _name_free(team: Team, wish: Wish) -> None:
    if VirtualKey.objects.filter(organisation=team.organisation, name=wish.name, state="active").exists():
        raise ServiceError(f"a key named {wish.name!r} exists: choose another name", "name")


def _lock(team: Team) -> None:
    Team.objects.select_for_update().get(pk=team.pk)


def _open(actor: Actor, request: KeyRequest) -> KeyRequest:
    """The request, locked, for somebody who may decide it."""
    row = KeyRequest.objects.select_for_update(of=("self",)).select_related("team", "organisation").get(pk=request.pk)
    permission_require(actor=actor, action="key.approve", organisation=row.organisation, team=row.team_id)
    if actor.kind == "user" and actor.id == row.requester_id:
        raise ServiceError("somebody else decides about a key that you asked for")
    _require_open(row)
    return row


def _require_open(row: KeyRequest) -> None:
    if row.state != "open":
        who = f" by {row.decided_by}" if row.decided_by else ""
        raise ServiceError(f"this request was {row.state}{who} meanwhile: nothing was done")


def _decide(actor: Actor, row: KeyRequest, state: str, reason: str) -> KeyRequest:
    row.state, row.decided_by, row.decided_at, row.answer = state, actor.name, timezone.now(), reason.strip()[:2000]
    row.save(update_fields=["state", "decided_by", "decided_at", "answer", "key"])
    action = {"approved": "key_request.approve", "rejected": "key_request.reject", "withdrawn": "key_request.withdraw"}[state]
    change_record(actor, action, row, {"state": "open"}, {"state": state, "key": str(row.key_id or "")}, row.answer)
    if state != "withdrawn":
        transaction.on_commit(partial(telling.decision_tell, str(row.pk)), robust=True)
    return row
