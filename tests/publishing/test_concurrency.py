"""Many publishers at once: versions are strictly ordered, no change is lost, and a delta from anywhere leads to the head."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.audit.chain import chain_verify
from apps.contracts.snapshot import encode_fragment
from apps.proxy.compiler import compile_config
from apps.publishing import state
from apps.publishing.models import FragmentRow, TouchedFragment, Version
from apps.publishing.services import publish
from tests.conftest import FreshDatabase
from tests.publishing.rows import ACTOR, key, rows_delete, rows_write, sections
from tests.scale import examples

WORKERS, ROUNDS = 6, 6


def delta(base: int) -> tuple[int, dict[tuple[str, str], bytes | None]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version, section, object_id, body FROM proxy_api.config_delta(%s)", [base])
        rows = cursor.fetchall()
    versions = {row[0] for row in rows}
    assert len(versions) == 1
    return versions.pop(), {(section, id): None if body is None else bytes(body) for _, section, id, body in rows if section}


def flat(number: int) -> dict[tuple[str, str], bytes]:
    bodies = state.state_at(number).bodies if number else {}
    return {(section, id): body for section, objects in bodies.items() for id, body in objects.items()}


def applied(base: dict[tuple[str, str], bytes], changes: dict[tuple[str, str], bytes | None]) -> dict[tuple[str, str], bytes]:
    merged: dict[tuple[str, str], bytes | None] = {**base, **changes}
    return {at: body for at, body in merged.items() if body is not None}


def test_versions_are_strictly_ordered_and_lose_nothing(committed_rows: None) -> None:
    start = threading.Barrier(WORKERS)
    errors: list[BaseException] = []
    numbers: list[int] = []

    def work(worker: int) -> None:
        try:
            start.wait(timeout=120)
            for round_number in range(ROUNDS):
                with transaction.atomic():
                    # Everybody writes one key of their own and one that all fight over.
                    rows_write("keys", key(f"own-{worker}", feature=str(round_number)), key("shared", feature=f"{worker}-{round_number}"))
                    version = publish(actor=ACTOR, reason=f"{worker}/{round_number}", sections=sections())
                if version is not None:
                    numbers.append(version.number)
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=200)
    assert not errors
    total = WORKERS * ROUNDS
    assert sorted(numbers) == list(range(1, total + 1))
    ordered = list(Version.objects.order_by("number").values_list("number", "created_at"))
    assert [number for number, _ in ordered] == list(range(1, total + 1))
    assert not TouchedFragment.objects.exists()
    state.remember(state.ConfigState())
    head = state.head_state()
    assert {f"own-{worker}" for worker in range(WORKERS)} | {"shared"} == set(head.bodies["keys"])
    assert all(head.bodies["keys"][f"own-{w}"] == encode_fragment(key(f"own-{w}", feature=str(ROUNDS - 1))) for w in range(WORKERS))
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM test_publishing_rows WHERE section = 'keys' AND object_id = 'shared'")
        assert head.bodies["keys"]["shared"] == bytes(cursor.fetchone()[0])
    assert publish(actor=ACTOR, sections=sections(), full=True) is None
    assert chain_verify().broken == ""


def test_a_change_committed_while_another_is_published_is_not_lost(committed_rows: None) -> None:
    """Its mark is left for the next publish: only the marks that were read are removed."""
    rows_write("keys", key("k1"))
    ready, proceed = threading.Event(), threading.Event()

    def slow_compiler(fragments: Any, **fields: Any) -> Any:
        ready.set()
        assert proceed.wait(timeout=120)
        return compile_config(fragments, **fields)

    def publisher() -> None:
        try:
            publish(actor=ACTOR, sections=sections(), compiler=slow_compiler)
        finally:
            connections.close_all()

    thread = threading.Thread(target=publisher)
    thread.start()
    assert ready.wait(timeout=120)
    rows_write("keys", key("k2"))
    proceed.set()
    thread.join(timeout=200)
    assert Version.objects.get().counts["keys"]["added"] == 1
    version = publish(actor=ACTOR, sections=sections())
    assert version is not None and version.number == 2 and "k2" in version.diff["keys"]


def test_listeners_hear_the_number_when_it_is_committed(committed_rows: None) -> None:
    parameters = {
        name: value for name, value in connection.get_connection_params().items() if name in ("host", "port", "user", "password", "dbname")
    }
    with psycopg.connect(**parameters, autocommit=True) as listener:
        listener.execute("LISTEN bulkhead_config")
        rows_write("keys", key("k1"))
        with transaction.atomic():
            publish(actor=ACTOR, sections=sections())
            assert list(listener.notifies(timeout=0.05, stop_after=1)) == []
        with transaction.atomic():
            rows_write("keys", key("k2"))
            publish(actor=ACTOR, sections=sections())
            transaction.set_rollback(True)
        rows_write("keys", key("k3"))
        publish(actor=ACTOR, sections=sections())
        heard = [note.payload for note in listener.notifies(timeout=20, stop_after=2)]
    assert heard == ["1", "2"]


@pytest.mark.slow
@pytest.mark.usefixtures("rows")
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(
        st.dictionaries(st.sampled_from([f"k{n}" for n in range(5)]), st.none() | st.integers(0, 2), min_size=1, max_size=4),
        min_size=1,
        max_size=7,
    )
)
def test_a_delta_from_any_base_leads_to_the_head(history: list[dict[str, int | None]]) -> None:
    with transaction.atomic():
        for step in history:
            for object_id, value in step.items():
                if value is None:
                    rows_delete("keys", object_id)
                else:
                    rows_write("keys", key(object_id, feature=str(value)))
            publish(actor=ACTOR, sections=sections())
        head = Version.objects.count()
        final = flat(head)
        assert final == {("keys", id): bytes(body) for id, body in state.head_state().bodies["keys"].items()}
        for base in range(head + 1):
            version, changes = delta(base)
            assert version == head
            assert applied(flat(base), changes) == final
            if base == head:
                assert changes == {}
        # One step after the other, as a proxy that is always connected sees it.
        walked: dict[tuple[str, str], bytes] = {}
        for number in range(1, head + 1):
            step_rows = FragmentRow.objects.filter(version=number).values_list("section", "object_id", "body")
            walked = applied(walked, {(section, id): None if body is None else bytes(body) for section, id, body in step_rows})
            assert walked == flat(number)
        # A base that this database has not reached: the whole state, and a version that says so.
        version, changes = delta(head + 10)
        assert version < head + 10 and changes == final
        transaction.set_rollback(True)


def test_a_fresh_database_answers_with_one_empty_row(fresh_database: FreshDatabase) -> None:
    with psycopg.connect(fresh_database.proxy_url, autocommit=True) as proxy:
        rows = proxy.execute("SELECT version, section, object_id, body FROM proxy_api.config_delta(0)").fetchall()
    assert rows == [(0, "", "", None)]
