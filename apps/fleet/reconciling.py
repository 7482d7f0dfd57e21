"""From what is wanted to what is: the only writer of desired state at work. Run every few seconds, and at once after a change.

Each run asks: which workers went silent, were lost, came back? Which replicas can proxies not reach? Which deployments have too few,
too many, old ones, or some on workers that shall be left? Every step is safe to repeat and safe beside another run: deployments are taken
one by one under their own lock, places and promises are guarded by constraints.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from apps.audit.registry import event_record
from apps.fleet import choices
from apps.fleet.facts import facts_forget
from apps.fleet.joining import worker_event
from apps.fleet.lifecycle import ABANDONED, LEAVE, worker_state
from apps.fleet.models import Deployment, JoinToken, Replica, ScaleDecision, Worker
from apps.fleet.placement import Placement
from apps.fleet.placing import AVOIDED, placement_kept, pulse_now, replica_place, replicas_abandon, replicas_drain, replicas_end, seen_of
from apps.fleet.proxies import proxies_heard
from apps.fleet.reach import OUT_SECONDS, patience, unreached
from apps.fleet.rollout import UNREACHED, Member, step
from apps.providers.vault import VaultError
from controlplane.away import database_away

log = logging.getLogger(__name__)

GIVE_UP_AFTER = timedelta(seconds=20)
"""A replica that failed for good (its agent does not try again) is ended after so long, and tried elsewhere."""
UNHEARD = timedelta(minutes=2)
"""A replica that its worker, which reports, has not mentioned for so long is ended: its order never arrived or was refused."""
LAST_MOMENT = timedelta(seconds=30)
"""Before a preempted machine goes away its replicas drain whether or not others have taken their place."""
PLACED_AT_ONCE = 20
"""Replicas that one run places of one deployment; the next run goes on."""
HISTORY = timedelta(days=14)


@dataclass
class Run:
    """What one run did."""

    placed: int = 0
    drained: int = 0
    ended: int = 0
    unplaced: list[str] = field(default_factory=list)


def fleet_reconcile(*, now: datetime | None = None) -> Run:
    """One run. One deployment's trouble is logged and the others go on. Raises where the database is away: so it is for the others."""
    now, run = now or timezone.now(), Run()
    states = workers_watch(now=now, run=run)
    cut = unreached(proxies_heard()[0] or {})
    for pk in Deployment.objects.order_by("-priority", "created_at").values_list("pk", flat=True):
        try:
            deployment_reconcile(pk, now=now, states=states, cut=cut, run=run)
        except DatabaseError as error:
            if database_away(error):
                raise
            log.warning("deployment %s could not be reconciled this time", pk, exc_info=True)
        except VaultError as error:
            log.error("no replica of deployment %s can be started: %s", pk, error)
    return run


def workers_watch(*, now: datetime, run: Run) -> dict[UUID, str]:
    """The state of every worker that was not removed; transitions are events, and what a lost one ran is given up."""
    pulse = pulse_now()
    states: dict[UUID, str] = {}
    for worker in Worker.objects.filter(revoked_at=None).only(
        "name", "state", "mode", "last_seen_at", "joined_at", "preempted_at", "skew_ms", "revoked_at"
    ):
        state = worker_state(seen_of(worker), pulse, now)
        states[worker.pk] = state
        if state == worker.state:
            continue
        with transaction.atomic():
            if not Worker.objects.filter(pk=worker.pk, state=worker.state).update(state=state):
                continue  # another run was quicker, and told
            worker_event(worker, state, at=now, was=worker.state)
            if state in ABANDONED:
                run.ended += replicas_abandon(worker, ending="lost")
    return states


