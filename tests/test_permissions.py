"""Every address of the control plane, asked by people who must not: nobody, a viewer, an admin of somebody else's organisation.

A new address without a permission fails here until it is named in one of the lists below, with the reason why it needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import Client
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLPattern, URLResolver
from msgspec import to_builtins

from apps.accounts.api import throttling
from apps.accounts.models import Organisation
from apps.accounts.rules import Role, roles_for
from apps.accounts.services import organisation_ensure
from apps.alerts.channel_checks import StepWords
from apps.alerts.channel_models import Delivery
from apps.alerts.channel_services import channel_create, channel_test
from apps.alerts.models import Alert
from apps.alerts.policy_services import policy_set
from apps.alerts.services import alert_silence, provider_note_set, rule_create, slo_create
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.budgets.limit_choices import KINDS
from apps.budgets.limit_services import limit_set
from apps.budgets.performance_services import performance_budget_set
from apps.budgets.services import budget_set
from apps.contracts.fleet import JoinRequest
from apps.contracts.fleet_facts import HostFacts
from apps.contracts.identifiers import uuid7
from apps.dashboard.models import SavedView
from apps.flags.changes import flip_submit
from apps.flags.services import flag_set
from apps.flags.two_person_rules import two_person_rule_add
from apps.fleet.joining import join_token_create, worker_join
from apps.fleet.models import Replica
from apps.fleet.services import deployment_ensure
from apps.keys.request_services import key_request
from apps.keys.services import key_create
from apps.keys.template_services import key_template_set
from apps.keys.wishes import Wish
from apps.ownership.care_services import runbook_set, sla_set
from apps.ownership.map_services import layer_set, region_set
from apps.ownership.rotation_services import rotation_override_add, rotation_set
from apps.ownership.services import service_ensure, team_ensure
from apps.postmortems.action_services import ActionSpec, action_create
from apps.postmortems.checklist_services import checklist_start
from apps.postmortems.incident_services import incident_declare
from apps.postmortems.models import Factor, PostmortemEvidence, PostmortemText
from apps.postmortems.postmortem_services import postmortem_create
from apps.postmortems.timeline_services import attachment_add
from apps.prices.repricing import repricing_create
from apps.prices.services import gpu_price_set
from apps.prices.units import unit_price_set
from apps.providers.discounts import discount_set
from apps.providers.models import ProviderModel
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import credential_set, provider_ensure
from apps.publishing.managed import Listed, managed_set
from apps.publishing.services import publish
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure, route_update
from apps.usage.anomaly_rules import KeyEvidence
from apps.usage.capture_services import capture_route_set
from apps.usage.models import SpendAnomaly
from apps.usage.reconciliation_services import provider_export_import
from controlplane.configfile.document import LimitEntry
from tests.people import client_of, member

PUBLIC = {
    "accounts:login": "how else could one sign in",
    "accounts:logout": "does nothing for somebody who is not signed in",
    "accounts:accept": "the link is the secret",
    "ui:theme": "sets a cookie",
    "ui:zone": "sets a cookie",
    "dashboard:healthz": "for load balancers; tells no more than whether it works",
    "metrics:scrape": "a token opens it, or this host",
    "metrics:targets": "a token opens it, or this host",
    "postmortems:status": "off unless somebody opens it; says what was written for it alone",
    "ofrep:flag": "a virtual key opens it",
    "ofrep:flags": "a virtual key opens it",
    "postmortems:chat": "the signature of an organisation's workspace opens it",
}
KEYED = {"ofrep:flag", "ofrep:flags", "postmortems:chat"}
"""No cookie opens these, so nobody's browser can be made to send anything there."""
SIGNED_IN = {
    "ui:catalogue": "asks for organisation.change itself",
    "ui:catalogue_live": "asks for organisation.change itself",
    "ui:catalogue_try": "asks for organisation.change itself",
    "ui:palette": "each source asks for what it shows",
    "ui:toasts": "one's own",
    "settings:index": "goes on to one's own profile",
    "settings:profile": "one's own",
    "settings:tokens": "one's own",
    "api-reference": "says what there is, and nothing of what is in it",
    "api:schema": "says what there is, and nothing of what is in it",
    "api:nothing": "there is nothing",
    "api:me": "one's own",
    "api:tokens": "one's own",
    "api:token": "one's own",
    "api:organisations": "those one belongs to",
    "api:organisation": "one that one belongs to; the service asks for a change",
    "publishing:undo": "the service asks for what each object takes",
    "demo:break": "the service asks",
    "demo:switch": "the service asks",
    "demo:undo": "the service asks",
    "demo:traffic": "the service asks",
    "demo:remove": "the service asks",
    "demo:progress": "how far a removal is, for whoever sees the page",
}
TYPED = {"reason": "because", "publish": "1", "name": "taken", "on": "1", "typed": "demo", "role-main": "admin", "email": "x@example.test"}
"""What is sent: it would do in many places."""


