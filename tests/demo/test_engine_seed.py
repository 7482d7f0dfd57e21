"""The demo with the built-in engine: a deployment on the model's directory, a route to it, made again without change, moved with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.accounts.models import Organisation
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.fleet.models import Deployment
from apps.fleet.services import deployment_update
from apps.publishing.models import Version
from apps.routes.models import Route
from controlplane.demo.seed import seed
from tests.demo.test_demo_seed import ACTOR, ADDRESSES

pytestmark = pytest.mark.django_db


def test_the_engines_deployment_and_route_stand(tmp_path: Path) -> None:
    seed(actor=ACTOR, simulators=ADDRESSES, data_dir=tmp_path)
    assert not Deployment.objects.filter(engine="built_in").exists()
    models = tmp_path / "models" / "tiny-llama"
    seed(actor=ACTOR, simulators=ADDRESSES, data_dir=tmp_path, engine_model=models)
    organisation = Organisation.objects.get(slug="demo")
    deployment = Deployment.objects.get(organisation=organisation, engine="built_in")
    assert deployment.artifact["location"] == str(models) and (deployment.wanted, deployment.gpus) == (1, 0)
    assert not deployment.provider.simulated  # only its weights are made up
    target = Route.objects.get(organisation=organisation, name="tiny-llama").target_rows.get()
    assert (target.provider.name, target.model) == ("deployment:tiny-llama", "tiny-llama")
    events, versions = AuditEvent.objects.count(), Version.objects.count()
    seed(actor=ACTOR, simulators=ADDRESSES, data_dir=tmp_path, engine_model=models)
    assert (AuditEvent.objects.count(), Version.objects.count()) == (events, versions)
    seed(actor=ACTOR, simulators=ADDRESSES, data_dir=tmp_path)  # started without it: what it serves goes on
    assert Deployment.objects.filter(engine="built_in", wanted=1).exists()
    seed(actor=ACTOR, simulators=ADDRESSES, data_dir=tmp_path, engine_model=tmp_path / "elsewhere" / "tiny-llama")
    deployment.refresh_from_db()
    with pytest.raises(ServiceError, match="does no rerank"):
        deployment_update(actor=ACTOR, deployment=deployment, tasks=["rerank"])
    assert deployment.artifact["location"].endswith("elsewhere/tiny-llama") and deployment.arguments["context"] == "2048"
