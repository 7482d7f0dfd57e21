"""Stored responses in real Postgres: through two real proxies by the stock SDK, their expiry, their deletion, what a proxy may do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import psycopg
import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.contracts.snapshot import CredentialFragment, Endpoint, Fragment, KeyFragment, ProviderFragment, RouteFragment, Target
from apps.proxy.response_shelf import ResponseShelf, ShelfRules, Turn
from apps.responses.models import StoredResponse
from apps.responses.services import responses_delete, responses_expire
from apps.responses.tasks import responses_expire as expire_task
from apps.simulator.harness import SimulatorServer
from tests.conftest import FreshDatabase
from tests.proxy.standalone import PEPPER, StandaloneProxy, config_of, digest_of, seal
from tests.proxy.test_store import running

KEY, OTHER = "bk-keyofresps-secret", "bk-keyofothers-secret"


def fragments(sim: SimulatorServer) -> list[Fragment]:
    found: list[Fragment] = [CredentialFragment(id="c", sealed=seal("upstream"))]
    for kind, base in (("openai", "/v1"), ("anthropic", "/v1")):
        endpoints = [Endpoint(name="sim", base_url=sim.url + base, credential="c")]
        found.append(
            ProviderFragment(
                id=kind, name=kind, kind=kind, organisation="o", simulated=True, allow_private_addresses=True, endpoints=endpoints
            )
        )
        found.append(RouteFragment(id=kind, name=kind, organisation="o", targets=[Target(provider=kind, model="sim-chat")]))
    for name, token in (("k", KEY), ("other", OTHER)):
        found.append(KeyFragment(id=name, name=name, public_id=name, organisation="o", digests=[digest_of(token)]))
    return found


def publish(database: FreshDatabase, found: list[Fragment]) -> None:
    """Version 1 of a config, as the control plane would leave it."""
    delta = config_of(found)
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(
            "INSERT INTO publishing_version "
            "(number, lineage, actor_kind, actor_id, actor_name, reason, created_at, counts, diff, manifest) "
            "VALUES (1, gen_random_uuid(), 'system', 't', 't', '', now(), '{}', '{}', '{}')"
        )
        for change in delta.changes:
            connection.execute(
                "INSERT INTO publishing_fragment (section, object_id, version, body) VALUES (%s, %s, 1, %s)",
                (change.section, change.id, change.body),
            )


def test_a_conversation_wanders_between_proxies_and_providers(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    with SimulatorServer("sim-responses", scenario={"api_keys": ["upstream"]}) as sim:
        found = fragments(sim)
        publish(fresh_database, found)
        environ = {"BULKHEAD_PROXY_DATABASE_URL": fresh_database.proxy_url}
        with (
            StandaloneProxy(found, tmp_path, environ=environ, name="one") as one,
            StandaloneProxy(found, tmp_path, environ=environ, name="two") as two,
            openai.OpenAI(base_url=f"{one.url}/v1", api_key=KEY, max_retries=0, timeout=60) as first,
        ):
            second = first.with_options(base_url=f"{two.url}/v1")
            response = first.responses.create(model="openai", input="My name is Ada.", store=True, max_output_tokens=8)
            assert response.store is True
            with second.responses.stream(model="anthropic", input="And my name?", previous_response_id=response.id) as stream:
                for _ in stream:
                    pass
                continued = stream.get_final_response()
            assert continued.store is True and continued.previous_response_id == response.id
            assert continued.usage is not None and response.usage is not None
            assert continued.usage.input_tokens > response.usage.input_tokens, "it was told the first turn, too"
            assert first.responses.retrieve(continued.id).output_text == continued.output_text
            items = first.responses.input_items.list(continued.id, order="asc").data
            assert [item.role for item in items if item.type == "message"] == ["user", "assistant", "user"]
            with pytest.raises(openai.NotFoundError):
                first.with_options(api_key=OTHER).responses.retrieve(response.id)
            with pytest.raises(openai.BadRequestError) as caught:
                first.with_options(api_key=OTHER).responses.create(model="openai", input="?", previous_response_id=response.id)
            assert caught.value.code == "previous_response_not_found"
            second.responses.delete(response.id)
            with pytest.raises(openai.NotFoundError):
                first.responses.retrieve(response.id)
            with psycopg.connect(fresh_database.superuser_url) as connection:
                rows: Any = connection.execute("SELECT sealed FROM responses_storedresponse").fetchall()
            assert len(rows) == 1 and b"Ada" not in rows[0][0]
            for proxy in (one, two):
                assert "failed" not in proxy.log.read_text()


@pytest.mark.kill
async def test_turns_live_as_long_as_the_last_that_needs_them(fresh_database: FreshDatabase) -> None:
    async with running(fresh_database.proxy_url) as store:
        day = ResponseShelf(store, PEPPER, ShelfRules(keep_seconds=86_400, max_chain=3_000))
        assert not await day.keep("k", "o", Turn([{"n": 1}], {"id": "a"}))
        assert not await day.keep("k", "o", Turn([{"n": 2}], {"id": "b"}, "a"))
        week = ResponseShelf(store, PEPPER, ShelfRules(keep_seconds=7 * 86_400, max_chain=3_000))
        assert not await week.keep("k", "o", Turn([{"n": 3}], {"id": "c"}, "b"))
        turns = await week.turns("k", "c", continued=True)
        assert isinstance(turns, list) and [turn.input[0]["n"] for turn in turns] == [1, 2, 3]
        with psycopg.connect(fresh_database.superuser_url, autocommit=True) as connection:
            ends: Any = connection.execute("SELECT count(DISTINCT expires_at), count(*) FROM responses_storedresponse").fetchone()
            assert ends == (1, 3), "all of them end with the last one"
            connection.execute("UPDATE responses_storedresponse SET expires_at = now() - interval '1 second' WHERE response_id = 'a'")
        cut: Any = await week.turns("k", "c", continued=True)
        assert (cut.code, "lost its beginning" in cut.message) == ("previous_response_not_found", True)
        gone: Any = await week.turns("k", "a", continued=False)
        assert gone.code == "response_not_found"
        assert not await week.keep("k", "o", Turn([{"text": "x" * 4_000}], {"id": "d"}, "c"))
        long: Any = await week.turns("k", "d", continued=True)
        assert long.code == "previous_response_not_found", "a conversation longer than can be told is refused, never cut"
        await store.response_put("k", "loop", "loop", "o", 60, 1, b"")
        assert not isinstance(await week.turns("k", "loop", continued=True), list)


def test_a_proxy_may_not_look_into_the_table(fresh_database: FreshDatabase) -> None:
    with psycopg.connect(fresh_database.proxy_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT count(*) FROM responses_storedresponse")


def stored(name: str, *, key: str = "k", organisation: str = "o", hours: int = 1) -> StoredResponse:
    now = timezone.now()
    return StoredResponse.objects.create(
        key_id=key,
        response_id=name,
        organisation=organisation,
        created_at=now,
        expires_at=now + timedelta(hours=hours),
        size=10,
        sealed=b"sealed",
    )


def test_what_is_past_its_time_goes(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.responses.services.BATCH", 2)
    for number in range(5):
        stored(f"old-{number}", hours=-1)
    stored("new")
    assert responses_expire() == 5
    expire_task()
    assert [row.response_id for row in StoredResponse.objects.all()] == ["new"]


def test_a_person_deletes_with_a_reason(db: None, actor: Actor) -> None:
    stored("a")
    stored("b", key="k2")
    stored("c", organisation="p")
    for wrong in ({"reason": "x"}, {"reason": "x", "key_id": "k", "organisation": "o"}, {"reason": " ", "key_id": "k"}):
        with pytest.raises(ServiceError):
            responses_delete(actor=actor, **wrong)
    assert responses_delete(actor=actor, organisation="o", reason="they asked us to") == 2
    event = AuditEvent.objects.latest("seq")
    assert (event.action, event.subject_kind, event.subject_id, event.reason) == (
        "responses.deleted",
        "organisation",
        "o",
        "they asked us to",
    )
    assert StoredResponse.objects.count() == 1


def test_the_command_lists_and_deletes(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("responses")
    assert "Nothing is kept." in capsys.readouterr().out
    stored("a")
    stored("b")
    call_command("responses")
    assert "organisation o  key k  2 responses, 12 bytes" in capsys.readouterr().out
    call_command("responses", "--delete-key", "k", "--reason", "moved away")
    assert "deleted: 2" in capsys.readouterr().out and not StoredResponse.objects.exists()
