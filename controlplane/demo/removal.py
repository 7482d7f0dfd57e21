"""Removing the demo for good: its config, its usage, its rows, its files. The audit trail and the config's history stay.

Safe to run again after any failure: each step looks for what is left. The order matters: first nobody may call any more, then
every proxy hears of it, then the last records settle, and only then are their rows deleted.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model, Q, QuerySet

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import Event
from apps.audit.services import audit_record
from apps.budgets.models import Budget
from apps.budgets.services import budget_delete
from apps.fleet.models import Deployment, Worker
from apps.keys.models import VirtualKey
from apps.keys.services import key_revoke
from apps.providers.models import Provider
from apps.providers.services import provider_delete
from apps.publishing.selectors import fleet_status
from apps.publishing.services import publish, section_touch
from apps.routes.models import Route
from apps.routes.services import route_delete
from apps.usage.removal import usage_forget
from controlplane.demo.fleet import TOKEN_FILE, fleet_withdraw
from controlplane.demo.state import demo_state, removal_progress

log = logging.getLogger(__name__)

REASON = "the demo was removed"
STEPS = 6
PROXIES_SECONDS = 20.0
SETTLES_SECONDS = 12.0
QUIET_SECONDS = 2.0
FACTS = ("key", "model", "embedding_model")
"""What the demo's seed left in ``prepared.json`` and ``up.json``."""


def demo_remove(*, actor: Actor, waits: bool = True, say: Callable[[int, str], None] | None = None) -> dict[str, int]:
    """Remove it; what was deleted, by kind of row. ``waits``: for proxies and records, which is pointless while none runs.

    ``say(done, step)`` tells how far it is (default: into the demo's state). On failure the state says so, and the error goes on.
    """
    data_dir = Path(settings.DATA_DIR)
    tell = say or (lambda done, step: void(removal_progress(data_dir, state="running", done=done, of=STEPS, step=step, at=time.time())))
    state = demo_state(data_dir)
    try:
        counts = _remove(actor, state.removal.organisation if state.removal else "", waits, tell)
        _files(data_dir)
    except Exception as error:
        log.exception("removing the demo failed")
        removal_progress(data_dir, state="failed", error=f"{type(error).__name__}: {error}"[:300])
        raise
    removal_progress(data_dir, state="done", done=STEPS, of=STEPS, step="", error="", at=time.time())
    return counts


def void(_: object) -> None:
    """For a lambda that only acts."""


def demo_sweep(*, organisation: str) -> int:
    """Delete what was settled after the removal: records of requests that were under way. Returns how many requests."""
    if not organisation or Organisation.objects.filter(pk=organisation).exists():
        return 0
    return usage_forget(organisation=organisation)["usage_request"]


def _remove(actor: Actor, organisation_id: str, waits: bool, say: Callable[[int, str], None]) -> dict[str, int]:
    organisation = Organisation.objects.filter(pk=organisation_id, simulated=True).first() if organisation_id else None
    if organisation is None:
        return {"usage_request": demo_sweep(organisation=organisation_id)}
    say(0, "Withdrawing keys, routes, budgets and providers")
    _withdraw(actor, organisation)
    say(1, "Waiting until every proxy has heard")
    if waits:
        _until(lambda: _heard(), PROXIES_SECONDS)
    say(2, "Waiting for the last requests to settle")
    if waits:
        _settled(str(organisation.pk))
    say(3, "Deleting usage")
    counts = usage_forget(organisation=str(organisation.pk), said=lambda table, rows: say(3, f"Deleting usage: {rows:,} rows of {table}"))
    say(4, "Deleting the organisation and what it owned")
    with transaction.atomic():
        audit_record(
            actor=actor, action="organisation.delete", subject_kind="organisation", subject_id=organisation.pk,
            subject_name=organisation.name, before={"slug": organisation.slug, "simulated": True, **counts}, after={}, reason=REASON,
        )  # fmt: skip
        Event.objects.filter(Q(data__organisation=str(organisation.pk)) | Q(subject_id__in=_ids(organisation))).delete()
        _purge(Organisation.objects.filter(pk=organisation.pk), counts)
        publish(actor=actor, reason="Forget the demo's keys")
    say(5, "Deleting its files")
    return counts


def _ids(organisation: Organisation) -> list[str]:
    """What facts may be about."""
    owned = (model.objects.filter(organisation=organisation) for model in (Budget, VirtualKey, Route, Provider, Deployment, Worker))
    return [str(pk) for rows in owned for pk in rows.values_list("pk", flat=True)]


def _withdraw(actor: Actor, organisation: Organisation) -> None:
    """Everything that proxies know of it, through the services that own it, in one publish."""
    with transaction.atomic():
        for key in VirtualKey.objects.filter(organisation=organisation, state="active"):
            key_revoke(actor=actor, key=key, reason=REASON)
        for route in Route.objects.filter(organisation=organisation):
            route_delete(actor=actor, route=route, reason=REASON)
        for budget in Budget.objects.filter(organisation=organisation, deleted_at=None):
            budget_delete(actor=actor, budget=budget, reason=REASON)
        fleet_withdraw(actor=actor, organisation=organisation, reason=REASON)
        for provider in Provider.objects.filter(organisation=organisation):
            provider_delete(actor=actor, provider=provider, reason=REASON)
        publish(actor=actor, reason="Remove the demo")


def _heard() -> bool:
    status = fleet_status()
    return all(proxy["applied"] or proxy["silent"] for proxy in status["proxies"])


def _settled(organisation: str) -> None:
    """Until no request of it has come for a while: an answer that streams may take its time, the sweep afterwards finds it."""
    last, since, deadline = -1, time.monotonic(), time.monotonic() + SETTLES_SECONDS
    while time.monotonic() < deadline and time.monotonic() - since < QUIET_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM usage_request WHERE organisation = %s AND started_at > now() - interval '10 minutes'", [organisation]
            )
            now = cursor.fetchone()[0]
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.2)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _purge(rows: QuerySet[Any], counts: dict[str, int]) -> None:
    """Delete rows and all that refers to them, however deep: whatever apps hang on an organisation goes with it.

    Keys are tombstones elsewhere; here their fragments go too, because nothing is left that they could open.
    """
    model: type[Model] = rows.model
    for relation in model._meta.related_objects:
        if relation.many_to_many:
            continue
        referring: QuerySet[Any] = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": rows})
        if referring.exists():
            _purge(referring, counts)
    if model is VirtualKey:
        section_touch(section="keys", ids=list(rows.values_list("pk", flat=True)))
    counts[model._meta.label] = counts.get(model._meta.label, 0) + rows.delete()[0]


def _files(data_dir: Path) -> None:
    for name in ("demo_key", TOKEN_FILE):
        (data_dir / "secrets" / name).unlink(missing_ok=True)
    prepared = data_dir / "secrets" / "prepared.json"
    try:
        kept = json.loads(prepared.read_text())
    except (OSError, ValueError):
        return
    kept["facts"] = {name: value for name, value in kept.get("facts", {}).items() if name not in FACTS}
    part = prepared.with_name("prepared.json.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(kept))
    part.rename(prepared)
