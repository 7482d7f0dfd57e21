"""The audit chain: linear under concurrency, append-only in Postgres, verifiable, and tampering is found."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.audit.actors import Actor
from apps.audit.chain import chain_verify
from apps.audit.models import AuditEvent
from apps.audit.services import audit_record
from tests.scale import examples

ACTOR = Actor.command("test")


def seal() -> None:
    """What COMMIT does with the deferred trigger."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS audit_seal IMMEDIATE")
        cursor.execute("SET CONSTRAINTS audit_seal DEFERRED")


def record(**fields: object) -> AuditEvent:
    event = audit_record(actor=ACTOR, action="test.change", subject_kind="test", subject_id="1", **fields)  # type: ignore[arg-type]
    seal()
    event.refresh_from_db()
    return event


@contextmanager
def triggers_off(*names: str):
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE audit_event DISABLE TRIGGER {name}")
        yield cursor
        for name in names:
            cursor.execute(f"ALTER TABLE audit_event ENABLE TRIGGER {name}")


@pytest.mark.django_db
def test_links_follow_each_other() -> None:
    first, second = record(reason="one"), record(reason="two")
    assert second.seq == first.seq + 1
    assert second.prev_hash == first.hash
    assert chain_verify().broken == ""


@pytest.mark.django_db
def test_one_transaction_may_write_several_links() -> None:
    before = chain_verify().links
    for number in range(5):
        audit_record(actor=ACTOR, action="test.change", subject_kind="test", subject_id=number)
    seal()
    report = chain_verify()
    assert (report.links, report.broken) == (before + 5, "")


@pytest.mark.django_db(transaction=True)
def test_parallel_transactions_make_one_line() -> None:
    """Threads with connections of their own; some roll back, some write twice; the chain has no gap and no fork."""
    before = chain_verify().links
    start = threading.Barrier(8)
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            start.wait(timeout=120)
            for round_number in range(10):
                try:
                    with transaction.atomic():
                        for _ in range(1 + worker % 2):
                            audit_record(actor=ACTOR, action="test.parallel", subject_kind="test", subject_id=f"{worker}-{round_number}")
                        if round_number % 5 == 4:
                            raise InterruptedError
                except InterruptedError:
                    pass
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=200)
    assert not errors
    report = chain_verify()
    assert report.broken == ""
    assert report.links == before + 8 * 4 + 4 * 8 * 2  # per worker 8 of 10 rounds commit; half of the workers write two
    seqs = list(AuditEvent.objects.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.django_db(transaction=True)
def test_the_chain_is_locked_at_commit_only() -> None:
    """A transaction that has recorded and still works does not hold up another one: the lock comes with COMMIT."""
    done = threading.Event()

    def other() -> None:
        try:
            audit_record(actor=ACTOR, action="test.other", subject_kind="test", subject_id="b")
            done.set()
        finally:
            connections.close_all()

    with transaction.atomic():
        mine = audit_record(actor=ACTOR, action="test.slow", subject_kind="test", subject_id="a")
        thread = threading.Thread(target=other)
        thread.start()
        assert done.wait(timeout=120)
        thread.join(timeout=200)
    mine.refresh_from_db()
    assert mine.seq is not None and mine.seq > 1
    assert chain_verify().broken == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET reason = 'other'",
        "UPDATE audit_event SET seq = seq + 1000",
        "UPDATE audit_event SET seq = NULL",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
    ],
)
def test_postgres_refuses_everything_but_appending(statement: str) -> None:
    record()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db
