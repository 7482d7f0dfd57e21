"""Writes of deployments: atomic, audited. Replicas follow by themselves (``reconciling``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone
from msgspec import UNSET, UnsetType

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.contracts.fleet import PROVIDER_PREFIX, REPLICAS_URL, Artifact
from apps.fleet import rules
from apps.fleet.memory import ENCODER_BATCH, estimate, estimate_built_in, estimate_encoder
from apps.fleet.models import Deployment, Replica, ScaleDecision
from apps.fleet.orders import order_touch
from apps.fleet.performance import performance_check, rollout_check
from apps.fleet.placing import replicas_drain, replicas_end
from apps.fleet.reconciling import deployment_event
from apps.ownership.models import Team
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_delete, provider_ensure, provider_update

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


class DeploymentFacts(TypedDict, total=False):
    """What a person decides about a deployment: the columns of ``Deployment`` by their names. memory None: estimated from ``config``."""

    enabled: bool
    engine: str
    recipe: str
    engine_version: str
    model: str
    artifact: Mapping[str, Any]
    arguments: Mapping[str, Any]
    environment: Sequence[str]
    tasks: Sequence[str]
    gpus: int
    memory: int | None
    exclusive: bool
    vendor: str
    context: int
    concurrency: int
    config: Mapping[str, Any]
    region: str
    pool: str
    labels: Mapping[str, str]
    priority: int
    spot_allowed: bool
    least: int
    most: int
    wanted: int | None
    strategy: str
    surge: int
    drain_seconds: int
    warm_up: Mapping[str, Any]
    health: Mapping[str, Any]
    max_waiting: int | None
    scaling: Mapping[str, Any]
    scaling_mode: str
    performance_budget: UUID | None


FACTS = tuple(DeploymentFacts.__annotations__)
DEFAULTS: dict[str, Any] = {
    "enabled": True, "engine": "simulated", "recipe": "", "engine_version": "", "model": "", "artifact": {}, "arguments": {},
    "environment": [], "tasks": ["chat"], "gpus": 0, "memory": 0, "exclusive": True, "vendor": "", "context": 8192, "concurrency": 16,
    "config": {}, "region": "", "pool": "default", "labels": {}, "priority": 0, "spot_allowed": False, "least": 1, "most": 1,
    "wanted": None, "strategy": "auto", "surge": 1, "drain_seconds": 60, "warm_up": {}, "health": {}, "max_waiting": None,
    "scaling": {}, "scaling_mode": "off", "performance_budget": None,
}  # fmt: skip


@transaction.atomic
def deployment_ensure(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    owner: Team | UnsetType | None = UNSET,
    reason: str = "",
    **facts: Unpack[DeploymentFacts],
) -> Deployment:
    """Create a deployment, or make it as given (what is not given is at its default); the same again changes nothing.

    wanted, not given: stays, within the bounds. Raises ServiceError, which names the field.
    """
    rules.check_name(name)
    row = Deployment.objects.select_for_update(no_key=True).filter(organisation=organisation, name=name).first()
    given = {**DEFAULTS, **facts}
    if row is not None:
        if facts.get("wanted") is None:
            given["wanted"] = max(given["least"], min(given["most"], row.wanted))
        return _write(actor, row, given, owner, reason)
    permission_require(
        actor=actor, action="deployment.change", organisation=organisation, team=owner.pk if isinstance(owner, Team) else None
    )
    checked = _checked(given)
    performance_check(organisation, checked["performance_budget"], checked["model"])
    _owner_check(owner, organisation)
    provider = provider_ensure(
        actor=Actor.system("fleet"),
        organisation=organisation,
        name=PROVIDER_PREFIX + name,
        kind="openai",
        endpoints=[EndpointSpec(name="replicas", base_url=REPLICAS_URL)],
        simulated=checked["engine"] == "simulated",
        price_list="none",
        allow_private_addresses=True,
        reason=f"the deployment {name}",
        deployment=True,
    )
    row = Deployment(organisation=organisation, name=name, provider=provider, owner=owner if isinstance(owner, Team) else None, **checked)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise ServiceError(f"a deployment named {name!r} exists: choose another name, or edit that one", "name") from None
    change_record(actor, "deployment.create", row, {}, deployment_facts(row), reason)
    deployment_event(row, "created", by=actor.name)
    return row


def deployment_create(*, actor: Actor, organisation: Organisation, name: str, **facts: Any) -> Deployment:
    """A new deployment; the other arguments are those of ``deployment_ensure``. Raises ServiceError where the name is taken."""
    if Deployment.objects.filter(organisation=organisation, name=name).exists():
        raise ServiceError(f"a deployment named {name!r} exists: choose another name, or edit that one", "name")
    return deployment_ensure(actor=actor, organisation=organisation, name=name, **facts)


@transaction.atomic
def deployment_update(
    *, actor: Actor, deployment: Deployment, owner: Team | UnsetType | None = UNSET, reason: str = "", **facts: Unpack[DeploymentFacts]
) -> Deployment:
    """Change what is given, leave the rest. A deployment's name never changes: routes, prices and records refer to it."""
    row = Deployment.objects.select_for_update(no_key=True).get(pk=deployment.pk)
    before = {name: getattr(row, name) for name in FACTS}
    if "wanted" not in facts:
        least, most = facts.get("least", row.least), facts.get("most", row.most)
        before["wanted"] = max(least, min(most, row.wanted))
    if "config" in facts and "memory" not in facts:
        before["memory"] = None  # the estimate follows the config
    return _write(actor, row, {**before, **facts}, owner, reason)