@transaction.atomic
def deployment_reconcile(pk: UUID, *, now: datetime, states: dict[UUID, str], cut: Mapping[str, int], run: Run) -> None:
    """One deployment, one step of each kind. cut: of ``reach.unreached``."""
    deployment = Deployment.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pk).first()
    if deployment is None:
        return  # gone, or another run has it
    rows = list(deployment.replicas.filter(ended_at=None).select_related("deployment", "worker").order_by("placed_at"))
    rows = _tidy(rows, now=now, states=states, run=run)
    wanted = deployment.wanted if deployment.enabled else 0
    out = _unreached_keep(rows, cut, now=now)
    waits = patience(_replaced(deployment, now), wanted) if out else OUT_SECONDS
    members = [_member(row, deployment, now=now, states=states, unreachable=out.get(row.pk, 0.0) >= waits) for row in rows]
    room = not deployment.unplaced or deployment.unplaced.get("revision") != deployment.revision
    plan = step(
        members,
        revision=deployment.revision,
        wanted=wanted,
        strategy=_strategy(deployment, rows, states, room=room),
        surge=deployment.surge,
        room=room,
    )
    by_id = {str(row.pk): row for row in rows}
    leaving = [(by_id[name], _why(by_id[name], why, states)) for name, why in plan.drain]
    leaving += [
        (row, "its machine is about to be taken away")
        for row in rows
        if row.want == "serve" and row not in [one for one, _ in leaving] and _goes_now(row, deployment, now)
    ]
    run.drained += replicas_drain(leaving, now=now, seconds=deployment.drain_seconds)
    needed = plan.start - plan.beside
    failed = _place(deployment, needed, now=now, run=run)
    if failed is not None and (leaving or any(member.leaving for member in members)):
        return  # what leaves still holds its memory: whether there is room is known once it is gone
    _unplaced_keep(deployment, failed, starts=needed, short=len(members) < wanted or needed > 0, now=now)
    if failed is not None:
        run.unplaced.append(deployment.name)
    elif plan.beside:
        _substitute(deployment, [row for row in rows if row.pk in out and row.want == "serve"], plan.beside, now=now, run=run)


def _tidy(rows: list[Replica], *, now: datetime, states: dict[UUID, str], run: Run) -> list[Replica]:
    """Those that stand. Ended are the ones that failed for good, those that nobody mentions, and those whose worker is gone."""
    stand, over = [], {"gave_up": [], "missing": [], "lost": [], "stopped": []}  # type: ignore[var-annotated]
    for row in rows:
        state = states.get(row.worker_id, "revoked")
        if state in ABANDONED:
            over["lost"].append(row)
        elif row.state == "failed" and row.retry_at is None and now - (row.since or row.placed_at) > GIVE_UP_AFTER:
            over["gave_up"].append(row)
        elif not row.state and now - row.placed_at > UNHEARD and state in ("ready", "cordoned", "skewed", "draining"):
            over["missing"].append(row)
        elif row.want != "serve" and not row.state and row.drain_by is not None and now > row.drain_by + UNHEARD:
            over["stopped"].append(row)
        else:
            stand.append(row)
    for ending, ended in over.items():
        run.ended += replicas_end(ended, ending=ending, now=now)
    return stand


def _unreached_keep(rows: list[Replica], cut: Mapping[str, int], *, now: datetime) -> dict[UUID, float]:
    """Those that are ready and that proxies cannot reach, each with for how many seconds; the rows tell it, from ``OUT_SECONDS`` on. What
    was said of one that leaves stays said."""
    found: dict[UUID, float] = {}
    for row in rows:
        if row.want != "serve":
            continue
        since = cut.get(str(row.pk)) if row.state == "ready" else None
        seconds = now.timestamp() - since / 1000 if since is not None else 0.0
        if since is not None and seconds >= OUT_SECONDS:
            found[row.pk] = seconds
        if (row.pk in found) != (row.unreached_since is not None):
            row.unreached_since = datetime.fromtimestamp(since / 1000, tz=UTC) if since is not None and row.pk in found else None
            Replica.objects.filter(pk=row.pk).update(unreached_since=row.unreached_since)
    return found


def _replaced(deployment: Deployment, now: datetime) -> int:
    """How many of its replicas were replaced lately because proxies could not reach them."""
    rows = deployment.replicas.filter(leaves=UNREACHED)
    return rows.filter(Q(ended_at=None) | Q(ended_at__gt=now - AVOIDED)).count()