def test_an_unsealed_row_cannot_be_changed_or_placed_by_hand() -> None:
    event = audit_record(actor=ACTOR, action="test.change", subject_kind="test", subject_id="1")
    for assignment in ("reason = 'other'", "seq = 77, prev_hash = repeat('0', 64), hash = repeat('0', 64)"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_event SET {assignment} WHERE id = %s", [event.id])
    AuditEvent.objects.create(at=event.at, seq=5_000_000, hash="f" * 64, actor_kind="user", action="forged", content_hash="0" * 64)
    assert AuditEvent.objects.get(action="forged").seq is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE audit_event SET reason = 'nothing happened' WHERE seq = %s", "content was changed"),
        ("UPDATE audit_event SET actor_name = 'somebody else' WHERE seq = %s", "content was changed"),
        ("UPDATE audit_event SET at = at + interval '1 microsecond' WHERE seq = %s", "content was changed"),
        ("UPDATE audit_event SET after = '{\"limit\": 2}' WHERE seq = %s", "content was changed"),
        ("UPDATE audit_event SET hash = repeat('a', 64) WHERE seq = %s", "does not fit"),
        ("UPDATE audit_event SET prev_hash = repeat('a', 64) WHERE seq = %s", "does not follow"),
        ("DELETE FROM audit_event WHERE seq = %s", "is missing"),
    ],
)
def test_tampering_past_the_triggers_is_found(change: str, finding: str) -> None:
    for number in range(3):
        event = record(after={"limit": 1}, reason=f"number {number}")
    victim = event.seq - 1
    with triggers_off("audit_guard", "audit_no_delete") as cursor:
        cursor.execute(change, [victim])
    report = chain_verify()
    assert finding in report.broken
    assert f"link {victim}" in report.broken
    with pytest.raises(CommandError, match=f"link {victim}") as raised:
        call_command("audit_verify")
    assert raised.value.returncode == 1


@pytest.mark.django_db
def test_a_rewritten_or_cut_chain_does_not_fit_an_anchor(capsys: pytest.CaptureFixture[str]) -> None:
    record()
    last = record()
    anchor = f"{last.seq}:{last.hash}"
    call_command("audit_verify", f"--anchor={anchor}")
    assert anchor in capsys.readouterr().out
    with triggers_off("audit_no_delete") as cursor:
        cursor.execute("DELETE FROM audit_event WHERE seq = %s", [last.seq])
    assert chain_verify().broken == ""
    with pytest.raises(CommandError, match="noted in the anchor, is missing"):
        call_command("audit_verify", f"--anchor={anchor}")
    record(reason="another end")
    with pytest.raises(CommandError, match="not the one noted"):
        call_command("audit_verify", f"--anchor={anchor}")


@pytest.mark.django_db
def test_a_row_that_bypassed_sealing_is_found() -> None:
    with triggers_off("audit_seal"):
        audit_record(actor=ACTOR, action="test.stray", subject_kind="test", subject_id="1")
    assert "test.stray" in chain_verify().broken


def test_a_bad_anchor_is_refused() -> None:
    with pytest.raises(CommandError, match="812:"):
        call_command("audit_verify", "--anchor=latest")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(UTC)),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@pytest.mark.django_db
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.none() | st.dictionaries(st.text(), json_values, max_size=3), reason=st.text(max_size=40))
def test_whatever_is_recorded_verifies_as_postgres_gives_it_back(before: dict[str, object] | None, reason: str) -> None:
    event = audit_record(actor=ACTOR, action="test.change", subject_kind="test", subject_id="1", before=before, reason=reason)
    stored = AuditEvent.objects.get(id=event.id)
    assert stored.compute_content_hash() == stored.content_hash


@pytest.mark.django_db
def test_an_event_keeps_who_what_and_why() -> None:
    actor = Actor(kind="user", id=str(uuid.uuid4()), name="ada@example.com", role="admin of main", address="192.0.2.7")
    event = audit_record(
        actor=actor,
        action="budget.update",
        subject_kind="budget",
        subject_id=uuid.UUID(int=5),
        subject_name="Daily",
        before={"limit": 5, "since": datetime(2026, 1, 2, tzinfo=UTC), "rate": Decimal("0.5")},
        after={"limit": 7, "share": 0.25},
        reason="launch",
        config_version=12,
    )
    stored = AuditEvent.objects.get(id=event.id)
    assert (stored.actor_name, stored.actor_role, stored.actor_address) == ("ada@example.com", "admin of main", "192.0.2.7")
    assert stored.before == {"limit": 5, "since": "2026-01-02T00:00:00Z", "rate": "0.5"}
    assert stored.after == {"limit": 7, "share": "0.25"}
    assert (stored.reason, stored.config_version, stored.subject_id) == ("launch", 12, str(uuid.UUID(int=5)))
