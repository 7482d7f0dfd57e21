"""The demo's part of a fleet: a token by which this machine's own agent joins, and what it serves: a simulated deployment, and where the
built-in engine was asked for, a tiny model with random weights."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.fleet import secret_digest
from apps.fleet.joining import join_token_create, join_token_revoke, worker_revoke
from apps.fleet.models import Deployment, JoinToken, Worker
from apps.fleet.services import deployment_create, deployment_delete, deployment_update
from apps.ownership.models import Team
from apps.providers.prices import prices_set
from apps.providers.rules import PriceSpec
from apps.simulator.behaviour import DEFAULT_PRICE

WORKER = "local"
DEPLOYMENT, MODEL = "demo-local", "sim-chat"
TOKEN_FILE = "agent_token"
"""Below the instance's secrets: what the launcher gives the agent for its first start."""
TOKEN_LASTS = timedelta(days=7)
MEMORY = 200_000_000
ENGINE_DEPLOYMENT = "tiny-llama"
"""Deployment, model and route."""
ENGINE_MEMORY = 1_500_000_000
ENGINE_ARGUMENTS = {"context": "2048", "kv-tokens": "16384", "max-running": "16", "threads": "2"}


def fleet_seed(*, actor: Actor, organisation: Organisation, team: Team, secrets: Path, reason: str) -> str:
    """Make both stand; what people changed of them stays. Gives the name of the provider that routes target.

    secrets: where the token's file is. A worker that has joined keeps its own credential, so then there is no token.
    """
    _token(actor, organisation, secrets / TOKEN_FILE)
    deployment = Deployment.objects.filter(organisation=organisation, name=DEPLOYMENT).select_related("provider").first()
    if deployment is None:
        deployment = deployment_create(
            actor=actor, organisation=organisation, name=DEPLOYMENT, owner=team, engine="simulated", model=MODEL, memory=MEMORY,
            least=0, most=3, wanted=1, drain_seconds=10, reason=reason,
        )  # fmt: skip
    row = deployment.provider.models.filter(name=MODEL).first()
    if row is None or not row.prices.exists():
        price = PriceSpec(input=DEFAULT_PRICE.input, output=DEFAULT_PRICE.output)
        prices_set(actor=actor, provider=deployment.provider, model=MODEL, prices=[price], reason=reason)
    return deployment.provider.name


def engine_seed(*, actor: Actor, organisation: Organisation, team: Team, model: Path, reason: str) -> str:
    """Make the built-in engine's deployment stand, on the model in this directory. Gives the name of the provider that routes target.

    What it computes is computed, nothing is simulated; only the weights are random. It costs nothing a token.
    """
    artifact = {"source": "path", "location": str(model), "format": "safetensors"}
    deployment = Deployment.objects.filter(organisation=organisation, name=ENGINE_DEPLOYMENT).select_related("provider").first()
    if deployment is None:
        deployment = deployment_create(
            actor=actor, organisation=organisation, name=ENGINE_DEPLOYMENT, owner=team, engine="built_in", model=ENGINE_DEPLOYMENT,
            artifact=artifact, arguments=ENGINE_ARGUMENTS, memory=ENGINE_MEMORY, least=0, most=2, wanted=1, drain_seconds=10, reason=reason,
        )  # fmt: skip
    elif deployment.artifact.get("location") != str(model):
        deployment_update(actor=actor, deployment=deployment, artifact=artifact, reason="the model lies elsewhere now")
    row = deployment.provider.models.filter(name=ENGINE_DEPLOYMENT).first()
    if row is None or not row.prices.exists():
        prices_set(actor=actor, provider=deployment.provider, model=ENGINE_DEPLOYMENT, prices=[PriceSpec(input=0, output=0)], reason=reason)
    return deployment.provider.name


def fleet_withdraw(*, actor: Actor, organisation: Organisation, reason: str) -> None:
    """Nothing is ordered and nobody can join any more; rows of workers go with the organisation."""
    for deployment in Deployment.objects.filter(organisation=organisation):
        deployment_delete(actor=actor, deployment=deployment, reason=reason)
    for token in JoinToken.objects.filter(organisation=organisation, used_at=None, revoked_at=None):
        join_token_revoke(actor=actor, token=token, reason=reason)


def _forgot(worker: Worker, data_dir: Path) -> bool:
    """Whether this machine's own worker joined and has no credential any more: its directory was deleted. It has to join anew."""
    directory = Path(os.environ.get("BULKHEAD_AGENT_DIR") or data_dir / "agent")
    return worker.host.get("hostname") == socket.gethostname()[:200] and not (directory / "credential.json").exists()


def _token(actor: Actor, organisation: Organisation, file: Path) -> None:
    worker = Worker.objects.filter(organisation=organisation, name=WORKER, revoked_at=None).first()
    if worker is not None and not _forgot(worker, file.parent.parent):
        file.unlink(missing_ok=True)
        return
    if worker is not None:
        worker_revoke(actor=actor, worker=worker, reason="its directory was deleted")
    unused = JoinToken.objects.filter(organisation=organisation, used_at=None, revoked_at=None)
    if file.exists() and unused.filter(digest=secret_digest(file.read_text().strip()), expires_at__gt=timezone.now()).exists():
        return
    for token in unused.filter(made_by=actor.name):
        join_token_revoke(actor=actor, token=token)
    _, text = join_token_create(actor=actor, organisation=organisation, lasts=TOKEN_LASTS)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
