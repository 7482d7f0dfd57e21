"""OpenAI from the environment: once, twice, with a new value, after a lost file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget
from apps.keys.selectors import key_by_digest, keys_of
from apps.keys.services import key_digest
from apps.providers.models import Credential, Price, Provider
from apps.providers.services import credential_value
from apps.publishing.models import Version
from apps.routes.models import Route
from apps.routes.selectors import route_named
from apps.routes.services import route_update
from controlplane.demo.openai import MODELS, TOKEN_FILE, ensure_openai

ACTOR = Actor.system("up")


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, db: None) -> Path:
    monkeypatch.setenv("BULKHEAD_DATA_DIR", str(tmp_path))
    return tmp_path


def test_everything_is_there_priced_and_published(data_dir: Path) -> None:
    made = ensure_openai(actor=ACTOR, api_key="sk-one-1234567890")
    assert made["model"] == "gpt-4o-mini"
    key = key_by_digest(key_digest(made["key"]))
    budget = Budget.objects.get()
    assert key is not None and (budget.scope_id, budget.window, budget.limit_nano) == (str(key.pk), "day", 5_000_000_000)
    assert set(Route.objects.values_list("name", flat=True)) == set(MODELS)
    assert set(Price.objects.values_list("model__name", flat=True)) == set(MODELS)
    assert Version.objects.count() == 1
    assert stat.S_IMODE((data_dir / "secrets" / TOKEN_FILE).stat().st_mode) == 0o600


def test_a_second_start_changes_nothing_and_knows_the_key() -> None:
    first = ensure_openai(actor=ACTOR, api_key="sk-one-1234567890")
    events = AuditEvent.objects.count()
    assert ensure_openai(actor=ACTOR, api_key="sk-one-1234567890\n") == first
    assert AuditEvent.objects.count() == events and Version.objects.count() == 1


def test_a_new_value_is_taken_over_and_what_people_changed_stays() -> None:
    ensure_openai(actor=ACTOR, api_key="sk-one-1234567890")
    organisation = Organisation.objects.get(slug="main")
    route_update(actor=ACTOR, route=route_named(organisation, "gpt-4o-mini"), max_attempts=1)
    ensure_openai(actor=ACTOR, api_key="sk-two-1234567890")
    assert credential_value(Credential.objects.get()) == "sk-two-1234567890"
    assert route_named(organisation, "gpt-4o-mini").max_attempts == 1
    assert Version.objects.count() == 2


def test_a_lost_token_gives_a_new_key_with_a_budget_of_its_own(data_dir: Path) -> None:
    first = ensure_openai(actor=ACTOR, api_key="sk-one-1234567890")
    (data_dir / "secrets" / TOKEN_FILE).unlink()
    second = ensure_openai(actor=ACTOR, api_key="sk-one-1234567890")
    assert second["key"] != first["key"]
    key = key_by_digest(key_digest(second["key"]))
    assert key is not None and key.name == "openai-first-2"
    walls = {budget.key.name: budget.limit_nano for budget in Budget.objects.filter(deleted_at=None).select_related("key")}
    assert walls == {"openai-first": 5_000_000_000, "openai-first-2": 5_000_000_000}


def test_a_value_that_cannot_be_a_key_changes_nothing() -> None:
    with pytest.raises(ServiceError):
        ensure_openai(actor=ACTOR, api_key="two words")
    assert not Provider.objects.exists() and not Organisation.objects.filter(slug="main").exists()
    assert not keys_of(Organisation(slug="main")).exists()