class Address(NamedTuple):
    """One pattern of the URL conf. permission, installation: as its view says; empty where it says none."""

    name: str
    arguments: tuple[str, ...]
    permission: str
    installation: bool

    def viewers(self) -> bool:
        """Whether a viewer may come in."""
        return not self.permission or Role.VIEWER in roles_for(self.permission)


def addresses(patterns: list[Any] | None = None, namespace: str = "", above: tuple[str, ...] = ()) -> Iterator[Address]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from addresses(pattern.url_patterns, inner, (*above, *pattern.pattern.converters))
        elif isinstance(pattern, URLPattern):
            view = getattr(pattern.callback, "view_class", pattern.callback)
            yield Address(
                f"{namespace}{pattern.name}",
                (*above, *pattern.pattern.converters),
                getattr(view, "permission", ""),
                getattr(view, "installation", False),
            )


ADDRESSES = list(addresses())


@pytest.fixture(autouse=True)
def _as_often_as_there_are_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person walks all of the API here, at once."""
    for rate in (throttling.CALLS, throttling.REFUSALS):
        monkeypatch.setattr(rate, "slack", 3_600.0)


@pytest.fixture
def things(organisation: Organisation, actor: Actor, settings: Any, tmp_path: Path) -> dict[str, Any]:
    """One of everything in organisation ``main``, by the name of the URL's argument, published."""
    settings.DATA_DIR = tmp_path
    organisation_ensure(actor=actor, slug="demo", name="Demo", simulated=True)
    credential = credential_set(actor=actor, organisation=organisation, name="c", value="sk-live-0123456789")
    endpoint = EndpointSpec("a", "https://api.example.com/v1", credential="c")
    provider = provider_ensure(actor=actor, organisation=organisation, name="p", kind="openai", endpoints=[endpoint])
    prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(input=1, output=1)])
    route = route_ensure(actor=actor, organisation=organisation, name="walled", targets=[TargetSpec("p", "m")])
    key, _ = key_create(actor=actor, organisation=organisation, name="app")
    team = team_ensure(actor=actor, organisation=organisation, slug="walled-in")
    asking = key_request(actor=actor, team=team, wish=Wish(name="wished"), reason="a test")
    discount = discount_set(actor=actor, organisation=organisation, name="d", provider=provider, discount=500)
    unit = unit_price_set(actor=actor, organisation=organisation, name="u", provider=provider, model="m", unit="image", per_thousand=1)
    gpu = gpu_price_set(actor=actor, organisation=organisation, name="g", gpu="H200", per_hour=1)
    hour = datetime.now(UTC) - timedelta(hours=3)
    again = repricing_create(actor=actor, organisation=organisation, starts_at=hour, ends_at=hour + timedelta(hours=1), reason="a credit")
    budget = budget_set(
        actor=actor, organisation=organisation, name="wall", scope="organisation", scope_id=organisation.pk, window="day", limit_nano=10**9
    )
    limit = limit_set(
        actor=actor, organisation=organisation, name="l", scope="organisation", scope_id=organisation.pk, kind=next(iter(KINDS)), amount=9
    )
    performance = performance_budget_set(
        actor=actor, organisation=organisation, name="f", scope="model", scope_id="m", metric="ttft_p95", bound="1s", owner_email="a@b.test"
    )
    odd = SpendAnomaly.objects.create(
        organisation=organisation, simulated=False, kind="runaway_key", subject="k", starts_at=hour, ends_at=hour,
        evidence=KeyEvidence(spent=9, usual=1, highest=2, allowed=3, days=14, hour="", requests=1).document,
    )  # fmt: skip
    export = provider_export_import(
        actor=actor, organisation=organisation, provider="p", simulated=False, file_name="costs.csv",
        content=b"usage_date_utc,model,cost_usd\n2026-01-01,m,1\n",
    )  # fmt: skip
    release = flag_set(
        actor=actor, organisation=organisation, name="r", kind="release", subject_kind="organisation", subject_id=organisation.pk
    )
    later = datetime.now(UTC) + timedelta(hours=3)
    change = flip_submit(actor=actor, organisation=organisation, name=release.name, on=True, reason="soon", at=later)
    rule = two_person_rule_add(actor=actor, organisation=organisation, kind="degrade", reason="careful")
    flag_set(actor=actor, organisation=organisation, name="stop-p", kind="kill", subject_kind="provider", subject_id=provider.pk)
    service = service_ensure(actor=actor, team=team, slug="own")
    sla = sla_set(actor=actor, team=team, service=service, availability=99_900)
    rotation = rotation_set(actor=actor, organisation=organisation, name="weekly", team=team)
    stands_in = rotation_override_add(
        actor=actor, rotation=rotation, user=member(organisation, "member"), starts_at=hour, ends_at=later + timedelta(days=1)
    )
    runbook = runbook_set(actor=actor, organisation=organisation, name="away", title="Away", owner=team, text="- [ ] walled")
    view = SavedView.objects.create(organisation=organisation, owner=member(organisation, "manager"), name="v", path="/dashboards/")
    region = region_set(actor=actor, organisation=organisation, name="eu-north")
    layer = layer_set(actor=actor, organisation=organisation, name="models")
    template = key_template_set(actor=actor, team=team, routes=["*"], environments=["staging"], most_keys=1)
    listed = Listed("limit", str(limit.pk), "limits", "l", to_builtins(LimitEntry(name="l", kind=limit.kind, amount=9)))
    managed_set(actor=actor, organisation=organisation, document="bulkhead.yaml", listed=[listed], by="ops", version=None)
    mark = organisation.managed_things.get()  # type: ignore[attr-defined]
    watched = rule_create(actor=actor, organisation=organisation, name="walled", title="Walled", series="error_rate", warn="1%")
    alert = Alert.objects.create(
        organisation=organisation, rule=watched, fingerprint="walled", state="firing", severity="warning", started_at=hour, fired_at=hour,
        judged_at=hour,
    )  # fmt: skip
    slo = slo_create(actor=actor, organisation=organisation, name="walled", title="W", indicator="availability", objective="99")
    silence = alert_silence(actor=actor, alert=alert, until=later, reason="a test")
    note = provider_note_set(actor=actor, provider=provider, state="down", text="walled")
    channel, _ = channel_create(actor=actor, organisation=organisation, name="walled", kind="email", address="walled@example.test")
    policy = policy_set(actor=actor, organisation=organisation, name="walled", steps=[StepWords(0, "on-call")])
    Delivery.objects.filter(pk=channel_test(actor=actor, channel=channel).pk).update(state="failed")
    incident = incident_declare(actor=actor, organisation=organisation, title="walled", alerts=[alert])
    entry = attachment_add(actor=actor, incident=incident, name="walled.log", body=b"walled")
    learnt = postmortem_create(actor=actor, incident=incident)
    run = checklist_start(actor=actor, incident=incident, runbook=runbook)
    todo = action_create(
        actor=actor, organisation=organisation, postmortem=learnt,
        spec=ActionSpec("walled", "A drill passes.", member(organisation, "on-call"), (hour + timedelta(days=9)).date()),
    )  # fmt: skip
    PostmortemEvidence.objects.create(postmortem=learnt, take=1, query="times", parameters={}, result={}, taken_at=hour, taken_by="x")
    aside = PostmortemText.objects.create(postmortem=learnt, number=0, texts={}, by="x", by_id="x", begun_at=hour, at=hour)
    token, text = join_token_create(actor=actor, organisation=organisation)
    host = HostFacts(hostname="walled", address="127.0.0.1", memory_total=10**9)
    worker = worker_join(
        JoinRequest(protocol=1, token=text, secret_digest="0" * 64, name="walled", agent_version="1", sent_at_ms=0, host=host)
    )
    deployment = deployment_ensure(actor=actor, organisation=organisation, name="walled", model="m", engine="simulated")
    replica = Replica.objects.create(
        deployment=deployment,
        worker=worker,
        ordinal=0,
        revision=1,
        spec={"replica": str(route.pk), "deployment": "walled", "engine": "simulated"},
    )  # fmt: skip
    publish(actor=actor, reason="first")
    for attempts in (1, 2):
        route_update(actor=actor, route=route, max_attempts=attempts)
        publish(actor=actor, reason="attempts")
    return {
        "credential_id": credential.pk,
        "join_token_id": token.pk,
        "worker_id": worker.pk,
        "deployment_id": deployment.pk,
        "replica_id": replica.pk,
        "provider_id": provider.pk,
        "model_id": ProviderModel.objects.get(provider=provider).pk,
        "discount_id": discount.pk,
        "price_id": gpu.pk,
        "unit_price_id": unit.pk,
        "repricing_id": again.pk,
        "budget_id": budget.pk,
        "limit_id": limit.pk,
        "export_id": export.pk,
        "anomaly_id": odd.pk,
        "change_id": change.pk,
        "rule_id": rule.pk,
        "key": release.name,
        "dimension": "team",
        "kind": "team",
        "thing": "route",
        "object_id": route.pk,
        "panel": "traffic",
        "view_id": view.pk,
        "performance_id": performance.pk,
        "route_id": route.pk,
        "key_id": key.pk,
        "team_id": team.pk,
        "service_id": service.pk,
        "sla_id": sla.pk,
        "rotation_id": rotation.pk,
        "override_id": stands_in.pk,
        "runbook_id": runbook.pk,
        "postmortem_id": learnt.pk,
        "text_id": aside.pk,
        "take": 1,
        "query": "times",
        "action_id": todo.pk,
        "run_id": run.pk,
        "factor_id": Factor.objects.filter(organisation=organisation)[0].pk,
        "slug": "main",
        "region_id": region.pk,
        "layer_id": layer.pk,
        "template_id": template.pk,
        "mark_id": mark.pk,
        "asking_id": asking.pk,
        "alert_id": alert.pk,
        "incident_id": incident.pk,
        "entry_id": entry.pk,
        "alert_rule_id": watched.pk,
        "slo_id": slo.pk,
        "silence_id": silence.pk,
        "note_id": note.pk,
        "channel_id": channel.pk,
        "policy_id": policy.pk,
        "delivery_id": Delivery.objects.get(channel=channel).pk,
        "handover_id": uuid7(),
        "number": 2,  # whose route was changed again since
        "seq": 1,
        "pk": member(organisation, email="someone@example.test").pk,
        "request_id": uuid7(),
        "capture_id": capture_route_set(
            actor=actor, organisation=organisation, route_id=str(route.pk), route_name=route.name, percent=1.0
        ).pk,
        "token": "not-a-token",
        "organisation": "main",
        "flag_id": "stop-p",
        "token_id": uuid7(),
        "region": "eu",
        "layer": "models",
        "rest": "no/such/place",
        "flag": "stop-p",
    }


