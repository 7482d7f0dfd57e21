"""The demo: organisation ``demo`` with two simulated providers, routes over both, budgets, a key that works at once, and who owns what.

Run again, it makes what is missing and moves the providers to where the simulators listen now; whatever else people
have changed since stays as they made it. Everything in it is marked as simulated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from django.conf import settings
from django.db import transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import organisation_get
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.selectors import budgets_of
from apps.budgets.services import budget_set
from apps.contracts.money import NANO
from apps.contracts.tokens import new_token
from apps.keys.models import VirtualKey
from apps.keys.selectors import key_by_digest, keys_of
from apps.keys.services import key_create, key_digest, key_import, key_token_replace
from apps.ownership.models import Service, Team
from apps.ownership.services import service_ensure, team_ensure
from apps.providers.models import Provider
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import endpoint_specs, provider_ensure, provider_update
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from apps.simulator.behaviour import DEFAULT_PRICE
from controlplane.demo.fleet import ENGINE_DEPLOYMENT, engine_seed, fleet_seed
from controlplane.demo.fleet import MODEL as LOCAL_MODEL
from controlplane.demo.ownership import ownership_seed

ORGANISATION = "demo"
SIMULATORS = ("sim-east", "sim-west")
CHAT_ROUTE, CHAT_MODEL = "demo-chat", "sim-chat"
EMBED_ROUTE, EMBED_MODEL = "demo-embed", "sim-embed"
LOCAL_ROUTE = "demo-local"
"""Served by this machine's own worker."""
COLD_START = {"queue_ms": 60_000}
"""Of routes whose only replica starts with Bulkhead itself: the first request waits for it."""
KEY = "demo"
DAY_BUDGET_NANO = 100 * NANO
KEY_MONTH_BUDGET_NANO = 1_000 * NANO
REASON = "demo"


class SimulatorAddress(TypedDict):
    """name: what provider and simulator are called. url: where it listens, without a path."""

    name: str
    url: str


class Seeded(TypedDict):
    """What an app needs to call the demo: a virtual key and the routes' names."""

    key: str
    model: str
    embedding_model: str


def demo_seed(*, actor: Actor, environ: Mapping[str, str] | None = None, engine_model: Path | None = None) -> Seeded:
    """Seed the demo for the simulators whose addresses the launcher left in ``BULKHEAD_SIM_EAST_URL`` and ``BULKHEAD_SIM_WEST_URL``.

    engine_model: the directory of a model that the built-in engine shall serve. Raises ServiceError where one is missing.
    """
    variables = os.environ if environ is None else environ
    simulators: list[SimulatorAddress] = []
    for name in SIMULATORS:
        variable = f"BULKHEAD_{name.upper().replace('-', '_')}_URL"
        if not variables.get(variable):
            raise ServiceError(f"{variable} is not set: it is the address of the simulated provider {name}, such as http://127.0.0.1:9001")
        simulators.append({"name": name, "url": variables[variable]})
    return seed(actor=actor, simulators=simulators, engine_model=engine_model)


def seed(*, actor: Actor, simulators: Sequence[SimulatorAddress], data_dir: Path | None = None, engine_model: Path | None = None) -> Seeded:
    """Make the demo stand and publish it. Targets are tried in the order of ``simulators``.

    data_dir: where ``secrets/demo_key`` is kept; the instance's, unless given. Raises ServiceError, PublishError.
    """
    if not simulators:
        raise ServiceError("the demo needs at least one simulated provider", "simulators")
    token_file = (data_dir or Path(settings.DATA_DIR)) / "secrets" / "demo_key"
    with transaction.atomic():
        organisation = _organisation(actor)
        for simulator in simulators:
            _provider(actor, organisation, simulator)
        names = [simulator["name"] for simulator in simulators]
        team = team_ensure(actor=actor, organisation=organisation, slug="demo")
        _route(actor, organisation, CHAT_ROUTE, names, CHAT_MODEL, team)
        _route(actor, organisation, EMBED_ROUTE, names, EMBED_MODEL, team)
        local = fleet_seed(actor=actor, organisation=organisation, team=team, secrets=token_file.parent, reason=REASON)
        _route(actor, organisation, LOCAL_ROUTE, [local], LOCAL_MODEL, team, COLD_START)
        if engine_model is not None:
            own = engine_seed(actor=actor, organisation=organisation, team=team, model=engine_model, reason=REASON)
            _route(actor, organisation, ENGINE_DEPLOYMENT, [own], ENGINE_DEPLOYMENT, team, COLD_START)
        service = service_ensure(actor=actor, team=team, slug="demo-app")
        key, token = _key(actor, organisation, service, token_file)
        _budget(actor, organisation, "demo-day", "organisation", organisation.pk, "day", DAY_BUDGET_NANO)
        _budget(actor, organisation, "demo-key-month", "key", key.pk, "month", KEY_MONTH_BUDGET_NANO)
        ownership_seed(actor=actor, organisation=organisation, team=team, route=CHAT_ROUTE, reason=REASON)
        publish(actor=actor, reason=REASON)
    return {"key": token, "model": CHAT_ROUTE, "embedding_model": EMBED_ROUTE}


