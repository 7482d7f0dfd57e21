"""Secrets never reach the audit or the events: every service that takes or makes one is called with a canary, and both are searched."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.invitations import invitation_accept, invitation_create
from apps.accounts.models import Organisation
from apps.accounts.people import password_change
from apps.accounts.rules import Role
from apps.accounts.services import user_create
from apps.accounts.tokens import token_create
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent, Event
from apps.audit.rules import redact
from apps.budgets.services import budget_set, budget_webhooks_set
from apps.keys.services import key_create, key_import, key_rotate, key_token_replace
from apps.providers.rules import EndpointSpec
from apps.providers.services import credential_set, provider_ensure
from apps.publishing.models import Version
from apps.publishing.services import publish

CANARY = "sk-canary-{}-0123456789abcdef"


class Nest:
    """Canaries by where they went in."""

    def __init__(self) -> None:
        self.eggs: dict[str, str] = {}

    def lay(self, where: str, value: str = "") -> str:
        self.eggs[where] = value or CANARY.format(where)
        return self.eggs[where]


@pytest.fixture
def nest(organisation: Organisation, actor: Actor, settings: Any, tmp_path: Path) -> Nest:
    """After every service that takes or makes a secret."""
    settings.DATA_DIR = tmp_path
    found, given = Nest(), {"actor": actor, "organisation": organisation}
    credential_set(**given, name="one", value=found.lay("credential"))  # type: ignore[arg-type]
    credential_set(**given, name="one", value=found.lay("credential-again"))  # type: ignore[arg-type]
    endpoint = EndpointSpec("a", "https://api.example.com/v1", credential="one")
    provider_ensure(**given, name="p", kind="openai", endpoints=[endpoint])  # type: ignore[arg-type]
    key, secret = key_create(**given, name="made")  # type: ignore[arg-type]
    found.lay("key", secret)
    found.lay("key-rotated", key_rotate(actor=actor, key=key)[1])
    brought = key_import(**given, name="brought", token=found.lay("key-imported"))  # type: ignore[arg-type]
    key_token_replace(actor=actor, key=brought, token=found.lay("key-replaced"))
    budget = budget_set(
        **given,
        name="b",
        scope="organisation",
        scope_id=organisation.pk,
        window="day",
        limit_nano=10**9,  # type: ignore[arg-type]
    )
    budget_webhooks_set(actor=actor, budget=budget, webhook=f"https://hooks.example.com/{found.lay('webhook')}")
    user = user_create(actor=actor, email="ada@example.test", password=found.lay("password"))
    own = Actor.of_user(user)
    password_change(actor=own, user=user, old=found.eggs["password"], new=found.lay("password-new"))
    ends = timezone.now() + timedelta(days=1)
    found.lay("token", token_create(actor=own, user=user, name="t", scopes=["keys:read"], expires_at=ends)[1])
    _, link = invitation_create(actor=actor, email="ben@example.test", roles={"main": Role.VIEWER})
    found.lay("invitation", link)
    invitation_accept(token=link, name="Ben", password=found.lay("password-chosen"))
    Client().post("/login/", {"email": found.lay("typed-as-email"), "password": found.lay("password-typed")})
    publish(actor=actor, reason="all of it")
    return found


def test_no_secret_is_in_the_audit_the_events_or_a_versions_diff(nest: Nest) -> None:
    kept = [str(event.content()) for event in AuditEvent.objects.all()]
    kept += [f"{event.data}{event.subject_name}" for event in Event.objects.all()]
    kept += [str(version.diff) for version in Version.objects.all()]
    assert len(nest.eggs) >= 14 and AuditEvent.objects.count() > 14
    assert [where for where, secret in nest.eggs.items() if secret in "\n".join(kept)] == []


def test_what_no_service_should_hand_over_is_blanked_all_the_same() -> None:
    told = redact({"api_key": "x", "nested": [{"Authorization": "Bearer y", "max_tokens": 5}], "webhook_secret": "z", "note": "plain"})
    assert told == {
        "api_key": "[redacted]", "nested": [{"Authorization": "[redacted]", "max_tokens": 5}], "webhook_secret": "[redacted]",
        "note": "plain",
    }  # fmt: skip
