"""What people do with the demo: its traffic on and off, *Break sim-east*, switching the route and undoing both, removing it.

Every act is audited, and what happens to the simulators is a fact on the plots' time line. Removing is ``controlplane.demo.removal``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.selectors import organisation_get, permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.publishing.models import Version
from apps.publishing.services import publish
from apps.routes.selectors import route_named, switch_in_force, target_specs
from apps.routes.services import route_switch, route_switch_back
from controlplane.demo.seed import CHAT_ROUTE, ORGANISATION, SIMULATORS
from controlplane.demo.simulators import BROKEN, GOOD_DAYS, simulator_set
from controlplane.demo.state import DemoState, Removal, demo_state, demo_state_change

EAST, WEST = SIMULATORS
BROKEN_EVENT, MENDED_EVENT = "demo.broken", "demo.mended"
SWITCHED_FOR = timedelta(minutes=30)
"""A switch that nobody undoes ends by itself."""


def demo_organisation() -> Organisation:
    """Raises ServiceError where there is no demo."""
    found = organisation_get(slug=ORGANISATION)
    if found is None or not found.simulated:
        raise ServiceError("There is no demo here: `manage.py up --demo` brings it back.")
    return found


@transaction.atomic
def demo_traffic_set(*, actor: Actor, on: bool) -> DemoState:
    """Switch the demo's own requests on or off; the same again changes nothing."""
    organisation = demo_organisation()
    permission_require(actor=actor, action="provider.change", organisation=organisation)
    before = demo_state(settings.DATA_DIR)
    if before.traffic != on:
        _audit(actor, organisation, "demo.traffic", {"traffic": before.traffic}, {"traffic": on})
    return demo_state_change(settings.DATA_DIR, lambda now: replace(now, traffic=on))


@transaction.atomic
def demo_break(*, actor: Actor) -> DemoState:
    """Make sim-east fail every request from now on, through the simulator's own control. Raises SimulatorAway.

    A second time leaves it broken, since when it was.
    """
    organisation = _changeable(actor)
    simulator_set(EAST, BROKEN)
    before = demo_state(settings.DATA_DIR)
    if before.broken_at > before.undone_at:
        return before
    _audit(actor, organisation, "demo.break", {}, {"provider": EAST, "answers": "503 to every request"})
    event_record(
        kind=BROKEN_EVENT, subject_kind="provider", subject_id=EAST, subject_name=EAST, data={"organisation": str(organisation.pk)}
    )
    return demo_state_change(settings.DATA_DIR, lambda now: replace(now, broken_at=time.time(), switched_at=0.0, undone_at=0.0))


@transaction.atomic
def demo_switch(*, actor: Actor) -> Version | None:
    """Send all of the demo's chat route to sim-west for half an hour, and publish. None: it goes there already."""
    organisation = _changeable(actor)
    route = route_named(organisation, CHAT_ROUTE)
    target = next((spec for spec in target_specs(route) if spec.provider == WEST), None)
    if target is None:
        raise ServiceError(f"The route {CHAT_ROUTE} has no target at {WEST} any more: switch the route on its own page.")
    if (switch := switch_in_force(route, now=timezone.now())) is not None and switch.provider.name == WEST:
        return None
    route_switch(actor=actor, route=route, target=target, reason=f"{EAST} fails", until=timezone.now() + SWITCHED_FOR)
    version = publish(actor=actor, reason=f"Send all of {CHAT_ROUTE} to {WEST}: {EAST} fails")
    demo_state_change(settings.DATA_DIR, lambda now: replace(now, switched_at=time.time()))
    return version


@transaction.atomic
def demo_undo(*, actor: Actor) -> Version | None:
    """Mend sim-east and switch the route back; each only where needed. Returns the version published, None where no switch was on."""
    organisation = _changeable(actor)
    simulator_set(EAST, GOOD_DAYS[EAST])
    before = demo_state(settings.DATA_DIR)
    if before.broken_at > before.undone_at:
        _audit(actor, organisation, "demo.mend", {}, {"provider": EAST})
        event_record(
            kind=MENDED_EVENT, subject_kind="provider", subject_id=EAST, subject_name=EAST, data={"organisation": str(organisation.pk)}
        )
    route_switch_back(actor=actor, route=route_named(organisation, CHAT_ROUTE), reason=f"{EAST} is mended")
    version = publish(actor=actor, reason=f"Let {CHAT_ROUTE} choose its targets again: {EAST} is mended")
    demo_state_change(settings.DATA_DIR, lambda now: replace(now, undone_at=time.time()))
    return version


def demo_removal_start(*, actor: Actor, typed: str, by: str) -> Removal:
    """Begin to remove the demo for good: its traffic ends at once, the rest is for ``removal.demo_remove``.

    ``typed``: the organisation's name, as proof that this is meant. ``by``: who, for the page. Raises ServiceError where it differs,
    and while another removal runs.
    """
    organisation = demo_organisation()
    permission_require(actor=actor, action="organisation.change")
    if typed.strip() != organisation.name:
        raise ServiceError(f"Type the organisation's name, {organisation.name}, to remove it.", "typed")
    removal = Removal(by=by, at=time.time(), step="begins", organisation=str(organisation.pk))

    def begin(now: DemoState) -> DemoState:
        running = now.removal is not None and now.removal.state == "running" and time.time() - now.removal.at < STUCK_SECONDS
        if running:
            raise ServiceError("The demo is being removed already: this page shows how far it is.")
        return replace(now, traffic=False, removal=removal)

    demo_state_change(settings.DATA_DIR, begin)
    return removal


STUCK_SECONDS = 300.0
"""A removal that said nothing for so long has lost its worker, and may be started again."""


def _changeable(actor: Actor) -> Organisation:
    organisation = demo_organisation()
    permission_require(actor=actor, action="provider.change", organisation=organisation)
    if demo_state(settings.DATA_DIR).removed:
        raise ServiceError("The demo is being removed: nothing of it can be changed any more.")
    return organisation


def _audit(actor: Actor, organisation: Organisation, action: str, before: dict[str, object], after: dict[str, object]) -> None:
    audit_record(
        actor=actor, action=action, subject_kind="organisation", subject_id=organisation.pk, subject_name=organisation.name,
        before=before, after=after,
    )  # fmt: skip