def _organisation(actor: Actor) -> Organisation:
    found = organisation_get(slug=ORGANISATION)
    if found is not None and found.simulated:
        return found  # under whatever name people gave it
    return organisation_ensure(actor=actor, slug=ORGANISATION, name="Demo (simulated)", simulated=True)


def _provider(actor: Actor, organisation: Organisation, simulator: SimulatorAddress) -> None:
    name, base_url = simulator["name"], simulator["url"].rstrip("/") + "/v1"
    provider = Provider.objects.filter(organisation=organisation, name=name).first()
    if provider is None:
        endpoint = EndpointSpec(name="local", base_url=base_url, region=name.removeprefix("sim-"))
        provider = provider_ensure(
            actor=actor,
            organisation=organisation,
            name=name,
            kind="openai",
            endpoints=[endpoint],
            simulated=True,
            allow_private_addresses=True,
            reason=REASON,
        )
    else:
        first, *others = endpoint_specs(provider)
        if first.base_url != base_url or not provider.allow_private_addresses:
            moved = [first._replace(base_url=base_url), *others]
            reason = "the simulator listens on this host" if first.base_url == base_url else "the simulator listens elsewhere now"
            provider_update(actor=actor, provider=provider, endpoints=moved, allow_private_addresses=True, reason=reason)
    for model in (CHAT_MODEL, EMBED_MODEL):
        row = provider.models.filter(name=model).first()
        if row is None or not row.prices.exists():
            price = PriceSpec(input=DEFAULT_PRICE.input, output=DEFAULT_PRICE.output)
            prices_set(actor=actor, provider=provider, model=model, prices=[price], reason=REASON)


def _route(
    actor: Actor,
    organisation: Organisation,
    name: str,
    providers: Sequence[str],
    model: str,
    owner: Team,
    resilience: Mapping[str, Any] | None = None,
) -> None:
    if not Route.objects.filter(organisation=organisation, name=name).exists():
        targets = [TargetSpec(provider, model) for provider in providers]
        route_ensure(actor=actor, organisation=organisation, name=name, targets=targets, resilience=resilience, owner=owner, reason=REASON)


def _budget(actor: Actor, organisation: Organisation, name: str, scope: str, scope_id: object, window: str, limit_nano: int) -> None:
    kept = budgets_of(organisation).filter(name=name).first()
    if kept is None or (scope == "key" and kept.scope_id != str(scope_id)):
        budget_set(
            actor=actor,
            organisation=organisation,
            name=name,
            scope=scope,
            scope_id=scope_id,
            window=window,
            limit_nano=limit_nano,
            reason=REASON,
        )


def _key(actor: Actor, organisation: Organisation, service: Service, file: Path) -> tuple[VirtualKey, str]:
    """The demo's key and its token. The token is kept in a file, because the database has only its digest."""
    token = _read(file)
    found = key_by_digest(key_digest(token)) if token else None
    if found is not None and found.state == "active" and found.organisation_id == organisation.pk:
        return found, token
    named = keys_of(organisation).filter(name=KEY).first()
    if token and found is None and named is None:  # a fresh database beside the secrets of an earlier one
        return key_import(actor=actor, organisation=organisation, name=KEY, token=token, service=service, reason=REASON), token
    if named is not None:  # the file was lost or belongs to something else: only a new token can be shown
        _, token = new_token()
        key_token_replace(actor=actor, key=named, token=token, reason="the demo key's token was lost")
    else:
        named, token = key_create(actor=actor, organisation=organisation, name=KEY, service=service, reason=REASON)
    # Before the commit: a token that opens nothing yet is replaced or imported next time, a lost one could only be rotated.
    _write(file, token)
    return named, token


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def _write(file: Path, token: str) -> None:
    """Replace the file whole, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_name(f"{file.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, token.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(file)