def url_of(address: Address, things: dict[str, Any]) -> str:
    missing = [name for name in address.arguments if name not in things]
    assert not missing, f"{address.name} takes {missing}: add one of it to ``things``"
    return reverse(address.name, kwargs={name: things[name] for name in address.arguments})


def let_in(client: Client, things: dict[str, Any], chosen: list[Address], *, refusals: set[int], follow: bool = False) -> list[str]:
    """GET and POST of each: those that answer otherwise than with a refusal or *wrong method*. follow: redirects too."""
    found = []
    for address in chosen:
        for method in (client.get, client.post):
            response = method(url_of(address, things), TYPED, follow=follow)
            to_sign_in = response.status_code == 302 and response["Location"].startswith("/login/?next=/")
            if response.status_code not in {405, *refusals} and not (to_sign_in and 401 in refusals):
                found.append(f"{method.__name__} {address.name}: {response.status_code}")
    return found


def test_every_address_has_a_permission_or_a_reason_to_have_none() -> None:
    without = {address.name for address in ADDRESSES if not address.permission}
    assert without == PUBLIC.keys() | SIGNED_IN.keys()


def test_nobody_gets_in_without_signing_in(things: dict[str, Any]) -> None:
    assert let_in(Client(), things, [address for address in ADDRESSES if address.name not in PUBLIC], refusals={401}) == []