@transaction.atomic
def deployment_scale(
    *,
    actor: Actor,
    deployment: Deployment,
    wanted: int,
    reason: str = "",
    expected: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Deployment:
    """How many replicas are wanted, within the deployment's bounds. expected: how many were wanted when this was decided; where that has
    changed since, nothing is done (ServiceError). facts: what the autoscaler looked at; recorded with the decision, which comes too late
    where somebody has switched scaling off since (ServiceError)."""
    permission_require(actor=actor, action="deployment.scale", organisation=deployment.organisation, team=deployment.owner_id)
    row = Deployment.objects.select_for_update(no_key=True).get(pk=deployment.pk)
    rules.check_replicas(least=row.least, most=row.most, wanted=wanted)
    if expected is not None and row.wanted != expected:
        raise ServiceError(f"{row.wanted} replicas are wanted by now, not {expected}: look again", "wanted")
    if facts is not None and row.scaling_mode != "on":
        raise ServiceError("it is not scaled automatically any more: look again", "scaling_mode")
    if row.wanted == wanted:
        return row
    before = row.wanted
    row.wanted = wanted
    row.save(update_fields=["wanted", "changed_at"])
    if facts is not None:
        ScaleDecision.objects.create(
            deployment=row, at=timezone.now(), before=before, after=wanted, applied=True, reason=reason[:1_000], facts=dict(facts)
        )
    change_record(actor, "deployment.scale", row, {"wanted": before}, {"wanted": wanted}, reason)
    deployment_event(row, "scaled", by=actor.name, **{"from": str(before), "to": str(wanted)}, why=reason)
    return row


@transaction.atomic
def deployment_restart(*, actor: Actor, deployment: Deployment, reason: str = "") -> Deployment:
    """Replace every replica by a new one, as a rollout would."""
    permission_require(actor=actor, action="deployment.scale", organisation=deployment.organisation, team=deployment.owner_id)
    row = Deployment.objects.select_for_update(no_key=True).get(pk=deployment.pk)
    row.revision += 1
    row.unplaced = {}
    row.save(update_fields=["revision", "unplaced", "changed_at"])
    change_record(actor, "deployment.restart", row, {"revision": row.revision - 1}, {"revision": row.revision}, reason)
    deployment_event(row, "restarted", by=actor.name, why=reason)
    return row


@transaction.atomic
def deployment_owner_set(*, actor: Actor, deployment: Deployment, owner: Team | None, reason: str = "") -> Deployment:
    """Give a deployment to a team, or to nobody."""
    return deployment_update(actor=actor, deployment=deployment, owner=owner, reason=reason)


@transaction.atomic
def deployment_delete(*, actor: Actor, deployment: Deployment, reason: str = "") -> None:
    """Delete a deployment that no route targets: its replicas drain and stop. Raises ServiceError, which names the routes."""
    permission_require(actor=actor, action="deployment.change", organisation=deployment.organisation, team=deployment.owner_id)
    row = Deployment.objects.select_for_update(no_key=True).get(pk=deployment.pk)
    provider, facts, pk = row.provider, deployment_facts(row), row.pk
    live = list(row.replicas.filter(ended_at=None).select_related("deployment", "worker").order_by("pk"))
    replicas_end(live, ending="stopped", now=timezone.now())
    row.delete()
    provider_delete(actor=Actor.system("fleet"), provider=provider, reason=f"the deployment {deployment.name} was deleted")
    row.pk = pk
    change_record(actor, "deployment.delete", row, facts, {}, reason)
    deployment_event(row, "deleted", by=actor.name)


@transaction.atomic
def replica_replace(*, actor: Actor, replica: Replica, reason: str = "") -> Replica:
    """Drain one replica; another one takes its place, where one is wanted. A second time changes nothing."""
    deployment = replica.deployment
    permission_require(actor=actor, action="deployment.scale", organisation=deployment.organisation, team=deployment.owner_id)
    if replica.ended_at is not None:
        raise ServiceError("This replica has ended already.")
    why = reason.strip() or f"replaced by {actor.name}"
    if replicas_drain([(replica, why)], now=timezone.now(), seconds=deployment.drain_seconds):
        change_record(actor, "deployment.replace", deployment, {}, {"replica": str(replica.pk), "worker": replica.worker.name}, reason)
    return replica


def logs_ask(replica: Replica) -> None:
    """Ask for the last lines of a replica's engine; its worker sends them with its next heartbeat."""
    if replica.ended_at is None:
        Replica.objects.filter(pk=replica.pk).update(lines_wanted=timezone.now())


def decision_record(
    *, deployment: Deployment, before: int, after: int, reason: str, facts: Mapping[str, Any], applied: bool = False
) -> ScaleDecision:
    """What the autoscaler would have done, or could not do."""
    return ScaleDecision.objects.create(
        deployment=deployment, at=timezone.now(), before=before, after=after, applied=applied, reason=reason[:1_000], facts=dict(facts)
    )


def deployment_facts(row: Deployment) -> dict[str, Any]:
    """What the audit keeps: every field that a person decides."""
    return {name: getattr(row, name) for name in FACTS} | {"owner": row.owner.slug if row.owner else None, "revision": row.revision}


def _write(actor: Actor, row: Deployment, given: dict[str, Any], owner: Team | UnsetType | None, reason: str) -> Deployment:
    permission_require(actor=actor, action="deployment.change", organisation=row.organisation, team=row.owner_id)
    before = deployment_facts(row)
    checked = _checked(given)
    if not isinstance(owner, UnsetType):
        _owner_check(owner, row.organisation)
        row.owner = owner
    if (checked["performance_budget"], checked["model"]) != (row.performance_budget, row.model):
        performance_check(row.organisation, checked["performance_budget"], checked["model"])
    launches = any(checked[name] != getattr(row, name) for name in rules.LAUNCH)
    if launches or (checked["enabled"] and not row.enabled):
        rollout_check(row, "it is rolled out" if launches else "it is enabled", reason)
    simulated = checked["engine"] == "simulated"
    for name, value in checked.items():
        setattr(row, name, value)
    if launches:
        row.revision += 1
    after = deployment_facts(row)
    if after == before:
        return row
    row.save()
    if row.provider.simulated != simulated:
        provider_update(actor=Actor.system("fleet"), provider=row.provider, simulated=simulated, reason=f"the deployment {row.name}")
    changed = [name for name in after if after[name] != before[name]]
    change_record(actor, "deployment.update", row, {n: before[n] for n in changed}, {n: after[n] for n in changed}, reason)
    deployment_event(row, "changed", by=actor.name, why=", ".join(changed))
    if not launches:
        # what agents may change while an engine runs goes out with the next order; a new revision brings orders of its own
        _orders_refresh(row)
    return row


def _orders_refresh(row: Deployment) -> None:
    """Drain time, priority, warm-up and health reach replicas that run: no engine is restarted for them."""
    workers = set()
    for replica in Replica.objects.select_for_update(of=("self",)).filter(deployment=row, ended_at=None, revision=row.revision):
        spec = {
            **replica.spec, "drain_seconds": float(row.drain_seconds), "priority": row.priority, "warm_up": row.warm_up,
            "health": row.health,
        }  # fmt: skip
        if spec != replica.spec:
            Replica.objects.filter(pk=replica.pk).update(spec=spec)
            workers.add(replica.worker_id)
    order_touch(workers)


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Every field, judged and in the form that is stored. Raises ServiceError."""
    found = dict(given)
    found["model"] = rules.check_model(found["model"])
    rules.check_engine(found["engine"], found["recipe"])
    artifact = rules.check_artifact(found["engine"], found["artifact"])
    found["artifact"] = artifact.plain()
    found["arguments"] = rules.check_arguments(found["arguments"])
    found["environment"] = rules.check_environment(found["environment"])
    found["tasks"] = rules.check_tasks(found["tasks"], found["engine"])
    found["labels"] = rules.check_labels(found["labels"])
    config = found["config"] = dict(found["config"] or {})
    if found["memory"] is None:
        if not config:
            raise ServiceError("say how much memory it needs, or give the model's config.json to have it estimated", "memory")
        found["memory"] = _estimated(found, artifact)
    rules.check_size(gpus=found["gpus"], memory=found["memory"], context=found["context"], concurrency=found["concurrency"])
    found["wanted"] = rules.check_replicas(least=found["least"], most=found["most"], wanted=found["wanted"])
    rules.check_rollout(strategy=found["strategy"], surge=found["surge"], drain_seconds=found["drain_seconds"])
    rules.check_policies(warm_up=found["warm_up"], health=found["health"])
    rules.check_scaling_mode(found["scaling_mode"])
    rules.check_scaling(found["scaling"], least=found["least"], most=found["most"])
    found["scaling"], found["warm_up"], found["health"] = dict(found["scaling"]), dict(found["warm_up"]), dict(found["health"])
    return found


def _estimated(found: Mapping[str, Any], artifact: Artifact) -> int:
    config, context = found["config"], found["context"]
    if found["engine"] == "onnx" and not found["gpus"]:
        batch = rules.check_whole(found["arguments"], "max-num-batched-tokens", ENCODER_BATCH)
        return estimate_encoder(
            config, context=context, batch_tokens=batch, quantisation=artifact.quantisation, weights_bytes=artifact.bytes
        ).per_gpu
    if found["engine"] == "built_in":
        return estimate_built_in(
            config,
            context=context,
            concurrency=found["concurrency"],
            gpus=found["gpus"],
            dtype=found["arguments"].get("dtype") or "auto",
            weights_bytes=artifact.bytes,
        ).per_gpu
    return estimate(
        config,
        context=context,
        concurrency=found["concurrency"],
        gpus=found["gpus"],
        quantisation=artifact.quantisation,
        weights_bytes=artifact.bytes,
    ).per_gpu


def _owner_check(owner: Team | UnsetType | None, organisation: Organisation) -> None:
    if isinstance(owner, Team) and owner.organisation_id != organisation.pk:
        raise ServiceError("the team belongs to another organisation", "owner")