def _substitute(deployment: Deployment, cut: list[Replica], count: int, *, now: datetime, run: Run) -> None:
    """Replicas beside those that proxies cannot reach. Where no worker has a place nothing happens: these may be reached again, and nobody
    shall be asked for machines because a cable is loose."""
    pulse = pulse_now()
    for row in sorted(cut, key=lambda row: (row.unreached_since or now, row.ordinal))[:count]:
        found = replica_place(deployment, now=now, pulse=pulse)
        if isinstance(found, Placement):
            log.info("no substitute for replica %s of %s: %s", row.pk, deployment.name, found.summary())
            return
        run.placed += 1
        since = f"{row.unreached_since:%H:%M:%S} UTC" if row.unreached_since else "a moment ago"
        why = (
            f"proxies have not reached replica {row.ordinal} on {row.worker.name} since {since}, although its worker says that it is ready"
        )
        deployment_event(deployment, "substitute", at=now, why=why)


def _member(row: Replica, deployment: Deployment, *, now: datetime, states: dict[UUID, str], unreachable: bool) -> Member:
    """A replica on a worker that shall be left counts as of an older revision: another one is ready before it goes."""
    left = states.get(row.worker_id) in LEAVE
    return Member(
        id=str(row.pk),
        revision=-1 if left else row.revision,
        ready=row.state == "ready",
        leaving=row.want != "serve",
        age=(now - row.placed_at).total_seconds(),
        unreachable=unreachable,
    )


def _strategy(deployment: Deployment, rows: list[Replica], states: dict[UUID, str], *, room: bool) -> Any:
    """Whoever drains a worker wants it empty: where nothing else has room, a surge would wait for ever."""
    if not room and any(states.get(row.worker_id) in LEAVE for row in rows):
        return "auto"
    return deployment.strategy


def _why(row: Replica, why: str, states: dict[UUID, str]) -> str:
    state = states.get(row.worker_id, "")
    return f"{row.worker.name} is {choices.WORKER_STATES[state].label.lower()}" if state in LEAVE else why


def _goes_now(row: Replica, deployment: Deployment, now: datetime) -> bool:
    at = row.worker.preempted_at
    return at is not None and at - now < timedelta(seconds=deployment.drain_seconds) + LAST_MOMENT


def _place(deployment: Deployment, count: int, *, now: datetime, run: Run) -> Placement | None:
    """None where all were placed; else why the first that was not found no place."""
    pulse = pulse_now()
    for _ in range(min(count, PLACED_AT_ONCE)):
        found = replica_place(deployment, now=now, pulse=pulse)
        if isinstance(found, Placement):
            return found
        run.placed += 1
    return None


def _unplaced_keep(deployment: Deployment, failed: Placement | None, *, starts: int, short: bool, now: datetime) -> None:
    """What the page shows, and what tells the next run whether there is room; a change of it is an event, the same again is not."""
    had = bool(deployment.unplaced)
    if failed is not None:
        kept = {**placement_kept(failed, now), "revision": deployment.revision}
        same = had and deployment.unplaced.get("text") == kept["text"] and deployment.unplaced.get("revision") == deployment.revision
        if same and deployment.unplaced.get("judged") == kept["judged"]:
            return
        Deployment.objects.filter(pk=deployment.pk).update(unplaced=kept)
        if not same:
            deployment_event(deployment, "unplaced", at=now, why=kept["text"])
    elif had and (starts or not short):
        Deployment.objects.filter(pk=deployment.pk).update(unplaced={})


def deployment_event(deployment: Deployment, what: str, *, at: datetime | None = None, **data: Any) -> None:
    """One line of a deployment's history."""
    event_record(
        kind=choices.DEPLOYMENT_EVENT,
        subject_kind="deployment",
        subject_id=deployment.pk,
        subject_name=deployment.name,
        at=at,
        data={"what": what, **{name: value for name, value in data.items() if value not in ("", None)}},
    )


def fleet_forget(*, now: datetime | None = None) -> int:
    """Upkeep: tombstones, replicas that ended long ago, tokens that opened nothing, old decisions. How many rows went."""
    now = now or timezone.now()
    old = now - HISTORY
    gone = facts_forget(now=now)
    gone += Replica.objects.filter(ended_at__lt=old).delete()[0]
    gone += JoinToken.objects.filter(expires_at__lt=old, used_at=None).delete()[0]
    gone += ScaleDecision.objects.filter(at__lt=old).delete()[0]
    return gone