def test_a_viewer_changes_nothing(things: dict[str, Any], organisation: Organisation) -> None:
    vic = member(organisation, "viewer")
    client = client_of(vic)
    assert let_in(client, things, [address for address in ADDRESSES if not address.viewers()], refusals={403}) == []
    for address in ADDRESSES:  # and where they may come in, what they send does nothing
        if address.viewers() and address.name != "accounts:logout":
            assert client.post(url_of(address, things), TYPED).status_code < 500, address
    done = AuditEvent.objects.filter(actor_id=str(vic.pk)).values_list("action", "subject_name")
    assert list(done) == []


def test_nobody_reaches_into_another_organisation(things: dict[str, Any]) -> None:
    olga = member(Organisation.objects.create(name="Other", slug="other"), email="olga@example.test")
    client = client_of(olga)
    dimensions = {"dashboard:spend_by", "dashboard:board", "dashboard:board_panel", "dashboard:boards_panel"}
    nobodys = {*PUBLIC, "publishing:undo", *dimensions}  # a dimension is nobody's: one's own spend and traffic by it is shown
    chosen = [address for address in ADDRESSES if address.arguments and address.name not in nobodys]
    assert let_in(client, things, chosen, refusals={403, 404}, follow=True) == []
    undone = client.post(reverse("publishing:undo", args=[things["number"]]), follow=True).content.decode()  # refused in a toast
    assert "What it changed was changed again since v2" in undone and "walled" not in undone
    installation = [address for address in ADDRESSES if address.installation]
    assert let_in(client, things, installation, refusals={403}) == []
    assert not AuditEvent.objects.filter(actor_id=str(olga.pk)).exists()


def test_every_form_needs_its_token(things: dict[str, Any], organisation: Organisation) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(member(organisation))
    before = AuditEvent.objects.count()
    for address in ADDRESSES:
        assert strict.post(url_of(address, things), TYPED).status_code == (401 if address.name in KEYED else 403), address
    assert AuditEvent.objects.count() == before
