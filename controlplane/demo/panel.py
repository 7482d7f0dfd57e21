"""The demo's panel on Overview: what is simulated, the guided minute, the switch of its traffic, the way to remove it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q

from apps.dashboard.panels import Panel, Reads
from apps.routes.models import RouteSwitch
from controlplane.demo import simulators
from controlplane.demo.seed import CHAT_ROUTE, ORGANISATION, SIMULATORS
from controlplane.demo.state import DemoState, demo_state
from controlplane.demo.tour import Facts, tour

EAST, WEST = SIMULATORS

LONGEST_HOURS = 2
"""How far back a tour's requests are counted."""


def panel_data(reads: Reads) -> dict[str, Any]:
    """The context of ``demo/panel.html``: one query for the route, one for the tour's requests, one call of the simulator."""
    state = demo_state(settings.DATA_DIR)
    facts = _facts(reads, state)
    return {"state": state, "tour": tour(state, facts), "facts": facts, "may": reads.choice.may("provider.change")}


def _facts(reads: Reads, state: DemoState) -> Facts:
    try:
        broken: bool | None = simulators.simulator_broken(simulators.simulator_scenario(EAST))
    except simulators.SimulatorAway:
        broken = None
    switched = RouteSwitch.objects.filter(
        Q(until=None) | Q(until__gt=reads.now),
        route__organisation=reads.choice.organisation, route__name=CHAT_ROUTE, provider__name=WEST,
    ).exists()  # fmt: skip
    last_minute, rescued, failed, direct = _counts(str(reads.choice.organisation.pk), state, reads.now)
    fleet = reads.fleet
    return Facts(
        broken=broken, switched=switched, last_minute=last_minute, rescued=rescued, failed=failed, direct=direct,
        current=fleet.current, total=fleet.total, version=fleet.version,
    )  # fmt: skip


def _counts(organisation: str, state: DemoState, now: datetime) -> tuple[int, int, int, int]:
    """Requests of the last minute; and from the break to its end: rescued, failed, and answered at the first try after the switch."""
    broken, until = state.broken_at, state.undone_at if state.undone_at > state.broken_at else now.timestamp() + 60
    switched = state.switched_at if broken and state.switched_at >= broken else until
    least = max(min(broken or now.timestamp(), now.timestamp() - 60), now.timestamp() - LONGEST_HOURS * 3_600)
    during = "started_at >= to_timestamp(%s) AND started_at < to_timestamp(%s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*) FILTER (WHERE started_at >= to_timestamp(%s)),
                count(*) FILTER (WHERE {during} AND outcome = 'ok' AND attempt_count > 1),
                count(*) FILTER (WHERE {during} AND outcome IN ('error', 'unknown')),
                count(*) FILTER (WHERE {during} AND outcome = 'ok' AND attempt_count = 1 AND provider = %s)
            FROM usage_request WHERE organisation = %s AND simulated AND started_at >= %s""",
            [
                *(now.timestamp() - 60, broken or until, until, broken or until, until, switched, until, WEST),
                *(organisation, datetime.fromtimestamp(least, UTC)),
            ],
        )
        row = cursor.fetchone()
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


def _shown(choice: Any) -> bool:
    return choice.organisation.slug == ORGANISATION and choice.organisation.simulated and not demo_state(settings.DATA_DIR).gone


PANEL = Panel(
    "demo",
    "Demo",
    "overview.view",
    panel_data,
    every=3,
    ranged=False,
    url="demo:panel",
    template="demo/panel.html",
    strip=True,
    shown=_shown,
)
