"""Who answers for what in the demo: two teams, a map with one cell that nobody owns, a rotation, an SLA and a runbook.

Each is made where there is none of its kind; whatever people changed or added stays as they made it.
"""

from __future__ import annotations

from typing import TypedDict

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.ownership import choices
from apps.ownership.care_services import ContactSpec, contacts_set, runbook_set, sla_set
from apps.ownership.map_services import cell_set, layer_set
from apps.ownership.models import Layer, Rotation, Runbook, Sla, Team
from apps.ownership.owned import owner_assign, owner_of
from apps.ownership.rotation_services import rotation_set
from apps.ownership.services import team_ensure
from apps.providers.models import Provider
from apps.routes.models import Route
from apps.routes.services import route_update

PLATFORM = "demo-platform"
LAYERS = ("application", "proxy", "provider")
MOST_PEOPLE = 3
RUNBOOK = "sim-east-fails"
RUNBOOK_TEXT = """\
# When sim-east fails

1. Look at the route's page: is the breaker of `sim-east` open, and does `sim-west` answer?
2. If answers fail all the same, *Send all here* on `sim-west`, for an hour, with the reason.
3. Tell the team in its chat. When `sim-east` is well again, *Switch back*.

*Break sim-east* on Overview is how this is practised.
"""


class Given(TypedDict):
    """What every service takes."""

    actor: Actor
    reason: str


def ownership_seed(*, actor: Actor, organisation: Organisation, team: Team, route: str, reason: str) -> None:
    """Make what is missing, in the seed's transaction. team: of the demo's app; route: the name of the one that the runbook is about."""
    given: Given = {"actor": actor, "reason": reason}
    if not Layer.objects.filter(organisation=organisation).exists():
        platform = team_ensure(actor=actor, organisation=organisation, slug=PLATFORM, name="demo platform")
        contacts_set(team=platform, contacts=[ContactSpec("chat", "#demo-platform", "say what you see")], **given)
        _map(organisation, team, platform, given)
    if not Rotation.objects.filter(organisation=organisation).exists():
        _rotation(organisation, team, given)
    if not Sla.objects.filter(team=team, service=None).exists():
        sla_set(team=team, availability=97_000, ttft_ms=2_000, ttft_warn_ms=1_500, ttft_page_ms=3_000, **given)
    if not Runbook.objects.filter(organisation=organisation).exists():
        book = runbook_set(
            organisation=organisation,
            name=RUNBOOK,
            title="When sim-east fails",
            text=RUNBOOK_TEXT,
            owner=team,
            review_every_days=0,
            **given,
        )
        found = Route.objects.filter(organisation=organisation, name=route, runbook="").first()
        if found is not None:
            route_update(route=found, runbook=str(book.pk), **given)


def _map(organisation: Organisation, team: Team, platform: Team, given: Given) -> None:
    """Regions where the simulators say that they are, with everything owned but the last region's providers."""
    known = {name: (title, text) for name, title, text in choices.LAYERS}
    for position, layer in enumerate(LAYERS):
        title, text = known[layer]
        layer_set(organisation=organisation, name=layer, title=title, help=text, position=position, **given)
    providers = list(Provider.objects.filter(organisation=organisation).prefetch_related("endpoints").order_by("name"))
    regions = sorted({endpoint.region for provider in providers for endpoint in provider.endpoints.all() if endpoint.region})
    owners = {"application": team, "proxy": platform, "provider": platform}
    for region in regions:
        for layer in LAYERS:
            unowned = region == regions[-1] and layer == "provider"
            if not unowned:
                cell_set(organisation=organisation, region=region, layer=layer, team=owners[layer], **given)
    free = [("provider", str(provider.pk)) for provider in providers if owner_of(kind="provider", object_id=provider.pk) is None]
    if free:
        owner_assign(organisation=organisation, things=free, team=platform, **given)


def _rotation(organisation: Organisation, team: Team, given: Given) -> None:
    """Whoever belongs to the demo takes turns, by the week; without anybody there is no rotation."""
    people = list(User.objects.filter(memberships__organisation=organisation, is_active=True).order_by("created_at")[:MOST_PEOPLE])
    if people:
        rotation_set(organisation=organisation, name="demo-on-call", team=team, members=people, **given)
