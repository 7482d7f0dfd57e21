"""Callers of the API: a person with a token, and a small organisation with one of everything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.api import throttling
from apps.accounts.models import Organisation, User
from apps.accounts.scopes import GRANTS
from apps.accounts.tokens import token_create
from apps.audit.actors import Actor
from apps.budgets.limit_services import limit_set
from apps.budgets.performance_services import performance_budget_set
from apps.budgets.services import budget_set
from apps.flags.services import flag_set
from apps.keys.services import key_create
from apps.keys.template_services import key_template_set
from apps.ownership.care_services import runbook_set, sla_set
from apps.ownership.map_services import cell_set, layer_set
from apps.ownership.models import Layer
from apps.ownership.rotation_services import rotation_set
from apps.ownership.services import service_ensure, team_ensure
from apps.prices.services import gpu_price_set
from apps.prices.units import unit_price_set
from apps.providers.discounts import discount_set
from apps.providers.models import ProviderModel
from apps.providers.rules import EndpointSpec
from apps.providers.services import credential_set, provider_ensure
from apps.publishing.services import publish
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.people import member

ROOT = "/api/v1/"
AGENT = "tests/1.0"


class Caller:
    """Somebody who calls the API with a personal token, or without any."""

    def __init__(self, secret: str = "") -> None:
        self.client = Client(HTTP_USER_AGENT=AGENT)
        self.headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """``path``: below ``/api/v1/``, or a whole address. Headers by their names with ``_`` for ``-``."""
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        address = path if path.startswith("/") else ROOT + path
        data = (
            {}
            if body is None
            else {"data": body if isinstance(body, (bytes, str)) else json.dumps(body), "content_type": "application/json"}
        )
        return self.client.generic(method.upper(), address, headers=sent, **data)

    def get(self, path: str, **headers: str) -> Any:
        return self("get", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("post", path, {} if body is None else body, **headers)


def caller(user: User, scopes: Iterable[str] = GRANTS, *, name: str = "tests") -> Caller:
    """A person with a new token of theirs."""
    actor = Actor.of_user(user)
    _, secret = token_create(actor=actor, user=user, name=name, scopes=scopes, expires_at=timezone.now() + timedelta(days=30))
    return Caller(secret)


def failure(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error of an answer, which must have the one shape."""
    assert response.status_code == status, (response.status_code, response.content[:500])
    body = json.loads(response.content)
    assert body.keys() == {"error"} and body["error"].keys() == {"code", "message", "field", "details", "request_id"}
    error: dict[str, Any] = body["error"]
    assert error["code"] == code and error["message"] and error["request_id"] == response["X-Request-Id"]
    return error


@pytest.fixture(autouse=True)
def secrets_at_hand(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody starts with a full burst, and the installation's secrets are those of the tests."""
    settings.DATA_DIR = tmp_path
    for rate in (throttling.CALLS, throttling.REFUSALS):
        monkeypatch.setattr(rate, "_next", type(rate._next)())


@pytest.fixture
def ada(organisation: Organisation) -> User:
    """An admin of ``main``."""
    return member(organisation, email="ada@example.test")


@pytest.fixture
def admin(ada: User) -> Caller:
    return caller(ada)


@pytest.fixture
def viewer(organisation: Organisation) -> Caller:
    return caller(member(organisation, "viewer"))


@pytest.fixture
def things(organisation: Organisation, actor: Actor) -> dict[str, Any]:
    """One of everything in ``main``, published: address below the organisation -> the object's id."""
    given: dict[str, Any] = {"actor": actor, "organisation": organisation}
    team = team_ensure(**given, slug="ml", name="ML")
    service = service_ensure(actor=actor, team=team, slug="chat")
    spare = team_ensure(**given, slug="spare")
    layer_set(**given, name="proxy")
    credential = credential_set(**given, name="main", value="sk-live-0123456789")
    endpoint = EndpointSpec("a", "https://api.example.com/v1", credential="main")
    provider = provider_ensure(**given, name="acme", kind="openai", endpoints=[endpoint])
    route = route_ensure(**given, name="chat", targets=[TargetSpec("acme", "large"), TargetSpec("acme", "small")], owner=team)
    key, _ = key_create(**given, name="app", service=service)
    found = {
        "teams": team.pk,
        "services": service.pk,
        "credentials": credential.pk,
        "providers": provider.pk,
        "routes": route.pk,
        "keys": key.pk,
        "prices": ProviderModel.objects.get(provider=provider, name="large").pk,
        "models": ProviderModel.objects.get(provider=provider, name="large").pk,
        "discounts": discount_set(**given, name="deal", provider=provider, discount=500).pk,
        "unit-prices": unit_price_set(**given, name="hd", provider=provider, model="large", unit="image", per_thousand=9).pk,
        "gpu-prices": gpu_price_set(**given, name="rack", gpu="H200", per_hour=1).pk,
        "budgets": budget_set(**given, name="wall", scope="team", scope_id=team.pk, window="day", limit_nano=10**9).pk,
        "limits": limit_set(**given, name="rpm", scope="route", scope_id=route.pk, kind="requests_per_minute", amount=9).pk,
        "performance-budgets": performance_budget_set(
            **given, name="fast", scope="model", scope_id="large", metric="ttft_p95", bound="1s", owner_email="a@b.test"
        ).pk,
        "rotations": rotation_set(**given, name="weekly", team=team).pk,
        "runbooks": runbook_set(**given, name="away", title="Away", owner=team).pk,
        "slas": sla_set(actor=actor, team=spare, availability=99_900).pk,
        "regions": cell_set(**given, region="eu-west", layer="proxy", team=team).region_id,  # type: ignore[union-attr]
        "layers": Layer.objects.get(organisation=organisation).pk,
        "key-templates": key_template_set(actor=actor, team=spare, routes=["*"], environments=["staging"], most_keys=2).pk,
        "flags": flag_set(**given, name="acme-off", kind="kill", subject_kind="provider", subject_id=provider.pk, acknowledge=True).pk,
    }
    publish(actor=actor, reason="first")
    return {path: str(pk) for path, pk in found.items()}
